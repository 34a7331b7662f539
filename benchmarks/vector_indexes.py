"""What a sample costs on disk, and what pgvector's indexes cost and find: the figures of docs/scaling.md.

Made-up faces as in gallery.py are enrolled in SQLite and in a PostgreSQL server of our own. In PostgreSQL the
same rows then get one index after the other: the service's own (HNSW over float32), HNSW over 16-bit
floats, HNSW over one bit a value whose candidates are compared exactly, and none. Each is built at once,
asked for the nearest of every probe, and held against a float64 search through everything. Prints Markdown.

With `--second-look` it shows instead what it brings to look harder where the index finds nobody near enough
(search_database.py), in the service's own search: each person has one sample, probes are faces of some of
them and of as many strangers, and the ways to search take turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from tqdm import tqdm

import gallery as made_up  # which also finds the packages of the services
from gallery import DIMENSION, MODEL, TIMEOUT_S, Vectors
from recognition.gallery import Gallery, open_gallery
from recognition.gallery.search_database import SPARE
from recognition.gallery.tables import DEFAULT_KEY
from recognition.gallery.vector_indexes import EF_CONSTRUCTION, M, index_of
from recognition.gallery.vector_rows import FIRST

EF_SEARCH = 120  # GALLERY_EF_SEARCH's default
NEAR = 9.0  # the default threshold of FaceNet, like which the vectors are
BITS = f"binary_quantize(vector::vector({DIMENSION}))::bit({DIMENSION})"
WITH = f"WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
NEW_SAMPLES = 1_000  # enrolled in one request while the index is there


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to search in PostgreSQL: what makes its index, the candidates' order, and their number."""

    create: str
    order: str
    candidates: int


KINDS = {
    "HNSW, float32: the service's own": Kind(
        index_of(DEFAULT_KEY, FIRST, DIMENSION).partition(" WHERE ")[0],  # as the query below has none
        f"vector::vector({DIMENSION}) <-> %(probe)s",
        1 + SPARE,
    ),
    "HNSW, 16-bit floats (halfvec)": Kind(
        f"CREATE INDEX samples_by_vector ON samples USING hnsw"
        f" ((vector::halfvec({DIMENSION})) halfvec_l2_ops) {WITH}",
        f"vector::halfvec({DIMENSION}) <-> %(probe)s::halfvec({DIMENSION})",
        1 + SPARE,
    ),
    f"HNSW, one bit a value, {EF_SEARCH} candidates compared": Kind(
        f"CREATE INDEX samples_by_vector ON samples USING hnsw (({BITS}) bit_hamming_ops) {WITH}",
        f"{BITS} <~> binary_quantize(%(probe)s::vector({DIMENSION}))",
        EF_SEARCH,
    ),
    "none: every row is compared": Kind("", "vector <-> %(probe)s", 1),
}


def fill(gallery: Gallery, vectors: Vectors, first: int) -> None:
    """Enrol vectors as `first`, `first` + 1, ... in requests of 10,000."""
    for start in tqdm(range(0, len(vectors), made_up.SAMPLES_PER_REQUEST), desc="enrolling", unit="request"):
        some = vectors[start : start + made_up.SAMPLES_PER_REQUEST]
        gallery.upsert([made_up.sample(str(first + start + i)) for i in range(len(some))], some, MODEL)


def sqlite(folder: Path, vectors: Vectors) -> list[str]:
    """Enrol everything in SQLite; returns lines of Markdown."""
    path = folder / "gallery.sqlite3"
    url = f"sqlite:///{path}"
    gallery = open_gallery(url, TIMEOUT_S)
    fill(gallery, vectors, 0)
    gallery.close()
    with sa.create_engine(url).connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    with made_up.reader(url) as pipe:
        ready_s, memory_mb = pipe.recv()
    return [
        f"- SQLite: {path.stat().st_size / len(vectors):,.0f} bytes a sample on disk, and in each worker "
        f"{memory_mb * 2**20 / len(vectors):,.0f} bytes, {ready_s:.2f} s after its start."
    ]


def postgresql(url: str, vectors: Vectors, probes: Vectors) -> list[str]:
    """Enrol everything in PostgreSQL, and try every kind of index; returns lines of Markdown."""
    truth = made_up.exact(probes, vectors)
    gallery = open_gallery(url, TIMEOUT_S, EF_SEARCH)
    gallery.upsert([made_up.sample("0")], vectors[:1], MODEL)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for setting in (
            "maintenance_work_mem = '1GB'",
            f"hnsw.ef_search = {EF_SEARCH}",
            "hnsw.iterative_scan = relaxed_order",
            "enable_seqscan = off",  # in small galleries PostgreSQL leaves its index aside
        ):
            connection.exec_driver_sql(f"SET {setting}")
        connection.exec_driver_sql("DROP INDEX samples_by_vector")
        fill(gallery, vectors[1:], 1)
        connection.exec_driver_sql("VACUUM ANALYZE samples")
        rows, others = connection.exec_driver_sql(
            "SELECT pg_table_size('samples'), pg_indexes_size('samples')"
        ).one()
        counting = seconds(lambda: connection.exec_driver_sql("SELECT count(*) FROM samples").scalar_one())
        lines = [
            f"- PostgreSQL: {rows / len(vectors):,.0f} bytes a row, {others / len(vectors):,.0f} for its "
            f"indexes but that of vectors; all are counted in {1000 * counting:.0f} ms.",
            "",
            "| index of the vectors | bytes a vector | built in, s | median ms | p95 ms | nearest found |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            *(row(connection, name, kind, vectors, probes, truth) for name, kind in KINDS.items()),
        ]
        connection.exec_driver_sql(index_of(DEFAULT_KEY, FIRST, DIMENSION))
        new = made_up.people(NEW_SAMPLES, np.random.default_rng(0))
        enrolling = seconds(lambda: fill(gallery, new, len(vectors)))
    gallery.close()
    engine.dispose()
    rate = NEW_SAMPLES / enrolling
    return [*lines, "", f"- With the service's index there {rate:,.0f} samples a second go in."]


