"""The face detectors, on ONNX Runtime, and how they are led over a picture.

MTCNN: K. Zhang, Z. Zhang, Z. Li, Y. Qiao: Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks, IEEE Signal Processing Letters 23(10), 2016, https://arxiv.org/abs/1604.02878.
Weights, thresholds and box arithmetic are those of the Python package `mtcnn` 1.0.0 (MIT licence).

    picture -> pyramid -> P-Net -> proposals -> R-Net -> fewer boxes -> O-Net -> boxes and landmarks

YuNet, which `yunet.py` tells of, takes one network. deepface's detectors come through deepface.
"""

from recognition.detector.finding import find
from recognition.detector.mtcnn import MAX_SIDE_PX, load_mtcnn
from recognition.detector.views import shrinking
from recognition.detector.yunet import load_yunet

__all__ = ["MAX_SIDE_PX", "OURS", "find", "load_mtcnn", "load_yunet", "shrinking"]

OURS = {"mtcnn": load_mtcnn, "yunet": load_yunet}  # by name, as DETECTOR has it
