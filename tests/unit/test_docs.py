"""The documentation has every setting, route and command, and the requirements have bounds and reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
from recognition.app import create_app
from recognition.cli.main import cli
from serving.model import Model

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [
    README,
    *(ROOT / name for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
TABLE_ROWS = [line for line in TEXT.splitlines() if line.startswith("|")]
MAX_README_WORDS = 900
MADE = {"tests/screenshots/", "deploy/.env"}  # by tests, or by the reader
NOTHING: Any = None


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= MAX_README_WORDS


def test_the_readme_leads_to_every_page() -> None:
    text = README.read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"({page.relative_to(ROOT).as_posix()}" in text, page.name


def documented_settings() -> dict[str, str]:
    """Variables and their defaults from the table of settings; a default in words, or none, is ""."""
    defaults_of: dict[str, str] = {}
    for line in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines():
        if re.match(r"\| `[A-Z_]+`", line):
            first, second = line.split("|")[1:3]
            names = re.findall(r"`(\w+)`", first)
            defaults = re.findall(r"`([^`]+)`", second)
            if len(defaults) != len(names):
                defaults = [""] * len(names)
            defaults_of |= dict(zip(names, defaults, strict=True))
    return defaults_of


@pytest.mark.parametrize("config", [recognition_config, embedding_config])
def test_every_setting_is_documented(config: ModuleType) -> None:
    defaults_of = documented_settings()
    for name, field in config.Settings.model_fields.items():
        assert name.upper() in defaults_of
        if isinstance(field.default, int | float):
            assert float(defaults_of[name.upper()]) == field.default, name


def routes_of(app: Flask) -> list[tuple[str, str]]:
    return [
        (method, re.sub(r"<(?:\w+:)?(?:sample_|person_|event_)?(\w+)>", r"<\1>", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    ]


def test_every_route_is_documented() -> None:
    network = Network(Model("n", 1, 1, 1.0, (0.0, 1.0), "f"), lambda crops: NOTHING)
    for app in (
        create_app(recognition_config.read({}), detector=NOTHING, embedder=NOTHING, gallery=NOTHING),
        create_embedding_app(embedding_config.read({}), network=network),
    ):
        for method, rule in routes_of(app):
            rows = [row for row in TABLE_ROWS if f"{rule}`" in row]
            assert any(re.search(rf"\b{method}\b", row) for row in rows), f"{method} {rule}"


PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
SERVING = PROJECT.partition("\ndependencies = [\n")[2].partition("\n]")[0].splitlines()
PREPARING = PROJECT.partition("\nprepare = [\n")[2].partition("\n]")[0].splitlines()


def test_every_requirement_has_bounds_and_a_reason() -> None:
    assert len(SERVING) > 20
    assert len(PREPARING) > 5
    for line in (*SERVING, *PREPARING):
        assert re.fullmatch(r' {4}"[a-z0-9-]+(\[[a-z]+\])?>=[\d.]+,<[\d.]+", +# \S.+', line), line


def test_exactly_one_requirement_provides_cv2() -> None:
    names = [line.strip(' "').partition(">")[0] for line in (*SERVING, *PREPARING)]
    assert [name for name in names if "opencv" in name] == ["opencv-contrib-python-headless"]


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name))


@pytest.mark.parametrize("command", list(commands(cli)))
def test_every_command_is_documented(command: str) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert any(re.match(rf"\|.*`{command}[` ]", row) for row in rows)


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted((ROOT / "benchmarks").glob("*.md"))], ids=lambda page: page.name
)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, link


def test_every_file_that_a_page_names_exists() -> None:
    """Paths of the repository in code style; not those that are made, nor those of other projects."""
    folders = "benchmarks|deploy|docs|face_detection|feature_extraction|preparation|serving|tests"
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # it may name what is gone
            continue
        for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text(encoding="utf-8")):
            assert path in MADE or (ROOT / path).exists(), f"{page.name}: {path}"


def test_every_source_of_the_comparison_is_named() -> None:
    text = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    table, _, sources = text.partition("\nLooked up on ")
    used = set(re.findall(r"\[(\d+)\]", table))
    assert used
    assert used == set(re.findall(r"\[(\d+)\]", sources))