def row(
    connection: sa.Connection,
    name: str,
    kind: Kind,
    vectors: Vectors,
    probes: Vectors,
    truth: NDArray[np.intp],
) -> str:
    """Build one kind of index, search for each probe, and remove it; returns a row of the table.

    Raises:
        AssertionError: PostgreSQL does not use the index.
    """
    built = seconds(lambda: connection.exec_driver_sql(kind.create)) if kind.create else 0.0
    size = 0
    query = (
        "SELECT sample_id FROM (SELECT key, sample_id, vector FROM samples"
        f" ORDER BY {kind.order} LIMIT {kind.candidates}) AS candidates"
        " ORDER BY vector <-> %(probe)s, key LIMIT 1"
    )
    texts = [{"probe": f"[{','.join(map(str, probe.tolist()))}]"} for probe in probes]
    if kind.create:
        size = connection.exec_driver_sql("SELECT pg_relation_size('samples_by_vector')").scalar_one()
        plan = connection.exec_driver_sql(f"EXPLAIN {query}", texts[0]).scalars()
        assert any("samples_by_vector" in line for line in plan)
    times, found = [], []
    for text in tqdm(texts, desc=name, unit="face"):
        began = time.perf_counter()
        found.append(int(connection.exec_driver_sql(query, text).scalar_one()))
        times.append(1000 * (time.perf_counter() - began))
    connection.exec_driver_sql("DROP INDEX IF EXISTS samples_by_vector")
    return (
        f"| {name} | {size / len(vectors):,.0f} | {built:.0f} | {np.median(times):.1f} | "
        f"{np.percentile(times, 95):.1f} | {np.mean(np.equal(found, truth)):.3f} |"
    )


def second_look(url: str, size: int, number: int) -> list[str]:
    """Search with and without a second look; returns lines of Markdown."""
    random = np.random.default_rng(size)
    centres = made_up.people(size, random)
    vectors = made_up.pictures(centres, random)
    known = made_up.pictures(centres[random.choice(size, number, replace=False)], random)
    strange = made_up.pictures(made_up.people(number, random), random)
    truth = made_up.exact(known, vectors)
    gallery = open_gallery(url, TIMEOUT_S)
    made_up.fill(gallery, url, vectors, TIMEOUT_S)
    gallery.close()
    ways = {
        f"{ef_search}, {'and as many more' if near else 'once'}": (
            open_gallery(url, TIMEOUT_S, ef_search),
            near,
        )
        for ef_search, near in ((EF_SEARCH, None), (EF_SEARCH, NEAR), (100, NEAR), (200, None))
    }
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    found: dict[str, list[bool]] = {name: [] for name in ways}
    for place in tqdm(range(-10, number), desc="searching", unit="face"):  # the first ones warm the caches
        for name, (searched, near) in ways.items():
            for probe, measured in zip((known[place], strange[place]), times[name], strict=True):
                began = time.perf_counter()
                ((nearest,),) = searched.nearest(probe[np.newaxis], 1, MODEL, near=near)
                took = 1000 * (time.perf_counter() - began)
                if place >= 0:
                    measured.append(took)
                    if measured is times[name][0]:
                        found[name].append(int(nearest.sample.id) == truth[place])
    for searched, _ in ways.values():
        searched.close()
    first = [float(np.median(each)) for each in next(iter(times.values()))]
    lines = [
        "| candidates | people found | ms, enrolled | of the first | ms, strangers | of the first |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, both in times.items():
        cells = (
            f"{np.median(each):.1f} | {np.median(each) / before:.2f}"
            for each, before in zip(both, first, strict=True)
        )
        lines.append(f"| {name} | {np.mean(found[name]):.2%} | {' | '.join(cells)} |")
    return lines


def seconds(run: Callable[[], object]) -> float:
    """Run something once; returns how long it took."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=100_000, help="samples (%(default)s)")
    parser.add_argument("--probes", type=int, default=500, help="faces that are searched (%(default)s)")
    parser.add_argument("--second-look", action="store_true", help="measure that, and nothing else")
    arguments = parser.parse_args()
    print(f"{arguments.size:,} samples, {arguments.probes} probes; {made_up.machine('numpy', 'pgvector')}.\n")
    if arguments.second_look:
        with tempfile.TemporaryDirectory() as name, made_up.postgresql(Path(name)) as servers:
            for url in servers:
                print(*second_look(url, arguments.size, arguments.probes), sep="\n")
        return
    random = np.random.default_rng(arguments.size)
    centres = made_up.people(max(1, arguments.size // made_up.SAMPLES_EACH), random)
    vectors = made_up.pictures(centres[random.integers(0, len(centres), arguments.size)], random)
    probes = made_up.pictures(centres[random.integers(0, len(centres), arguments.probes)], random)
    with tempfile.TemporaryDirectory() as name, made_up.postgresql(Path(name)) as servers:
        print(*sqlite(Path(name), vectors), sep="\n", flush=True)
        for url in servers:
            print(*postgresql(url, vectors, probes), sep="\n")


if __name__ == "__main__":
    main()
