"""The settings of feature_extraction; serving/settings.py reads them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from serving import settings
from serving.settings import Common, Place, Port, Positive
from serving.variables import SettingsError

ModelName = Literal[
    "Facenet",
    "MobileFaceNet",
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
    embedding_onnx: Place | None = None
    embedding_engine: Literal["openvino", "onnxruntime"] = "openvino"
    embedding_device: str = "CPU"
    embedding_threads: Positive = 2
    embedding_batch: Positive = 2
    embedding_gather_ms: Annotated[float, Field(ge=0, le=1000)] = 0
    attributes: bool = False


__all__ = ["Settings", "SettingsError", "from_environment", "read", "stop"]

read = partial(settings.read, Settings)
from_environment = partial(settings.from_environment, Settings, "feature_extraction")
stop = partial(settings.stop, "feature_extraction")
