"""Measures how well faces are verified: on any folder of labelled pictures, beside deepface on the same ones.

    python benchmarks/accuracy.py --images lfw --pairs lfw/pairs.txt --peer deepface --plots plots

`--images` is laid out as Labeled Faces in the Wild (LFW), Name/Name_0001.jpg; `--pairs` is one of its lists,
pairs.txt (View 2, ten folds) or pairsDevTest.txt (View 1). Every picture takes the product's own way in one
process: decode, detect, crop, embed; only HTTP is left out.

Data flow: pictures -> one vector each, or none -> distances of the listed pairs and of all pairs -> rates
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import accuracy_rates as rates
from embedding.network import load
from recognition.detector import OURS
from recognition.faces import Box
from recognition.pictures import crops
from recognition.seeing import fingerprint_of
from serving import pictures as images

ROOT = Path(__file__).resolve().parents[1]
PICTURE = re.compile(r"(?P<name>.+)_(?P<number>\d{4})\.(?:jpe?g|png|webp|bmp)", re.IGNORECASE)
MAX_PIXELS = 64_000_000  # the service's default
SAVE_EVERY = 50  # pictures

COLOURS = ("#1b6ca8", "#d1603d")  # blue: genuine, ours; orange: impostor, the peer

FaceRule = Literal["central", "largest"]
Vector = NDArray[np.float32]


class BenchmarkError(Exception):
    """The benchmark cannot be run, for the one reason that the message gives."""


@dataclass(frozen=True, slots=True)
class System:
    """A way from a picture to a vector.

    represent: uint8 (H, W, 3) RGB -> float32 (d,), or None when no face is found.
    thresholds: how its vectors are compared, and what it takes for the same person; the first is its default.
    about: everything that moves its vectors, for the report and for the cache.
    """

    name: str
    represent: Callable[[NDArray[np.uint8]], Vector | None]
    thresholds: dict[rates.Metric, float]
    about: dict[str, str]


# The systems


def chosen(boxes: Sequence[Box], shape: tuple[int, ...], rule: FaceRule) -> int:
    """Return the place of the face that a picture of shape (H, W, 3) is about; of equals the first.

    LFW's README names a picture after the person in its centre; the service enrols the largest face.
    """
    if rule == "largest":
        return max(range(len(boxes)), key=lambda i: boxes[i].area)
    centre = complex(shape[1] / 2, shape[0] / 2)
    return min(
        range(len(boxes)),
        key=lambda i: abs(complex(boxes[i].x + boxes[i].w / 2, boxes[i].y + boxes[i].h / 2) - centre),
    )


def load_ours(
    models_dir: Path, rule: FaceRule, threads: int, model: str = "Facenet", detector: str = "mtcnn"
) -> System:
    """Load the product's own pipeline, as its services put it together. Raises OSError without models."""
    detect = OURS[detector](models_dir, threads=threads)
    network = load(model, models_dir, threads=threads)

    def represent(picture: NDArray[np.uint8]) -> Vector | None:
        faces = detect(picture)
        if not faces:
            return None
        face = faces[chosen([face.box for face in faces], picture.shape, rule)]
        cut = crops.crop_faces(picture, [face], network.model.input_size, network.model.template)
        vector: Vector = network.embed(cut)[0]
        return vector

    sources = sorted(path for folder in ("face_detection", "feature_extraction") for path in code_of(folder))
    return System(
        name="ours",
        represent=represent,
        thresholds={"euclidean": network.model.threshold},
        about={
            "pipeline": f"load_{detector}, the {rule} face, crop_faces, load({model}).embed",
            "face": rule,
            "fingerprint": fingerprint_of(network.model),
            "models_sha256": sha256(path.read_bytes() for path in sorted(models_dir.glob("*.onnx"))),
            "code_sha256": sha256(path.read_bytes() for path in sources),
            **versions("onnxruntime", "opencv-contrib-python-headless", "numpy", "pillow"),
        },
    )


