"""The recognisers that EMBEDDING_MODEL can name, one row each: all that deepface 0.0.103 has."""

from __future__ import annotations

from dataclasses import dataclass

from embedding.preprocess import FACENET, PLAIN, Preprocessing


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a recogniser before it is loaded.

    dimension: of its vectors.
    input_size: side of the crops it takes, in pixels; DeepID's network, 47 x 55, gets them as deepface fits
        squares into it, with black bars.
    length: of its vectors, so that distances lie in [0, 2 * length].
    threshold: the largest distance, exclusive, that still counts as the same person.
    weights: the file in deepface's weights folder that it is loaded from; .h5 is for TensorFlow.
    """

    dimension: int
    input_size: int
    length: float
    threshold: float
    weights: str
    preprocessing: Preprocessing = PLAIN


# Facenet: the scale and the threshold of old, and the one preprocessing that was chosen by measurement.
# VGG-Face: the threshold of old, 0.4 for distances in [0, 1].
# The others: unit vectors and deepface's published thresholds for them (deepface.config.threshold,
# euclidean_l2). Dimensions, sizes and files are those of deepface.models.facial_recognition. DeepFace is
# taken as ONNX because TensorFlow has lost one of its layers, LocallyConnected2D.
MODELS = {
    "Facenet": Model(128, 160, 10.0, 9.0, "facenet_weights.h5", FACENET),
    "Facenet512": Model(512, 160, 1.0, 1.04, "facenet512_weights.h5"),
    "VGG-Face": Model(4096, 224, 0.5, 0.4, "vgg_face_weights.h5"),
    "OpenFace": Model(128, 96, 1.0, 0.55, "openface_weights.h5"),
    "DeepFace": Model(4096, 152, 1.0, 0.64, "VGGFace2_DeepFace_weights_val-0.9034.onnx"),
    "DeepID": Model(160, 55, 1.0, 0.17, "deepid_keras_weights.h5"),
    "ArcFace": Model(512, 112, 1.0, 1.13, "arcface_weights.h5"),
    "Dlib": Model(128, 150, 1.0, 0.4, "dlib_face_recognition_resnet_model_v1.dat"),
    "SFace": Model(128, 112, 1.0, 1.055, "face_recognition_sface_2021dec.onnx"),
    "GhostFaceNet": Model(512, 112, 1.0, 1.1, "ghostfacenet_v1.h5"),
    "Buffalo_L": Model(512, 112, 1.0, 1.1, "buffalo_l/webface_r50.onnx"),
}
