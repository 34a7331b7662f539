"""Progress of what takes hours: how much is done, how fast it goes, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recognition.cli.session import TERMINAL

EVERY_S = 30.0  # a line, where there is no terminal to show a bar on, but a log


@contextmanager
def paced(
    description: str, total: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and time left on a terminal, and a line now and then in a log.

    Call what is yielded with the number done in each step.
    """
    if not total:
        yield lambda number: None
        return
    began = clock()
    if not TERMINAL.is_terminal:
        yield _lines(description, total, began, clock)
        return
    columns = (
        TextColumn(description),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=TERMINAL, speed_estimate_period=60) as bar:
        task = bar.add_task(description, total=total, rate="")
        done = 0

        def advance(number: int) -> None:
            nonlocal done
            done += number
            bar.update(task, completed=done, rate=f"{_rate(done, clock() - began):,.1f}/s")

        yield advance


def _lines(description: str, total: int, began: float, clock: Callable[[], float]) -> Callable[[int], None]:
    done, told = 0, began

    def advance(number: int) -> None:
        nonlocal done, told
        done += number
        now = clock()
        if now - told >= EVERY_S:
            told = now
            click.echo(line(description, done, total, now - began), err=True)

    return advance


def line(description: str, done: int, total: int, seconds: float) -> str:
    """Say how far something is that has taken so many seconds."""
    rate = _rate(done, seconds)
    text = f"{description}: {done:,} of {total:,}, {rate:,.1f}/s"
    if not rate or done >= total:
        return text
    minutes, left_s = divmod(round((total - done) / rate), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{text}, {hours}:{minutes:02}:{left_s:02} left"


def _rate(done: int, seconds: float) -> float:
    return done / seconds if seconds > 0 else 0.0
