"""Measures open-set identification: people enrolled, their other pictures, and strangers, beside peers.

    python benchmarks/identification.py --images lfw --enrol 1,2,3 --sizes 10,100 --cache cache

`--images` is laid out as Labeled Faces in the Wild (LFW), Name/Name_0001.jpg; every picture takes the
product's own way from bytes to a vector. People are parted in two halves; the background that judges one is
fitted on the other. The same pictures are enrolled and searched by each rule.

`--poor 320` damages the first picture of so many people as benchmarks/quality.py does, and shows those faces
that are not refused for their quality.

Data flow: pictures -> one vector each -> two halves -> trials -> rates at FPIR, and what wishes come true
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import accuracy
import identification_rates as rates
import quality
from quality_damage import KINDS
from recognition.config import Settings
from recognition.detector import OURS
from recognition.matching import background, calibration
from recognition.matching.people import directions
from serving import pictures as images

ROOT = Path(__file__).resolve().parents[1]
FPIRS = (0.03, 0.01, 0.003, 0.001)
LEAST_STRANGERS = 3  # that an FPIR has to be, of all there are, to be told
WISHES = (0.03, 0.01, 0.003)
SEARCHES = 6000  # of a wish in one size of gallery, about
SEED = 1
LENGTH = 10  # of the vectors of Facenet and MobileFaceNet
# Sigma 4 is nearly a fifth of the distance between the eyes; LFW's faces, some 100 px high, have 25 shrunk.
POOR = ("blur, sigma 2", "blur, sigma 4", "dark, x 0.1", "shrunk 4 times")


def people_of(images: Path, cache: Path | None, system: accuracy.System) -> dict[str, rates.Doubles]:
    """Return the directions of all of each person's pictures that have a face, (n, d), by name."""
    pictures = accuracy.find_pictures(images)
    vectors = accuracy.vectors_of(list(pictures.values()), system, cache)
    people: dict[str, list[Any]] = {}
    for (name, _), vector in zip(pictures, vectors, strict=True):
        if np.isfinite(vector).all():
            people.setdefault(name, []).append(directions(vector))
    return {name: np.stack(some) for name, some in people.items()}


@dataclass(frozen=True, slots=True)
class Half:
    """One half's people, and the background that is fitted on the other half.

    shown: by the kind of damage, of each person the direction of the damaged face, or None.
    """

    names: list[str]
    people: list[rates.Doubles]
    other: background.Background
    shown: dict[str, list[rates.Doubles | None]]


def halves(people: dict[str, rates.Doubles], poor: dict[str, dict[str, rates.Doubles]]) -> list[Half]:
    """Part the people."""
    of_first, of_second = rates.backgrounds(list(people.values()), list(people))
    parts = []
    for half, other in ((0, of_second), (1, of_first)):
        names = [name for name in people if rates.half_of(name) == half]
        shown = {kind: [some.get(name) for name in names] for kind, some in poor.items()}
        parts.append(Half(names, [people[name] for name in names], other, shown))
    return parts


def damaged(
    folder: Path, number: int, models_dir: Path, threads: int, cache: Path | None
) -> dict[str, dict[str, rates.Doubles]]:
    """Damage the first picture of so many people: by kind and name the directions of those not refused."""
    people = quality.people_of(folder, "both")[:number]
    pipeline = quality.Pipeline(models_dir, threads)
    least = Settings.model_fields["min_quality"].default
    read = [images.decode(paths[0].read_bytes(), quality.MAX_PIXELS).pixels for paths in people]
    found = {}
    sharp = quality.stored(cache and cache / "sharp.npz", lambda: pipeline(read))
    before = dict(zip(sharp.people.tolist(), sharp.faces, strict=True))
    for kind in POOR:

        def made(kind: str = kind) -> quality.Faces:
            return pipeline(
                [KINDS[kind](pixels, before[n]) if n in before else None for n, pixels in enumerate(read)]
            )

        faces = quality.stored(cache and cache / f"{kind}.npz", made)
        found[kind] = {
            people[n][0].parent.name: directions(vector)
            for n, vector, seen in zip(faces.people, faces.vectors, faces.qualities(), strict=True)
            if seen.value >= least
        }
    return found


def fixed(threshold: float, model: str) -> dict[str, float]:
    """Return the cosines from which on two faces are one person's, whoever is enrolled.

    They are our threshold's, a distance, and deepface 0.0.103's own for Facenet, a cosine distance of 0.40
    (deepface/config/threshold.py).
    """
    ours = {f"min_distance {threshold:g}": 1 - (threshold / LENGTH) ** 2 / 2}
    return ours | ({"deepface's threshold": 1 - 0.40} if model == "Facenet" else {})


def measured(parts: Sequence[Half], samples_each: int, thresholds: dict[str, float]) -> list[dict[str, Any]]:
    """Measure each rule with everybody enrolled who can be."""
    rows = []
    for name, rule in rates.RULES.items():
        trials = [rates.trial(part.people, part.other, rule, samples_each, None, SEED) for part in parts]
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
                "fixed": {
                    what: rates.at_threshold(trials, least)
                    for what, least in thresholds.items()
                    if rule is rates.nearest
                },
                "det": [fpir.tolist(), fnir.tolist()],
            }
        )
    return rows


