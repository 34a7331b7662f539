"""Fits similarities as CompreFace's clients get them, and shows what they mean: who is taken for whom.

    python benchmarks/similarity.py --images lfw --cache cache
    python benchmarks/similarity.py --images lfw --cache cache --model MobileFaceNet --detector yunet

`--images` is laid out as Labeled Faces in the Wild (LFW), Name/Name_0001.jpg. Every picture takes the
product's own way from bytes to a vector, and one like CompreFace's: its crop, level and with margins, and a
FaceNet without the mirror image. That network is ours, of the same architecture; CompreFace's own was not at
hand.

People are parted in two halves. On the first one the steepness is fitted: at a similarity of 0.98 as many of
one person's pairs are missed as CompreFace's way misses with its coefficients. Shown is the second half, with
the steepness that the service has.

Data flow: pictures -> two vectors each -> two halves -> distances of all pairs -> steepness, and rates
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import accuracy
import identification
import identification_rates as rates
from embedding import preprocess
from embedding.engines import ENGINES
from identification_rates import Doubles
from recognition.compreface.similarity import OTHERS, STEEPNESS
from recognition.detector import OURS
from recognition.faces import Box
from recognition.matching.background import Background
from recognition.matching.calibration import SHARES, Tail

ROOT = Path(__file__).resolve().parents[1]
SIMILARITIES = (0.5, 0.6, 0.8, 0.9, 0.95, 0.98)
FITTED_AT = 0.98
# CompreFace 1.2's for its default network, and how much its crops show beside MTCNN's box, in widths and
# heights: embedding-calculator/src/services/facescan/plugins/facenet/facenet.py
COMPREFACE = (1.1817961, 5.291995557)
LEFT, RIGHT, TOP, BOTTOM = 0.2126, 0.2231, 0.1053, 0.0987
SEARCHES = 6000  # of strangers in one kind of gallery, about
# The nearest sample decides, without a background.
NO_BACKGROUND = Background(np.empty((0, 0), np.float32), Tail(np.zeros(len(SHARES)), 1, 0), np.empty(0), 0)


@dataclass(frozen=True, slots=True)
class Curve:
    """A way from distances of vectors of length 1 to similarities.

    middle: the distance at 0.5. steepness: of the curve there, if distances are counted in middles.
    """

    middle: float
    steepness: float

    def distance(self, similarity: float) -> float:
        """Return the distance that has a similarity in (0, 1)."""
        return float(self.middle * (1 - np.arctanh(2 * similarity - 1) / self.steepness))


THEIRS = Curve(COMPREFACE[0], COMPREFACE[0] * COMPREFACE[1])


def load_theirs(models_dir: Path, threads: int) -> accuracy.System:
    """Load CompreFace's way to a vector, with our MTCNN and FaceNet. Raises OSError without models."""
    detect = OURS["mtcnn"](models_dir, threads=threads)
    forward = ENGINES["openvino"](models_dir / "facenet.onnx", threads, "CPU")

    def represent(picture: NDArray[np.uint8]) -> accuracy.Vector | None:
        boxes = [face.box for face in detect(picture)]
        if not boxes:
            return None
        crop = with_margins(picture, boxes[accuracy.chosen(boxes, picture.shape, "central")])
        inputs = preprocess.network_input(
            crop[np.newaxis], scaling="standardised", colours="RGB", mirrored=False
        )
        vector: accuracy.Vector = forward(inputs)[0]
        return vector

    weights = accuracy.sha256([(models_dir / f"{name}.onnx").read_bytes() for name in ("facenet", "onet")])
    code = accuracy.sha256([Path(__file__).read_bytes()])
    return accuracy.System("theirs", represent, {}, {"weights": weights, "code": code})


