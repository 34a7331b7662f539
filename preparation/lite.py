"""Rewrites a network of TensorFlow Lite, as tf2onnx converts it, so that ONNX Runtime is quick with it."""

from __future__ import annotations

from itertools import count

import numpy as np
import onnx
from onnx import helper, numpy_helper


def shaped(model: onnx.ModelProto, input_name: str, output_name: str) -> onnx.ModelProto:
    """Give a network's one input and one output these names, and write its PReLUs shorter.

    tf2onnx writes relu(x) + c * (x - |x|), five nodes with c half the slope; here it is
    2c * x + (1 - 2c) * relu(x), four. With that ONNX Runtime takes 5.9 ms instead of 8.9 for a face and its
    mirror image (two cores), and OpenVINO 3.0, as before. The number of rows stays fixed, as it is in the
    file: where it is free OpenVINO takes 3.9 ms.

    Raises ValueError for a network with another number of inputs or outputs.
    """
    graph = model.graph
    (given,), (result,) = graph.input, graph.output
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    numbers = count()

    def constant(values: np.ndarray) -> str:
        name = f"slope_{next(numbers)}"
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def of_kind(node: onnx.NodeProto, kind: str) -> list[onnx.NodeProto]:
        return [makers[name] for name in node.input if name in makers and makers[name].op_type == kind]

    nodes, unused = [], set()
    for node in graph.node:
        nodes.append(node)
        bends, lines = of_kind(node, "Relu"), of_kind(node, "Mul")
        if node.op_type != "Add" or not bends or not lines:
            continue
        halves = [constants[name] for name in lines[0].input if name in constants]
        differences = of_kind(lines[0], "Sub")
        bents = [bent for difference in differences for bent in of_kind(difference, "Abs")]
        x, output = bends[0].input[0], node.output[0]
        if not halves or not bents or {bents[0].input[0], differences[0].input[0]} != {x}:
            continue
        unused |= {id(each) for each in (lines[0], differences[0], bents[0])}
        nodes[-1:] = [
            helper.make_node("Mul", [x, constant(2 * halves[0])], [f"{output}_line"]),
            helper.make_node("Mul", [bends[0].output[0], constant(1 - 2 * halves[0])], [f"{output}_bend"]),
            helper.make_node("Add", [f"{output}_line", f"{output}_bend"], [output]),
        ]
    kept = [node for node in nodes if id(node) not in unused]
    for node in kept:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = {given.name: input_name, result.name: output_name}.get(name, name)
    given.name, result.name = input_name, output_name
    used = {name for node in kept for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    for field in (graph.node, graph.initializer, graph.value_info):
        del field[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensors)
    onnx.checker.check_model(model)
    return model
