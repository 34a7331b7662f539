"""A recogniser that runs through deepface, with generated weights, in the real services; missing weights."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from embedding.catalogue import MODELS
from running import ROOT, Pair, link_models, running_pair
from serving.deepface import reason

NAME = "DeepID"  # the smallest of them
TIMEOUT_S = 60
NO_INTERNET = {
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
}

# In a process of its own, because it imports TensorFlow: writes DeepID's weights, then what deepface itself
# makes of the crops, as its `represent` hands faces on, float BGR in [0, 1].
GENERATE = """
import os, sys
from pathlib import Path
import numpy as np
from deepface import DeepFace
from deepface.commons import weight_utils

file, crops, vectors = map(Path, sys.argv[1:])
load = weight_utils.load_model_weights

def generate(model, weight_file):
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.1, array.shape) for array in model.get_weights()])
    model.save_weights(weight_file)
    return load(model, weight_file)

file.write_bytes(b"")  # or deepface would download it
weight_utils.load_model_weights = generate
pictures = np.load(crops)[..., ::-1] / 255
faces = [DeepFace.represent(picture, "DeepID", detector_backend="skip") for picture in pictures]
np.save(vectors, [face[0]["embedding"] for face in faces])
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """A models folder of its own, because the start writes into the manifest what deepface has loaded."""
    return link_models(tmp_path_factory.mktemp("models"), models_dir)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (6, 55, 55, 3), np.uint8)


