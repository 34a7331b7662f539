"""Progress in a log, where no terminal shows a bar: a line now and then, with the rate and the time left."""

from __future__ import annotations

import pytest

from recognition.cli.pace import line, paced


def test_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    with paced("looking", 1000, lambda: now) as advance:
        for now in (110.0, 131.0, 140.0, 190.0):  # noqa: B007
            advance(100)
    assert capsys.readouterr().err.splitlines() == [
        "looking: 200 of 1,000, 6.5/s, 0:02:04 left",
        "looking: 400 of 1,000, 4.4/s, 0:02:15 left",
    ]


def test_nothing_to_do_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with paced("looking", 0, lambda: 0.0) as advance:
        advance(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("done", "seconds", "said"),
    [
        (0, 0, "x: 0 of 36,000, 0.0/s"),
        (9_000, 900, "x: 9,000 of 36,000, 10.0/s, 0:45:00 left"),
        (1, 10, "x: 1 of 36,000, 0.1/s, 99:59:50 left"),
        (36_000, 10, "x: 36,000 of 36,000, 3,600.0/s"),
    ],
)
def test_a_line(done: int, seconds: float, said: str) -> None:
    assert line("x", done, 36_000, seconds) == said
