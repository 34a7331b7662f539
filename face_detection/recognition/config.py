"""The settings of face_detection; serving/settings.py reads them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretBytes, SecretStr, model_validator

from recognition import client_keys
from recognition.client_keys import ClientService
from serving import keys, settings
from serving.home import HOME
from serving.settings import Common, Port, Positive, Seconds, Words, text_of
from serving.variables import SettingsError

STDERR = "-"  # as AUDIT_LOG

SQLITE = "sqlite:///"


def _anchored(url: str) -> str:
    """Make a relative path of a SQLite file mean the same wherever a service or a command is started."""
    return f"{SQLITE}{HOME / url.removeprefix(SQLITE)}" if url.startswith(SQLITE) else url


ReadUrl = Annotated[str, Field(pattern=r"^postgres(ql)?(\+psycopg)?://")]
DatabaseUrl = Annotated[
    str, Field(pattern=r"^(sqlite:///[^?:]|postgres(ql)?(\+psycopg)?://)"), AfterValidator(_anchored)
]
# With at most one @: what is behind one in a password would be taken for the host, and shown in errors.
HttpUrl = Annotated[
    str,
    Field(pattern=r"^https?://([^@/?#\s]*@)?(\[[0-9A-Fa-f:.]+\]|[^@/?#:\s\[\]]+)(:[0-9]+)?(/[^@?#\s]*)?$"),
]
# As browsers send it; never `*`, which would let every page in.
# With a database of Milvus as its path, or the file of milvus-lite, which its client tells by its ending.
MilvusFile = Annotated[str, Field(pattern=r"^[^:?#]+\.db$"), AfterValidator(lambda path: str(HOME / path))]
Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9.\[\]:-]+$")]
DetectorName = Literal[
    "mtcnn",
    "yunet",
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
    "fastmtcnn",
    "centerface",
]


def _keys(entries: Any) -> Any:
    return keys.parse(entries) if isinstance(entries, str) else entries


def _keys_in_file(path: Any) -> Any:
    return keys.parse(text_of(HOME / path)) if isinstance(path, str) else path


def _services(entries: Any) -> Any:
    return client_keys.parse(entries) if isinstance(entries, str) else entries


def _log(path: Path) -> Path:
    return path if str(path) == STDERR else HOME / path


def _key_of_32_bytes(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:  # AES-256
        raise ValueError("needs 32 bytes in base64, as `openssl rand -base64 32` makes them")
    return key


class Settings(Common):
    """Every field is the variable of the same name in capitals; docs/settings.md has each."""

    face_detection_host: str = "0.0.0.0"
    face_detection_port: Port = 6337
    max_running: Positive = 2
    max_waiting: Annotated[int, Field(ge=0)] = 16
    api_keys: Annotated[tuple[keys.Key, ...], BeforeValidator(_keys)] = ()
    api_keys_file: Annotated[tuple[keys.Key, ...], BeforeValidator(_keys_in_file)] = ()  # what is in it
    rate_limit_per_minute: Annotated[int, Field(ge=0)] = 0
    compreface: bool | None = None  # None: if there are services for its clients
    # By the digests of their keys.
    compreface_services: Annotated[Mapping[bytes, ClientService], BeforeValidator(_services)] = Field(
        default_factory=dict
    )
    allow_get_clear: bool = True
    cors_origins: Annotated[tuple[Origin, ...], Words] = ()
    audit_log: Annotated[Path, AfterValidator(_log)] | None = None
    audit_reads: bool = False
    feature_extraction_url: HttpUrl = "http://127.0.0.1:5000"
    embedding_connect_timeout_s: Seconds = 2.0
    embedding_read_timeout_s: Seconds = 30.0
    database_url: DatabaseUrl = f"{SQLITE}{HOME / 'data' / 'gallery.sqlite3'}"
    database_read_url: ReadUrl | None = None
    gallery_lock_timeout_s: Seconds = 10.0
    gallery_key: Annotated[SecretBytes, BeforeValidator(_key_of_32_bytes)] | None = None
    gallery_ef_search: Annotated[int, Field(ge=1, le=1000)] = 120
    gallery_halfvec: bool = False
    gallery_index: HttpUrl | MilvusFile | None = None
    gallery_index_token: SecretStr | None = None
    detector: DetectorName = "mtcnn"
    min_face_px: Annotated[int, Field(ge=12)] = 20
    detection_max_side_px: Annotated[int, Field(ge=0)] = 1024
    detection_threads: Positive = 2
    enrolment_threads: Positive = 2
    max_faces: Positive = 200
    # 100 years: a time that far away can still be computed and stored.
    default_expires_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    max_false_match: Annotated[float, Field(gt=0, le=0.5)] | None = None
    min_quality: Annotated[float, Field(ge=0, le=1)] = 0.25
    small_faces: bool = False
    keep_faces: bool = True
    keep_unknown: bool = False
    unknown_expires_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    events_expire_days: Annotated[int, Field(ge=1, le=36_500)] = 30

    @model_validator(mode="after")
    def _one_list_of_keys(self) -> Settings:
        if self.api_keys and self.api_keys_file:
            raise ValueError("API_KEYS, API_KEYS_FILE: set one of them")
        return self

    @model_validator(mode="after")
    def _reads_into_a_log(self) -> Settings:
        if self.audit_reads and self.audit_log is None:
            raise ValueError("AUDIT_READS: set AUDIT_LOG, too")
        return self

    @model_validator(mode="after")
    def _index_of_its_own(self) -> Settings:
        if self.gallery_index is None:
            return self
        if self.gallery_key is not None and self.database_url.startswith(SQLITE):
            raise ValueError(
                "GALLERY_INDEX, GALLERY_KEY: set one of them: Milvus would have the vectors in plain text "
                "that the key encrypts"
            )
        if "://" not in self.gallery_index and self.workers > 1:
            raise ValueError(
                "GALLERY_INDEX, WORKERS: a file is for one process alone: set WORKERS=1, or let "
                "`milvus-lite server` serve the file and set its URL"
            )
        return self

    @model_validator(mode="after")
    def _standbys_of_its_own(self) -> Settings:
        if self.database_read_url is None:
            return self
        if self.database_url.startswith(SQLITE):
            raise ValueError("DATABASE_READ_URL, DATABASE_URL: only PostgreSQL has standbys to read from")
        if self.gallery_index is not None:
            raise ValueError(
                "DATABASE_READ_URL, GALLERY_INDEX: set one of them: Milvus, which then searches, is fed from "
                "the primary"
            )
        return self

    @property
    def index_token(self) -> str | None:
        """What opens GALLERY_INDEX, beside what stands in it."""
        return self.gallery_index_token.get_secret_value() if self.gallery_index_token else None

    @property
    def data_folder(self) -> Path:
        """Where what belongs to the gallery lies: beside it if it is a file, else in the data folder."""
        url = self.database_url
        return Path(url.removeprefix(SQLITE)).parent if url.startswith(SQLITE) else HOME / "data"

    @property
    def kept_for(self) -> timedelta | None:
        """How long what is enrolled without an `expires_at` is kept; None: for ever."""
        return None if self.default_expires_days is None else timedelta(days=self.default_expires_days)

    @property
    def events_kept_for(self) -> timedelta:
        """How long what cameras saw is kept."""
        return timedelta(days=self.events_expire_days)


__all__ = ["Settings", "SettingsError", "from_environment", "read", "stop"]

read = partial(settings.read, Settings)
from_environment = partial(settings.from_environment, Settings, "face_detection")
stop = partial(settings.stop, "face_detection")
