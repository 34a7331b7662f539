"""Converts the networks from Keras and TensorFlow Lite to ONNX and compares each with its original.

tensorflow, deepface, mtcnn and tf2onnx are imported in its functions, when there is something to convert.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from preparation import PrepareError, sha256_of
from preparation.manifest import entry
from preparation.source import MEMBER
from serving.deepface import WEIGHTS, set_environment, values_sha256
from serving.runtimes import import_onnxruntime

OPSET = 17  # of the ONNX files; every onnxruntime that supports Python 3.11 reads it
DOWNLOADED = "deepface's download"
LARGEST_DIFFERENCE = 1e-4  # between an output value of Keras and of ONNX Runtime; some 2e-6 is usual


@dataclass(frozen=True, slots=True)
class Network:
    """A network to convert.

    package, model: who defines it: a model name of deepface, a stage class of mtcnn, or "" where the file of
        its weights is all of it, a TensorFlow Lite model.
    input_name, output_name: how the ONNX file calls its input, float32 (n, side, side, 3), and its output.
        mtcnn's are those of `rearrange`, which take other pixels and give other values than Keras.
    input_size: side, in pixels; None when height and width are free.
    dimension: length of a vector, or of what else it gives for a face; None for a detector's network.
    weights: the file in deepface's weights folder; "" for mtcnn's, which the package brings.
    values_sha256: of the weights that this project knows, as `serving.deepface.values_sha256` makes it: of
        the archive in download.py and of the package mtcnn 1.0.0; of a TensorFlow Lite model, of its
        file. None: it knows of no trusted copy.
    setting: the variable that names a file of weights to take instead; "": none does.
    task: what deepface has the model for.
    license: of the weights as deepface publishes them; None: that is not clear, see docs/models.md.
    """

    name: str
    package: str
    model: str
    input_name: str
    output_name: str
    input_size: int | None
    dimension: int | None = None
    weights: str = ""
    values_sha256: str | None = None
    setting: str = ""
    task: str = "facial_recognition"
    license: str | None = "MIT"


FACENET = Network(
    "facenet",
    "deepface",
    "Facenet",
    "crops",
    "vectors",
    160,
    128,
    "facenet_weights.h5",
    "2c8a479a5b9767bebb1257178685fe39e50a2666a73b1f46d405e80b66d5994f",
    "FACENET_WEIGHTS",
)
MOBILEFACENET = Network(
    "mobilefacenet",
    "",
    "MobileFaceNet",
    "crops",
    "vectors",
    112,
    192,
    "MobileFaceNet.tflite",
    MEMBER.sha256,
    "MOBILEFACENET_WEIGHTS",
)
PNET, RNET, ONET = (
    Network(name, "mtcnn", stage, "pixels", "values", side, values_sha256=values)
    for name, stage, side, values in (
        ("pnet", "StagePNet", None, "774477742433b225d1c3a2df251dad2f48a780c86ca6314d2f7385e18a4e4e67"),
        ("rnet", "StageRNet", 24, "e1f67bb09924a5fca46695ee0b8c93ea3044769ddd9250f4e5b8a5593c351233"),
        ("onet", "StageONet", 48, "ce245ac02da28802549da6002e87bb027b4f5533966d8c46041a62e3e57d2843"),
    )
)
NETWORKS = (FACENET, PNET, RNET, ONET)

# Made only when EMBEDDING_MODEL names them.
CHOSEN = {
    "MobileFaceNet": MOBILEFACENET,
    "Facenet512": Network(
        "facenet512", "deepface", "Facenet512", "crops", "vectors", 160, 512, "facenet512_weights.h5"
    ),
}

# Made only where ATTRIBUTES is set: probabilities of each year from 0 to 100, and of female and male.
ATTRIBUTES = tuple(
    Network(
        name.lower(),
        "deepface",
        name,
        "crops",
        "probabilities",
        224,
        values,
        f"{name.lower()}_model_weights.h5",
        task="facial_attribute",
        license=None,
    )
    for name, values in (("Age", 101), ("Gender", 2))
)


def convert_all(
    home: Path, networks: Sequence[Network], sources: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Make the networks' ONNX files in `home` and compare them with Keras.

    Args:
        home: has deepface's weight files in WEIGHTS; deepface downloads to there what is missing.
        sources: by name of the network, where those files are from, for the manifest.

    Returns:
        the manifest's entries of these networks.

    Raises:
        PrepareError: weights do not fit, a conversion failed, or the results differ.
        ImportError: a package is missing.
        OSError: disk full and the like.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    set_environment(home)
    os.environ["DEEPFACE_BACKEND_ENGINE"] = "tensorflow"
    log = home / "conversion.log"
    made = {}
    step = ""
    try:
        columns = TextColumn("{task.description:27}"), BarColumn(), MofNCompleteColumn()
        with (
            quiet(log) as terminal,
            Progress(*columns, console=Console(file=terminal), disable=not terminal.isatty()) as bar,
        ):
            task = bar.add_task("", total=3 * len(networks))

            def begin(text: str) -> None:
                nonlocal step
                step = text
                bar.update(task, description=text)

            for network in networks:
                source = sources.get(network.name, {"source": DOWNLOADED, "license": network.license})
                made[network.name] = convert(network, home, source, begin, lambda: bar.advance(task))
    except (PrepareError, OSError, ImportError, KeyboardInterrupt):
        raise
    except Exception as error:
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace")[-4000:])
        reason = (str(error).splitlines() or [""])[0]
        raise PrepareError(f"cannot {step}: {type(error).__name__}: {reason}") from error
    finally:
        log.unlink(missing_ok=True)
    return made


def convert(
    network: Network,
    home: Path,
    source: dict[str, Any],
    begin: Callable[[str], None],
    done: Callable[[], object],
) -> dict[str, Any]:
    """Write one network's ONNX file into `home` and return its entry in the manifest.

    begin(what) and done() are called around each of the three steps.

    Raises:
        PrepareError: the weights do not load, or the results differ by more than LARGEST_DIFFERENCE.
    """
    if not network.package:
        return convert_lite(network, home, source, begin, done)
    begin(f"load {network.name}'s weights")
    import onnx
    import tensorflow
    import tf2onnx

    from preparation import chain
    from preparation.rearrange import rearranged

    keras = tensorflow.keras
    model, weights = load(network, home, source)
    done()

    begin(f"convert {network.name}")
    path = home / f"{network.name}.onnx"
    if network.task == "facial_attribute":
        functional = model
        onnx.save(chain.written(model, network.input_name, network.output_name, OPSET), path)
    else:
        shape = (network.input_size, network.input_size, 3)
        pixels = keras.Input(shape, name=network.input_name)
        results = model.call(pixels)
        signature = [tensorflow.TensorSpec((None, *shape), tensorflow.float32, name=network.input_name)]
        if network.package == "deepface":
            # tf2onnx names the output after the layer that makes it, hence a layer that only has a name. Its
            # optimizers fold FaceNet's batch norms and remove its 492 transposes, which makes OpenVINO 1.4
            # times as fast.
            named = keras.layers.Activation("linear", name=network.output_name)(results)
            functional = keras.Model(pixels, named)
            tf2onnx.convert.from_keras(functional, signature, opset=OPSET, output_path=str(path))
        else:
            functional = keras.Model(pixels, results)
            plain, _ = tf2onnx.convert.from_keras(functional, signature, opset=OPSET, optimizers={})
            onnx.save(rearranged(plain), path)
    done()

    begin(f"compare {network.name}")
    difference = compare(network, path, functional)
    done()
    weights |= {"values_sha256": values_sha256(model.get_weights())}
    tools = ["tensorflow", "tf_keras", "onnx", network.package]
    converter = _versions(*tools if network.task == "facial_attribute" else ["tf2onnx", *tools])
    return _entry(network, path, weights, converter, difference)


def convert_lite(
    network: Network,
    home: Path,
    source: dict[str, Any],
    begin: Callable[[str], None],
    done: Callable[[], object],
) -> dict[str, Any]:
    """Do what `convert` does with a TensorFlow Lite model.

    Raises:
        PrepareError: it is none, or has another input or output, or the results differ.
    """
    begin(f"load {network.name}'s weights")
    import onnx
    import tensorflow
    import tf2onnx

    from preparation.lite import shaped

    weights = home / WEIGHTS / network.weights
    try:
        original = tensorflow.lite.Interpreter(str(weights), num_threads=1)
        original.allocate_tensors()
    except ValueError as error:
        raise PrepareError(f"{source['source']}: it is no TensorFlow Lite model") from error
    done()

    begin(f"convert {network.name}")
    path = home / f"{network.name}.onnx"
    plain, _ = tf2onnx.convert.from_tflite(str(weights), opset=OPSET)
    onnx.save(shaped(plain, network.input_name, network.output_name), path)
    done()

    begin(f"compare {network.name}")
    difference = compare_lite(network, path, original)
    done()
    digest = sha256_of(weights)
    about = source | {"sha256": digest, "values_sha256": digest}
    return _entry(network, path, about, _versions("tf2onnx", "tensorflow", "onnx"), difference)


def _entry(
    network: Network, path: Path, weights: dict[str, Any], converter: dict[str, Any], difference: float
) -> dict[str, Any]:
    """Return the manifest's entry of a network."""
    return entry(
        path,
        input_size=network.input_size,
        dimension=network.dimension,
        inputs=[network.input_name],
        outputs=[network.output_name],
        weights=weights,
        converter=converter,
        largest_difference=difference,
    )


