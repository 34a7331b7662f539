"""Makes yunet.onnx: YuNet as published, rewritten so that ONNX Runtime is quick with it.

W. Wu, H. Peng, S. Yu: YuNet: A Tiny Millisecond-level Face Detector, Machine Intelligence Research 20, 2023,
https://doi.org/10.1007/s11633-023-1423-y. OpenCV's model zoo publishes the network under the MIT licence.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
import onnx.utils
import requests
from onnx import helper, numpy_helper

from preparation import PrepareError, say
from preparation.convert import LARGEST_DIFFERENCE
from preparation.index import session_for, why
from preparation.manifest import entry
from preparation.source import Pip
from serving.deepface import values_sha256
from serving.runtimes import import_onnxruntime

FILE = "face_detection_yunet_2026may.onnx"
URL = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{FILE}"
SHA256 = "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0"
SIZE = 229_738  # bytes

HEADS = ("cls", "obj", "bbox", "kps")
STRIDES = (8, 16, 32)


def make(folder: Path, weights: Path | None, pip: Pip, url: str = URL) -> dict[str, Any]:
    """Put yunet.onnx into a folder, compare it with what it is made of, and return its entry in the manifest.

    weights: YuNet as published; None: download it, and reach the internet as pip does.

    Raises:
        PrepareError: it cannot be downloaded, or is not YuNet.
        OSError: a file cannot be read or written.
    """
    content = weights.read_bytes() if weights else download(url, pip)
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        say(f"warning: yunet's weights are not those that this project knows: {weights}, sha256 {digest}")
    path = folder / "yunet.onnx"
    try:
        published = onnx.load_from_string(content)
        onnx.save(rearranged(published), path)
        difference = compare(published, path)
    except (PrepareError, OSError):
        raise
    except Exception as error:  # onnx, protobuf and ONNX Runtime each have their own
        reason = str(error).partition("\n")[0]
        raise PrepareError(f"{weights or url} cannot be read as YuNet: {reason}") from error
    return entry(
        path,
        input_size=None,
        dimension=None,
        inputs=["pixels"],
        outputs=["values"],
        weights={
            "source": "YUNET_WEIGHTS" if weights else url,
            "license": "MIT" if digest == SHA256 else None,
            "sha256": digest,
            "values_sha256": values_sha256([*map(numpy_helper.to_array, published.graph.initializer)]),
        },
        converter={"onnx": importlib.metadata.version("onnx")},
        largest_difference=difference,
    )


def download(url: str, pip: Pip) -> bytes:
    """Fetch YuNet as published, and check its digest. Raises PrepareError."""
    say(f"downloading {FILE} ({SIZE / 1e6:.1f} MB)")
    content, reason = b"", ""
    try:
        with session_for(url, pip) as session, session.get(url, stream=True) as answer:
            answer.raise_for_status()
            for part in answer.iter_content(SIZE + 1):
                content += part
                if len(content) > SIZE:
                    break
    except requests.RequestException as error:
        reason = why(error)
    if not reason and hashlib.sha256(content).hexdigest() != SHA256:
        reason = "it sends a file with a wrong sha256"
    if reason:
        raise PrepareError(
            f"YuNet's weights cannot be downloaded from {url} ({reason}); "
            f"YUNET_WEIGHTS=/path/to/{FILE} names a file to take instead"
        )
    return content


def rearranged(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write YuNet anew.

    As published, it takes float32 (1, 3, h, w), BGR in [0, 255], and has twelve outputs: four heads at
    strides of 8, 16 and 32 px.

    Its input "pixels", uint8 (1, h, w, 3), is RGB, both sides multiples of 32. Its output "values", float32
    (1, 16, cells), has all cells of 8 px, row by row, then those of 16 px and of 32 px. The 16 values are the
    logits of "face" and of "object"; x and y of the centre of the box, from the upper left corner of the cell
    and in sides of it; the logarithms of the box's width and height in sides of the cell; x and y of five
    landmarks like those of the centre.

    The four heads of a stride become one. Together they have 16 channels, a multiple of which ONNX Runtime's
    fast convolutions take, as `preparation.rearrange` says.

    Raises ValueError for another network.
    """
    made = {output: node for node in model.graph.node for output in node.output}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    heads = {stride: [_convolutions(made, f"{head}_{stride}") for head in HEADS] for stride in STRIDES}
    features = {stride: heads[stride][0][0].input[0] for stride in STRIDES}
    (pixels,) = (value.name for value in model.graph.input if value.name not in weights)
    whole = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    body = whole.extract_model([pixels], list(features.values())).graph

    first = next(node for node in body.node if node.input[0] == pixels)
    constants = [tensor for tensor in body.initializer if tensor.name != first.input[1]]
    constants.append(numpy_helper.from_array(weights[first.input[1]][:, ::-1].copy(), first.input[1]))
    constants.append(numpy_helper.from_array(np.array([0, 0, -1]), "by_cell"))
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], [pixels], to=onnx.TensorProto.FLOAT),
        *body.node,
    ]
    for stride, x in features.items():
        for depth in (0, 1):
            parts = [head[depth] for head in heads[stride]]
            names = [f"weights_{stride}_{depth}", f"bias_{stride}_{depth}"]
            for place, name in enumerate(names, 1):
                joined = np.concatenate([weights[part.input[place]] for part in parts])
                constants.append(numpy_helper.from_array(joined, name))
            form = {a.name: helper.get_attribute_value(a) for a in parts[0].attribute}
            form["group"] = len(joined) if depth else 1
            nodes.append(helper.make_node("Conv", [x, *names], [f"head_{stride}_{depth}"], **form))
            x = nodes[-1].output[0]
        nodes.append(helper.make_node("Reshape", [x, "by_cell"], [f"cells_{stride}"]))
    nodes.append(helper.make_node("Concat", [f"cells_{stride}" for stride in STRIDES], ["values"], axis=2))

    kinds, described = onnx.TensorProto, helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "yunet",
        [described("pixels", kinds.UINT8, [1, "h", "w", 3])],
        [described("values", kinds.FLOAT, [1, 16, "cells"])],
        constants,
    )
    anew = helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)
    onnx.checker.check_model(anew)
    return anew