def load_deepface(models_dir: Path, rule: FaceRule) -> System:
    """Load deepface's Facenet behind its mtcnn, with its defaults and the weights in models_dir/.deepface."""
    os.environ["DEEPFACE_HOME"] = str(models_dir.resolve())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from deepface import DeepFace
    from deepface.modules.exceptions import FaceNotDetected, ImgNotFound
    from deepface.modules.verification import find_threshold

    def represent(picture: NDArray[np.uint8]) -> Vector | None:
        bgr = np.ascontiguousarray(picture[:, :, ::-1])
        try:
            faces = DeepFace.represent(
                bgr, model_name="Facenet", detector_backend="mtcnn", align=True, enforce_detection=True
            )
        except (FaceNotDetected, ImgNotFound):
            return None
        boxes = [Box(*(face["facial_area"][side] for side in "xywh")) for face in faces]
        return np.array(faces[chosen(boxes, picture.shape, rule)]["embedding"], dtype=np.float32)

    metrics: tuple[rates.Metric, ...] = ("cosine", "euclidean_l2", "euclidean")
    return System(
        name="deepface",
        represent=represent,
        thresholds={metric: float(find_threshold("Facenet", metric)) for metric in metrics},
        about={
            "pipeline": f"represent(Facenet, mtcnn, align=True, normalization=base), the {rule} face",
            "face": rule,
            **versions("deepface", "mtcnn", "tensorflow", "tf-keras"),
        },
    )


def code_of(folder: str) -> list[Path]:
    """Return the Python files of one of the services."""
    return list((ROOT / folder).rglob("*.py"))


def sha256(parts: Any) -> str:
    """Return the SHA-256 of some bytes objects in hexadecimal, boundaries included."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions."""
    return {package: importlib.metadata.version(package) for package in packages}


# Pictures and vectors


def find_pictures(folder: Path) -> dict[rates.Key, Path]:
    """Return the pictures Name/Name_0001.jpg below a folder by name and number, sorted."""
    found = {}
    for path in sorted(folder.glob("*/*")):
        match = PICTURE.fullmatch(path.name)
        if match and match["name"] == path.parent.name:
            found[match["name"], int(match["number"])] = path
    return found


def vectors_of(paths: Sequence[Path], system: System, cache: Path | None) -> Vector:
    """Return a vector of each picture: float32 (n, d), NaN where no face is found.

    cache: a folder in which vectors are kept by the pictures' bytes, so that a run can go on where one ended.
    """
    file = cache and cache / f"{system.name}-{sha256([json.dumps(system.about).encode()])[:16]}.npz"
    known = read_cache(file)
    new = 0
    keys = []
    try:
        for path in tqdm(paths, desc=system.name, unit="picture", disable=None):
            data = path.read_bytes()
            keys.append(sha256([data]))
            if keys[-1] in known:
                continue
            known[keys[-1]] = system.represent(images.decode(data, MAX_PIXELS).pixels)
            new += 1
            if new % SAVE_EVERY == 0:
                write_cache(file, known)
    finally:
        if new:
            write_cache(file, known)
    return stacked([known[key] for key in keys])


def stacked(vectors: Sequence[Vector | None]) -> Vector:
    """Put n vectors, float32 (d,), or None, into one array (n, d) with NaN for None."""
    dimension = max((len(vector) for vector in vectors if vector is not None), default=1)
    nothing = np.full(dimension, np.nan, np.float32)
    return np.stack([nothing if vector is None else vector for vector in vectors])


def read_cache(file: Path | None) -> dict[str, Vector | None]:
    """Read what `write_cache` has written; nothing when it has not."""
    if file is None or not file.exists():
        return {}
    with np.load(file) as stored:
        found = np.isfinite(stored["vectors"]).all(axis=1)
        rows = zip(stored["keys"].tolist(), stored["vectors"], found, strict=True)
        return {key: vector if known else None for key, vector, known in rows}


def write_cache(file: Path | None, vectors: dict[str, Vector | None]) -> None:
    """Replace the cache file by a complete new one."""
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as stream:
        np.savez(stream, keys=np.array(list(vectors)), vectors=stacked(list(vectors.values())))
    part.replace(file)


# The report


