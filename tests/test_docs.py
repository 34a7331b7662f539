"""The README tells of every setting and every route, and the requirements give every reason."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask

from embedding import config as embedding_config
from embedding.app import create_app as create_embedding_app
from embedding.network import Network
from recognition import config as recognition_config
from recognition.app import create_app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTHING: Any = None


@pytest.mark.parametrize("config", [recognition_config, embedding_config])
def test_every_setting_is_in_the_readme(config: ModuleType) -> None:
    missing = [
        field.name.upper() for field in fields(config.Settings) if f"`{field.name.upper()}`" not in README
    ]
    assert missing == []


def routes_of(app: Flask) -> list[tuple[str, str]]:
    return [
        (method, re.sub(r"<(?:\w+:)?\w+>", "<id>", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    ]


def test_every_route_is_in_the_readme() -> None:
    network = Network("n", 1, 1, 1.0, (0.0, 1.0), "f", lambda crops: NOTHING)
    for app in (
        create_app(recognition_config.read({}), detector=NOTHING, embedder=NOTHING, gallery=NOTHING),
        create_embedding_app(embedding_config.read({}), network=network),
    ):
        for method, rule in routes_of(app):
            lines = [line for line in README.splitlines() if line.startswith("|") and f"{rule}`" in line]
            assert any(re.search(rf"\b{method}\b", line) for line in lines), f"{method} {rule}"


REQUIREMENTS = [
    line
    for name in ("requirements.txt", "requirements-serving.txt")
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def test_every_requirement_has_bounds_and_a_reason() -> None:
    for line in REQUIREMENTS:
        if line != "-r requirements-serving.txt":
            assert re.fullmatch(r"[a-z0-9-]+(\[[a-z]+\])?>=[\d.]+,<[\d.]+ +# \S.+", line), line


def test_exactly_one_requirement_provides_cv2() -> None:
    wanted = [line.partition(">")[0] for line in REQUIREMENTS if line.startswith("opencv")]
    assert wanted == ["opencv-contrib-python-headless"]
