"""Measures whom recognition fails: errors by age, and by the years between two pictures of one person.

    python benchmarks/ageing.py --images fgnet --cache cache --json ageing.json

`--images` has pictures named as those of the FG-NET ageing database, PPPAyy.JPG: person PPP, aged yy years; a
letter may follow. Every picture takes the product's own way from bytes to a vector. The people may not be
among those that the shipped background is made of.

Data flow: pictures -> one vector each, or none -> pairs by age, and galleries by age -> rates
"""

from __future__ import annotations

import argparse
import json
import re
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
import ageing_rates as rates
from recognition import backgrounds
from recognition.detector import OURS

ROOT = Path(__file__).resolve().parents[1]
PICTURE = re.compile(r"(?P<person>\d{3})A(?P<age>\d{2})[a-z]?\.(?:jpe?g|png|webp|bmp)", re.IGNORECASE)
LEAST_PEOPLE = 10  # for an interval to be worth printing
NAMES = {"children": "under 13", "youths": "13 to 17", "adults": "18 or more", "all": "all"}


def find_pictures(folder: Path) -> list[tuple[int, int, Path]]:
    """Return person, age in years and path of each picture of a folder, sorted by name."""
    matches = ((path, PICTURE.fullmatch(path.name)) for path in sorted(folder.iterdir()))
    return [(int(match["person"]), int(match["age"]), path) for path, match in matches if match]


def faces_of(folder: Path, cache: Path | None, system: accuracy.System) -> rates.Faces:
    """Embed the pictures of a folder.

    Raises:
        accuracy.BenchmarkError: there are none of two people.
    """
    pictures = find_pictures(folder)
    numbers, people = np.unique([person for person, _, _ in pictures], return_inverse=True)
    if len(numbers) < 2:
        raise accuracy.BenchmarkError(f"{folder} has no pictures PPPAyy.JPG of two people.")
    vectors = accuracy.vectors_of([path for _, _, path in pictures], system, cache)
    return rates.Faces(people.astype(np.int64), np.array([age for _, age, _ in pictures]), vectors)


def digits(rate: float) -> str:
    """Write a rate in percent, with two digits, or fewer below a thousandth."""
    return f"{100 * rate:.{0 if rate >= 0.0995 else 1 if rate >= 0.00995 else 2}f}"


def cell(rate: dict[str, Any]) -> str:
    """Say a rate and its interval, if there are enough people for it."""
    if rate["people"] < LEAST_PEOPLE:
        return "too few people" if rate["people"] else "none"
    low, high = map(digits, rate["interval"])
    return f"{digits(rate['rate'])} % ({low} to {high})"


def table(report: dict[str, Any]) -> str:
    """Lay the report out as Markdown."""
    lines = [
        f"{report['pictures']} pictures of {report['people']} people, {report['undetected']} without a face; "
        f"threshold {report['threshold']:g}, {report['samples_each']} of each enrolled",
        "",
        "| ages | pairs of different people | match (FMR) | pairs of one person | missed (FNMR) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in report["pairs"]:
        different, same = row["different"], row["same"]
        cells = [f"{different['tried']:,}", cell(different), f"{same['tried']:,}", cell(same)]
        lines.append(f"| {ages(row)} | {' | '.join(cells)} |")
    lines += [
        "",
        "| pairs of one person | " + " | ".join(f"{span} years apart" for span in rates.SPANS) + " |",
        "| --- |" + " ---: |" * len(rates.SPANS),
    ]
    for row in report["pairs"]:
        cells = [f"{each['tried']:,}: {cell(each)}" for each in row["by_years"].values()]
        lines.append(f"| {ages(row)} | {' | '.join(cells)} |")
    for kind, of in (("named", "strangers"), ("recognised", "people")):
        lines += [
            "",
            f"| {of} aged | enrolled | {of} | {kind} at the threshold | "
            + " | ".join(f"at a wish of {100 * wish:g} %" for wish in rates.WISHES)
            + " |",
            "| --- | --- | ---: |" + " ---: |" * len(rates.DECISIONS),
        ]
        for row in report["searches"]:
            decisions = row[kind].values()
            number = next(iter(decisions))["people"]
            cells = [NAMES[row["group"]], f"{row['enrolled']} of {row['gallery']}", f"{number}"]
            lines.append(f"| {' | '.join([*cells, *map(cell, decisions)])} |")
    return "\n".join(lines)


def ages(row: dict[str, Any]) -> str:
    """Name the ages of a row of pairs."""
    return " and ".join(dict.fromkeys(NAMES[group] for group in row["groups"]))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder with PPPAyy.JPG")
    parser.add_argument("--enrol", type=int, default=2, help="pictures of each person")
    parser.add_argument("--face", choices=["central", "largest"], default="largest", help="which face counts")
    parser.add_argument("--cache", type=Path, help="folder in which vectors are kept")
    parser.add_argument("--model", default="Facenet", help="as EMBEDDING_MODEL has it, and prepared")
    parser.add_argument("--detector", choices=OURS, default="mtcnn", help="our detector")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the report")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the tables, and return the report.

    Raises:
        accuracy.BenchmarkError: there are no models, pictures or background.
    """
    options = arguments(argv)
    try:
        system = accuracy.load_ours(
            options.models_dir, options.face, options.threads, options.model, options.detector
        )
    except OSError as e:
        raise accuracy.BenchmarkError(f"{e}. Models are made by: python prepare_models.py") from e
    background = backgrounds.shipped(system.about["fingerprint"])
    if background is None:
        raise accuracy.BenchmarkError(
            "No background comes with this model; benchmarks/background.py makes one."
        )
    faces = faces_of(options.images, options.cache, system)
    threshold = system.thresholds["euclidean"]
    report: dict[str, Any] = {
        "images": options.images.name,
        "pictures": len(faces.people),
        "people": int(faces.people.max()) + 1,
        "undetected": int(np.isnan(faces.vectors).any(axis=1).sum()),
        "threshold": threshold,
        "samples_each": options.enrol,
        "pairs": rates.pairs(faces, threshold),
        "searches": [
            rates.searches(
                faces,
                background,
                group,
                of_all_ages=of_all_ages,
                samples_each=options.enrol,
                threshold=threshold,
            )
            for of_all_ages in (False, True)
            for group in range(len(rates.GROUPS))
        ],
    }
    print(table(report))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


if __name__ == "__main__":
    try:
        main()
    except accuracy.BenchmarkError as e:
        sys.exit(f"ageing.py: {e}")
