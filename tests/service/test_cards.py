"""EMBEDDING_ONNX: networks of one's own, with generated weights, by what their cards say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from embedding.app import load_network
from embedding.cards import CARDS, CardUnfit
from embedding.config import read
from embedding.engines import ENGINES, Engine, NetworkUnfit
from embedding.network import Network, load

WEIGHTS = np.random.default_rng(5).normal(size=(3, 512)).astype(np.float32)
CROPS = np.random.default_rng(6).integers(0, 256, (3, 112, 112, 3), np.uint8)
CARD = {"name": "mine", "template": "arcface", "input_size": 112, "dimension": 512, "threshold": 1.1}


def network(path: Path, shape: list[int | str], dimension: int = 512) -> Path:
    """Write a network whose output is the mean of each colour, times WEIGHTS."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["vectors"]),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, [shape[0], dimension])],
        [numpy_helper.from_array(WEIGHTS[:, :dimension], "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def expected(mean: float, divisor: float, dimension: int = 512) -> np.ndarray:
    means = ((CROPS.astype(np.float64) - mean) / divisor).mean(axis=(1, 2))
    vectors = means @ WEIGHTS[:, :dimension]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def loaded(file: Path, name: str = "Facenet", engine: Engine = "onnxruntime") -> Network:
    return load(name, file.parent, threads=1, engine=engine, onnx=file)


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "shape", [["n", 3, 112, 112], [1, 3, 112, 112], ["n", 112, 112, 3], [2, 112, 112, 3]]
)
def test_a_known_network_needs_no_card(
    name: str, engine: Engine, shape: list[int | str], tmp_path: Path
) -> None:
    card = CARDS[name]
    made = loaded(network(tmp_path / "net.onnx", shape, card.dimension), name, engine)
    described = made.model
    assert (described.name, described.dimension, described.input_size) == (name, card.dimension, 112)
    assert (described.template, described.colours, described.mirrored) == ("arcface", "RGB", False)
    assert described.threshold == card.threshold
    # 0.02 of a vector of length 1: OpenVINO may run in bfloat16.
    difference = made.embed(CROPS) - expected(card.mean, card.divisor, card.dimension)
    assert np.linalg.norm(difference, axis=1).max() < 0.02
    assert made.embed(CROPS[:0]).shape == (0, card.dimension)


def test_the_card_beside_the_file_decides(tmp_path: Path) -> None:
    file = network(tmp_path / "net.onnx", ["n", 3, 112, 112])
    more = {"mean": 100, "divisor": 50, "colours": "BGR", "mirrored": True, "length": 2}
    (tmp_path / "net.json").write_text(json.dumps(CARD | more))
    made = loaded(file, "ArcFace")
    assert (made.model.name, made.model.distance_range) == ("mine", (0, 4))
    assert (made.model.colours, made.model.mirrored, made.model.scaling) == ("BGR", True, "(x - 100) / 50")
    means = ((CROPS[..., ::-1].astype(np.float64) - 100) / 50).mean(axis=(1, 2))
    vectors = means @ WEIGHTS
    vectors *= 2 / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(made.embed(CROPS) - vectors).max() < 1e-4


def test_weights_beside_the_file_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    file, prints = network(tmp_path / "net.onnx", ["n", 3, 112, 112]), []
    for name, content in (("other.onnx", b"1"), ("net.onnx.data", b"1"), ("net.onnx.data", b"2")):
        (tmp_path / name).write_bytes(content)
        prints.append(loaded(file, "ArcFace").model.fingerprint)
    assert len(set(prints)) == 3
    (tmp_path / "net.onnx.data").unlink()
    assert loaded(file, "ArcFace").model.fingerprint == prints[0]


def test_the_fingerprint_tells_files_and_cards_apart(tmp_path: Path) -> None:
    file, prints = tmp_path / "net.onnx", []
    for change in ({}, {"threshold": 0.5}, {"mean": 100}, {"template": "facenet"}, {"mirrored": True}):
        network(file, ["n", 3, 112, 112])
        (tmp_path / "net.json").write_text(json.dumps(CARD | change))
        prints.append(loaded(file).model.fingerprint)
    network(file, ["n", 112, 112, 3])
    (tmp_path / "net.json").write_text(json.dumps(CARD))
    prints.append(loaded(file).model.fingerprint)
    assert prints[0] == prints[1]  # a threshold makes no other vectors
    assert len(set(prints)) == len(prints) - 1


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (None, "there is no card net.json beside the file, and EMBEDDING_MODEL=Facenet has none"),
        ("{", "net.json: "),
        ("[]", "net.json: "),
        (CARD | {"dimension": 0}, r"net\.json: dimension: "),
        (CARD | {"template": "other"}, r"net\.json: template: "),
        (CARD | {"name": "../x"}, r"net\.json: name: "),
        (CARD | {"scale": 2}, r"net\.json: scale: "),
        (CARD | {"divisor": 0}, r"net\.json: divisor: "),
        ({"name": "mine"}, r"net\.json: input_size: "),
    ],
)
def test_a_wrong_card_is_told_in_a_sentence(card: Any, reason: str, tmp_path: Path) -> None:
    file = network(tmp_path / "net.onnx", ["n", 3, 112, 112])
    if card is not None:
        (tmp_path / "net.json").write_text(card if isinstance(card, str) else json.dumps(card))
    with pytest.raises(CardUnfit, match=reason):
        loaded(file)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_that_does_not_fit_its_card_is_refused(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    (tmp_path / "net.json").write_text(json.dumps(CARD))
    with pytest.raises(OSError, match="net"):
        loaded(file, engine=engine)
    file.write_bytes(b"no network")
    with pytest.raises(NetworkUnfit, match=r"net\.onnx"):
        loaded(file, engine=engine)
    with pytest.raises(NetworkUnfit, match=r"gives \[128\] values, not 512"):
        loaded(network(file, ["n", 3, 112, 112], 128), engine=engine)
    with pytest.raises(NetworkUnfit, match="does not take pictures of 112 px"):
        loaded(network(file, ["n", 3, 160, 160]), engine=engine)
    with pytest.raises(NetworkUnfit):
        loaded(network(file, ["n", 4, 112, 112]), engine=engine)


def test_a_wrong_file_stops_the_start_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = read({"EMBEDDING_ONNX": str(tmp_path / "nowhere.onnx"), "EMBEDDING_MODEL": "ArcFace"})
    with pytest.raises(SystemExit):
        load_network(settings)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("feature_extraction cannot start: ")
    assert "nowhere.onnx" in line
