"""What size.py measured, as Markdown, and what follows from it for other sizes, up to a billion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SIZES = [10**3, 10**5, 10**6, 10**7, 10**8, 10**9]
HEADINGS = (
    "samples",
    "disk",
    "index in memory",
    "the same as `halfvec`",
    "load",
    "build the index, one core",
    "a search, ms",
    "enrolments a second",
    "backup",
)
# Of GALLERY.md, by samples: a search for a face and an enrolment in ms, and in SQLite samples enrolled in
# bulk a second. There the machine was quiet, so what is measured here counts only beyond.
POSTGRESQL = {10**3: (2.6, 5.0), 10**5: (6.3, 10.4), 10**6: (10.5, 17.7)}
SQLITE = {10**3: (0.5, 2.7, 26_349), 10**5: (4.6, 2.2, 33_740), 10**6: (20.3, 2.8, 34_281)}
SQLITE_BYTES, VECTOR_BYTES = 735, 512  # of docs/scaling.md: a sample on disk, and in each worker's memory
# Of docs/scaling.md: put a second into 2.3.5 with a million there; and Milvus 1.1's own figures for a hundred
# million vectors on 48 cores: bytes of index, and seconds to build it, of each. Searches in ms of both.
MILVUS_PUT, MILVUS_BYTES, MILVUS_BUILD_S, MILVUS_CORES = 6_068, 620, 83 * 60 / 10**8, 48
MILVUS_MS = {10**5: 26, 10**6: 20, 10**8: 23}


class Times(NamedTuple):
    """Median and 95th percentile of so many times, in ms."""

    median: float
    p95: float
    count: int


@dataclass(slots=True)
class Step:
    """What was measured with so many samples. None: that was not. `stopped`: what was not done, and why.

    bare_enrolment, bare_deletion, exact: without the index of the vectors. known, strange: searches with it,
    for faces of people who are enrolled and of others. raw, half: searches in SQL, in the service's index and
    in one of 16-bit floats. first_calibration_ms: what the first search of a process waits for, too.
    """

    wanted: int
    rows: int = 0
    imported_rate: float | None = None
    file_bytes: float | None = None
    copied_rate: float | None = None
    vacuum_s: float | None = None
    table_bytes: int | None = None
    other_indexes_bytes: int | None = None
    people_bytes: int | None = None
    count_ms: float | None = None
    total_ms: float | None = None
    counting_ms: float | None = None
    open_ms: float | None = None
    first_calibration_ms: float | None = None
    upkeep_ms: float | None = None
    ready_ms: float | None = None
    exact: Times | None = None
    exact_found: float | None = None
    bare_enrolment: Times | None = None
    bare_deletion: Times | None = None
    dump_s: float | None = None
    dump_bytes: int | None = None
    build_memory: str | None = None
    build_s: float | None = None
    build_cpu_s: float | None = None
    vector_bytes: int | None = None
    known: Times | None = None
    found: float | None = None
    strange: Times | None = None
    enrolment: Times | None = None
    deletion: Times | None = None
    raw: Times | None = None
    raw_found: float | None = None
    half_build_s: float | None = None
    half_build_cpu_s: float | None = None
    half_bytes: int | None = None
    half: Times | None = None
    half_found: float | None = None
    server_mb: float | None = None
    stopped: str | None = None


def report(heading: str, steps: Sequence[Step]) -> str:
    """Render everything as Markdown; there is one step or more."""
    stops = [f"- {step.wanted:,} samples: {step.stopped}." for step in steps if step.stopped]
    steps = [step for step in steps if step.rows]
    lines = [
        "# Size",
        "",
        heading,
        "",
        "**False matches come first.** A search that takes milliseconds among a billion samples does not "
        "make its answer right: with the bundled model, a stranger among 10,000 samples already gets a name "
        "more often than not ([false matches](../docs/scaling.md#false-matches)). What follows says what "
        "machines can do.",
        "",
        "## Measured",
        "",
        "Medians (95th percentiles) in ms, one at a time. Rates of loading are of what a step added. "
        "`-`: not measured.",
        "",
        "| samples | " + " | ".join(f"{step.rows:,}" for step in steps) + " |",
        "| --- |" + " ---: |" * len(steps),
    ]
    lines += [
        f"| {name} | " + " | ".join(show(step) for step in steps) + " |"
        for name, show in MEASURED.items()
        if any(show(step) != "-" for step in steps)
    ]
    lines += ["", "What was left out:", "", *stops] if stops else []
    return "\n".join([*lines, "", *extrapolated(steps), ""])


def _number(value: float | None, digits: int = 0, factor: float = 1) -> str:
    return "-" if value is None else f"{value * factor:,.{digits}f}"


def _times(times: Times | None) -> str:
    return "-" if times is None else f"{times.median:,.1f} ({times.p95:,.1f})"


def _part(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.1f} %"


def _each(value: int | None, step: Step) -> str:
    return _number(value, factor=1 / step.rows)


MEASURED: dict[str, Callable[[Step], str]] = {
    "loaded by COPY, a second": lambda step: _number(step.copied_rate),
    "loaded by `recognition gallery import`, a second": lambda step: _number(step.imported_rate),
    "`VACUUM ANALYZE` afterwards, s": lambda step: _number(step.vacuum_s, 1),
    "bytes a sample: rows": lambda step: _each(step.table_bytes, step),
    "bytes a sample: other indexes": lambda step: _each(step.other_indexes_bytes, step),
    "bytes a sample: its tenth of a person": lambda step: _each(step.people_bytes, step),
    "bytes a sample: index of the vectors": lambda step: _each(step.vector_bytes, step),
    "bytes a sample: the same as `halfvec`": lambda step: _each(step.half_bytes, step),
    "bytes a sample: in a dump": lambda step: _each(step.dump_bytes, step),
    "bytes a sample: in a portable file": lambda step: _number(step.file_bytes),
    "dump, s": lambda step: _number(step.dump_s, 1),
    "index built in, s": lambda step: _number(step.build_s),
    "`maintenance_work_mem` for it": lambda step: step.build_memory or "-",
    "index built in, s of one core": lambda step: _number(step.build_cpu_s),
    "index as `halfvec` built in, s": lambda step: _number(step.half_build_s),
    "index as `halfvec` built in, s of one core": lambda step: _number(step.half_build_cpu_s),
    "search, every row compared": lambda step: _times(step.exact),
    "search, enrolled people": lambda step: _times(step.known),
    "search, strangers": lambda step: _times(step.strange),
    "nearest of enrolled people found": lambda step: _part(step.found),
    "search in SQL": lambda step: _times(step.raw),
    "search in SQL, `halfvec`": lambda step: _times(step.half),
    "nearest found in SQL": lambda step: _part(step.raw_found),
    "nearest found in SQL, `halfvec`": lambda step: _part(step.half_found),
    "enrolment of one, without the index": lambda step: _times(step.bare_enrolment),
    "enrolment of one": lambda step: _times(step.enrolment),
    "deletion of one, without the index": lambda step: _times(step.bare_deletion),
    "deletion of one": lambda step: _times(step.deletion),
    "`Gallery.count()`": lambda step: _number(step.count_ms, 1),
    "`Gallery.total()`": lambda step: _number(step.total_ms, 1),
    "`SELECT count(*)`": lambda step: _number(step.counting_ms, 1),
    "opening": lambda step: _number(step.open_ms, 1),
    "what scores mean, once a process": lambda step: _number(step.first_calibration_ms, 1),
    "upkeep, each minute": lambda step: _number(step.upkeep_ms, 1),
    "`/ready`, beside its search": lambda step: _number(step.ready_ms, 1),
    "memory of the server, MB": lambda step: _number(step.server_mb),
}


def extrapolated(steps: Sequence[Step]) -> list[str]:
    """Say what each size up to a billion costs, in SQLite, PostgreSQL and Milvus: lines of Markdown."""
    lines = [
        "## Up to a billion",
        "",
        "(m): measured above. (q): quoted from a source that is named below. (e): extrapolated from the "
        "largest size of either: bytes and loading are in proportion to the number of samples n, building to "
        "n log n, and a search in an index of vectors and an enrolment into it to log n, as long as the "
        "index is in memory.",
    ]
    for name, of in (
        ("SQLite, searched in memory", _sqlite),
        ("PostgreSQL with pgvector", lambda size: _postgresql(size, steps)),
        ("Milvus beside PostgreSQL", lambda size: _milvus(size, steps)),
    ):
        lines += ["", f"### {name}", "", f"| {' | '.join(HEADINGS)} |", "|" + " ---: |" * len(HEADINGS)]
        lines += [f"| {size:,} | {' | '.join(of(size))} |" for size in SIZES]
        lines += ["", NOTES[name]]
    return lines


NOTES = {
    "SQLite, searched in memory": (
        "Sources: [GALLERY.md](GALLERY.md) for times, [scaling.md](../docs/scaling.md#what-a-face-costs) for "
        "bytes, with shorter ids than above. Memory is that of each worker. There is no index to build: a "
        "search compares every row, and takes time in proportion to their number. Beyond a few million this "
        "shows only where it ends."
    ),
    "PostgreSQL with pgvector": (
        "Loading is by COPY, which goes around the service's checks; `recognition gallery import` takes as "
        "many times longer as the rates above say. Source: [GALLERY.md](GALLERY.md), for searches and "
        "enrolments, one at a time, with the index in memory. From 100,000 to a million samples a search "
        "took 1.7 times as long there, where log n says 1.2: take the milliseconds beyond for the least. "
        "The same goes for loading, once the indexes of random ids are larger than the memory."
    ),
    "Milvus beside PostgreSQL": (
        "Sources: [scaling.md](../docs/scaling.md#milvus), where Milvus's own figures for 100 million "
        "vectors on 48 cores are quoted: one core would take 48 times as long to build the index. Searches "
        "up to a million were measured there on a machine that others shared. Disk and backup are "
        "PostgreSQL's, without an index of vectors; what Milvus stores can be made anew. Vectors are loaded "
        "into PostgreSQL, and then from there into Milvus. An enrolment is PostgreSQL's, as with a small "
        "index; the next search brings it into Milvus. The service does not use Milvus's 16-bit floats."
    ),
}


def expected_build_s(steps: Sequence[Step], size: int) -> float | None:
    """Tell how long an index is expected to take; None: none was built before."""
    expected = _from(steps, size, lambda step: step.build_s, lambda n: n * math.log(n))
    return expected and expected[0]


def _sqlite(size: int) -> list[str]:
    known = max(each for each in SQLITE if each <= size)
    mark = "(q)" if size in SQLITE else "(e)"
    search, enrolment, rate = SQLITE[known]
    disk = f"{_bytes(SQLITE_BYTES * size)} (e)"
    return [
        disk,
        f"{_bytes(VECTOR_BYTES * size)} (e)",
        "-",
        f"{_duration(size / rate)} {mark}",
        "-",
        f"{_short(search * size / known)} {mark}",
        f"{_short(1000 / enrolment)} {mark}",
        disk,
    ]


def _postgresql(size: int, steps: Sequence[Step]) -> list[str]:
    def proportional(of: Callable[[Step], float | None]) -> tuple[float, str] | None:
        return _from(steps, size, of, lambda n: n)

    rows = proportional(_row_bytes)
    vectors = proportional(lambda step: step.vector_bytes)
    half = proportional(lambda step: step.half_bytes)
    load = _from(steps, size, lambda step: step.copied_rate, lambda n: 1)
    build = _from(steps, size, lambda step: step.build_cpu_s or step.build_s, lambda n: n * math.log(n))
    search = _on(0, size, {step.rows: step.known for step in steps})
    enrolment = _on(1, size, {step.rows: step.enrolment for step in steps})
    dump = proportional(lambda step: step.dump_bytes)
    disk = None
    if rows and vectors:
        disk = rows[0] + vectors[0], "m" if rows[1] == vectors[1] == "m" else "e"
    return [
        _cell(disk, _bytes),
        _cell(vectors, _bytes),
        _cell(half, _bytes),
        _cell(load, lambda rate: _duration(size / rate)),
        _cell(build, _duration),
        _cell(search, _short),
        _cell(enrolment, lambda ms: _short(1000 / ms)),
        _cell(dump, _bytes),
    ]


def _milvus(size: int, steps: Sequence[Step]) -> list[str]:
    log, hundred_million = math.log, 10**8
    rows = _from(steps, size, _row_bytes, lambda n: n)
    load = _from(steps, size, lambda step: step.copied_rate, lambda n: 1)
    bare_ms = POSTGRESQL[10**3][1]  # the index was small
    build_s = MILVUS_BUILD_S * MILVUS_CORES * size * log(size) / log(hundred_million)
    below = max((known for known in MILVUS_MS if known <= size), default=None)
    search = below and (
        MILVUS_MS[below] * log(size) / log(below),
        "q" if below == size else "e",
    )
    mark = "(q)" if size == hundred_million else "(e)"
    return [
        _cell(rows, _bytes),
        f"{_bytes(MILVUS_BYTES * size)} {mark}",
        "-",
        "-" if load is None else f"{_duration(size * (1 / load[0] + 1 / MILVUS_PUT))} (e)",
        f"{_duration(build_s)} {mark}",
        _cell(search, _short),
        f"{_short(1000 / bare_ms)} (e)",
        _cell(_from(steps, size, lambda step: step.dump_bytes, lambda n: n), _bytes),
    ]


def _row_bytes(step: Step) -> int | None:
    parts = step.table_bytes, step.other_indexes_bytes, step.people_bytes
    return sum(part or 0 for part in parts) if all(parts) else None


def _from(
    steps: Sequence[Step], size: int, of: Callable[[Step], float | None], law: Callable[[int], float]
) -> tuple[float, str] | None:
    """Say what a size has, and whether that is measured; what is not is the largest step's, by a law."""
    known = {step.rows: value for step in steps if (value := of(step)) is not None}
    if size in known:
        return known[size], "m"
    if not known:
        return None
    largest = max(known)
    return known[largest] * law(size) / law(largest), "e"


def _on(place: int, size: int, measured: dict[int, Times | None]) -> tuple[float, str]:
    """Say what a size takes in ms in an index, and from where: GALLERY.md, this run beyond that, or log n."""
    known = {rows: (times[place], "q") for rows, times in POSTGRESQL.items()}
    known |= {rows: (times.median, "m") for rows, times in measured.items() if times and rows > max(known)}
    if size in known:
        return known[size]
    largest = max(known)
    return known[largest][0] * math.log(size) / math.log(largest), "e"


def _cell(value: tuple[float, str] | None, show: Callable[[float], str]) -> str:
    return "-" if value is None else f"{show(value[0])} ({value[1]})"


def _bytes(number: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= factor:
            return f"{_short(number / factor)} {unit}"
    return f"{_short(number / 1e3)} KB"


def _duration(seconds: float) -> str:
    for unit, factor in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= factor:
            return f"{_short(seconds / factor)} {unit}"
    return f"{_short(seconds)} s"


def _short(value: float) -> str:
    """Render two digits that count, or all before the point."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