def evaluate(
    vectors: Vector,
    keys: Sequence[rates.Key],
    pairs: Sequence[rates.Pair],
    metric: rates.Metric,
    threshold: float,
) -> tuple[dict[str, Any], rates.AllPairs]:
    """Measure one system with one metric.

    Args:
        vectors: float32 (n, d), NaN where no face was found.
        keys: of the n pictures.
        pairs: the pair list.
        metric: how vectors are compared.
        threshold: the system's own, for that metric.

    Returns:
        The figures, as they stand in the JSON file, and the distances for plots.
    """
    place = {key: i for i, key in enumerate(keys)}
    left = vectors[[place[pair.left] for pair in pairs]]
    right = vectors[[place[pair.right] for pair in pairs]]
    genuine = np.array([pair.genuine for pair in pairs])
    distances = rates.listed_distances(left, right, metric)
    accuracies, thresholds = rates.fold_accuracies(
        distances, genuine, np.array([pair.fold for pair in pairs], dtype=np.int64)
    )
    listed_fmr, listed_fnmr = rates.listed_rates(distances, genuine, threshold)
    pairwise = rates.all_pairs(vectors, [name for name, _ in keys], metric)
    errors = rates.tmr_errors(pairwise)
    return {
        "metric": metric,
        "threshold": threshold,
        "listed_pairs": {
            "accuracy": float(accuracies.mean()),
            "accuracy_standard_error": rates.standard_error(accuracies),
            "fold_accuracies": accuracies.tolist(),
            "fold_thresholds": thresholds.tolist(),
            "accuracy_at_threshold": float(rates.right_answers(distances, genuine, threshold).mean()),
            "undetected": int(np.isnan(distances).sum()),
            "fmr": listed_fmr,
            "fnmr": listed_fnmr,
        },
        "all_pairs": {
            "genuine": pairwise.genuine_pairs,
            "genuine_undetected": pairwise.genuine_pairs - len(pairwise.genuine),
            "impostor_detected": pairwise.impostors,
            "fmr": rates.fmr(pairwise, threshold),
            "fnmr": rates.fnmr(pairwise, threshold),
            "tmr": [
                {
                    "fmr": target,
                    "threshold": rates.threshold_at(pairwise, target),
                    "tmr": rates.tmr_at(pairwise, target),
                    "standard_error": error,
                }
                for target, error in zip(rates.TARGETS, errors, strict=True)
            ],
        },
    }, pairwise


def table(report: dict[str, Any]) -> str:
    """Lay a report out for people: one column for each system and metric."""
    data = report["data"]
    labels = ["", "undetected pictures", "accuracy, other folds' threshold", "its own threshold"]
    labels += ["accuracy at it", "FMR / FNMR at it, listed pairs", "FMR / FNMR at it, all pairs"]
    labels += [f"TMR at FMR {scientific(target)}, all pairs" for target in rates.TARGETS]
    columns = [labels]
    for result in report["results"]:
        listed, every = result["listed_pairs"], result["all_pairs"]
        columns.append(
            [
                f"{result['system']}, {result['metric']}",
                f"{result['undetected_pictures']}",
                f"{listed['accuracy']:.4f} +- {listed['accuracy_standard_error']:.4f}",
                f"{result['threshold']:g}",
                f"{listed['accuracy_at_threshold']:.4f}",
                f"{scientific(listed['fmr'])} / {listed['fnmr']:.4f}",
                f"{scientific(every['fmr'])} / {every['fnmr']:.4f}",
                *(f"{at['tmr']:.4f} +- {at['standard_error']:.4f}" for at in every["tmr"]),
            ]
        )
    widths = [max(map(len, column)) for column in columns]
    lines = [
        f"{data['pictures']} pictures of {data['people']} people, the {data['face']} face of each; "
        f"listed pairs: {data['listed_genuine']} genuine, {data['listed_impostor']} impostor, "
        f"{data['folds']} folds; all pairs: {data['all_genuine']} genuine, {data['all_impostor']} impostor",
        "",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in zip(*columns, strict=True)
        ),
    ]
    return "\n".join(lines)


def scientific(rate: float) -> str:
    """Write a small rate with two digits: 0.00012 -> 1.2e-4."""
    return f"{rate:.1e}".replace("e-0", "e-").replace(".0e", "e") if rate else "0"


def plot(folder: Path, results: Sequence[tuple[str, float, rates.AllPairs]]) -> None:
    """Write distances.png and det.png: one panel and one curve for each name, threshold and distances."""
    from matplotlib.figure import Figure  # here, for it is needed with --plots only

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(8, 3.4 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), squeeze=False)[:, 0]
    for axes, (name, threshold, pairs) in zip(panels, results, strict=True):
        edges = pairs.edges[::4]  # a hundred bars are enough to look at
        impostor = pairs.impostor_counts.reshape(-1, 4).sum(axis=1)
        genuine = np.histogram(pairs.genuine, edges)[0]
        for counts, label, colour in (
            (genuine, f"genuine ({len(pairs.genuine):,} pairs)", COLOURS[0]),
            (impostor, f"impostor ({pairs.impostors:,} pairs)", COLOURS[1]),
        ):
            density = counts / counts.sum() / edges[1]
            axes.stairs(density, edges, fill=True, alpha=0.55, color=colour, label=label)
        label = f"threshold {threshold:g}"
        axes.axvline(threshold, ymax=0.88, color="#222222", linestyle="--", linewidth=1.2, label=label)
        axes.set(xlabel="distance", ylabel="density", xlim=(0, edges[-1]))
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])  # room for the legend
        axes.set_title(name, loc="left", fontsize=11)
        axes.set_title(
            f"FMR {scientific(rates.fmr(pairs, threshold))}, FNMR {rates.fnmr(pairs, threshold):.3f}",
            loc="right",
            fontsize=9,
        )
        axes.legend(frameon=False, loc="upper center", ncols=3, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "distances.png", dpi=150)

    figure = Figure(figsize=(7, 5.5), layout="constrained")
    axes = figure.subplots()
    for (name, threshold, pairs), colour in zip(results, COLOURS, strict=False):
        false_matches, misses = rates.det(pairs)
        axes.plot(false_matches, misses, color=colour, linewidth=1.8, label=name)
        axes.plot(
            rates.fmr(pairs, threshold),
            rates.fnmr(pairs, threshold),
            "o",
            color=colour,
            markersize=7,
            label=f"at its threshold, {threshold:g}",
        )
    axes.set(title="DET over all pairs", xlabel="FMR", ylabel="FNMR", xscale="log", yscale="log")
    axes.set_xlim(max(1e-6, min(1 / pairs.impostors for _, _, pairs in results)), 1)
    axes.grid(which="major", color="#cccccc", linewidth=0.6)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "det.png", dpi=150)


