"""`recognition gallery change-model`: what it says, and that it can be killed at any moment.

KILLS=50 kills it as often on each database; without it a few times.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import simplejpeg
from click.testing import CliRunner, Result

from embedding_service import running_two_models
from fakes import FACE, TwoModels
from galleries import a_sample
from recognition.cli.main import cli
from recognition.faces import KeptFace
from recognition.gallery import Gallery, models, open_gallery, transfer
from recognition.gallery.changes import release as stop
from recognition.seeing import fingerprint_of

KILLS = int(os.environ.get("KILLS", 4))
SAMPLES = 200
A, B = (fingerprint_of(model) for model in TwoModels.MODELS.values())


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with running_two_models(TwoModels()) as url:
        monkeypatch.setenv("FEATURE_EXTRACTION_URL", url)
        yield url


def enrol(gallery: Gallery, greys: range, *, faces: bool = True) -> None:
    def kept(grey: int) -> KeptFace:
        pixels = np.full((32, 32, 3), grey, np.uint8)
        return KeptFace(simplejpeg.encode_jpeg(pixels, quality=98, colorsubsampling="444"), FACE)

    vectors = np.ones((len(greys), 4), np.float32)
    vectors[:, 0] = np.array(greys) / 10
    gallery.upsert([a_sample(f"{grey:03}", face=kept(grey) if faces else None) for grey in greys], vectors, A)


def nearest(gallery: Gallery, grey: int) -> tuple[str, list[float]]:
    """Search by the model that the gallery has: who is nearest, and the two distances."""
    gallery.check_there()
    name = gallery.model_name or "a"
    probe = np.ones((1, TwoModels.MODELS[name].dimension), np.float32)
    probe[0, 0] = grey / (5 if name == "b" else 10)
    (found,) = gallery.nearest(probe, 2, {"a": A, "b": B}[name])
    return found[0].sample.id, [round(match.distance, 1) for match in found]


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["gallery", "--database", url, "change-model", *arguments])


def ok(url: str, *arguments: str) -> str:
    result = run(url, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_there_and_back_in_words(url: str, gallery: Gallery, service: str) -> None:
    enrol(gallery, range(5))
    assert ok(url, "--status") == "5 samples, searched by the embedding service's own model.\n"
    assert ok(url, "b") == "5 vectors made.\nThe gallery has the model b now.\n"
    assert nearest(gallery, 3) == ("003", [0.0, 0.2])
    assert ok(url, "--status") == "5 samples, searched by b.\n5 of them have a vector of a, too.\n"
    assert ok(url, "--back") == "The gallery has the model a now.\n"
    assert nearest(gallery, 3) == ("003", [0.0, 0.1])
    assert ok(url, "--forget") == "5 vectors removed.\n"
    result = run(url, "--back")
    assert (result.exit_code, "name the model" in result.stderr) == (1, True)


def test_samples_without_a_face(url: str, gallery: Gallery, service: str) -> None:
    enrol(gallery, range(5))
    enrol(gallery, range(100, 130), faces=False)
    result = run(url, "b")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[:3] == ["5 vectors made.", "30 samples have no face that could be read:", "  100"]
    assert lines[-2:] == [
        "  ... (--list lists all)",
        "The gallery has NOT changed. Enrol these samples anew and start this again, "
        "or let them wait (--leave), or delete them (--drop).",
    ]
    assert ok(url, "--list").split() == [f"{number}" for number in range(100, 130)]
    assert "A change to b has stopped (without_face).\n30 samples wait" in ok(url, "--status")
    assert json.loads(ok(url, "--stop", "--json")) == {"stopped": True}
    assert ok(url, "--stop") == "No change was under way.\n"
    assert run(url, "--back").exit_code == 1  # where it never was
    outcome = json.loads(ok(url, "b", "--leave", "--json"))
    assert (outcome["changed"], outcome["embedded"], outcome["waiting"]) == (True, 0, 30)
    assert json.loads(ok(url, "--list", "--json"))["waiting"][0] == "100"
    assert json.loads(ok(url, "b", "--drop", "--json"))["dropped"] == 30
    assert gallery.count() == 5


@pytest.mark.parametrize(
    "arguments", [(), ("b", "--back"), ("b", "--leave", "--drop"), ("--status", "--forget")]
)
def test_what_is_not_clear(url: str, service: str, arguments: tuple[str, ...]) -> None:
    assert run(url, *arguments).exit_code == 2


def test_an_embedding_service_that_lacks_the_model_or_is_down(
    url: str, gallery: Gallery, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(gallery, range(5))
    result = run(url, "nonesuch")
    assert (result.exit_code, "does not have that model" in result.stderr) == (1, True)
    monkeypatch.setenv("FEATURE_EXTRACTION_URL", "http://127.0.0.1:1")
    result = run(url, "b")
    assert (result.exit_code, "cannot be reached" in result.stderr) == (1, True)
    assert models.status(gallery).has_other is False
    assert nearest(gallery, 3) == ("003", [0.0, 0.1])


def test_it_is_killed_again_and_again(url: str, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of batches, and around the moment in which the gallery changes over."""
    random_ = random.Random(1)
    enrol(gallery, range(SAMPLES))
    moment: list[Any] = [0, threading.Event()]  # crops until it is killed

    def embedded(crops: int) -> None:
        moment[0] -= crops
        if moment[0] <= 0:
            moment[1].set()

    command = [sys.executable, "-m", "recognition", "gallery", "--database", url, "change-model"]
    kills = changes = 0
    with (
        running_two_models(TwoModels(), embedded) as service,
        closing(open_gallery(url, lock_timeout_s=5)) as other,
    ):
        environment = os.environ | {"FEATURE_EXTRACTION_URL": service}
        while kills < KILLS:
            name = "a" if gallery.model_name == "b" else "b"
            stop(gallery)  # of one that was killed
            models.forget(gallery)
            before = changes
            while changes == before:
                moment[:] = [random_.choice([1, random_.randrange(SAMPLES), 64]), threading.Event()]
                process = subprocess.Popen(
                    [*command, name], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                while process.poll() is None and not moment[1].wait(0.02):
                    pass
                try:  # a batch takes a few milliseconds, as the change itself does
                    process.wait(random_.choice([0.0, 0.005, 0.02, 0.05, 0.1]))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                process.wait()
                for worker in (gallery, other):
                    found = nearest(worker, 150)
                    assert found == ("150", [0.0, 0.2 if worker.model_name == "b" else 0.1])
                assert list(transfer.faults(gallery)) == []
                gallery.check_there()
                changes += gallery.model_name == name
    print(f"{kills} kills, {changes} changes")
    assert gallery.count() == SAMPLES
