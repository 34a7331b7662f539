"""The speed benchmark's own arithmetic: it alternates, and its ratios are those of medians."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import speed
import steps
from recognition.app import READY_PICTURE
from recognition.faces import Box, Face


def test_systems_take_turns_on_every_input() -> None:
    calls: list[tuple[str, int]] = []
    systems = {name: (lambda item, name=name: calls.append((name, item))) for name in ("ours", "peer")}
    row = speed.alternate("turns", systems, [1, 2], rounds=2)
    warm_up = [("ours", 1), ("peer", 1)]
    one_round = [("ours", 1), ("peer", 1), ("ours", 2), ("peer", 2)]
    assert calls == warm_up + one_round + one_round
    assert {name: len(times) for name, times in row.times.items()} == {"ours": 4, "peer": 4}


def test_the_table_tells_medians_p95_and_ratios() -> None:
    row = speed.Row("a task", {"ours": [1.0, 2.0, 99.0], "peer": [8.0, 8.0, 8.0], "quick": [0.1, 0.1, 0.1]})
    lines = speed.table([row])
    assert lines[2] == "| a task | ours | 2.0 | 89.3 |  |"
    assert lines[3] == "| a task | peer | 8.0 | 8.0 | 4.0 x as fast |"
    assert lines[4] == "| a task | quick | 0.1 | 0.1 | 0.05 x as fast |"


def test_faces_are_common_that_overlap_by_more_than_half() -> None:
    marks = np.zeros((5, 2), np.float32)
    ours = [Face(Box(0, 0, 10, 10), 1, marks), Face(Box(50, 0, 10, 10), 1, marks)]
    theirs = [{"box": [1, 0, 10, 10]}, {"box": [56, 0, 10, 10]}, {"box": [90, 90, 5, 5]}]
    pictures = [np.zeros((100, 100, 3), np.uint8)] * 2
    assert speed.common(lambda _: ours, lambda _: theirs, pictures) == "2 of 8"
    assert speed.common(lambda _: [], lambda _: theirs, pictures) == "0 of 6"
    assert speed.common(lambda _: ours, lambda _: [], pictures) == "0 of 4"


def test_the_steps_of_a_request_are_told(models_dir: Path) -> None:
    lines = steps.profile([READY_PICTURE.read_bytes()], models_dir, threads=1, samples=10, peers=False)
    told = [line.split(" | ")[0].removeprefix("| ") for line in lines[4:]]
    assert told == ["base64", "decode", "detect", "crop", "pack", "embed", "search", "all"]