def compare_lite(network: Network, path: Path, original: Any) -> float:
    """Run an ONNX file and a TensorFlow Lite interpreter on the same random inputs, always the same ones.

    Returns:
        the largest absolute difference between two values of outputs of length 1

    Raises:
        PrepareError: it is above LARGEST_DIFFERENCE, or the original has another input or output.
    """
    import numpy as np

    (taken,), (given,) = original.get_input_details(), original.get_output_details()
    rows, *shape = taken["shape"].tolist()
    side = network.input_size
    if shape != [side, side, 3] or given["shape"].tolist() != [rows, network.dimension]:
        raise PrepareError(f"{network.name}: it takes {shape}, and gives {given['shape'].tolist()}")
    session = import_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).uniform(-1, 1, (rows, *shape)).astype(np.float32)
    original.set_tensor(taken["index"], pixels)
    original.invoke()
    expected = original.get_tensor(given["index"])
    (values,) = session.run([network.output_name], {network.input_name: pixels})
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    return _bounded(network, float(np.abs((values - expected) / lengths).max()), "TensorFlow Lite")


def load(network: Network, home: Path, source: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a network as a Keras model with its weights, and what the manifest says about the weight file.

    Raises:
        PrepareError: deepface can neither load nor download the weights.
    """
    if network.package == "deepface":
        from deepface import DeepFace

        try:
            model = DeepFace.build_model(network.model, network.task).model
        except ValueError as error:  # deepface's own, around the cause
            if missing := re.search(r"downloading \S+ from (\S+)", str(error)):
                fault = f"downloaded from {missing[1].rstrip(',.')}"
            else:
                fault = f"taken from {source['source']}: {error.__cause__ or error}"
            remedy = (
                "FACENET_WEIGHTS=/path/to/facenet_weights.h5 names a file to take instead"
                if network is FACENET
                else f"put the file at <MODELS_DIR>/{WEIGHTS / network.weights}"
            )
            raise PrepareError(f"{network.model}'s weights cannot be {fault}; {remedy}") from error
        return model, source | {"sha256": sha256_of(home / WEIGHTS / network.weights)}
    from mtcnn import stages

    with importlib.resources.as_file(importlib.resources.files("mtcnn")) as folder:
        # By its full path, or mtcnn would prefer a file of that name in the current folder.
        file = folder / "assets" / "weights" / f"{network.name}.lz4"
        model = getattr(stages, network.model)(weights=str(file)).model
        return model, {
            "source": f"package mtcnn, {file.name}",
            "version": importlib.metadata.version("mtcnn"),
            "license": "MIT",
            "sha256": sha256_of(file),
        }


def compare(network: Network, path: Path, model: Any) -> float:
    """Run an ONNX file and the Keras model on the same random inputs, always the same ones.

    Returns:
        the largest absolute difference between two output values; for mtcnn's networks, that of the
        probability of "face" instead of its logit

    Raises:
        PrepareError: it is above LARGEST_DIFFERENCE, or not a number.
    """
    import numpy as np

    session = import_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    # Two batch sizes, and for a network of free size two oblong pictures.
    sides = [(network.input_size,) * 2] * 2 if network.input_size else [(12, 40), (67, 51)]
    differences = []
    for n, (height, width) in zip((1, 3), sides, strict=True):
        standard = random.normal(size=(n, height, width, 3)).astype(np.float32)
        pixels = standard if network.package == "deepface" else standard * 128 + np.float32(127.5)
        (values,) = session.run([network.output_name], {network.input_name: pixels})
        expected = [np.asarray(value) for value in _as_list(model(standard, training=False))]
        if network.package == "mtcnn":
            values, expected = _as_probability(values), [expected[-1][..., 1:], *expected[:-1]]
        differences.append(np.abs(values - np.concatenate(expected, axis=-1)).max())
    return _bounded(network, float(np.max(differences)), "Keras")


def _bounded(network: Network, difference: float, original: str) -> float:
    if not difference <= LARGEST_DIFFERENCE:
        raise PrepareError(
            f"{network.name}: the results of ONNX Runtime and {original} differ by {difference:.2g}, "
            f"more than {LARGEST_DIFFERENCE:g}"
        )
    return difference


def _versions(*packages: str) -> dict[str, Any]:
    return {name: importlib.metadata.version(name) for name in packages} | {"opset": OPSET}


def _as_probability(values: Any) -> Any:
    """Bring the values of mtcnn's networks last, as Keras has them, and make a probability of the first."""
    import numpy as np

    values = np.moveaxis(values, 1, -1)
    return np.concatenate([1 / (1 + np.exp(-values[..., :1])), values[..., 1:]], axis=-1)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


@contextmanager
def quiet(log: Path) -> Iterator[TextIO]:
    """Send what this process writes, TensorFlow's C++ too, into a file; yield the real stderr meanwhile."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    try:
        with log.open("wb") as sink, os.fdopen(os.dup(2), "w", encoding="utf-8") as terminal:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in enumerate(saved, start=1):
            os.dup2(copy, number)
            os.close(copy)
