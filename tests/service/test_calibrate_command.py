"""`recognition gallery calibrate`: what a wish means in a gallery, on both databases."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from galleries import a_sample
from recognition import backgrounds
from recognition.cli.main import cli
from recognition.gallery import Gallery, galleries, open_gallery

FACENET = str(backgrounds.read(backgrounds.FOLDER / "Facenet.npz")[0]["fingerprint"])
LENGTH = 10.0


def enrol(gallery: Gallery, people: int, fingerprint: str = FACENET) -> None:
    """Three samples of each, about a place of their own."""
    random = np.random.default_rng(1)
    places = random.normal(size=(people, 1, 128))
    vectors = (places + random.normal(scale=0.5, size=(people, 3, 128))).reshape(-1, 128)
    vectors *= LENGTH / np.linalg.norm(vectors, axis=1, keepdims=True)
    samples = [a_sample(f"{person}/{n}", name=f"p{person}") for person in range(people) for n in range(3)]
    gallery.upsert(samples, vectors.astype(np.float32), fingerprint)


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["gallery", "--database", url, "calibrate", *arguments])


def refused(url: str, *arguments: str) -> str:
    result = run(url, *arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    return result.stderr


def test_it_says_what_usual_wishes_mean_and_cost(url: str, gallery: Gallery) -> None:
    enrol(gallery, 12)
    before = gallery.count()
    result = run(url, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(told) == {"people", "wishes", "least"}
    assert told["people"] == 12
    assert [wish["max_false_match"] for wish in told["wishes"]] == [0.1, 0.03, 0.01, 0.003, 0.001]
    for name in ("score", "missed"):
        values = [wish[name] for wish in told["wishes"]]
        assert values == sorted(values), name
    assert 0 < told["least"] < 1
    lines = run(url).stdout.splitlines()
    assert lines[0] == "12 people."
    assert [line.split()[:4] for line in lines[2:4]] == [["0.1", "1", "in", "10"], ["0.03", "1", "in", "30"]]
    assert re.match(r"With fewer than 1 in \d0*, more than one in ten ", lines[-1])
    assert gallery.count() == before


def test_wishes_of_ones_own(url: str, gallery: Gallery) -> None:
    enrol(gallery, 12)
    told = json.loads(run(url, "--wish", "0.02", "--wish", "0.2", "--wish", "0.02", "--json").stdout)
    assert [wish["max_false_match"] for wish in told["wishes"]] == [0.2, 0.02]
    for wish in ("0", "0.6", "nan", "few"):
        assert run(url, "--wish", wish).exit_code == 2


def test_one_gallery_of_several(url: str, gallery: Gallery) -> None:
    enrol(gallery, 12)
    galleries.make(gallery, "lobby")
    enrol(gallery.of("lobby"), 3)
    assert run(url, "--gallery", "lobby").stdout.startswith("3 people.")
    assert run(url).stdout.startswith("12 people.")
    assert "no gallery with this name" in refused(url, "--gallery", "nowhere")


def test_without_anybody_to_compare_with_it_says_what_is_missing(url: str, gallery: Gallery) -> None:
    assert "is empty" in refused(url)
    enrol(gallery, 12, "another model-1")
    assert "300 are needed" in refused(url)
    error = json.loads(run(url, "--json").stderr.splitlines()[-1])["error"]
    assert error["code"] == "not_calibrated"


def test_people_of_a_model_without_background_serve_if_they_are_enough(url: str, gallery: Gallery) -> None:
    enrol(gallery, 300, "another model-1")
    assert run(url).stdout.startswith("300 people.")


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_it_makes_no_gallery(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    url = f"sqlite:///{tmp_path / 'none.sqlite3'}"
    result = run(url, *arguments)
    assert (result.exit_code, result.stdout, list(tmp_path.iterdir())) == (3, "", [])


def test_a_new_gallery_has_no_wishes_yet(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    open_gallery(url, 5).close()
    assert "is empty" in refused(url)
