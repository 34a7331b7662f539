"""The face detector: MTCNN on ONNX Runtime.

K. Zhang, Z. Zhang, Z. Li, Y. Qiao: Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks, IEEE Signal Processing Letters 23(10), 2016, https://arxiv.org/abs/1604.02878.
Weights, thresholds and box arithmetic are those of the Python package `mtcnn` 1.0.0 (MIT licence).

    picture -> pyramid -> P-Net -> proposals -> R-Net -> fewer boxes -> O-Net -> boxes and landmarks
"""

from recognition.detector.finding import find
from recognition.detector.mtcnn import MAX_SIDE_PX, load_mtcnn
from recognition.detector.views import shrinking

__all__ = ["MAX_SIDE_PX", "find", "load_mtcnn", "shrinking"]
