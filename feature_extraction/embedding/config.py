"""Settings, read once from the environment. The only place that knows environment variables."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[2]

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ModelName = Literal[
    "Facenet",
    "Facenet512",
    "VGG-Face",
    "OpenFace",
    "DeepFace",
    "DeepID",
    "ArcFace",
    "Dlib",
    "SFace",
    "GhostFaceNet",
    "Buffalo_L",
]


def _fit_for_a_header(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{32,}=*", secret.get_secret_value()):  # RFC 6750, section 2.1
        raise ValueError("needs at least 32 characters: letters, digits and . _ ~ + / - (= at the end)")
    return secret


@dataclass(frozen=True)
class Settings:
    """Every field is the environment variable of the same name in capitals; docs/settings.md has each."""

    feature_extraction_host: str = "0.0.0.0"
    feature_extraction_port: Port = 5000
    workers: Positive = 2
    threads: Positive = 32
    embedding_model: ModelName = "Facenet"
    embedding_engine: Literal["openvino", "onnxruntime"] = "openvino"
    embedding_device: str = "CPU"
    embedding_threads: Positive = 2
    embedding_secret: Annotated[SecretStr, AfterValidator(_fit_for_a_header)] | None = None
    log_format: Literal["text", "json"] = "text"
    embedding_batch: Positive = 2
    embedding_gather_ms: Annotated[float, Field(ge=0, le=1000)] = 0
    models_dir: Path = ROOT / "models"
    deepface_home: Path | None = None
    max_body_bytes: Positive = 64 * 1024 * 1024
    max_image_pixels: Positive = 64_000_000
    decode_timeout_s: Seconds = 10.0


class SettingsError(Exception):
    """A setting has a value that cannot be used; the text names the variable."""


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from `environ`. An empty variable counts as not set.

    Raises:
        SettingsError: a value is of the wrong form.
    """
    names = [field.name for field in fields(Settings)]
    given = {name: environ[name.upper()] for name in names if environ.get(name.upper(), "").strip()}
    for name in {"models_dir", "deepface_home"} & given.keys():
        given[name] = str(ROOT / given[name])  # a relative path means the same wherever a service is started
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic converts the text
    except ValidationError as e:
        faults = (f"{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in e.errors())
        raise SettingsError("; ".join(faults)) from e


def from_environment() -> Settings:
    """Read the process's own environment, or say what is wrong with it and leave.

    Raises:
        SystemExit: as `stop` does.
    """
    try:
        return read()
    except SettingsError as e:
        stop(str(e))


@cache
def make_metrics_folder() -> str:
    """Make the folder that prometheus_client is to use; the same one when gunicorn reloads its settings."""
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="embedding-metrics-")
    return folder


def stop(reason: str) -> NoReturn:
    """Say why the service cannot start, and leave.

    Raises:
        SystemExit: with the status at which gunicorn's master stops instead of starting workers for ever.
    """
    print(f"feature_extraction cannot start: {reason}", file=sys.stderr)
    sys.exit(3)
