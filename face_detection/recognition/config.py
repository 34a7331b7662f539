"""Settings, read once from the environment. The only place that knows environment variables."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

ROOT = Path(__file__).resolve().parents[2]

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
SqliteFile = Annotated[str, Field(pattern=r"^sqlite:///[^?]")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
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


@dataclass(frozen=True)
class Settings:
    """Every field is the environment variable of the same name in capitals; the README explains each."""

    face_detection_host: str = "0.0.0.0"
    face_detection_port: Port = 6337
    workers: Positive = 2
    threads: Positive = 32
    max_running: Positive = 2
    max_waiting: Annotated[int, Field(ge=0)] = 16
    feature_extraction_url: Annotated[str, Field(pattern=r"^https?://[^/\s]")] = "http://127.0.0.1:5000"
    embedding_connect_timeout_s: Seconds = 2.0
    embedding_read_timeout_s: Seconds = 30.0
    database_url: SqliteFile = f"sqlite:///{ROOT / 'data' / 'gallery.sqlite3'}"
    gallery_lock_timeout_s: Seconds = 10.0
    models_dir: Path = ROOT / "models"
    deepface_home: Path | None = None
    detector: DetectorName = "mtcnn"
    min_face_px: Annotated[int, Field(ge=12)] = 20
    detection_max_side_px: Annotated[int, Field(ge=0)] = 1024
    detection_threads: Positive = 1
    enrolment_threads: Positive = 2
    max_body_bytes: Positive = 64 * 1024 * 1024
    max_image_pixels: Positive = 64_000_000
    decode_timeout_s: Seconds = 10.0


class SettingsError(Exception):
    """A setting has a value that cannot be used; the text names the variable."""


def read(environ: Mapping[str, str]) -> Settings:
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
        return read(os.environ)
    except SettingsError as e:
        stop(str(e))


def stop(reason: str) -> NoReturn:
    """Say why the service cannot start, and leave.

    Raises:
        SystemExit: with the status at which gunicorn's master stops instead of starting workers for ever.
    """
    print(f"face_detection cannot start: {reason}", file=sys.stderr)
    sys.exit(3)
