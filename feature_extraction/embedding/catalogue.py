"""The recognisers that EMBEDDING_MODEL can name, one row each: MobileFaceNet, and all of deepface 0.0.103.

What ONNX files of four of them take, for EMBEDDING_ONNX, stands in cards.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embedding.preprocess import Scaling
from serving.model import Template


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a recogniser before it is loaded.

    dimension: of its vectors.
    input_size: side of the crops it takes, in pixels; DeepID's network, 47 x 55, gets them as deepface fits
        squares into it, with black bars.
    length: of its vectors, so that distances lie in [0, 2 * length].
    threshold: the largest distance, exclusive, that still counts as the same person.
    weights: the file that it is loaded from, for most in deepface's weights folder; .h5 is for TensorFlow.
    template: where faces stand in its crops.
    colours, scaling: what its network gets of them; as it stands here, what deepface's `represent` gives its
        networks unless told otherwise.
    mirrored: whether a vector is of the face and its mirror image together.
    version: part of the fingerprint; to be raised when a change of what is done here moves its vectors.
    """

    dimension: int
    input_size: int
    length: float
    threshold: float
    weights: str
    template: Template = "facenet"
    colours: Literal["RGB", "BGR"] = "BGR"
    scaling: Scaling = (0, 255)
    mirrored: bool = False
    version: str = "deepface-1"

    @property
    def preprocessing(self) -> str:
        """Name what is done to a face before and behind the network."""
        return self.version if self.template == "facenet" else f"{self.version} {self.template}"

    @property
    def scaled(self) -> str:
        """Say what the network gets of a value x of a crop."""
        if self.scaling == "standardised":
            return "each crop to mean 0 and standard deviation 1"
        mean, divisor = self.scaling
        return f"(x - {mean:g}) / {divisor:g}"


# Facenet: the scale and the threshold of old, and the one preprocessing that was chosen by measurement.
# MobileFaceNet: what its authors feed it (Chen et al., arXiv 1804.07573, section 4.1), with the mirror image;
# the threshold was measured, see docs/accuracy.md.
# VGG-Face: the threshold of old, 0.4 for distances in [0, 1].
# The others: unit vectors and deepface's published thresholds for them (deepface.config.threshold,
# euclidean_l2). Dimensions, sizes and files are those of deepface.models.facial_recognition. DeepFace is
# taken as ONNX because TensorFlow has lost one of its layers, LocallyConnected2D.
# Those of 112 px were all trained on crops with ArcFace's template.
MODELS = {
    "Facenet": Model(
        128,
        160,
        10.0,
        9.0,
        "facenet_weights.h5",
        "facenet",
        "RGB",
        "standardised",
        mirrored=True,
        version="1",
    ),
    "MobileFaceNet": Model(
        192,
        112,
        10.0,
        9.5,
        "MobileFaceNet.tflite",
        "arcface",
        "RGB",
        (127.5, 128),
        mirrored=True,
        version="1",
    ),
    "Facenet512": Model(512, 160, 1.0, 1.04, "facenet512_weights.h5"),
    "VGG-Face": Model(4096, 224, 0.5, 0.4, "vgg_face_weights.h5"),
    "OpenFace": Model(128, 96, 1.0, 0.55, "openface_weights.h5"),
    "DeepFace": Model(4096, 152, 1.0, 0.64, "VGGFace2_DeepFace_weights_val-0.9034.onnx"),
    "DeepID": Model(160, 55, 1.0, 0.17, "deepid_keras_weights.h5"),
    "ArcFace": Model(512, 112, 1.0, 1.13, "arcface_weights.h5", "arcface"),
    "Dlib": Model(128, 150, 1.0, 0.4, "dlib_face_recognition_resnet_model_v1.dat"),
    "SFace": Model(128, 112, 1.0, 1.055, "face_recognition_sface_2021dec.onnx", "arcface"),
    "GhostFaceNet": Model(512, 112, 1.0, 1.1, "ghostfacenet_v1.h5", "arcface"),
    "Buffalo_L": Model(512, 112, 1.0, 1.1, "buffalo_l/webface_r50.onnx", "arcface"),
}
