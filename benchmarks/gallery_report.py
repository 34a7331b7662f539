"""What gallery.py measured, as Markdown and as curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

from speed import Row, table

ENROLMENT = "enrolment of one, until acknowledged"
FOUND = "the other process's next search, which finds it"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one gallery of `size` samples showed.

    rate: samples enrolled in bulk, a second.
    ready_s, memory_mb: of a new process, from before it opens the gallery to after its first search.
    searches: one row for each number of faces and of matches, ours and the peers'.
    changes: milliseconds by what was waited for.
    recall: of the nearest sample, by system: for faces of enrolled people, and of strangers.
    """

    size: int
    rate: float
    ready_s: float
    memory_mb: float
    searches: list[Row]
    changes: dict[str, list[float]]
    recall: dict[str, tuple[float, float]]


def report(heading: str, databases: dict[str, dict[int, Measured | None]], limit_s: float) -> str:
    """Render all figures as Markdown; `limit_s`: seconds after which a size was given up."""
    lines = [
        "# Gallery",
        "",
        heading,
        "",
        "![Searches, the start of a process and one enrolment, against the number of samples](gallery.png)",
    ]
    for database, sizes in databases.items():
        done = [measured for measured in sizes.values() if measured]
        lines += [
            "",
            f"## {database}",
            "",
            "| samples | enrolled in bulk, per second | new process ready after, s "
            "| memory it needs for them, MB "
            "| how often the nearest sample found is the exact one: enrolled people (strangers) |",
            "| ---: | ---: | ---: | ---: | --- |",
            *(
                f"| {m.size:,} | {m.rate:,.0f} | {m.ready_s:.2f} | {m.memory_mb:.0f} | "
                + ", ".join(
                    f"{name} {known:.3f} ({strange:.3f})" for name, (known, strange) in m.recall.items()
                )
                + " |"
                for m in done
            ),
            *(
                f"| {size:,} | not run: enrolling takes longer than {limit_s / 60:.0f} minutes | | | |"
                for size, measured in sizes.items()
                if measured is None
            ),
            "",
            *table([row for measured in done for row in measured.searches]),
            "",
            "| samples | one change | median ms | p95 ms |",
            "| ---: | --- | ---: | ---: |",
            *(
                f"| {m.size:,} | {what} | {np.median(times):.1f} | {np.percentile(times, 95):.1f} |"
                for m in done
                for what, times in m.changes.items()
            ),
        ]
    return "\n".join([*lines, ""])


def chart(databases: dict[str, dict[int, Measured | None]], path: Path) -> None:
    """Draw medians against the number of samples: searches, the start of a process, one enrolment."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained", sharex=True)
    searches, (start, enrolment) = panels
    for number, (database, sizes) in enumerate(databases.items()):
        done = [measured for measured in sizes.values() if measured]
        if not done:
            continue
        ours = {"marker": "o", "color": f"C{number}", "label": f"this service, {database}"}
        for place, axes in enumerate(searches):
            for peer, system in enumerate(done[0].searches[place].times, 1):  # ours is the first
                if system != "ours" and number > 0:
                    continue  # the peers are the same whatever our database is
                points = [(m.size, m.searches[place]) for m in done if system in m.searches[place].times]
                medians = [row.median(system) for _, row in points]
                theirs = {"marker": ".", "color": f"C{peer}", "label": system, "linestyle": "--"}
                axes.plot([size for size, _ in points], medians, **(ours if system == "ours" else theirs))
        of = [m.size for m in done]
        start.plot(of, [m.ready_s for m in done], **ours)
        enrolment.plot(of, [seen_after_ms(m) for m in done], **ours)
    for axes, title, unit in (
        (searches[0], "search for 1 face", "ms"),
        (searches[1], "search for 16 faces", "ms"),
        (start, "a new process, until its first search is answered", "s"),
        (enrolment, "one enrolment, until another process has found it", "ms"),
    ):
        axes.set(xscale="log", yscale="log", title=title, ylabel=f"median {unit} (less is better)")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    for axes in panels[1]:
        axes.set_xlabel("samples")
    figure.savefig(path, dpi=120)


def seen_after_ms(measured: Measured) -> float:
    """Median from the beginning of an enrolment to the end of the other process's search that finds it."""
    both = zip(measured.changes[ENROLMENT], measured.changes[FOUND], strict=True)
    return float(np.median([stored + found for stored, found in both]))