# The command line


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure the accuracy of face verification on labelled pictures.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of Name/Name_0001.jpg")
    parser.add_argument(
        "--pairs", type=Path, required=True, help="LFW's pairs.txt or pairsDevTest.txt, or alike"
    )
    parser.add_argument("--peer", choices=["deepface"], help="measure it too, on the same pictures")
    parser.add_argument("--detector", choices=OURS, default="mtcnn", help="our detector")
    parser.add_argument("--face", choices=["central", "largest"], default="central", help="which face counts")
    parser.add_argument(
        "--over",
        choices=["folder", "listed"],
        default="folder",
        help="'all pairs' are those of all pictures of the folder, or of the listed ones",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plots", type=Path, help="write distances.png and det.png into this folder")
    parser.add_argument("--cache", type=Path, help="keep vectors in this folder and use those that are there")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of our detector and network"
    )
    parser.add_argument("--model", default="Facenet", help="as EMBEDDING_MODEL has it, and prepared")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models", help="made by prepare_models.py")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the table, and return the report.

    Raises:
        BenchmarkError: files are missing, or the pair list does not fit.
    """
    options = arguments(argv)
    try:
        pairs = rates.parse_pairs(options.pairs.read_text(encoding="utf-8"))
        systems = [
            load_ours(options.models_dir, options.face, options.threads, options.model, options.detector)
        ]
    except OSError as e:
        raise BenchmarkError(f"{e}. Models are made by: python prepare_models.py") from e
    except ValueError as e:
        raise BenchmarkError(f"{options.pairs}: {e}") from e
    pictures = find_pictures(options.images)
    listed = {key for pair in pairs for key in (pair.left, pair.right)}
    if missing := sorted(listed - set(pictures)):
        name, number = missing[0]
        raise BenchmarkError(
            f"{len(missing)} listed pictures are not in {options.images}, first {name}_{number:04d}."
        )
    keys = [key for key in pictures if options.over == "folder" or key in listed]
    if options.peer:
        systems.append(load_deepface(options.models_dir, options.face))

    results, shown = [], []
    for system in systems:
        vectors = vectors_of([pictures[key] for key in keys], system, options.cache)
        undetected = np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist()
        for metric, threshold in system.thresholds.items():
            figures, pairwise = evaluate(vectors, keys, pairs, metric, threshold)
            results.append({"system": system.name, "undetected_pictures": len(undetected), **figures})
            if metric == next(iter(system.thresholds)):
                shown.append((f"{system.name} ({metric} distance)", threshold, pairwise))
    people = {name for name, _ in keys}
    every = shown[0][2]
    report = {
        "data": {
            "images": options.images.name,
            "pairs": options.pairs.name,
            "pictures": len(keys),
            "people": len(people),
            "face": options.face,
            "all_pairs_over": options.over,
            "folds": len({pair.fold for pair in pairs}),
            "listed_genuine": sum(pair.genuine for pair in pairs),
            "listed_impostor": sum(not pair.genuine for pair in pairs),
            "all_genuine": every.genuine_pairs,
            "all_impostor": len(keys) * (len(keys) - 1) // 2 - every.genuine_pairs,
        },
        "systems": {system.name: system.about for system in systems},
        "machine": {
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
        },
        "results": results,
    }
    print(table(report))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.plots:
        plot(options.plots, shown)
    return report


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as e:
        sys.exit(f"accuracy.py: {e}")
