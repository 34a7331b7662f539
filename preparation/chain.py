"""Writes Keras models that are chains of convolutions, as VGG-Face is, as ONNX.

tf2onnx takes more than 11 GB of memory for those of age and gender, whose weights have 540 MB each. So it
takes 5 GB, which is mostly TensorFlow's, and no time.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 8  # the format that came with opset 17


def written(model: Any, input_name: str, output_name: str, opset: int) -> onnx.ModelProto:
    """Write a model of one input, float32 (n, side, side, 3), and one output, float32 (n, values).

    Raises:
        ValueError: it has a layer that such a chain does not have.
    """
    _, side, _, channels = model.input_shape
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    value, pads = input_name, [0, 0, 0, 0]

    def add(operation: str, *constants: str, **attributes: Any) -> None:
        nonlocal value
        result = f"{operation}_{len(nodes)}"
        nodes.append(helper.make_node(operation, [value, *constants], [result], **attributes))
        value = result

    add("Transpose", perm=[0, 3, 1, 2])
    for layer in model.layers:
        kind = type(layer).__name__
        about = layer.get_config()
        if kind == "ZeroPadding2D":
            (top, bottom), (left, right) = about["padding"]
            pads = [top, left, bottom, right]
        elif kind == "Conv2D" and about["padding"] == "valid" and about["dilation_rate"] == (1, 1):
            kernel, bias = layer.get_weights()
            name = f"{layer.name}_{len(nodes)}"
            weights.append(numpy_helper.from_array(kernel.transpose(3, 2, 0, 1), f"{name}_kernel"))
            weights.append(numpy_helper.from_array(bias, f"{name}_bias"))
            add("Conv", f"{name}_kernel", f"{name}_bias", strides=about["strides"], pads=pads)
            pads = [0, 0, 0, 0]
            if about["activation"] == "relu":
                add("Relu")
            elif about["activation"] != "linear":
                raise ValueError(f"{layer.name} has the activation {about['activation']}")
        elif kind == "MaxPooling2D" and about["padding"] == "valid":
            add("MaxPool", kernel_shape=about["pool_size"], strides=about["strides"])
        elif kind == "Flatten" and layer.input_shape[1:3] == (1, 1):  # of more, the order would change
            add("Flatten")
        elif kind == "Activation" and about["activation"] == "softmax":
            add("Softmax", axis=1)
        elif kind not in ("InputLayer", "Dropout"):  # which do nothing here
            raise ValueError(f"{layer.name} is a {kind} that is not known here")
    nodes[-1].output[0] = output_name
    graph = helper.make_graph(
        nodes,
        model.name,
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["n", side, side, channels])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["n", model.output_shape[1]])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
