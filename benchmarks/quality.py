"""Measures what the gate for poor faces lets through: damaged faces of many people, kind by kind.

    python benchmarks/quality.py --images lfw --cache cache --plot docs/quality.png

`--images` is laid out as Labeled Faces in the Wild (LFW), Name/Name_0001.jpg. The people are parted in two
halves by a hash of their names: the limits in recognition/pictures/quality.py were chosen on `tune`, and the
figures in docs/quality.md are those of `report`. The first picture of each person is damaged, and then
takes the product's own way: detect, take the largest face, crop, assess, embed. As each person is there
once, every pair is two strangers'.

Data flow: people -> damaged pictures -> one face each -> quality and vector -> rates among those that are
left
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

from embedding.network import load
from quality_damage import KINDS
from recognition.config import Settings
from recognition.detector import OURS
from recognition.faces import Box, Face, Quality
from recognition.pictures import crops
from recognition.pictures.quality import SIDE_PX, assess
from serving import pictures as images

ROOT = Path(__file__).resolve().parents[1]
MAX_PIXELS = 64_000_000
SHARP = "sharp"
REPLICATES = 200  # of the bootstrap
FIFTHS = 5
CROPS_PER_CALL = 8

Vectors = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one kind, one for each person of whom one was found.

    people: int64 (n,), which of the people; crops: uint8 (n, S, S, 3); shapes: int64 (n, 2), of the pictures.
    vectors: float32 (n, d); tried: how many pictures there were.
    """

    people: NDArray[np.int64]
    faces: list[Face]
    crops: NDArray[np.uint8]
    shapes: NDArray[np.int64]
    vectors: Vectors
    tried: int

    def qualities(self) -> list[Quality]:
        """Assess them."""
        return [
            assess((int(shape[0]), int(shape[1])), [face], crop[None])[0]
            for shape, face, crop in zip(self.shapes, self.faces, self.crops, strict=True)
        ]


# Pictures to faces


def people_of(folder: Path, half: str) -> list[list[Path]]:
    """Return the pictures of each person of one half, in an order that says nothing of them."""
    digest = {path: hashlib.sha256(path.name.encode()).digest() for path in folder.iterdir() if path.is_dir()}
    chosen = [
        path for path, value in digest.items() if half == "both" or (value[0] % 2 == 0) == (half == "tune")
    ]
    return [sorted(path.glob("*.jpg")) for path in sorted(chosen, key=lambda path: digest[path][1:])]


def subject(faces: Sequence[Face], shape: tuple[int, ...]) -> Face | None:
    """Return the largest face of a picture of shape (H, W, 3), if it is in the middle, as LFW's people are.

    Behind a bar that hides it, somebody else may be found at the edge.
    """
    largest = max(faces, key=lambda face: face.box.area, default=None)
    if largest is None:
        return None
    middle = complex(shape[1] / 2, shape[0] / 2)
    centre = complex(largest.box.x + largest.box.w / 2, largest.box.y + largest.box.h / 2)
    return largest if abs(centre - middle) <= min(shape[:2]) / 3 else None


class Pipeline:
    """Detector, crops and network, as the services put them together."""

    def __init__(self, models_dir: Path, threads: int, detector: str = "mtcnn") -> None:
        self.detect = OURS[detector](models_dir, threads=threads)
        self.network = load("Facenet", models_dir, threads=threads)

    def __call__(self, pictures: Sequence[NDArray[np.uint8] | None]) -> Faces:
        """Find the face that each picture, uint8 (H, W, 3) RGB, is about; None is a picture without one."""
        people, faces, cut, shapes = [], [], [], []
        for number, picture in enumerate(pictures):
            face = None if picture is None else subject(self.detect(picture), picture.shape)
            if picture is not None and face is not None:
                people.append(number)
                faces.append(face)
                cut.append(crops.crop_faces(picture, [face], SIDE_PX)[0])
                shapes.append(picture.shape[:2])
        vectors = [
            self.network.embed(np.stack(cut[start : start + CROPS_PER_CALL]))
            for start in range(0, len(cut), CROPS_PER_CALL)
        ]
        return Faces(
            np.array(people, np.int64),
            faces,
            np.array(cut, np.uint8).reshape(-1, SIDE_PX, SIDE_PX, 3),
            np.array(shapes, np.int64).reshape(-1, 2),
            np.concatenate(vectors) if vectors else np.empty((0, self.network.model.dimension), np.float32),
            len(pictures),
        )


