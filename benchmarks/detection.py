"""How many faces of a labelled collection our detectors find, and how fast, beside the `mtcnn` package.

    python benchmarks/detection.py --images DIR --truth wider_face_val_bbx_gt.txt --peer mtcnn

The truth is in the format of WIDER FACE (Yang et al., CVPR 2016, http://shuoyang1213.me/WIDERFACE/): a path,
the number of faces, and a line of `x y w h blur expression illumination invalid occlusion pose` for each.
Pictures lie in DIR under that path or under its last part; the run fails if one is missing.

A detection is a hit where it overlaps its nearest face with an IoU of 0.5 or more and is the first to do so,
the surest detections coming first. Faces marked invalid or outside the band of heights are ignored, with
the detections on them, as in the protocol of WIDER FACE. A detection on no face is a false positive of the
bands its own height lies in, as in that of COCO (https://cocodataset.org/#detection-eval).
Average precision is the area under the precision envelope at all recalls (PASCAL VOC development kit, 2010).
Recall and precision are those of all detections, at the detectors' own thresholds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "face_detection"))

from recognition.detector import MAX_SIDE_PX, OURS  # noqa: E402

HIT_IOU = 0.5
BANDS_PX = {
    "10-20": (10.0, 20.0),
    "20-40": (20.0, 40.0),
    "40-80": (40.0, 80.0),
    "80-160": (80.0, 160.0),
    "> 160": (160.0, math.inf),
    "all >= 20": (20.0, math.inf),
}
HIT, MISS, IGNORED = 1, 0, -1

Picture = NDArray[np.uint8]
Doubles = NDArray[np.float64]
Detect = Callable[[Picture], tuple[Doubles, Doubles]]


@dataclass(frozen=True, slots=True)
class Result:
    """One detector on one band of face heights; None where there is nothing to divide by."""

    detector: str
    band: str
    faces: int
    recall: float | None
    precision: float | None
    average_precision: float | None


def read_truth(lines: Sequence[str]) -> dict[str, tuple[Doubles, NDArray[np.bool_]]]:
    """Per picture the boxes (n, 4) float64, x, y, w, h in pixels, and (n,) whether a face is marked invalid.

    Raises ValueError for lines that are not in the format.
    """
    truth: dict[str, tuple[Doubles, NDArray[np.bool_]]] = {}
    at = 0
    while at < len(lines):
        name = lines[at].strip()
        if not name:
            at += 1
            continue
        try:
            count = int(lines[at + 1])
            # a picture without faces has one line of zeros all the same
            rows = [[float(v) for v in line.split()] for line in lines[at + 2 : at + 2 + max(1, count)]]
            faces = np.array(rows).reshape(max(1, count), 10)[:count]
        except (IndexError, ValueError) as e:
            raise ValueError(f"not in the format of WIDER FACE, from line {at + 1}: {name!r}") from e
        truth[name] = faces[:, :4], faces[:, 7] > 0
        at += 2 + max(1, count)
    return truth


def overlaps(a: Doubles, b: Doubles) -> Doubles:
    """Intersection over union of boxes (n, 4) and (m, 4), x, y, w, h: (n, m); 0 for boxes without area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    union = a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def match(
    found: Doubles, faces: Doubles, ignored: NDArray[np.bool_], band: tuple[float, float]
) -> NDArray[np.int8]:
    """What each detection of one picture is: (n,) of HIT, MISS or IGNORED.

    found: (n, 4) x, y, w, h, the surest first; faces: (m, 4); ignored: (m,); band: heights from, up to.
    """
    outcome = np.full(len(found), MISS, np.int8)
    low, high = band
    taken = np.zeros(len(faces), bool)
    iou = overlaps(found, faces)
    for k, box in enumerate(found):
        nearest = int(iou[k].argmax()) if len(faces) else -1
        if nearest >= 0 and iou[k, nearest] >= HIT_IOU:
            if ignored[nearest]:
                outcome[k] = IGNORED
            elif not taken[nearest]:
                outcome[k], taken[nearest] = HIT, True
        elif not low <= box[3] < high:
            outcome[k] = IGNORED
    return outcome


