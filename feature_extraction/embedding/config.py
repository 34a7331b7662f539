"""The settings of feature_extraction; serving/settings.py reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from serving import settings
from serving.settings import Common, Port, Positive
from serving.variables import SettingsError

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


class Settings(Common):
    """Every field is the variable of the same name in capitals; docs/settings.md has each."""

    feature_extraction_host: str = "0.0.0.0"
    feature_extraction_port: Port = 5000
    embedding_model: ModelName = "Facenet"
    embedding_engine: Literal["openvino", "onnxruntime"] = "openvino"
    embedding_device: str = "CPU"
    embedding_threads: Positive = 2
    embedding_batch: Positive = 2
    embedding_gather_ms: Annotated[float, Field(ge=0, le=1000)] = 0


__all__ = ["Settings", "SettingsError", "from_environment", "read", "stop"]

stop = partial(settings.stop, "feature_extraction")


def read(environ: Mapping[str, str] = os.environ, **fixed: Any) -> Settings:
    """Read the settings, as `serving.settings.read` does. Raises SettingsError."""
    return settings.read(Settings, environ, **fixed)


def from_environment() -> Settings:
    """Read the process's own settings; a fault in them ends the process, as `stop` does."""
    try:
        return read()
    except SettingsError as e:
        stop(str(e))
