"""Measures how well faces without names are grouped by person: all at once and as they come, beside peers.

    python benchmarks/grouping.py --images lfw --cache cache
    python benchmarks/grouping.py --images lfw --cache cache --model MobileFaceNet
    python benchmarks/grouping.py --many 100000

`--images` is laid out as Labeled Faces in the Wild (LFW), Name/Name_0001.jpg; every picture takes the
product's own way from bytes to a vector. People are parted in two halves; the background that serves one is
fitted on the other. Each peer gets the setting that is best on the first half with Facenet, which `--tune`
looks for; shown are both. `--many` groups so many made-up faces and says what that takes.

Data flow: pictures -> one vector each -> two halves -> a label for each face -> pairs and people found
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN, HDBSCAN, AgglomerativeClustering

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import accuracy
import identification
from embedding.catalogue import MODELS
from recognition.detector import OURS
from recognition.matching import grouping
from recognition.matching.background import Background
from recognition.matching.calibration import SHARES, Tail
from recognition.matching.grouping import Groups, alone, joined, put_together
from recognition.matching.people import directions
from serving.model import Model

ROOT = Path(__file__).resolve().parents[1]
LEAST_PICTURES = 3  # of a person who counts as somebody to be found
PRECISION = 0.995  # that a setting has to reach where it is chosen
SEED = 1
# Scores beside it are cosines.
NO_BACKGROUND = Background(np.zeros((1, 128), np.float32), Tail(np.zeros(len(SHARES)), 1, 0), np.empty(0), 0)

Labels = NDArray[np.intp]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Half:
    """The faces of one half's people in any order, and the background that is fitted on the other half.

    vectors: float32 (n, d), of the model's length; names: whose each is.
    """

    vectors: Vectors
    names: list[str]
    beside: Background
    model: Model


# Ways to group. Each takes a half and a share of the model's threshold, or what else it is set by.


def ours(half: Half, share: float) -> Labels:
    """Group as the product does, all at once."""
    return joined(alone(half.vectors, half.beside), least(half.model, half.beside, share))


def ours_alone(half: Half, share: float) -> Labels:
    """Group as the product does where there is no background for a model."""
    return joined(alone(half.vectors, None), least(half.model, None, share))


def least(model: Model, beside: Background | None, share: float) -> float:
    """Return grouping.least_likeness at another share of the threshold."""
    cosine = 1 - (share * model.threshold / length(model)) ** 2 / 2
    return cosine - (beside.discount if beside else 0.0)


def as_they_come(at_once: int) -> Callable[[Half, float], Labels]:
    """Return the product's way where faces come so many at a time, and are put to what is there."""

    def way(half: Half, share: float) -> Labels:
        needed = least(half.model, half.beside, share)
        faces = alone(half.vectors, half.beside)
        groups = taken(faces, slice(0, 0))
        owner_of: Labels = np.empty(0, np.intp)
        for start in range(0, len(half.vectors), at_once):
            known = len(groups.sizes)
            more = taken(faces, slice(start, start + at_once))
            groups = Groups(*map(np.concatenate, zip(parts(groups), parts(more), strict=True)))
            left, places = np.unique(joined(groups, needed, known=known), return_inverse=True)
            owner_of = places[np.concatenate([owner_of, known + np.arange(len(more.sizes))])]
            groups = put_together(groups, places, len(left))
        return owner_of

    return way


def parts(groups: Groups) -> tuple[NDArray[Any], ...]:
    """Return what groups are made of."""
    return groups.sums, groups.typicality, groups.sizes


def taken(groups: Groups, some: slice) -> Groups:
    """Return some of the groups."""
    return Groups(*(part[some] for part in parts(groups)))


def linkage(kind: str) -> Callable[[Half, float], Labels]:
    """Return scikit-learn's agglomerative clustering."""

    def way(half: Half, share: float) -> Labels:
        found = AgglomerativeClustering(
            n_clusters=None, linkage=kind, distance_threshold=share * half.model.threshold
        ).fit(half.vectors)
        labels: Labels = found.labels_
        return labels

    return way


def dbscan(half: Half, share: float) -> Labels:
    """Group by scikit-learn's DBSCAN; what it calls noise is alone."""
    found = DBSCAN(eps=share * half.model.threshold, min_samples=2).fit(half.vectors)
    return noise_alone(found.labels_)


