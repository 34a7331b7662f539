"""What GALLERY_KEY costs: `python benchmarks/encryption.py --sizes 100000 1000000`.

Two SQLite galleries of the same vectors, one plain, one encrypted, are enrolled 10,000 samples at a time,
ten times, filled up to their size, then loaded as a worker does when it starts, and given single samples. All
that is measured alternates (plain, encrypted, plain, ...); medians, and the median of the ratios of
neighbours, are printed.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "face_detection"))

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from recognition.faces import Sample
from recognition.gallery import Gallery, open_gallery
from recognition.gallery.cipher import Cipher

KEYS = {"plain": None, "encrypted": bytes(range(32))}
DIMENSION = 128
SAMPLES_PER_REQUEST = 10_000
REQUESTS = 10
MODEL = "benchmark"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOADS = 5
SINGLE_ENROLMENTS = 50

Seconds = dict[str, list[float]]


def some_vectors(count: int, seed: int) -> NDArray[np.float32]:
    """Make up vectors: float32 (count, 128)."""
    return np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)


def enrol(gallery: Gallery, start: int, vectors: NDArray[np.float32]) -> None:
    """Enrol vectors under the ids `start`, `start` + 1, ..."""
    new = [
        Sample(str(start + i), f"name of {start + i}", {"door": 1}, None, NOW, NOW)
        for i in range(len(vectors))
    ]
    gallery.upsert(new, vectors, MODEL)


def fill(file: Path, key: bytes | None, numbers: range) -> None:
    """Write samples into the table past SQLAlchemy: this is not measured."""
    cipher = key and Cipher(key)
    row = "INSERT INTO samples SELECT NULL, ?, name, metadata, action, ?, fingerprint, created, modified, "
    row += "revision, expires_at FROM samples WHERE key = 1"
    with closing(sqlite3.connect(file)) as connection, connection:
        for start in tqdm(numbers[::SAMPLES_PER_REQUEST], desc="filling", unit="request"):
            plain = [vector.tobytes() for vector in some_vectors(SAMPLES_PER_REQUEST, seed=start)]
            ids = [str(start + i) for i in range(len(plain))]
            sealed = [cipher.seal(p, i, MODEL) for p, i in zip(plain, ids, strict=True)] if cipher else plain
            connection.executemany(row, zip(ids, sealed, strict=True))


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measured(folder: Path, size: int) -> dict[str, Seconds]:
    """Return the seconds of each kind of work, by the kind of gallery."""
    urls = {kind: f"sqlite:///{folder / kind}" for kind in KEYS}
    galleries = {kind: open_gallery(urls[kind], 60, key=key) for kind, key in KEYS.items()}
    found: dict[str, Seconds] = {
        what: {kind: [] for kind in KEYS}
        for what in ("10,000 samples enrolled", "loaded", "one sample enrolled")
    }
    begun = min(size, REQUESTS * SAMPLES_PER_REQUEST)
    for start in tqdm(range(0, begun, SAMPLES_PER_REQUEST), desc="enrolling", unit="request"):
        vectors = some_vectors(SAMPLES_PER_REQUEST, seed=start)
        for kind, gallery in galleries.items():
            found["10,000 samples enrolled"][kind].append(timed(partial(enrol, gallery, start, vectors)))
    for kind, key in KEYS.items():
        fill(folder / kind, key, range(begun, size))
    for _ in tqdm(range(LOADS), desc="loading"):
        for kind, key in KEYS.items():
            worker = open_gallery(urls[kind], 60, key=key)
            found["loaded"][kind].append(timed(worker.load))
            worker.close()
    for number in range(SINGLE_ENROLMENTS):
        vectors = some_vectors(1, seed=number)
        for kind, gallery in galleries.items():
            taken = timed(partial(enrol, gallery, size + number, vectors))
            found["one sample enrolled"][kind].append(taken)
    for gallery in galleries.values():
        gallery.close()
    return found


def main() -> None:
    """Measure each size, and print a line for each kind of work."""
    parser = argparse.ArgumentParser(description="What the encryption of the gallery's vectors costs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000])
    for size in parser.parse_args().sizes:
        with tempfile.TemporaryDirectory() as folder:
            for what, seconds in measured(Path(folder), size).items():
                plain, encrypted = seconds["plain"], seconds["encrypted"]
                ratio = statistics.median(e / p for p, e in zip(plain, encrypted, strict=True))
                print(
                    f"{size:>9,} samples, {what}: plain {1000 * statistics.median(plain):,.1f} ms, "
                    f"encrypted {1000 * statistics.median(encrypted):,.1f} ms, ratio {ratio:.2f}"
                )


if __name__ == "__main__":
    main()
