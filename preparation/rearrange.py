"""Rewrites MTCNN's networks so that ONNX Runtime is quick with them.

As tf2onnx converts them they compute the same numbers, but about 1.4 times slower on a CPU: it writes a PReLU
as five nodes, and ONNX Runtime has its fast blocked convolutions only for multiples of 16 channels
(https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html, NCHWc).
So the weights are read from the converted network and it is written again:

- channels are padded with zeros to multiples of 16;
- PReLU is a * x + (1 - a) * relu(x), and runs after max pooling where that needs no wider convolution;
- (x - 127.5) / 128, the package's normalisation, goes into the first convolution (none pads its input);
- the heads are one layer, and its first output is the logit of "face", from which the softmax follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

BLOCK = 16  # channels: one AVX-512 register of float32


@dataclass(slots=True, eq=False)
class Layer:
    """A convolution, weights (out, in, k, k), or a dense layer, weights (in, out); slopes None: linear."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    slopes: NDArray[np.float64] | None = None
    pool: dict[str, Any] | None = None


def rearranged(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write one of MTCNN's networks, as tf2onnx converts it, anew.

    Its input "pixels", float32 (n, h, w, 3), is RGB in [0, 255]. Its output "values", float32 (n, 5), for
    O-Net (n, 15) or for P-Net (n, 5, rows, columns), is the logit of "face", the offsets of the box and, from
    O-Net, the landmarks, these two in the package's order.

    Raises ValueError for another network.
    """
    body, heads = _layers(model)
    first = body[0]
    first.bias = first.bias - 127.5 / 128 * first.weights.sum((1, 2, 3))
    first.weights = first.weights / 128
    graph = _Graph()
    x = graph.add("Transpose", "pixels", perm=[0, 3, 1, 2])
    channels = first.weights.shape[1]
    for layer in body:
        assert layer.slopes is not None
        if layer.weights.ndim == 2:
            weights = _rows_by_channel(layer.weights, channels)
            x = graph.add("Gemm", graph.add("Flatten", x), weights, layer.bias)
            x = _prelu(graph, x, layer.slopes)
        else:
            x, channels = _convolution(graph, x, layer, channels)
    if heads.weights.ndim == 2:
        graph.add("Gemm", x, heads.weights, heads.bias)
    else:
        graph.add("Conv", x, _padded(heads.weights, 1, channels), heads.bias)
    return graph.model(heads.bias.size)


class _Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str | NDArray[np.float64], **attributes: Any) -> str:
        names = [i if isinstance(i, str) else self._constant(i) for i in inputs]
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def _constant(self, values: NDArray[np.float64]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def model(self, outputs: int) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "values"
        kind = onnx.TensorProto.FLOAT
        pixels = helper.make_tensor_value_info("pixels", kind, ["n", "h", "w", 3])
        shape: list[str | int | None] = ["n", outputs]
        if self.nodes[-1].op_type == "Conv":
            shape += ["rows", "columns"]
        values = helper.make_tensor_value_info("values", kind, shape)
        graph = helper.make_graph(self.nodes, "mtcnn", [pixels], [values], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def _convolution(graph: _Graph, x: str, layer: Layer, channels: int) -> tuple[str, int]:
    """Add a convolution with its PReLU and pooling; channels counts those of x, padding included."""
    weights, bias, slopes = _padded(layer.weights, 1, channels), layer.bias, layer.slopes
    assert slopes is not None
    own = len(bias)
    wide = -(-own // BLOCK) * BLOCK
    falling = np.flatnonzero(slopes < 0)
    early = layer.pool is not None and own + len(falling) <= wide
    if early:
        # max prelu(x) = max(max x, max a x) where a < 0, so those channels come a second time, as a x
        weights = np.concatenate([weights, weights[falling] * slopes[falling, None, None, None]])
        bias = np.concatenate([bias, bias[falling] * slopes[falling]])
    x = graph.add("Conv", x, _padded(weights, 0, wide), _padded(bias, 0, wide))
    if not early:
        x = _prelu(graph, x, _padded(slopes, 0, wide)[:, None, None])
        return (graph.add("MaxPool", x, **layer.pool) if layer.pool else x), wide
    assert layer.pool is not None
    x = graph.add("MaxPool", x, **layer.pool)
    line, bend, gain = np.diag(_padded(slopes, 0, wide)), np.eye(wide), np.diag(_padded(1 - slopes, 0, wide))
    for channel, twin in zip(falling, range(own, wide), strict=False):  # max(x, t) = t + relu(x - t)
        line[channel] = np.eye(wide)[twin]
        bend[channel, twin] = -1
        gain[channel, channel] = 1
    bend[own:] = 0
    line, bend, gain = (matrix[:, :, None, None] for matrix in (line, bend, gain))
    bent = graph.add("Conv", graph.add("Relu", graph.add("Conv", x, bend)), gain)
    return graph.add("Add", graph.add("Conv", x, line), bent), wide


def _prelu(graph: _Graph, x: str, slopes: NDArray[np.float64]) -> str:
    if (slopes <= 1).all():  # relu(b * x) is b * relu(x) for b >= 0, and one pass over memory less
        bent = graph.add("Relu", graph.add("Mul", x, 1 - slopes))
    else:
        bent = graph.add("Mul", graph.add("Relu", x), 1 - slopes)
    return graph.add("Add", graph.add("Mul", x, slopes), bent)


def _padded(values: NDArray[np.float64], axis: int, size: int) -> NDArray[np.float64]:
    widths = [(0, 0)] * values.ndim
    widths[axis] = (0, size - values.shape[axis])
    return np.pad(values, widths)


def _rows_by_channel(weights: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """Dense weights for a flattened (channels, y, x) from those for the package's (x, y, channels)."""
    side = round((len(weights) / channels) ** 0.5)
    return weights.reshape(side, side, channels, -1).transpose(2, 1, 0, 3).reshape(len(weights), -1)


def _layers(model: onnx.ModelProto) -> tuple[list[Layer], Layer]:
    """The layers with a PReLU, in order, and the heads as one linear layer: logit, offsets, landmarks."""
    constants = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    layers: list[Layer] = []
    for node, values in _with_constants(model, constants):
        if node.op_type == "Conv":
            layers.append(Layer(values[0], values[1]))
        elif node.op_type == "MatMul":
            layers.append(Layer(values[0], np.zeros(values[0].shape[1])))
        elif node.op_type == "Add" and values:
            layers[-1].bias = values[0]
        elif node.op_type == "Mul":  # tf2onnx: relu(x) + (-slope) * relu(-x)
            layers[-1].slopes = -values[0].ravel()
        elif node.op_type == "MaxPool":
            layers[-1].pool = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    heads = {layer.bias.size: layer for layer in layers if layer.slopes is None}
    body = [layer for layer in layers if layer.slopes is not None]
    if not body or not {2, 4} <= set(heads) <= {2, 4, 10}:
        raise ValueError("not a network of MTCNN as tf2onnx converts it")
    axis = 0 if heads[2].weights.ndim == 4 else 1
    heads[2] = Layer(np.diff(heads[2].weights, axis=axis), np.diff(heads[2].bias))
    ordered = [heads[size] for size in sorted(heads)]
    weights = np.concatenate([layer.weights for layer in ordered], axis)
    return body, Layer(weights, np.concatenate([layer.bias for layer in ordered]))


def _with_constants(
    model: onnx.ModelProto, constants: dict[str, NDArray[np.float64]]
) -> Iterator[tuple[onnx.NodeProto, list[NDArray[np.float64]]]]:
    for node in model.graph.node:
        yield node, [constants[name] for name in node.input if name in constants]