def hdbscan(half: Half, share: float) -> Labels:
    """Group by scikit-learn's HDBSCAN, which takes no distance; what it calls noise is alone."""
    found = HDBSCAN(min_cluster_size=2, min_samples=1, cluster_selection_method="leaf", copy=True).fit(
        half.vectors
    )
    return noise_alone(found.labels_)


def nearest_mean(half: Half, share: float) -> Labels:
    """Put each face as it comes to the nearest mean, or let it begin a group."""
    sums, counts, labels = np.empty_like(half.vectors), np.zeros(len(half.vectors)), []
    number = 0
    for vector in half.vectors:
        label = number
        if number:
            means = sums[:number] / counts[:number, None]
            means *= length(half.model) / np.linalg.norm(means, axis=1, keepdims=True)
            distances = np.linalg.norm(means - vector, axis=1)
            if distances.min() < share * half.model.threshold:
                label = int(distances.argmin())
        if label == number:
            sums[number], number = 0, number + 1
        sums[label] += vector
        counts[label] += 1
        labels.append(label)
    return np.array(labels)


def noise_alone(labels: Labels) -> Labels:
    """Give each face without a group, -1, one of its own."""
    own = labels.max(initial=-1) + 1 + np.arange(len(labels))
    return np.where(labels < 0, own, labels)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to group, and what it is set to; None: what the product has."""

    group: Callable[[Half, float], Labels]
    chosen: float


WAYS = {
    "ours": Way(ours, grouping.SHARE),
    "ours, 100 at a time": Way(as_they_come(100), grouping.SHARE),
    "ours, one at a time": Way(as_they_come(1), grouping.SHARE),
    "ours without a background": Way(ours_alone, grouping.SHARE_ALONE),
    "average linkage": Way(linkage("average"), 0.98),
    "complete linkage": Way(linkage("complete"), 0.98),
    "single linkage": Way(linkage("single"), 0.84),
    "DBSCAN": Way(dbscan, 0.84),
    "HDBSCAN": Way(hdbscan, 1.0),
    "nearest mean": Way(nearest_mean, 0.94),
}
STEPS = np.arange(0.5, 1.21, 0.02).round(2)


# What is measured


def rates_of(labels: Labels, names: Sequence[str]) -> dict[str, float]:
    """Tell how right groups are.

    precision: of the pairs of faces in one group, the share that is one person's; recall: of the pairs that
    are, the share in one group. clean: of the people with LEAST_PICTURES or more, the share who are one
    group that has all their faces and no other; mostly: the share of whom most are in one, with no other's.
    """
    _, people = np.unique(names, return_inverse=True)
    _, groups = np.unique(labels, return_inverse=True)
    both, counts = np.unique(np.stack([people, groups]), axis=1, return_counts=True)
    pictures, sizes = np.bincount(people), np.bincount(groups)
    together = pairs(counts)
    order = np.lexsort((counts, both[0]))  # the last of each person is the group with most of the faces
    last = order[np.append(np.diff(both[0][order]) > 0, True)]
    largest, most = both[1][last], counts[last]
    pure = sizes[largest] == most
    wanted = pictures >= LEAST_PICTURES
    return {
        "precision": together / max(1, pairs(sizes)),
        "recall": together / max(1, pairs(pictures)),
        "clean": float((pure & (most == pictures))[wanted].mean()),
        "mostly": float((pure & (2 * most > pictures))[wanted].mean()),
    }


def pairs(sizes: NDArray[np.int64]) -> int:
    """Count the pairs within groups of these sizes."""
    return int((sizes * (sizes - 1) // 2).sum())


def tuned(half: Half, way: Way) -> float | None:
    """Find the highest share at which the pairs that are put together are right; None: at none."""
    right = [
        share for share in STEPS if rates_of(way.group(half, share), half.names)["precision"] >= PRECISION
    ]
    return float(max(right)) if right else None


def measured(halves: Sequence[Half], ways: Sequence[str]) -> list[dict[str, Any]]:
    """Measure each way on each half."""
    rows = []
    for name in ways:
        way = WAYS[name]
        for number, half in enumerate(halves):
            began = time.perf_counter()
            labels = way.group(half, way.chosen)
            taken_s = time.perf_counter() - began
            row = {"way": name, "share": way.chosen, "half": number, "faces": len(labels), "seconds": taken_s}
            rows.append(row | rates_of(labels, half.names))
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay rows out as Markdown."""
    lines = [
        "| way | set to | half | precision | recall | clean groups | mostly found | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        figures = [f"{row[name]:.4f}" for name in ("precision", "recall")]
        figures += [f"{row[name]:.1%}" for name in ("clean", "mostly")]
        cells = [row["way"], f"{row['share']:g}", str(row["half"]), *figures, f"{row['seconds']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# Many faces


def crowd(number: int, dimension: int = 128, seed: int = SEED) -> tuple[Vectors, list[str]]:
    """Make up faces, half of them of up to 1,000 people, some of whom have thousands, and half of strangers.

    Returns:
        float32 (n, d), and whose each is.
    """
    random = np.random.default_rng(seed)
    often = np.minimum(random.zipf(1.5, number), 1000) - 1
    whose = np.where(random.random(number) < 0.5, often, 1000 + np.arange(number))
    places = directions(random.normal(size=(int(whose.max()) + 1, dimension)))
    spread = 0.6 / np.sqrt(dimension)  # one person's vectors have a cosine of 0.74 in the mean
    vectors = places[whose] + random.normal(scale=spread, size=(number, dimension))
    return (10 * directions(vectors)).astype(np.float32), [str(who) for who in whose]


def many(number: int) -> dict[str, Any]:
    """Group so many made-up faces, and then a thousand more, and tell what it takes."""
    model = model_of("Facenet")
    vectors, names = crowd(number + 1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    faces = alone(vectors[:number], None)
    needed = grouping.least_likeness(model, None)
    labels = joined(faces, needed)
    whole_s = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    left, places = np.unique(labels, return_inverse=True)
    groups = put_together(faces, places, len(left))
    began = time.perf_counter()
    more = Groups(*map(np.concatenate, zip(parts(groups), parts(alone(vectors[number:], None)), strict=True)))
    joined(more, needed, known=len(left))
    return {
        "faces": number,
        "groups": len(left),
        "seconds": whole_s,
        "MiB more": (peak - before) // 1024,
        "seconds for 1,000 more": time.perf_counter() - began,
        **rates_of(labels, names[:number]),
    }


def length(model: Model) -> float:
    """Return the length of a model's vectors."""
    return model.distance_range[1] / 2


def model_of(name: str) -> Model:
    """Describe a model, as far as it matters here."""
    row = MODELS[name]
    return Model(name, row.dimension, row.input_size, row.threshold, (0.0, 2 * row.length), "")


def halves_of(options: argparse.Namespace) -> list[Half]:
    """Read the pictures' vectors, and part the people."""
    system = accuracy.load_ours(
        options.models_dir, "central", options.threads, options.model, options.detector
    )
    people = identification.people_of(options.images, options.cache, system)
    model = model_of(options.model)
    random = np.random.default_rng(SEED)
    found = []
    for part in identification.halves(people, {}):
        vectors = (length(model) * np.concatenate(part.people)).astype(np.float32)
        names = [name for name, some in zip(part.names, part.people, strict=True) for _ in some]
        order = random.permutation(len(names))
        found.append(Half(vectors[order], [names[place] for place in order], part.other, model))
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the table, and return the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder with Name/Name_0001.jpg")
    parser.add_argument("--cache", type=Path, help="folder in which vectors are kept")
    parser.add_argument("--model", default="Facenet", help="as EMBEDDING_MODEL has it, and prepared")
    parser.add_argument("--detector", choices=OURS, default="mtcnn", help="our detector")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--tune", action="store_true", help="look for the settings on the first half")
    parser.add_argument("--many", type=int, help="group so many made-up faces")
    parser.add_argument("--json", type=Path, help="file for the report")
    options = parser.parse_args(argv)
    report: dict[str, Any] = {}
    if options.many:
        report["many"] = many(options.many)
        print(json.dumps(report["many"], indent=2))
    if options.images:
        halves = halves_of(options)
        if options.tune:
            report["tuned"] = {}
            for name in options.ways:
                report["tuned"][name] = tuned(halves[0], WAYS[name])
                print(name, report["tuned"][name], flush=True)
        report["rows"] = measured(halves, options.ways)
        print(table(report["rows"]))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


if __name__ == "__main__":
    main()