@pytest.fixture(scope="module")
def oracle(prepared: Path, crops: np.ndarray) -> np.ndarray:
    file = prepared / ".deepface" / "weights" / MODELS[NAME].weights
    file.parent.mkdir(parents=True)
    np.save(prepared / "crops.npy", crops)
    environment = {"DEEPFACE_HOME": str(prepared), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    files = [str(path) for path in (file, prepared / "crops.npy", prepared / "vectors.npy")]
    outcome = subprocess.run(
        [sys.executable, "-c", GENERATE, *files],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    vectors: np.ndarray = np.load(prepared / "vectors.npy")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def changed(
    tmp_path_factory: pytest.TempPathFactory,
    prepared: Path,
    oracle: np.ndarray,
    photographs: dict[str, list[Path]],
    as_base64: Callable[[Path], str],
) -> Iterator[Pair]:
    """Both services with a sample of Facenet, and then feature_extraction started with another model."""
    with running_pair(tmp_path_factory.mktemp("changed"), prepared, WORKERS="1", DEEPFACE_HOME="") as pair:
        sample = {"id": "m", "name": "madonna", "image": as_base64(photographs["madonna"][0])}
        answer = requests.post(f"{pair.url}/update-samples", json=[sample], timeout=TIMEOUT_S)
        assert answer.json()["success"] == ["m"]
        pair.extraction.stop()
        pair.extraction.environment["EMBEDDING_MODEL"] = NAME
        pair.extraction.start()
        yield pair


def embed(pair: Pair, crops: np.ndarray) -> np.ndarray:
    body = io.BytesIO()
    np.save(body, crops)
    answer = requests.post(
        f"{pair.extraction.url}/embeddings",
        data=body.getvalue(),
        headers={"Content-Type": "application/x-npy"},
        timeout=TIMEOUT_S,
    )
    assert answer.status_code == 200, answer.text
    vectors: np.ndarray = np.load(io.BytesIO(answer.content))
    return vectors


def post(pair: Pair, path: str, body: Any) -> requests.Response:
    """Send a request, once more if the service learns from the first one that the model has changed."""
    answer = requests.post(pair.url + path, json=body, timeout=TIMEOUT_S)
    if answer.status_code == 503:
        assert answer.json()["code"] == "embedding_unavailable"
        assert "Retry-After" in answer.headers
        answer = requests.post(pair.url + path, json=body, timeout=TIMEOUT_S)
    return answer


def test_the_model_reports_its_own_values(changed: Pair, prepared: Path) -> None:
    about = requests.get(f"{changed.extraction.url}/model", timeout=TIMEOUT_S).json()
    assert len(about.pop("fingerprint")) == 32
    assert about == {
        "name": NAME,
        "dimension": 160,
        "input_size": 55,
        "threshold": 0.17,
        "distance_range": [0, 2],
        "template": "facenet",
        "colours": "BGR",
        "scaling": "(x - 0) / 255",
        "mirrored": False,
    }
    manifest = json.loads((prepared / "manifest.json").read_text())
    assert manifest["deepface"] == {NAME: version("deepface")}  # so that the next start does not try it out


def test_vectors_are_deepfaces_own(changed: Pair, crops: np.ndarray, oracle: np.ndarray) -> None:
    """Within 1e-5 of a vector of length 1: deepface's were made one by one, these in batches."""
    vectors = embed(changed, crops)
    assert (vectors.dtype, vectors.shape) == (np.float32, (6, 160))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert np.abs(vectors - oracle).max() < 1e-5
    assert (embed(changed, crops) == vectors).all()
    assert np.abs(embed(changed, crops[2:3]) - vectors[2]).max() < 1e-5
    assert embed(changed, crops[:0]).shape == (0, 160)


def test_a_gallery_of_another_model_refuses_until_it_is_cleared(
    changed: Pair, photographs: dict[str, list[Path]], as_base64: Callable[[Path], str]
) -> None:
    images = [as_base64(paths[0]) for paths in photographs.values()]
    samples = [{"id": str(n), "name": str(n), "image": image} for n, image in enumerate(images)]
    for path, body in (("/face-recognition", {"image": images[0]}), ("/update-samples", samples[:1])):
        answer = post(changed, path, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "gallery_model_mismatch")
    assert post(changed, "/clear-samples", None).status_code == 200
    assert post(changed, "/update-samples", samples[:1]).json()["success"] == ["0"]

    # The threshold of this model counts, and not Facenet's, under which every face would match.
    faces = [post(changed, "/face-recognition", {"image": i, "include_unknown": True}).json() for i in images]
    distances = np.array([face["distance"] for (face, *_) in faces])
    assert distances[0] == pytest.approx(0, abs=1e-3)
    assert [face["id"] == "0" for (face, *_) in faces] == list(distances < 0.17)
    assert (distances <= 2).all()


def test_missing_weights_stop_the_start_with_one_sentence(prepared: Path, tmp_path: Path) -> None:
    environment = {"EMBEDDING_MODEL": "ArcFace", "MODELS_DIR": str(prepared), "HOME": str(tmp_path)}
    outcome = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:0", "wsgi:app"],
        cwd=ROOT / "feature_extraction",
        env=os.environ | environment | NO_INTERNET | {"DEEPFACE_HOME": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert outcome.returncode == 3
    (sentence,) = (
        line for line in outcome.stderr.splitlines() if not line[:4].isdigit()
    )  # lines of the log begin with the time
    address = "https://github.com/serengil/deepface_models/releases/download/v1.0/arcface_weights.h5"
    assert sentence == (
        "feature_extraction cannot start: EMBEDDING_MODEL=ArcFace: the weights are missing and cannot be "
        f"downloaded; put {address} at <MODELS_DIR>/.deepface/weights/arcface_weights.h5"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "An exception occurred while downloading a.dat from https://d/a.dat.bz2. Consider downloading it",
            "the weights are missing and cannot be downloaded; put https://d/a.dat.bz2, unpacked, "
            "at <DEEPFACE_HOME>/.deepface/weights/a.dat",
        ),
        ("Please install using 'pip install dlib'\nand so on", "Please install using 'pip install dlib'"),
        ("", "ValueError"),
    ],
)
def test_reasons(text: str, sentence: str) -> None:
    assert reason(ValueError(text), Path("home")) == sentence


def test_deepface_itself_may_be_missing() -> None:
    error = ModuleNotFoundError("No module named 'deepface'", name="deepface")
    assert "the extra `prepare`" in reason(error, None)
