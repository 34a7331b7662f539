"""Measures open-set identification: people enrolled, their other pictures, and strangers, beside peers.

    python benchmarks/identification.py --images lfw --enrol 1,2,3 --sizes 10,100 --cache cache

`--images` is laid out as Labeled Faces in the Wild (LFW), Name/Name_0001.jpg; every picture takes the
product's own way from bytes to a vector. People are parted in two halves; the background that judges one is
fitted on the other. The same pictures are enrolled and searched by each rule.

Data flow: pictures -> one vector each -> two halves -> trials -> rates at FPIR, and what wishes come true
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import accuracy
import identification_rates as rates
from recognition.matching import background, calibration
from recognition.matching.people import directions

ROOT = Path(__file__).resolve().parents[1]
FPIRS = (0.03, 0.01, 0.003, 0.001)
LEAST_STRANGERS = 3  # that an FPIR has to be, of all there are, to be told
WISHES = (0.03, 0.01, 0.003)
SEARCHES = 6000  # of a wish in one size of gallery, about
SEED = 1


def people_of(images: Path, cache: Path | None, system: accuracy.System) -> dict[str, rates.Doubles]:
    """Return the directions of all of each person's pictures that have a face, (n, d), by name."""
    pictures = accuracy.find_pictures(images)
    vectors = accuracy.vectors_of(list(pictures.values()), system, cache)
    people: dict[str, list[Any]] = {}
    for (name, _), vector in zip(pictures, vectors, strict=True):
        if np.isfinite(vector).all():
            people.setdefault(name, []).append(directions(vector))
    return {name: np.stack(some) for name, some in people.items()}


def halves(people: dict[str, rates.Doubles]) -> list[tuple[list[rates.Doubles], background.Background]]:
    """Return each half's people, and the background that is fitted on the other half."""
    names = list(people)
    of_first, of_second = rates.backgrounds(list(people.values()), names)
    return [
        ([people[name] for name in names if rates.half_of(name) == half], other)
        for half, other in ((0, of_second), (1, of_first))
    ]


def measured(
    parts: Sequence[tuple[list[rates.Doubles], background.Background]], samples_each: int
) -> list[dict[str, Any]]:
    """Measure each rule with everybody enrolled who can be."""
    rows = []
    for name, rule in rates.RULES.items():
        trials = [rates.trial(people, other, rule, samples_each, None, SEED) for people, other in parts]
        strangers = sum(len(each.strangers) for each in trials)
        fpir, fnir = rates.det(trials)
        rows.append(
            {
                "rule": name,
                "enrolled": [each.enrolled for each in trials],
                "probes": sum(len(each.own) for each in trials),
                "strangers": strangers,
                "recognised": {
                    f"{at:g}": [rates.recognised(trials, at), *rates.interval(trials, at)]
                    for at in FPIRS
                    if at * strangers >= LEAST_STRANGERS
                },
                "det": [fpir.tolist(), fnir.tolist()],
            }
        )
    return rows


