"""Settings, read once from the environment. The only place that knows environment variables."""

from __future__ import annotations

import base64
import os
import re
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from pydantic import AfterValidator, BeforeValidator, Field, SecretBytes, SecretStr, ValidationError
from pydantic.dataclasses import dataclass

from serving import keys

ROOT = Path(__file__).resolve().parents[2]
STDERR = "-"  # as AUDIT_LOG

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
DatabaseUrl = Annotated[str, Field(pattern=r"^(sqlite:///[^?:]|postgresql(\+psycopg)?://)")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ApiKeys = Annotated[tuple[keys.Key, ...], BeforeValidator(keys.parse)]
# As browsers send it; never `*`, which would let every page in.
Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9.\[\]:-]+$")]
Origins = Annotated[tuple[Origin, ...], BeforeValidator(lambda text: text.replace(",", " ").split())]
DetectorName = Literal[
    "mtcnn",
    "opencv",
    "ssd",
    "dlib",
    "retinaface",
    "mediapipe",
    "yolov8n",
    "yolov8m",
    "yolov8l",
    "yolov11n",
    "yolov11s",
    "yolov11m",
    "yolov11l",
    "yolov12n",
    "yolov12s",
    "yolov12m",
    "yolov12l",
    "yunet",
    "fastmtcnn",
    "centerface",
]


def _fit_for_a_header(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{32,}=*", secret.get_secret_value()):  # RFC 6750, section 2.1
        raise ValueError("needs at least 32 characters: letters, digits and . _ ~ + / - (= at the end)")
    return secret


def _key_of_32_bytes(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:  # AES-256
        raise ValueError("needs 32 bytes in base64, as `openssl rand -base64 32` makes them")
    return key


@dataclass(frozen=True)
class Settings:
    """Every field is the environment variable of the same name in capitals; docs/settings.md has each."""

    face_detection_host: str = "0.0.0.0"
    face_detection_port: Port = 6337
    workers: Positive = 2
    threads: Positive = 32
    max_running: Positive = 2
    max_waiting: Annotated[int, Field(ge=0)] = 16
    api_keys: ApiKeys = ()
    api_keys_file: ApiKeys = ()  # what is in it
    rate_limit_per_minute: Annotated[int, Field(ge=0)] = 0
    allow_get_clear: bool = True
    cors_origins: Origins = ()
    audit_log: Path | None = None
    log_format: Literal["text", "json"] = "text"
    embedding_secret: Annotated[SecretStr, AfterValidator(_fit_for_a_header)] | None = None
    feature_extraction_url: Annotated[str, Field(pattern=r"^https?://[^/\s]")] = "http://127.0.0.1:5000"
    embedding_connect_timeout_s: Seconds = 2.0
    embedding_read_timeout_s: Seconds = 30.0
    database_url: DatabaseUrl = f"sqlite:///{ROOT / 'data' / 'gallery.sqlite3'}"
    gallery_lock_timeout_s: Seconds = 10.0
    gallery_key: Annotated[SecretBytes, BeforeValidator(_key_of_32_bytes)] | None = None
    gallery_ef_search: Annotated[int, Field(ge=1, le=1000)] = 120
    models_dir: Path = ROOT / "models"
    deepface_home: Path | None = None
    detector: DetectorName = "mtcnn"
    min_face_px: Annotated[int, Field(ge=12)] = 20
    detection_max_side_px: Annotated[int, Field(ge=0)] = 1024
    detection_threads: Positive = 2
    enrolment_threads: Positive = 2
    max_body_bytes: Positive = 64 * 1024 * 1024
    max_image_pixels: Positive = 64_000_000
    decode_timeout_s: Seconds = 10.0
    request_read_timeout_s: Seconds = 30.0


class SettingsError(Exception):
    """A setting has a value that cannot be used; the text names the variable."""


def read(environ: Mapping[str, str] = os.environ, *, without: Collection[str] = ()) -> Settings:
    """Read the settings from `environ`, but not those `without`. An empty variable counts as not set.

    Raises:
        SettingsError: a value is of the wrong form.
    """
    names = [field.name for field in fields(Settings) if field.name not in without]
    given = {name: environ[name.upper()] for name in names if environ.get(name.upper(), "").strip()}
    for name in {"models_dir", "deepface_home", "audit_log"} & given.keys():
        if (name, given[name]) != ("audit_log", STDERR):
            given[name] = str(
                ROOT / given[name]
            )  # a relative path means the same wherever a service is started
    if "api_keys_file" in given:
        if "api_keys" in given:
            raise SettingsError("API_KEYS, API_KEYS_FILE: set one of them")
        given["api_keys_file"] = _text("API_KEYS_FILE", ROOT / given["api_keys_file"])
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic converts the text
    except ValidationError as e:
        faults = (f"{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in e.errors())
        raise SettingsError("; ".join(faults)) from e


def _text(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not text"
        raise SettingsError(f"{variable}: the file cannot be read: {reason}") from e


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
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="recognition-metrics-")
    return folder


def stop(reason: str) -> NoReturn:
    """Say why the service cannot start, and leave.

    Raises:
        SystemExit: with the status at which gunicorn's master stops instead of starting workers for ever.
    """
    print(f"face_detection cannot start: {reason}", file=sys.stderr)
    sys.exit(3)
