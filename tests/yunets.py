"""Networks of YuNet's published form, made here: with random weights, or to find blue squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

STRIDES = (8, 16, 32)
HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
CHANNELS = 32

# What `finding_blue` makes of a blue cell of 16 px: a box about its centre, and landmarks from its corner.
CELL_PX = 16
BOX_PX = 48, 80
LANDMARKS_PX = np.array([[0, -16], [16, -16], [8, 8], [0, 24], [16, 24]])


class _Graph:
    """Collects nodes and weights."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str | np.ndarray, output: str = "", **attributes: object) -> str:
        names = []
        for value in inputs:
            if isinstance(value, np.ndarray):
                self.weights.append(numpy_helper.from_array(value, f"w{len(self.weights)}"))
                value = self.weights[-1].name
            names.append(value)
        output = output or f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def pair(self, x: str, across: np.ndarray, within: np.ndarray, bias: np.ndarray) -> str:
        """A convolution across the channels, weights (out, in), and one within each, weights (out, 3, 3)."""
        zeros = np.zeros(len(across), np.float32)
        x = self.add("Conv", x, across[:, :, None, None], zeros, kernel_shape=[1, 1])
        within = within[:, None]
        return self.add("Conv", x, within, bias, kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=len(across))


def _centre(channels: int) -> np.ndarray:
    kernel = np.zeros((channels, 3, 3), np.float32)
    kernel[:, 1, 1] = 1
    return kernel


def random(path: Path, seed: int = 0) -> Path:
    """Write a network with random weights, which finds faces everywhere; return its path."""
    draw = np.random.default_rng(seed).normal

    def weights(*shape: int) -> np.ndarray:
        return draw(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)

    first = weights(CHANNELS, 3, 3, 3) / 64
    body = [(weights(CHANNELS, CHANNELS) * 2, weights(CHANNELS, 3, 3)) for _ in range(5)]
    heads = {  # little, so that boxes stay near their cells
        (stride, head): (weights(size, CHANNELS), weights(size, 3, 3) / 32, np.ones(size, np.float32) / 2)
        for stride in STRIDES
        for head, size in HEADS.items()
    }
    return _write(path, first, body, heads)


def finding_blue(path: Path, box_px: tuple[int, int] = BOX_PX) -> Path:
    """Write a network that finds a face wherever a cell of 16 px has blue, the surer the bluer.

    box_px: width and height of each face. Returns the path.
    """
    first = np.zeros((CHANNELS, 3, 3, 3), np.float32)
    first[0, :, 1, 1] = np.array([1, -1, -1]) / 255  # blue, green, red
    body = [(np.eye(CHANNELS, dtype=np.float32), _centre(CHANNELS))] * 5
    box = [0.5, 0.5, *np.log(np.array(box_px) / CELL_PX)]
    constants = {"cls": [-20], "obj": [-20], "bbox": box, "kps": (LANDMARKS_PX / CELL_PX).ravel()}
    heads = {}
    for stride in STRIDES:
        for head, size in HEADS.items():
            across = np.zeros((size, CHANNELS), np.float32)
            if stride == CELL_PX and head in ("cls", "obj"):
                across[0, 0] = 40
            heads[stride, head] = across, _centre(size), np.array(constants[head], np.float32)
    return _write(path, first, body, heads)


def _write(
    path: Path,
    first: np.ndarray,
    body: list[tuple[np.ndarray, np.ndarray]],
    heads: dict[tuple[int, str], tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Path:
    graph, zeros = _Graph(), np.zeros(CHANNELS, np.float32)
    x = graph.add("Conv", "input", first, zeros, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    levels = []
    for across, within in body[:4]:  # at 4, 8, 16 and 32 px
        x = graph.add("MaxPool", graph.add("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
        x = graph.add("Relu", graph.pair(x, across, within, zeros))
        levels.append(x)
    features = [levels[-1]]
    for level in levels[-2:0:-1]:  # each takes in what the next coarser one sees, as far as that is allowed
        scales = np.array([1, 1, 2, 2], np.float32)
        form = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
        seen = graph.add("Resize", features[0], np.zeros(0, np.float32), scales, **form)
        across, within = body[4]
        seen = graph.pair(seen, across * np.float32(heads[8, "cls"][0].any()), within, zeros)
        features.insert(0, graph.add("Relu", graph.add("Add", level, seen)))
    outputs = []
    for (stride, head), layers in heads.items():
        x = graph.add("Transpose", graph.pair(features[STRIDES.index(stride)], *layers), perm=[0, 2, 3, 1])
        shape, name = np.array([1, -1, HEADS[head]]), f"{head}_{stride}"
        if head in ("cls", "obj"):
            graph.add("Sigmoid", graph.add("Reshape", x, shape), output=name)
        else:
            graph.add("Reshape", x, shape, output=name)
        described = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, "cells", HEADS[head]])
        outputs.append(described)
    pixels = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, "height", "width"])
    made = helper.make_graph(graph.nodes, "yunet", [pixels], outputs, graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