def average_precision(scores: Doubles, outcomes: NDArray[np.int8], faces: int) -> float | None:
    """Area under the precision envelope; scores and outcomes (n,) of all pictures; None without faces."""
    if faces == 0:
        return None
    outcomes = outcomes[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(outcomes == HIT)
    counted = np.cumsum(outcomes != IGNORED)
    precision = hits / np.maximum(counted, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[outcomes == HIT].sum() / faces)


def evaluate(
    name: str,
    detections: dict[str, tuple[Doubles, Doubles]],
    truth: dict[str, tuple[Doubles, NDArray[np.bool_]]],
) -> list[Result]:
    """The results of one detector per band; detections: per picture boxes (n, 4) and scores (n,)."""
    results = []
    for label, (low, high) in BANDS_PX.items():
        outcomes, scores, faces = [np.empty(0, np.int8)], [np.empty(0)], 0
        for picture, (boxes, invalid) in truth.items():
            found, confidence = detections[picture]
            order = np.argsort(-confidence, kind="stable")
            ignored = invalid | (boxes[:, 3] < low) | (boxes[:, 3] >= high)
            outcomes.append(match(found[order], boxes, ignored, (low, high)))
            scores.append(confidence[order])
            faces += int((~ignored).sum())
        outcome, score = np.concatenate(outcomes), np.concatenate(scores)
        hits, counted = int((outcome == HIT).sum()), int((outcome != IGNORED).sum())
        recall = hits / faces if faces else None
        precision = hits / counted if counted else None
        average = average_precision(score, outcome, faces)
        results.append(Result(name, label, faces, recall, precision, average))
    return results


def our_detector(name: str, models_dir: Path, max_side_px: int, threads: int) -> Detect:
    """One of this project's detectors, with the given bound of the longer side; 0 for none."""
    detect = OURS[name](models_dir, max_side_px=max_side_px, threads=threads)

    def run(picture: Picture) -> tuple[Doubles, Doubles]:
        faces = detect(picture)
        boxes = [[f.box.x, f.box.y, f.box.w, f.box.h] for f in faces]
        return np.array(boxes, np.float64).reshape(-1, 4), np.array([f.confidence for f in faces])

    return run


def package_detector() -> Detect:
    """The `mtcnn` package on the CPU, with its own defaults."""
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    from mtcnn import MTCNN

    detector = MTCNN()

    def run(picture: Picture) -> tuple[Doubles, Doubles]:
        rows = np.asarray(detector.detect_faces(picture, output_type="numpy"), np.float64)
        return rows[:, 1:5], rows[:, 5]

    return run


def read_picture(images: Path, name: str) -> Picture:
    """The picture as upright uint8 (H, W, 3) RGB; raises FileNotFoundError."""
    path = next((p for p in (images / name, images / Path(name).name) if p.is_file()), None)
    pixels = cv2.imread(str(path)) if path else None
    if pixels is None:
        raise FileNotFoundError(f"no readable picture {name} in {images}")
    return np.ascontiguousarray(pixels[:, :, ::-1], dtype=np.uint8)


def percent(value: float | None) -> str:
    """As it stands in the table."""
    return "     -" if value is None else f"{100 * value:6.1f}"


def main() -> None:
    """Run the detectors picture by picture, in turn, and print and write the figures."""
    parser = argparse.ArgumentParser(description="Recall, precision and average precision by face height.")
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--truth", type=Path, required=True, help="faces in the format of WIDER FACE")
    parser.add_argument("--detector", choices=OURS, nargs="+", help="ours; default: those that are prepared")
    parser.add_argument("--peer", choices=["mtcnn"], help="a package to run on the same pictures")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--max-side", type=int, nargs="+", default=[MAX_SIDE_PX], help="bounds to try, in px")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    folder = Path(os.environ.get("MODELS_DIR", ROOT / "models"))
    parser.add_argument("--models-dir", type=Path, default=folder)
    options = parser.parse_args()

    truth = read_truth(options.truth.read_text().splitlines())
    detectors: dict[str, Detect] = {}
    names = options.detector or [
        n for n in OURS if n == "mtcnn" or (options.models_dir / f"{n}.onnx").exists()
    ]
    for side in [*options.max_side, 0]:
        for name in names:
            label = f"{name}, {side} px" if side else f"{name}, unbounded"
            detectors[label] = our_detector(name, options.models_dir, side, options.threads)
    if options.peer:
        detectors[f"package {options.peer}"] = package_detector()
    detections: dict[str, dict[str, tuple[Doubles, Doubles]]] = {name: {} for name in detectors}
    seconds: dict[str, list[float]] = {name: [] for name in detectors}
    for name in tqdm(truth, unit="picture"):
        picture = read_picture(options.images, name)
        for label, detect in detectors.items():
            start = time.perf_counter()
            detections[label][name] = detect(picture)
            seconds[label].append(time.perf_counter() - start)

    results = [row for label in detectors for row in evaluate(label, detections[label], truth)]
    for band in BANDS_PX:
        rows = [row for row in results if row.band == band]
        print(f"\n{band} px high, {rows[0].faces} faces{'':24}recall  precision  average precision, %")
        for row in rows:
            numbers = f"{percent(row.recall)}     {percent(row.precision)}             "
            print(f"  {row.detector:<42}{numbers}{percent(row.average_precision)}")
    medians = {label: statistics.median(times) * 1000 for label, times in seconds.items()}
    print("\nmedian ms a picture: " + ", ".join(f"{label} {value:.0f}" for label, value in medians.items()))
    if options.json:
        report = {"results": [asdict(row) for row in results], "median_ms": medians, "pictures": len(truth)}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