def wishes(
    parts: Sequence[tuple[list[rates.Doubles], background.Background]], samples_each: int, size: int | None
) -> dict[str, Any]:
    """Tell which share of strangers gets a name, for each share that was wished.

    The score that is asked for is the service's.
    """
    named: dict[float, list[Any]] = {wish: [] for wish in WISHES}
    hits: dict[float, list[Any]] = {wish: [] for wish in WISHES}
    enrolled = 0
    for people, other in parts:
        seeds = max(1, SEARCHES // 2 // len(people)) if size else 1
        for seed in range(SEED, SEED + seeds):
            enrolled = size or 0
            each = rates.trial(people, other, rates.product, samples_each, size, seed)
            enrolled = each.enrolled
            tails = tails_of(people, other, samples_each, size, seed)
            for wish in WISHES:
                limit = calibration.score_at(tails, wish, each.enrolled)
                named[wish].append(each.strangers >= limit)
                hits[wish].append(each.right & (each.own >= limit))
    return {
        "enrolled": enrolled,
        "searches": sum(map(len, named[WISHES[0]])),
        "named": {f"{wish:g}": float(np.concatenate(some).mean()) for wish, some in named.items()},
        "recognised": {f"{wish:g}": float(np.concatenate(some).mean()) for wish, some in hits.items()},
    }


def tails_of(
    people: list[rates.Doubles],
    other: background.Background,
    samples_each: int,
    size: int | None,
    seed: int,
) -> list[calibration.Tail]:
    """Return the tails that the service would use for a trial's gallery."""
    random = np.random.default_rng(seed)  # as the trial draws
    order = random.permutation([n for n, some in enumerate(people) if len(some) > samples_each])
    own = []
    for person in order[:size]:
        own.append(people[person][random.permutation(len(people[person]))][:samples_each])
    return background.tails(other, own)


def table(report: dict[str, Any]) -> str:
    """Lay the report out as Markdown."""
    lines = []
    for samples_each, rows in report["identification"].items():
        first = rows[0]
        lines += [
            f"{samples_each} of each enrolled: {' and '.join(map(str, first['enrolled']))} people, "
            f"{first['probes']} probes, {first['strangers']} strangers",
            "",
            "| recognised at FPIR | " + " | ".join(f"{float(at):.1%}" for at in first["recognised"]) + " |",
            "| --- |" + " ---: |" * len(first["recognised"]),
        ]
        for row in rows:
            cells = [
                f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, low, high in row["recognised"].values()
            ]
            lines.append(f"| {row['rule']} | {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "| of each enrolled | people | searches | "
        + " | ".join(f"wished {wish:.1%}" for wish in WISHES)
        + " |",
        "| ---: | ---: | ---: |" + " ---: |" * len(WISHES),
    ]
    for row in report["wishes"]:
        cells = [
            f"{named:.2%} ({row['recognised'][wish]:.3f} recognised)" for wish, named in row["named"].items()
        ]
        lines.append(
            f"| {row['samples_each']} | {row['enrolled']} | {row['searches']} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def plot(file: Path, identification: dict[str, list[dict[str, Any]]]) -> None:
    """Draw FNIR against FPIR of each rule, a panel for each number of samples."""
    from matplotlib.figure import Figure  # here, for it is needed with --plot only

    figure = Figure(figsize=(3.6 * len(identification), 3.6), layout="constrained")
    panels = figure.subplots(1, len(identification), squeeze=False)[0]
    for axes, (samples_each, rows) in zip(panels, identification.items(), strict=True):
        for row in rows:
            axes.plot(*row["det"], label=row["rule"], linewidth=1.4)
        axes.set(xscale="log", yscale="log", xlabel="FPIR", title=f"{samples_each} of each enrolled")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("FNIR")
    panels[0].legend(frameon=False, fontsize=7)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def numbers(text: str) -> list[int]:
    """Read "1,2,3"."""
    return [int(part) for part in text.split(",")]


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder with Name/Name_0001.jpg")
    parser.add_argument("--enrol", type=numbers, default=[1, 2, 3, 5], help="pictures of each person")
    parser.add_argument("--sizes", type=numbers, default=[10, 100], help="people enrolled, beside all")
    parser.add_argument("--cache", type=Path, help="folder in which vectors are kept")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--plot", type=Path, help="file for the DET curves, a PNG")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the tables, and return the report."""
    options = arguments(argv)
    system = accuracy.load_ours(options.models_dir, "central", options.threads)
    parts = halves(people_of(options.images, options.cache, system))
    report: dict[str, Any] = {
        "identification": {str(each): measured(parts, each) for each in options.enrol},
        "wishes": [
            {"samples_each": each, **wishes(parts, each, size)}
            for each in options.enrol
            for size in (*options.sizes, None)
        ],
    }
    print(table(report))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.plot:
        plot(options.plot, report["identification"])
    return report


if __name__ == "__main__":
    main()
