"""The README tells of every setting, route and command, and the requirements give every reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from flask import Flask

from embedding import config as embedding_config
from embedding.app import create_app as create_embedding_app
from embedding.network import Network
from recognition import config as recognition_config
from recognition.__main__ import cli
from recognition.app import create_app
from recognition.gallery.__main__ import cli as gallery_cli

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
        (method, re.sub(r"<(?:\w+:)?(?:sample_)?(\w+)>", r"<\1>", rule.rule))
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


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name))


@pytest.mark.parametrize("command", list(commands(cli)))
def test_every_command_is_in_the_readme(command: str) -> None:
    lines = [line for line in README.splitlines() if line.startswith("|")]
    assert any(re.match(rf"\|.*`{command}[` ]", line) for line in lines)


@pytest.mark.parametrize("command", list(commands(gallery_cli)))
def test_every_command_for_a_gallery_is_in_the_readme(command: str) -> None:
    assert re.search(rf"`{command}[` ]|recognition\.gallery (--\S+ \S+ )?{command}\b", README)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        *(
            f"{path.parent.name}/{path.name}"
            for name in ("docs", "benchmarks")
            for path in (ROOT / name).glob("*.md")
        ),
    ],
)
def test_every_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, link