def stored(file: Path | None, make: Any) -> Faces:
    """Return what is in a cache file, or make it and put it there."""
    if file is None or not file.exists():
        made: Faces = make()
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part.npz")
            boxes = [[face.box.x, face.box.y, face.box.w, face.box.h, face.confidence] for face in made.faces]
            marks = [face.landmarks for face in made.faces]
            np.savez(
                part,
                people=made.people,
                boxes=np.array(boxes).reshape(-1, 5),
                marks=np.array(marks, np.float32).reshape(-1, 5, 2),
                crops=made.crops,
                shapes=made.shapes,
                vectors=made.vectors,
                tried=made.tried,
            )
            part.replace(file)
        return made
    with np.load(file) as parts:
        faces = [
            Face(Box(*map(float, row[:4])), float(row[4]), marks)
            for row, marks in zip(parts["boxes"], parts["marks"], strict=True)
        ]
        return Faces(
            parts["people"], faces, parts["crops"], parts["shapes"], parts["vectors"], int(parts["tried"])
        )


# Rates


def distances(left: Vectors, right: Vectors) -> Doubles:
    """Float32 (n, d) and (m, d) -> Euclidean distances, float64 (n, m)."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0))


def false_matches(
    left: tuple[NDArray[np.int64], Vectors],
    right: tuple[NDArray[np.int64], Vectors],
    threshold: float,
    seed: int = 1,
) -> dict[str, Any]:
    """Compare each face of one set with each stranger's of another.

    left, right: people, int64 (n,), and their vectors, float32 (n, d).

    Returns:
        `pairs`, `matches`, `fmr` and its `interval` of 95 %: the subsets bootstrap over people, whose pairs
        are not independent (Bolle, Ratha, Pankanti, CVIU 93(1), 2004); where nothing matches, the rule of
        three (Hanley, Lippman-Hand, JAMA 249(13), 1983).
    """
    people = 1 + max(left[0].max(initial=0), right[0].max(initial=0))
    strangers = left[0][:, None] != right[0][None]
    match = strangers & (distances(left[1], right[1]) < threshold)
    twice = 2 if left is right else 1  # then each pair is there in both orders
    pairs, matches = int(strangers.sum()) // twice, int(match.sum()) // twice
    if not pairs:
        return {"pairs": 0, "matches": 0, "fmr": None, "interval": None}
    if not matches:
        return {"pairs": pairs, "matches": 0, "fmr": 0.0, "interval": [0.0, min(1.0, 3 / pairs)]}
    random = np.random.default_rng(seed)
    row, column = np.nonzero(match)
    rates = []
    for _ in range(REPLICATES):
        draws = np.bincount(random.integers(people, size=people), minlength=people)
        weight, other = draws[left[0]], draws[right[0]]
        same = np.bincount(left[0], weight, people) @ np.bincount(right[0], other, people)
        drawn = weight.sum() * other.sum() - same
        rates.append((weight[row] * other[column]).sum() / max(1, drawn))
    low, high = np.percentile(rates, [2.5, 97.5])
    return {"pairs": pairs, "matches": matches, "fmr": matches / pairs, "interval": [float(low), float(high)]}


def kind_row(kind: str, faces: Faces, sharp: Faces, threshold: float, min_quality: float) -> dict[str, Any]:
    """Measure one kind; `sharp` are the good faces that those that are left are compared with."""
    qualities = faces.qualities()
    left = np.array([quality.value >= min_quality for quality in qualities], bool)
    reasons = [quality.reasons[0].code for quality, good in zip(qualities, left, strict=True) if not good]
    every, kept = (faces.people, faces.vectors), (faces.people[left], faces.vectors[left])
    return {
        "kind": kind,
        "tried": faces.tried,
        "found": len(faces.faces),
        "refused": int((~left).sum()),
        "reasons": {
            reason: reasons.count(reason) for reason in sorted(set(reasons), key=reasons.count)[::-1]
        },
        "before": false_matches(every, every, threshold),
        "among_left": false_matches(kept, kept, threshold),
        "with_sharp": false_matches(kept, (sharp.people, sharp.vectors), threshold),
    }


def by_fifths(
    kinds: dict[str, Faces], others: Faces, threshold: float, min_quality: float
) -> list[dict[str, Any]]:
    """Part the faces of all kinds into fifths by quality, and measure each.

    FNMR: of a face and a sharp picture of the same person. FMR: of two strangers' faces of the same fifth.
    """
    values = np.concatenate([[q.value for q in faces.qualities()] for faces in kinds.values()])
    people = np.concatenate([faces.people for faces in kinds.values()])
    vectors = np.concatenate([faces.vectors for faces in kinds.values()])
    order = np.argsort(values, kind="stable")
    second = {int(person): vector for person, vector in zip(others.people, others.vectors, strict=True)}
    rows = []
    for fifth in np.array_split(order, FIFTHS):
        genuine = [place for place in fifth if int(people[place]) in second]
        other = np.array([second[int(people[place])] for place in genuine])
        far = np.linalg.norm(vectors[genuine].astype(np.float64) - other, axis=1) >= threshold
        random = np.random.default_rng(1)
        chosen = random.permutation(fifth)[:4000]
        some = people[chosen], vectors[chosen]
        rows.append(
            {
                "quality": [float(values[fifth].min()), float(values[fifth].max())],
                "faces": len(fifth),
                "genuine": len(genuine),
                "fnmr": float(far.mean()),
                "fmr": false_matches(some, some, threshold),
            }
        )
    return rows


# The report


def table(report: dict[str, Any]) -> str:
    """Lay the kinds out as a Markdown table."""
    base = report["sharp_fmr"]["fmr"]
    lines = [
        "| kind | found | refused | FMR before | FMR of what is left | with sharp faces |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["kinds"]:
        cells = [
            row["kind"],
            f"{row['found']}",
            f"{100 * row['refused'] / max(1, row['found']):.1f} %",
            _times(row["before"], base),
            _times(row["among_left"], base),
            _times(row["with_sharp"], base),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _times(rate: dict[str, Any], base: float) -> str:
    """Say a rate, and how many times that of sharp faces it is, with its interval."""
    if not rate["matches"] and rate["pairs"] < 1 / base:
        return "too few" if rate["pairs"] else "none"
    low, high = rate["interval"]
    return f"{rate['fmr'] / base:.1f} ({low / base:.1f} to {high / base:.1f})"


def plot(file: Path, rows: list[dict[str, Any]]) -> None:
    """Draw FNMR and FMR by fifths of quality."""
    from matplotlib.figure import Figure  # here, for it is needed with --plot only

    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    labels = [f"{row['quality'][0]:.2f} to {row['quality'][1]:.2f}" for row in rows]
    panels = figure.subplots(1, 2)
    for axes, name, colour, values in (
        (panels[0], "FNMR", "#1b6ca8", [row["fnmr"] for row in rows]),
        (panels[1], "FMR", "#d1603d", [max(row["fmr"]["fmr"], 1e-6) for row in rows]),
    ):
        axes.bar(labels, values, color=colour)
        axes.set_title(f"{name} at the model's threshold", fontsize=10)
        axes.set_xlabel("quality, fifths", fontsize=9)
        axes.tick_params(axis="x", labelrotation=25, labelsize=8)
        if name == "FMR":
            axes.set_yscale("log")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder with Name/Name_0001.jpg")
    parser.add_argument("--half", choices=("tune", "report", "both"), default="report")
    parser.add_argument("--faces", type=int, default=320, help="people of each kind")
    parser.add_argument("--kinds", default="", help="only those whose names this regular expression finds")
    parser.add_argument("--detector", choices=OURS, default="mtcnn")
    parser.add_argument("--cache", type=Path, help="folder in which faces and vectors are kept")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--plot", type=Path, help="file for the plot of errors by quality, a PNG")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the table, and return the report."""
    options = arguments(argv)
    pipeline = Pipeline(options.models_dir, options.threads, options.detector)
    model, min_quality = pipeline.network.model, Settings.model_fields["min_quality"].default
    everybody = people_of(options.images, options.half)
    people = everybody[: options.faces]

    def cached(name: str) -> Path | None:
        slug = re.sub(r"[^a-z0-9.]+", "_", name.lower())
        return options.cache and options.cache / options.detector / options.half / f"{slug}.npz"

    def read(paths: Sequence[Path | None]) -> list[NDArray[np.uint8] | None]:
        return [path and images.decode(path.read_bytes(), MAX_PIXELS).pixels for path in paths]

    sharp = stored(cached(SHARP), lambda: pipeline(read([paths[0] for paths in everybody])))
    second = [paths[1] if len(paths) > 1 else None for paths in people]
    others = stored(cached("second pictures"), lambda: pipeline(read(second)))
    before = {int(person): face for person, face in zip(sharp.people, sharp.faces, strict=True)}

    def damaged(kind: str) -> Faces:
        pictures = read([paths[0] if n in before else None for n, paths in enumerate(people)])
        return pipeline(
            [
                None if picture is None else KINDS[kind](picture, before[number])
                for number, picture in enumerate(pictures)
            ]
        )

    kinds = {SHARP: sharp}
    for kind in tqdm([kind for kind in KINDS if re.search(options.kinds, kind)], unit="kind", disable=None):
        if kind != SHARP:
            kinds[kind] = stored(cached(kind), lambda kind=kind: damaged(kind))
    good = sharp.people, sharp.vectors
    report = {
        "half": options.half,
        "people": len(everybody),
        "threshold": model.threshold,
        "min_quality": min_quality,
        "sharp_fmr": false_matches(good, good, model.threshold),
        "kinds": [
            kind_row(kind, faces, sharp, model.threshold, min_quality) for kind, faces in kinds.items()
        ],
        "fifths": by_fifths(kinds, others, model.threshold, min_quality),
    }
    print(table(report))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.plot:
        plot(options.plot, report["fifths"])
    return report


if __name__ == "__main__":
    main()