def _convolutions(made: dict[str, onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The two that end in an output, in order: across the channels, and within each."""
    convolutions: list[onnx.NodeProto] = []
    at = output
    while len(convolutions) < 2:
        if at not in made:
            raise ValueError(f"it has no two convolutions before an output {output}")
        if made[at].op_type == "Conv":
            convolutions.insert(0, made[at])
        at = made[at].input[0]
    return convolutions


def compare(published: onnx.ModelProto, path: Path) -> float:
    """Run YuNet as published, and as it is served, on one picture of noise.

    Returns:
        the largest absolute difference between two values

    Raises:
        PrepareError: it is above LARGEST_DIFFERENCE, or not a number.
    """
    session = import_onnxruntime().InferenceSession
    one, other = (
        session(model, providers=["CPUExecutionProvider"])
        for model in (published.SerializeToString(), str(path))
    )
    pixels = np.random.default_rng(0).integers(0, 256, (1, 96, 160, 3), dtype=np.uint8)
    planes = pixels[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    outputs = [[f"{head}_{stride}" for head in HEADS] for stride in STRIDES]
    expected = np.concatenate(
        [np.concatenate(one.run(names, {one.get_inputs()[0].name: planes}), axis=2) for names in outputs],
        axis=1,
    )
    values = other.run(None, {"pixels": pixels})[0].transpose(0, 2, 1)
    values[..., :2] = 1 / (1 + np.exp(-values[..., :2]))
    largest = float(np.abs(values - expected).max())
    if not largest <= LARGEST_DIFFERENCE:
        raise PrepareError(
            f"yunet: the results as published and as served differ by {largest:.2g}, "
            f"more than {LARGEST_DIFFERENCE:g}"
        )
    return largest
