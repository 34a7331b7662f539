"""The documentation tells of every setting, route and command, and the requirements give every reason."""

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
from recognition.__main__ import cli
from recognition.app import create_app
from recognition.gallery.__main__ import cli as gallery_cli
from serving.model import Model

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
TOLD = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
NOTHING: Any = None


def documented_settings() -> dict[str, str]:
    """Variables and their defaults, as the table of settings has them; some defaults are words or nothing."""
    told: dict[str, str] = {}
    for line in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines():
        if re.match(r"\| `[A-Z_]+`", line):
            first, second = line.split("|")[1:3]
            names = re.findall(r"`(\w+)`", first)
            defaults = re.findall(r"`([^`]+)`", second)
            told |= dict(
                zip(names, defaults if len(defaults) == len(names) else [""] * len(names), strict=True)
            )
    return told


@pytest.mark.parametrize("config", [recognition_config, embedding_config])
def test_every_setting_is_documented(config: ModuleType) -> None:
    told = documented_settings()
    for name, field in config.Settings.model_fields.items():
        assert name.upper() in told
        if isinstance(field.default, int | float):
            assert float(told[name.upper()]) == field.default, name


def routes_of(app: Flask) -> list[tuple[str, str]]:
    return [
        (method, re.sub(r"<(?:\w+:)?(?:sample_)?(\w+)>", r"<\1>", rule.rule))
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
            lines = [line for line in TOLD.splitlines() if line.startswith("|") and f"{rule}`" in line]
            assert any(re.search(rf"\b{method}\b", line) for line in lines), f"{method} {rule}"


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
    lines = [line for line in TOLD.splitlines() if line.startswith("|")]
    assert any(re.match(rf"\|.*`{command}[` ]", line) for line in lines)


@pytest.mark.parametrize("command", list(commands(gallery_cli)))
def test_every_command_for_a_gallery_is_documented(command: str) -> None:
    assert re.search(rf"`{command}[` ]|recognition\.gallery (--\S+ \S+ )?{command}\b", TOLD)


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


def comparison(page: Path) -> list[str]:
    """The rows of its table of features, without the numbers of their sources."""
    _, _, section = page.read_text(encoding="utf-8").partition("\n## Beside others\n")
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [re.sub(r" \[\d+\]", "", row) for row in rows]


def test_the_comparison_in_the_readme_is_the_one_with_the_sources() -> None:
    short, whole = comparison(ROOT / "README.md"), comparison(ROOT / "docs" / "questions.md")
    assert len(short) > 10
    assert [row for row in whole if row in short] == short


def test_every_source_of_the_comparison_is_named() -> None:
    text = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    table, _, sources = text.partition("\nLooked up on ")
    used = set(re.findall(r"\[(\d+)\]", table))
    assert used == set(re.findall(r"\[(\d+)\]", sources))