def with_margins(picture: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Cut a box with its margins out of a picture, as far as they lie in it: uint8 (160, 160, 3)."""
    height, width = picture.shape[:2]
    left, right = max(0, int(box.x - LEFT * box.w)), min(width, int(box.x + (1 + RIGHT) * box.w))
    top, bottom = max(0, int(box.y - TOP * box.h)), min(height, int(box.y + (1 + BOTTOM) * box.h))
    return cv2.resize(picture[top:bottom, left:right], (160, 160)).astype(np.uint8)


def pairs_of(people: Sequence[Doubles]) -> tuple[Doubles, Doubles]:
    """Return the distances of all pairs of pictures: of one person, and of two.

    people: of each the directions of all pictures, (n, d).
    """
    directions = np.concatenate(people)
    whose = np.repeat(np.arange(len(people)), [len(some) for some in people])
    left, right = np.triu_indices(len(whose), k=1)
    distances = np.sqrt(np.maximum(2 - 2 * (directions @ directions.T)[left, right], 0))
    genuine = whose[left] == whose[right]
    return distances[genuine], distances[~genuine]


def fitted(genuine: Doubles, theirs: Doubles, middle: float) -> float:
    """Return the steepness by which as many pairs are missed at FITTED_AT as CompreFace's way misses.

    genuine, theirs: the distances of one person's pairs, of our vectors and of those of CompreFace's way.

    Raises:
        ValueError: our distances are so much larger that even those at the middle miss more.
    """
    missed = (theirs > THEIRS.distance(FITTED_AT)).mean()
    distance = np.quantile(genuine, 1 - missed)
    if distance >= middle:
        raise ValueError(f"{missed:.3f} of the pairs are farther apart than {distance:.3f}; 0.5 is {middle}.")
    return float(np.arctanh(2 * FITTED_AT - 1) / (1 - distance / middle))


def pair_rates(genuine: Doubles, impostor: Doubles, curve: Curve) -> list[dict[str, float]]:
    """Tell FMR and FNMR at each of SIMILARITIES, by distances of one person's pairs and of two people's."""
    distances = [curve.distance(similarity) for similarity in SIMILARITIES]
    return [
        {
            "similarity": similarity,
            "distance": distance,
            "fmr": float((impostor <= distance).mean()),
            "fnmr": float((genuine > distance).mean()),
        }
        for similarity, distance in zip(SIMILARITIES, distances, strict=True)
    ]


def searches(people: Sequence[Doubles], samples_each: int, size: int, curve: Curve) -> dict[str, Any]:
    """Enrol people again and again, and tell whose nearest example reaches each similarity."""
    trials = [
        rates.trial(people, NO_BACKGROUND, rates.nearest, samples_each, size, seed)
        for seed in range(max(1, SEARCHES // (len(people) - size)))
    ]
    at = [rates.at_threshold(trials, 1 - max(0, curve.distance(one)) ** 2 / 2) for one in SIMILARITIES]
    return {
        "samples_each": samples_each,
        "people": max(each.enrolled for each in trials),
        "strangers": sum(len(each.strangers) for each in trials),
        "probes": sum(len(each.own) for each in trials),
        "named": [named for named, _ in at],
        "recognised": [recognised for _, recognised in at],
    }


def measured(
    ours: dict[str, Doubles],
    theirs: dict[str, Doubles],
    curve: Curve,
    enrol: Sequence[int],
    sizes: Sequence[int],
) -> dict[str, Any]:
    """Fit on one half of the people, and show the other.

    ours, theirs: of each person the directions of all pictures, (n, d), by name.
    """

    def halves(people: dict[str, Doubles]) -> list[list[Doubles]]:
        return [[some for name, some in people.items() if rates.half_of(name) == half] for half in (0, 1)]

    pairs, their_pairs = ([pairs_of(half) for half in halves(people)] for people in (ours, theirs))
    return {
        "fitted": [
            fitted(genuine, other, curve.middle)
            for (genuine, _), (other, _) in zip(pairs, their_pairs, strict=True)
        ],
        "genuine": len(pairs[1][0]),
        "impostor": len(pairs[1][1]),
        "ways": {
            name: {
                "pairs": pair_rates(*some[1], way),
                "searches": [
                    searches(halves(people)[1], each, size, way) for size in sizes for each in enrol
                ],
            }
            for name, people, some, way in (
                ("ours", ours, pairs, curve),
                ("like CompreFace", theirs, their_pairs, THEIRS),
            )
        },
    }


def table(report: dict[str, Any]) -> str:
    """Lay the report out as Markdown."""
    here, there = report["fitted"]
    lines = [
        f"{report['model']}: fitted {here:.2f} on one half of the people, and {there:.2f} on the other; the "
        f"service has {report['steepness']:.2f}.",
        f"Shown: the other half, {report['genuine']:,} pairs of one person, {report['impostor']:,} of two; "
        "and in galleries, strangers who get a name, and others who get theirs.",
    ]
    for name, way in report["ways"].items():
        kinds = [f"{each['people']} people, {each['samples_each']} of each" for each in way["searches"]]
        lines += [
            "",
            f"| {name} | distance | FMR | FNMR | {' | '.join(kinds)} |",
            f"| ---: | ---: | ---: | ---: |{' ---: |' * len(kinds)}",
        ]
        for number, row in enumerate(way["pairs"]):
            cells = [
                f"{each['named'][number]:.2%}, {each['recognised'][number]:.1%}" for each in way["searches"]
            ]
            lines.append(
                f"| {row['similarity']:g} | {row['distance'] * identification.LENGTH:.2f} "
                f"| {accuracy.scientific(row['fmr'])} | {row['fnmr']:.3f} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder with Name/Name_0001.jpg")
    parser.add_argument(
        "--enrol", type=identification.numbers, default=[1, 3], help="pictures of each person"
    )
    parser.add_argument("--sizes", type=identification.numbers, default=[10, 50], help="people enrolled")
    parser.add_argument("--cache", type=Path, help="folder in which vectors are kept")
    parser.add_argument("--model", default="Facenet", help="as EMBEDDING_MODEL has it, and prepared")
    parser.add_argument("--detector", choices=OURS, default="mtcnn", help="our detector")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the report")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the table, and return the report."""
    options = arguments(argv)
    system = accuracy.load_ours(
        options.models_dir, "central", options.threads, options.model, options.detector
    )
    ours, theirs = (
        identification.people_of(options.images, options.cache, each)
        for each in (system, load_theirs(options.models_dir, options.threads))
    )
    middle = system.thresholds["euclidean"] / identification.LENGTH
    curve = Curve(middle, STEEPNESS.get(options.model, OTHERS))
    report = {
        "model": options.model,
        "steepness": curve.steepness,
        **measured(ours, theirs, curve, options.enrol, options.sizes),
    }
    print(table(report))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


if __name__ == "__main__":
    main()
