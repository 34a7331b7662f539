"""Settings: defaults, conversion, and errors that name the variable; for both services."""

from __future__ import annotations

import base64
from pathlib import Path
from types import ModuleType

import pytest

from embedding import config as embedding_config
from recognition import config as recognition_config
from serving import profiles
from serving.home import HOME
from serving.variables import settings_file

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


def test_a_relative_gallery_is_the_same_wherever_a_command_is_started() -> None:
    root = Path(__file__).resolve().parents[2]
    assert recognition_config.read({"DATABASE_URL": "sqlite:///a/b.sqlite3"}).database_url == (
        f"sqlite:///{root}/a/b.sqlite3"
    )
    for url in ("sqlite:////a.sqlite3", "postgres://u@h/d", "postgresql+psycopg://u@h/d"):
        assert recognition_config.read({"DATABASE_URL": url}).database_url == url


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
        ("DEFAULT_EXPIRES_DAYS", "0"),
        ("DEFAULT_EXPIRES_DAYS", "1.5"),
        ("DEFAULT_EXPIRES_DAYS", "36501"),
        ("AUDIT_READS", "1"),  # without AUDIT_LOG
        ("GALLERY_INDEX", "milvus"),
        ("GALLERY_INDEX", "ftp://milvus:19530"),
        ("GALLERY_INDEX", "http://one@two@milvus"),
        ("GALLERY_INDEX", "index.db"),  # without WORKERS=1
        ("DATABASE_READ_URL", "sqlite:////standby.sqlite3"),
        ("DATABASE_READ_URL", "postgresql://gallery@standby/faces"),  # of a SQLite file
    ],
)
def test_bad_values_of_face_detection(name: str, value: str) -> None:
    with pytest.raises(recognition_config.SettingsError, match=name):
        recognition_config.read({name: value})


def test_where_milvus_is() -> None:
    settings = recognition_config.read({"GALLERY_INDEX": "index.db", "WORKERS": "1"})
    assert settings.gallery_index == str(HOME / "index.db")
    address = "https://me:password@milvus:19530/faces"
    settings = recognition_config.read({"GALLERY_INDEX": address, "GALLERY_INDEX_TOKEN": "me:other"})
    assert (settings.gallery_index, settings.index_token) == (address, "me:other")
    assert "other" not in repr(settings)


def test_vectors_that_a_key_encrypts_go_into_no_milvus() -> None:
    both = {"GALLERY_INDEX": "http://milvus:19530", "GALLERY_KEY": base64.b64encode(bytes(32)).decode()}
    with pytest.raises(recognition_config.SettingsError, match="GALLERY_INDEX, GALLERY_KEY"):
        recognition_config.read(both)
    in_postgresql = both | {"DATABASE_URL": "postgresql://gallery@db/faces"}  # where they are plain anyway
    assert recognition_config.read(in_postgresql).gallery_index


def test_searches_on_standbys() -> None:
    urls = {
        "DATABASE_URL": "postgresql://gallery@db/faces",
        "DATABASE_READ_URL": "postgresql://gallery@/faces?host=a&host=b&load_balance_hosts=random",
    }
    assert recognition_config.read(urls).database_read_url == urls["DATABASE_READ_URL"]
    with pytest.raises(recognition_config.SettingsError, match="DATABASE_READ_URL, GALLERY_INDEX"):
        recognition_config.read(urls | {"GALLERY_INDEX": "http://milvus:19530"})


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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.env"
    path.write_text(
        "# of both services, and the commands\n"
        "WORKERS=3\n"
        "export DATABASE_URL='postgresql://gallery@db/faces'\n"
        "EMBEDDING_MODEL=Facenet512\n"
        "THREADS=\n"
        "CORS_ORIGINS=$HOME\n"
    )
    return path


def test_both_services_read_one_file(file: Path) -> None:
    environ = {"RECOGNITION_SETTINGS": str(file), "CORS_ORIGINS": ""}
    recognition = recognition_config.read(environ)
    assert (recognition.workers, recognition.database_url) == (3, "postgresql://gallery@db/faces")
    assert recognition.threads == 32  # a blank one counts as not set
    embedding = embedding_config.read(environ)
    assert (embedding.workers, embedding.embedding_model) == (3, "Facenet512")


def test_the_environment_wins_over_the_file(file: Path) -> None:
    environ = {"RECOGNITION_SETTINGS": str(file), "WORKERS": "5", "CORS_ORIGINS": "http://a"}
    assert recognition_config.read(environ).workers == 5


def test_values_in_the_file_are_taken_as_they_stand(file: Path) -> None:
    with pytest.raises(recognition_config.SettingsError, match="CORS_ORIGINS"):
        recognition_config.read({"RECOGNITION_SETTINGS": str(file), "HOME": "http://a"})


@both
def test_a_file_that_is_named_but_cannot_be_read_stops_the_start(config: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(config.SettingsError, match=r"none\.env: .* cannot be read: No such file"):
        config.read({"RECOGNITION_SETTINGS": str(tmp_path / "none.env")})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(config.SettingsError, match="it is not text"):
        config.read({"RECOGNITION_SETTINGS": str(tmp_path / "binary")})


@both
def test_a_bad_value_is_not_repeated(config: ModuleType) -> None:
    with pytest.raises(config.SettingsError) as refused:
        config.read({"WORKERS": "a secret in the wrong place"})
    assert "secret" not in str(refused.value)


def test_without_a_name_the_first_file_that_is_there_counts(tmp_path: Path) -> None:
    places = (tmp_path / "checkout.env", tmp_path / "etc.env")
    assert settings_file({}, places) is None
    places[1].touch()
    assert settings_file({}, places) == places[1]
    places[0].touch()
    assert settings_file({}, places) == places[0]
    assert settings_file({"RECOGNITION_SETTINGS": "/other"}, places) == Path("/other")


@pytest.mark.parametrize(
    ("environment", "pair"),
    [
        ({}, ("mtcnn", "Facenet")),
        ({"MODELS": " "}, ("mtcnn", "Facenet")),
        ({"MODELS": "classic"}, ("mtcnn", "Facenet")),
        ({"MODELS": "fast"}, ("yunet", "MobileFaceNet")),
        ({"MODELS": "fast", "DETECTOR": "mtcnn"}, ("mtcnn", "MobileFaceNet")),
        ({"MODELS": "fast", "EMBEDDING_MODEL": "Facenet"}, ("yunet", "Facenet")),
    ],
)
def test_one_word_chooses_a_pair_of_models(environment: dict[str, str], pair: tuple[str, str]) -> None:
    assert recognition_config.read(environment).detector == pair[0]
    assert embedding_config.read(environment).embedding_model == pair[1]
    assert tuple(profiles.chosen(environment).values()) == pair


@both
def test_an_unknown_pair_is_refused(config: ModuleType) -> None:
    with pytest.raises(config.SettingsError, match=r"MODELS: .*'classic' or 'fast'"):
        config.read({"MODELS": "faster"})
