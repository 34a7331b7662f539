"""The soak's own arithmetic, and a small run: workers are killed, come back, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import soak
from running import ROOT

PICTURES = soak.Pictures(["good"], ["hostile"])
WATCHED = soak.Watched([(1, 100), (2, 110), (3, 130), (4, 130)], [(20.0, "face_detection")])


def answer(what: str, told: str, due_s: float = 0, stored: tuple[str, ...] = ()) -> soak.Answer:
    return soak.Answer(what, told, due_s, due_s + 0.1, stored)


def test_a_tenth_of_the_requests_enrols_and_a_tenth_is_hostile() -> None:
    kinds = [soak.request_of(number, PICTURES)[0] for number in range(10_000)]
    for kind, part in (("enrolment", 0.1), ("hostile picture", 0.1), ("recognition", 0.8)):
        assert abs(kinds.count(kind) / 10_000 - part) < 0.01
    assert soak.request_of(7, PICTURES) == soak.request_of(7, PICTURES)


@pytest.mark.parametrize(
    ("what", "told", "fails"),
    [
        ("recognition", "200", False),
        ("hostile picture", "400 invalid_image", False),
        ("hostile picture", "413 image_too_large", False),
        ("hostile picture", "500 internal_error", True),
        ("recognition", "400 invalid_image", True),
        ("enrolment", "ConnectionError", True),
    ],
)
def test_what_counts_as_a_failure(what: str, told: str, fails: bool) -> None:
    assert answer(what, told).fails() == fails


def test_the_report_counts_what_is_lost_and_what_a_kill_explains() -> None:
    answers = [
        answer("enrolment", "200", stored=("a",)),
        answer("enrolment", "200", stored=("b",)),
        answer("enrolment", "ConnectionError", due_s=19.95),
        answer("recognition", "429 overloaded", due_s=29),
        answer("recognition", "429 overloaded", due_s=31),
        answer("hostile picture", "400 invalid_image"),
    ]
    text = soak.report(answers, WATCHED, {"a", "c"}, "2 of 2", "Load.")
    assert "| enrolment | 200 | 2 |\n" in text
    assert "failed: 3 of 6, 2 of them in progress" in text
    assert "acknowledged: 2; lost of these: 1; stored without an acknowledgement: 1." in text
    assert "105 MB in the first half, 130 in the second, at most 130." in text
    assert "Killed: 1 workers of face_detection." in text


@pytest.mark.skipif(sys.platform != "linux", reason="looks for workers in /proc")
def test_a_small_run_kills_workers_and_loses_nothing(tmp_path: Path, models_dir: Path) -> None:
    options = ["--minutes", "0.2", "--rate", "3", "--kill-every-s", "4", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "benchmarks/soak.py", *options], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "SOAK.md").read_text(encoding="utf-8")
    assert "lost of these: 0;" in text
    assert "Killed: none" not in text
    assert "Workers at the end: 2 of 2 and 2 of 2." in text
    assert (tmp_path / "soak.png").stat().st_size > 0
