"""The table of recognisers against deepface's own tables and sources."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest
from deepface.config.threshold import thresholds
from deepface.modules.modeling import AVAILABLE_MODELS

from embedding.catalogue import MODELS
from embedding.config import ModelName
from embedding.network import PREPARED

SETTINGS = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
SOURCES = AVAILABLE_MODELS["facial_recognition"]


def source_of(name: str) -> str:
    """The text of the module from which deepface would load it; nothing of it is run."""
    engines = ("any", "tensorflow") if not MODELS[name].weights.endswith(".onnx") else ("any", "onnx")
    paths = [SOURCES[name][engine] for engine in engines if engine in SOURCES[name]]
    spec = find_spec(paths[0].rpartition(".")[0])
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def test_it_has_every_recogniser_of_deepface_and_no_other() -> None:
    assert set(MODELS) - {"MobileFaceNet"} == set(SOURCES)
    assert set(MODELS) == set(get_args(ModelName))
    assert set(PREPARED) <= set(MODELS)


@pytest.mark.parametrize("name", SOURCES)
def test_sizes_dimensions_and_files_are_deepfaces(name: str) -> None:
    source = source_of(name)
    shapes = [
        (max(int(w), int(h)), int(d))
        for w, h, d in re.findall(
            r"input_shape = \((\d+), (\d+)\)\s+self\.output_shape = (\d+)", source, re.MULTILINE
        )
    ]
    assert (MODELS[name].input_size, MODELS[name].dimension) in shapes
    assert all(f'"{part}"' in source for part in MODELS[name].weights.split("/"))


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"Facenet", "VGG-Face"}))
def test_unit_vectors_have_deepfaces_threshold_for_them(name: str) -> None:
    assert MODELS[name].length == 1
    assert MODELS[name].threshold == thresholds[name]["euclidean_l2"]


@pytest.mark.parametrize(
    ("name", "largest", "threshold"),
    [("Facenet", 20, 9), ("MobileFaceNet", 20, 9.5), ("VGG-Face", 1, 0.4)],
)
def test_documented_ranges_and_thresholds(name: str, largest: float, threshold: float) -> None:
    assert (2 * MODELS[name].length, MODELS[name].threshold) == (largest, threshold)


@pytest.mark.parametrize("name", MODELS)
def test_the_documentation_has_these_values(name: str) -> None:
    model = MODELS[name]
    values = (
        f"`{name}`",
        model.input_size,
        model.dimension,
        f"[0, {2 * model.length:g}]",
        f"{model.threshold:g}",
    )
    assert f"| {' | '.join(map(str, values))} |" in SETTINGS