def wishes(
    parts: Sequence[Half], samples_each: int, size: int | None, kind: str | None = None
) -> dict[str, Any]:
    """Tell which share of strangers gets a name, for each share that was wished.

    The score that is asked for is the service's. `kind`: the damage to the strangers' faces.
    """
    trials: list[rates.Trial] = []
    limits: dict[float, list[float]] = {wish: [] for wish in WISHES}
    for number, part in enumerate(parts):
        shown = part.shown[kind] if kind else None
        seeds = max(1, SEARCHES // 2 // len(part.people)) if size else 1
        for seed in range(SEED, SEED + seeds * (5 if kind else 1)):
            each = rates.trial(part.people, part.other, rates.product, samples_each, size, seed, shown)
            trials.append(replace(each, stranger=each.stranger * len(parts) + number))
            tails = tails_of(part, samples_each, size, seed)
            for wish, some in limits.items():
                some.append(calibration.score_at(tails, wish, each.enrolled))
    hits = {
        wish: [each.right & (each.own >= limit) for each, limit in zip(trials, some, strict=True)]
        for wish, some in limits.items()
    }
    return {
        "samples_each": samples_each,
        "kind": kind or quality.SHARP,
        "enrolled": sorted({each.enrolled for each in trials}),
        "searches": sum(len(each.strangers) for each in trials),
        "named": {f"{wish:g}": rates.named(trials, some) for wish, some in limits.items()},
        "recognised": {f"{wish:g}": float(np.concatenate(some).mean()) for wish, some in hits.items()},
    }


def tails_of(part: Half, samples_each: int, size: int | None, seed: int) -> list[calibration.Tail]:
    """Return the tails that the service would use for a trial's gallery."""
    random = np.random.default_rng(seed)  # as the trial draws
    order = random.permutation([n for n, some in enumerate(part.people) if len(some) > samples_each])
    own = []
    for person in order[:size]:
        some = part.people[person]
        own.append(some[random.permutation(len(some))][:samples_each])
    return background.tails(part.other, own)


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
        for what, (fpir, hits) in first["fixed"].items():
            lines.append(f"- nearest sample, {what}: FPIR {fpir:.1%}, recognised {hits:.3f}")
        lines.append("")
    lines += [
        "In {searches} searches, whoever scored best was behind {samples} samples and {people} people at "
        "most.".format(**report["behind"]),
        "",
        "| strangers' faces | of each enrolled | people | searches | "
        + " | ".join(f"wished {wish:.1%}" for wish in WISHES)
        + " |",
        "| --- | ---: | ---: | ---: |" + " ---: |" * len(WISHES),
    ]
    for row in report["wishes"]:
        cells = [
            f"{share:.2%} ({low:.2%} to {high:.2%}); {row['recognised'][wish]:.3f}"
            for wish, (share, low, high) in row["named"].items()
        ]
        people = " and ".join(map(str, row["enrolled"]))
        about = row["kind"], row["samples_each"], people, row["searches"]
        lines.append(f"| {' | '.join([*map(str, about), *cells])} |")
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
    parser.add_argument("--poor", type=int, default=0, help="people whose pictures are damaged")
    parser.add_argument("--cache", type=Path, help="folder in which vectors are kept")
    parser.add_argument("--model", default="Facenet", help="as EMBEDDING_MODEL has it, and prepared")
    parser.add_argument("--detector", choices=OURS, default="mtcnn", help="our detector")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--plot", type=Path, help="file for the DET curves, a PNG")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the tables, and return the report."""
    options = arguments(argv)
    system = accuracy.load_ours(
        options.models_dir, "central", options.threads, options.model, options.detector
    )
    thresholds = fixed(system.thresholds["euclidean"], options.model)
    poor = {}
    if options.poor:
        if (options.model, options.detector) != ("Facenet", "mtcnn"):
            sys.exit("identification.py: --poor knows damaged faces of the default models only.")
        folder = options.cache and options.cache / f"poor-{options.poor}"
        poor = damaged(options.images, options.poor, options.models_dir, options.threads, folder)
    parts = halves(people_of(options.images, options.cache, system), poor)
    sizes = (*options.sizes, None)
    behind = [rates.ranks(part.people, part.other, each) for part in parts for each in options.enrol]
    report: dict[str, Any] = {
        "identification": {str(each): measured(parts, each, thresholds) for each in options.enrol},
        "behind": {
            "samples": int(max(some.max() for some, _ in behind)),
            "people": int(max(some.max() for _, some in behind)),
            "searches": sum(len(some) for some, _ in behind),
        },
        "wishes": [
            wishes(parts, each, size, kind)
            for kind in (None, *poor)
            for each in (options.enrol if kind is None else options.enrol[:1] + options.enrol[2:3])
            for size in (sizes if kind is None else options.sizes)
            if kind is None or any(one is not None for part in parts for one in part.shown[kind])
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
