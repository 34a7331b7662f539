"""Age and gender by deepface's own networks, with generated weights, from their files to the answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from recognition.embedder import EmbeddingClient
from running import ROOT, Service, free_port, link_models
from serving.attributes import SIDE
from serving.deepface import WEIGHTS

TIMEOUT_S = 60
FILES = ("age_model_weights.h5", "gender_model_weights.h5")
NO_INTERNET = {
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
}
ONLY_CPU = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

# In a process of its own, because it imports TensorFlow: writes both networks' weights, as large as the
# published ones, and what deepface itself says of the crops. They are random in the spread that keeps a
# network's values at one size from layer to layer (He et al., arXiv 1502.01852).
GENERATE = """
import json, sys
from pathlib import Path
import numpy as np
from deepface.commons import weight_utils
from deepface.modules import modeling
from deepface.modules.preprocessing import resize_image

folder, crops, told = map(Path, sys.argv[1:])
load = weight_utils.load_model_weights
random = np.random.default_rng(0)

def generated(array):
    if array.ndim == 1:
        return np.zeros(array.shape, np.float32)
    spread = np.float32((2 / np.prod(array.shape[:-1])) ** 0.5)
    return random.standard_normal(array.shape, np.float32) * spread

def generate(model, weight_file):
    model.set_weights([generated(array) for array in model.get_weights()])
    model.save_weights(weight_file)
    return load(model, weight_file)

weight_utils.load_model_weights = generate
for name in ("age", "gender"):
    (folder / f"{name}_model_weights.h5").write_bytes(b"")  # or deepface would download it
faces = [resize_image(crop[..., ::-1] / 255, (224, 224)) for crop in np.load(crops)]
age, gender = (modeling.build_model("facial_attribute", name) for name in ("Age", "Gender"))
told.write_text(json.dumps([[float(age.predict(face)), gender.predict(face).tolist()] for face in faces]))
"""


@pytest.fixture(scope="module")
def crops(photographs: dict[str, list[Path]]) -> np.ndarray:
    """Pictures that differ as much as can be: photographs, upside down, dark, and of one colour."""
    pictures = [Image.open(paths[0]).convert("RGB").resize((SIDE, SIDE)) for paths in photographs.values()]
    some = [np.asarray(picture) for picture in pictures[:4]]
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    return np.stack([*some, some[0][::-1], some[1] // 4, grey, grey * np.array([1, 0, 0], np.uint8)])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for deepface; emptied at the end, as two times 540 MB are much to leave behind."""
    folder = tmp_path_factory.mktemp("home")
    (folder / WEIGHTS).mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def oracle(home: Path, crops: np.ndarray) -> list[tuple[float, list[float]]]:
    np.save(home / "crops.npy", crops)
    outcome = subprocess.run(
        [sys.executable, "-c", GENERATE, home / WEIGHTS, home / "crops.npy", home / "told.json"],
        env=os.environ
        | ONLY_CPU
        | {"DEEPFACE_HOME": str(home), "DEEPFACE_BACKEND_ENGINE": "tensorflow", "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    return [(age, gender) for age, gender in json.loads((home / "told.json").read_text())]


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, models_dir: Path, home: Path, oracle: object
) -> Iterator[Path]:
    """What is prepared already, and the two networks made of the weights in deepface's home."""
    folder = link_models(tmp_path_factory.mktemp("models"), models_dir)
    outcome = prepare(folder, home)
    assert outcome.returncode == 0, outcome.stderr
    yield folder
    shutil.rmtree(folder)


def prepare(models_dir: Path, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "prepare_models.py", "--models-dir", models_dir, "--if-missing"],
        env=os.environ | NO_INTERNET | {"ATTRIBUTES": "yes", "DEEPFACE_HOME": str(home)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def service(request: pytest.FixtureRequest, prepared: Path, tmp_path: Path) -> Iterator[Service]:
    settings = {
        "MODELS_DIR": str(prepared),
        "ATTRIBUTES": "1",
        "WORKERS": "1",
        "EMBEDDING_ENGINE": request.param,
    }
    running = Service("feature_extraction", settings, free_port(), tmp_path / "log")
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("service", "years", "share"),
    [("onnxruntime", 0.02, 0.001), ("openvino", 1.0, 0.03)],  # which may compute in bfloat16
    indirect=["service"],
)
def test_ages_and_genders_are_deepfaces_own(
    service: Service, crops: np.ndarray, oracle: list[tuple[float, list[float]]], years: float, share: float
) -> None:
    assert requests.get(f"{service.url}/ready", timeout=TIMEOUT_S).json()["attributes"] is True
    client = EmbeddingClient(service.url, connect_timeout_s=5, read_timeout_s=TIMEOUT_S)
    told = client.attributes(crops)
    ages = [age for age, _ in oracle]
    assert max(ages) - min(ages) > 3 * years  # else any answer would do
    assert [each and each.age for each in told] == pytest.approx(ages, abs=years)
    for each, (_, genders) in zip(told, oracle, strict=True):
        assert each is not None
        assert each.gender.probability == pytest.approx(genders[each.gender.value == "male"], abs=share)
        assert each.gender.probability >= 0.5
        assert each.age_range.low <= each.age <= each.age_range.high
        assert 0.5 <= each.age_range.probability <= 1


def test_the_manifest_says_what_they_are_made_of(prepared: Path, home: Path) -> None:
    networks = json.loads((prepared / "manifest.json").read_text())["networks"]
    for name, values, file in (("age", 101, FILES[0]), ("gender", 2, FILES[1])):
        about = networks[name]
        assert (about["input_size"], about["dimension"]) == (SIDE, values)
        assert about["largest_difference"] < 1e-4
        assert about["weights"]["source"] == str(home / WEIGHTS / file)
        assert about["weights"]["license"] is None  # it is not clear
    assert set(networks) >= {"facenet", "pnet", "rnet", "onet"}


def test_missing_weights_stop_the_start_with_one_sentence(tmp_path: Path, models_dir: Path) -> None:
    prepared = link_models(tmp_path / "models", models_dir)
    outcome = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:0", "wsgi:app"],
        cwd=ROOT / "feature_extraction",
        env=os.environ
        | NO_INTERNET
        | {"ATTRIBUTES": "1", "MODELS_DIR": str(prepared), "HOME": str(tmp_path), "DEEPFACE_HOME": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert outcome.returncode == 3
    (sentence,) = (line for line in outcome.stderr.splitlines() if not line[:4].isdigit())
    address = "https://github.com/serengil/deepface_models/releases/download/v1.0/age_model_weights.h5"
    assert sentence == (
        f"prepare_models: error: Age's weights cannot be downloaded from {address}; "
        f"put the file at <MODELS_DIR>/{WEIGHTS / FILES[0]}"
    )
