"""Settings: defaults, conversion, and errors that name the variable; for both services."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from embedding import config as embedding_config
from recognition import config as recognition_config

both = pytest.mark.parametrize("config", [embedding_config, recognition_config])


@both
def test_defaults(config: ModuleType) -> None:
    settings = config.read({"UNRELATED": "x", "MAX_BODY_BYTES": " "})
    assert settings.workers == 2
    assert settings.max_body_bytes == 64 * 1024 * 1024
    assert settings.models_dir == Path(__file__).resolve().parents[2] / "models"


@both
def test_values_are_converted(config: ModuleType) -> None:
    relative = config.read({"MODELS_DIR": "m"}).models_dir
    assert relative == Path(__file__).resolve().parents[2] / "m"
    settings = config.read({"MAX_BODY_BYTES": "1000", "MODELS_DIR": "/m", "WORKERS": "3"})
    assert (settings.max_body_bytes, settings.models_dir, settings.workers) == (1000, Path("/m"), 3)


@both
@pytest.mark.parametrize(
    ("name", "value"),
    [("WORKERS", "two"), ("WORKERS", "0"), ("MAX_BODY_BYTES", "-1"), ("MAX_IMAGE_PIXELS", "1e6x")],
)
def test_a_bad_value_names_the_variable(config: ModuleType, name: str, value: str) -> None:
    with pytest.raises(config.SettingsError, match=name):
        config.read({name: value})


@both
@pytest.mark.parametrize("secret", ["short", "with blanks in it and long enough, but no token", "\xe9" * 40])
def test_a_secret_that_no_header_takes_or_that_is_short_is_refused_and_not_shown(
    config: ModuleType, secret: str
) -> None:
    with pytest.raises(config.SettingsError, match="EMBEDDING_SECRET") as refused:
        config.read({"EMBEDDING_SECRET": secret})
    assert secret not in str(refused.value)
    assert "s" * 32 not in repr(config.read({"EMBEDDING_SECRET": "s" * 32}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMIT_PER_MINUTE", "-1"),
        ("ALLOW_GET_CLEAR", "perhaps"),
        ("LOG_FORMAT", "xml"),
        ("FACE_DETECTION_PORT", "65536"),
        ("FEATURE_EXTRACTION_URL", "localhost:5000"),
        ("EMBEDDING_READ_TIMEOUT_S", "nan"),
        ("EMBEDDING_CONNECT_TIMEOUT_S", "0"),
        ("MIN_FACE_PX", "3"),
        ("DATABASE_URL", "foo"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "mysql://localhost/faces"),
        ("GALLERY_EF_SEARCH", "0"),
        ("GALLERY_EF_SEARCH", "1001"),
    ],
)
def test_bad_values_of_face_detection(name: str, value: str) -> None:
    with pytest.raises(recognition_config.SettingsError, match=name):
        recognition_config.read({name: value})


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(embedding_config.SettingsError, match="EMBEDDING_MODEL"):
        embedding_config.read({"EMBEDDING_MODEL": "Fasenet"})


def test_calls_are_not_gathered_and_no_device_is_taken_by_default() -> None:
    settings = embedding_config.read({})
    assert (settings.embedding_gather_ms, settings.embedding_batch) == (0, 2)
    assert settings.embedding_device == "CPU"
    assert embedding_config.read({"EMBEDDING_GATHER_MS": "2.5"}).embedding_gather_ms == 2.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("EMBEDDING_GATHER_MS", value) for value in ("-1", "nan", "inf", "1001", "2 ms")]
    + [("EMBEDDING_BATCH", value) for value in ("0", "-1", "2.5")],
)
def test_bad_values_of_feature_extraction(name: str, value: str) -> None:
    with pytest.raises(embedding_config.SettingsError, match=name):
        embedding_config.read({name: value})
