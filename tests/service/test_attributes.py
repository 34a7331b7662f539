"""Age and gender by small networks in the form of deepface's; how they are loaded, and when not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from embedding import attributes
from embedding.app import load_guess
from embedding.config import read
from embedding.engines import DeviceUnavailable, NetworkUnfit
from recognition.faces import Box, Face
from recognition.seeing import Sight
from running import ROOT
from serving.attributes import SIDE, Attributes
from serving.remarks import Picture

ENGINE = {"threads": 1, "engine": "onnxruntime", "device": "CPU", "batch": 2}


def write_network(file: Path, weights: np.ndarray, side: int = SIDE) -> None:
    """A network whose values are the softmax of the pixels' mean times weights, (3, values)."""
    crops = helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", side, side, 3])
    values = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", weights.shape[1]])
    nodes = [
        helper.make_node("ReduceMean", ["crops"], ["colour"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    constants = [numpy_helper.from_array(weights.astype(np.float32), "weights")]
    graph = helper.make_graph(nodes, "network", [crops], [values], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)


# Each colour speaks for a year: blue, which comes first, for 20, green for 40, red for 60; and red for male.
AGES = np.zeros((3, 101))
AGES[0, 20] = AGES[1, 40] = AGES[2, 60] = 50
GENDERS = np.array([[0, 0], [0, 0], [-20, 20]])
BLUE, GREEN, RED = (0, 0, 255), (0, 255, 0), (255, 0, 0)  # RGB


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    write_network(tmp_path / "age.onnx", AGES)
    write_network(tmp_path / "gender.onnx", GENDERS)
    write_manifest(tmp_path, "age", "gender")
    return tmp_path


def write_manifest(folder: Path, *names: str) -> None:
    networks = {name: {"file": f"{name}.onnx"} for name in names}
    (folder / "manifest.json").write_text(json.dumps({"networks": networks}))


def crops_of(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.array([np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in colours])


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_networks_get_bgr_in_0_to_1(prepared: Path, engine: str) -> None:
    guess = attributes.load(prepared, **(ENGINE | {"engine": engine}))  # type: ignore[arg-type]
    told = guess(crops_of(BLUE, GREEN, RED))
    assert [each.age for each in told] == pytest.approx([20, 40, 60], abs=0.1)
    assert [each.gender.value for each in told][2] == "male"
    assert guess(crops_of(BLUE)[:0]) == []


def test_a_batch_is_no_more_than_is_set(prepared: Path) -> None:
    colours = [BLUE, RED, GREEN, GREEN, RED]
    one_by_one = attributes.load(prepared, **(ENGINE | {"batch": 1}))  # type: ignore[arg-type]
    together = attributes.load(prepared, **(ENGINE | {"batch": 4}))  # type: ignore[arg-type]
    assert one_by_one(crops_of(*colours)) == together(crops_of(*colours))


def test_networks_of_another_form_are_refused(prepared: Path) -> None:
    write_network(prepared / "gender.onnx", AGES)
    with pytest.raises(NetworkUnfit, match=r"gender: it gives \[101\] values, not 2"):
        attributes.load(prepared, **ENGINE)  # type: ignore[arg-type]
    write_network(prepared / "gender.onnx", GENDERS, side=160)
    with pytest.raises(NetworkUnfit, match="gender: it does not take pictures of 224 px"):
        attributes.load(prepared, **ENGINE)  # type: ignore[arg-type]
    (prepared / "gender.onnx").write_bytes(b"no network")
    with pytest.raises(NetworkUnfit, match=r"gender\.onnx"):
        attributes.load(prepared, **ENGINE)  # type: ignore[arg-type]
    with pytest.raises(DeviceUnavailable, match="EMBEDDING_DEVICE=NONE"):
        attributes.load(prepared, **(ENGINE | {"device": "NONE"}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("not prepared", "age and gender are not prepared"),
        ("half", "age and gender are not prepared"),
        ("no file", "age.onnx"),
        ("damaged", "age.onnx"),
    ],
)
def test_what_cannot_be_loaded_stops_the_start_with_one_sentence(
    prepared: Path, fault: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if fault in ("not prepared", "half"):
        write_manifest(prepared, *(["age"] if fault == "half" else []))
    elif fault == "no file":
        (prepared / "age.onnx").unlink()
    else:
        (prepared / "age.onnx").write_bytes(b"no network")
    with pytest.raises(SystemExit) as caught:
        load_guess(read({"ATTRIBUTES": "1", "MODELS_DIR": str(prepared)}))
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 3
    assert line.startswith("feature_extraction cannot start: ATTRIBUTES=1: ")
    assert sentence in line


def test_nothing_is_loaded_unless_it_is_set(tmp_path: Path) -> None:
    assert load_guess(read({"MODELS_DIR": str(tmp_path / "nowhere")})) is None
    heavy = "{'tensorflow', 'deepface', 'onnx', 'openvino'}"
    program = f"import sys, embedding.app; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "feature_extraction", capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")


class Embedder:
    """Guesses by the networks that are prepared in a folder, and notes what it gets."""

    def __init__(self, prepared: Path) -> None:
        self.guess = attributes.load(prepared, **ENGINE)  # type: ignore[arg-type]
        self.calls: list[int] = []

    def attributes(self, crops: np.ndarray) -> list[Attributes]:
        self.calls.append(len(crops))
        return self.guess(crops)


def test_faces_of_a_picture_are_cut_out_for_it(prepared: Path) -> None:
    """Ten faces side by side, each of one colour."""
    colours = [BLUE, GREEN, RED, RED, GREEN, BLUE, GREEN, RED, BLUE, RED]
    pixels = np.concatenate([np.full((100, 100, 3), colour, np.uint8) for colour in colours], axis=1)
    nowhere = np.full((5, 2), np.nan, np.float32)
    faces = [Face(Box(100 * place + 20, 20, 50, 60), 0.9, nowhere) for place in range(10)]
    embedder = Embedder(prepared)
    sight = Sight(*[None] * 4, embedder, 10, 0.0, lambda: None)  # type: ignore[arg-type]
    told = sight.attributes(Picture(pixels), faces)
    expected = [{BLUE: 20, GREEN: 40, RED: 60}[colour] for colour in colours]
    assert [each and each.age for each in told] == pytest.approx(expected, abs=0.1)
    assert embedder.calls == [4, 4, 2]
    assert sight.attributes(Picture(pixels), []) == []
