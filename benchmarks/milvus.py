"""Milvus as the index of the gallery, beside memory and pgvector: the figures of docs/scaling.md.

Made-up faces as in gallery.py are enrolled in SQLite and, with `--postgresql`, in a PostgreSQL server of our
own. They are then searched in memory, by pgvector's index, and in each `--index`: the address of a Milvus
server, or the path of a file of milvus-lite. Said of each is how fast vectors go in, how long a search for a
face takes, with all that the service adds, how often the nearest sample of enrolled people is the one that a
float64 search through everything finds, and by how much this process and that of `--server-pid` have grown.
Prints Markdown, a row as soon as it is known.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import gallery as made_up  # which also finds the packages of the services
from gallery import DIMENSION, MODEL, TIMEOUT_S, Vectors
from recognition.gallery import Gallery, open_gallery
from recognition.gallery.milvus import Milvus, Rows
from recognition.gallery.milvus_source import ROWS_PER_READ
from recognition.gallery.opening import shown
from recognition.gallery.search_milvus import SPARE
from services import resident_mb

EF_SEARCH = 120  # GALLERY_EF_SEARCH's default
HEADING = [
    "| index | vectors put a second | ready after, s | median ms | p95 ms | nearest found | grown, MB |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
]


def search(gallery: Gallery, probes: Vectors, limit_s: float) -> tuple[list[float], list[int]]:
    """Search for one face after the other, for `limit_s` seconds at most: ms, and the nearest samples."""
    times: list[float] = []
    found: list[int] = []
    until = time.perf_counter() + limit_s
    for probe in tqdm(probes, desc="searching", unit="face"):
        began = time.perf_counter()
        ((match,),) = gallery.nearest(probe[np.newaxis], 1, MODEL)
        times.append(1000 * (time.perf_counter() - began))
        found.append(int(match.sample.id))
        if time.perf_counter() > until:
            break
    return times, found


def row(
    name: str,
    url: str,
    index: str | None,
    put: float | None,
    size: int,
    probes: Vectors,
    truth: NDArray[np.intp],
    pid: int | None,
    limit_s: float,
    settle_s: float,
) -> str:
    """Search, with an index or without one; put: how many vectors went in a second, None: they go in now."""
    pids = [os.getpid(), *([pid] if pid else [])]
    before = sum(map(resident_mb, pids))
    with closing(open_gallery(url, TIMEOUT_S, index=index)) as gallery:
        began = time.perf_counter()
        gallery.load()
        gallery.nearest(np.ones((1, DIMENSION), np.float32), 1, MODEL)
        ready_s = time.perf_counter() - began
        time.sleep(0 if index is None else settle_s)
        times, found = search(gallery, probes, limit_s)
        grown = sum(map(resident_mb, pids)) - before
    right = np.mean(np.equal(found, truth[: len(found)]))
    return (
        f"| {name} | {put or size / ready_s:,.0f} | {ready_s:.1f} | {np.median(times):.1f} | "
        f"{np.percentile(times, 95):.1f} | {right:.3f} of {len(found)} | {grown:,.0f} |"
    )


def alone(
    index: str, vectors: Vectors, probes: Vectors, truth: NDArray[np.intp], pid: int | None, settle_s: float
) -> str:
    """Put vectors into Milvus and search there, without a gallery."""
    before = resident_mb(pid) if pid else 0.0
    name, fill = "faces_benchmark", time.time_ns()
    with closing(Milvus(index, None, TIMEOUT_S)) as milvus:
        milvus.open(name, DIMENSION)
        began = time.perf_counter()
        for start in tqdm(range(0, len(vectors), ROWS_PER_READ), desc="putting", unit="read"):
            some = vectors[start : start + ROWS_PER_READ]
            keys = np.arange(start, start + len(some)) + 1
            milvus.put(name, fill, Rows(keys, np.ones_like(keys), some), anew=False)
        milvus.seal(name)
        ready_s = time.perf_counter() - began
        time.sleep(settle_s)
        times, found = [], []
        for probe in tqdm(probes, desc="searching", unit="face"):
            began = time.perf_counter()
            ((nearest, *_),) = milvus.nearest(name, fill, probe[np.newaxis], 1 + SPARE, EF_SEARCH)
            times.append(1000 * (time.perf_counter() - began))
            found.append(nearest[0] - 1)
        grown = resident_mb(pid) - before if pid else 0.0
        milvus.drop(name)
    right = np.mean(np.equal(found, truth))
    return (
        f"| Milvus alone | {len(vectors) / ready_s:,.0f} | {ready_s:.1f} | {np.median(times):.1f} | "
        f"{np.percentile(times, 95):.1f} | {right:.3f} of {len(found)} | {grown:,.0f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=100_000, help="samples (%(default)s)")
    parser.add_argument("--probes", type=int, default=500, help="faces that are searched (%(default)s)")
    parser.add_argument("--index", action="append", default=[], help="an empty Milvus; repeatable")
    parser.add_argument("--server-pid", type=int, help="the process of the server")
    parser.add_argument("--postgresql", action="store_true", help="pgvector, too")
    parser.add_argument("--alone", action="store_true", help="no gallery: vectors go straight into Milvus")
    parser.add_argument("--search-minutes", type=float, default=5, help="at most, of each (%(default)s)")
    parser.add_argument(
        "--settle-s", type=float, default=30, help="how long Milvus may make its index (%(default)s)"
    )
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.size)
    centres = made_up.people(max(1, arguments.size // made_up.SAMPLES_EACH), random)
    vectors = made_up.pictures(centres[random.integers(0, len(centres), arguments.size)], random)
    probes = made_up.pictures(centres[random.integers(0, len(centres), arguments.probes)], random)
    truth = made_up.exact(probes, vectors)
    packages = made_up.machine("numpy", "pymilvus", "milvus-lite", "pgvector")
    print(
        f"{arguments.size:,} samples, {arguments.probes} probes; {packages}.\n",
        *HEADING,
        sep="\n",
        flush=True,
    )
    times = 60 * arguments.search_minutes, arguments.settle_s
    if arguments.alone:
        for index in arguments.index:
            print(alone(index, vectors, probes, truth, arguments.server_pid, arguments.settle_s), flush=True)
        return
    servers = made_up.postgresql if arguments.postgresql else lambda _: nullcontext(list[str]())
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as urls:
        file = f"sqlite:///{folder}/gallery.sqlite3"
        about = arguments.size, probes, truth
        for url in (file, *urls):
            with closing(open_gallery(url, TIMEOUT_S)) as gallery:
                put = made_up.fill(gallery, url, vectors, 3600)
            name = "memory (SQLite)" if url == file else "pgvector (PostgreSQL)"
            print(row(name, url, None, put, *about, None, *times), flush=True)
        for index in arguments.index:
            pid = arguments.server_pid if "://" in index else None
            name = f"Milvus at {shown(index)}" if "://" in index else "milvus-lite, a file"
            print(row(name, file, index, None, *about, pid, *times), flush=True)


if __name__ == "__main__":
    main()
