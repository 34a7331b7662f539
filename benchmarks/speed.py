"""Speed, side by side with what people use today: `make benchmark`, or `python benchmarks/speed.py`.

Every comparison alternates (ours, peer, ours, peer, ...) on the same pictures in one process tree, so that
whatever else the machine does hits both. "ours" is MODELS=classic; "ours, fast" is MODELS=fast, where its
models are prepared (`MODELS=fast python prepare_models.py`). Medians, 95th percentiles and ratios of medians
go to RESULTS.md, and the bars to speed.png. Peers that are not installed are named and left out.

The photographs are the demo photographs, scaled to heights from 330 to 4,352 pixels as phones and cameras
send them; `--images DIR` takes others, as they are.
"""

from __future__ import annotations

import argparse
import base64
import importlib.metadata
import importlib.util
import itertools
import os
import platform
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import cv2
import matplotlib
import numpy as np
import requests
from numpy.typing import NDArray
from tqdm import tqdm

from detection import overlaps
from embedding import network as embedding_network
from embedding import preprocess
from recognition.detector import MAX_SIDE_PX, load_mtcnn, load_yunet
from recognition.pictures import crops
from services import Running, services
from serving import pictures as images
from steps import profile

ROOT = Path(__file__).resolve().parents[1]
MODELS = Path(os.environ.get("MODELS_DIR", ROOT / "models"))
MAX_PIXELS = 64_000_000
THREADS = 2
HEIGHTS_PX = (330, 4352)
PHOTOGRAPHS = 61
SAMPLES = 1000
FAST = "ours, fast"
PROFILED = 12  # photographs: the historical way takes seconds for each
PACKAGES = (
    "onnxruntime",
    "openvino",
    "numpy",
    "opencv-contrib-python-headless",
    "deepface",
    "mtcnn",
    "tensorflow",
)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the results: milliseconds of each run, ours first."""

    what: str
    times: dict[str, list[float]]

    def median(self, system: str) -> float:
        """Milliseconds."""
        return statistics.median(self.times[system])

    def p95(self, system: str) -> float:
        """Milliseconds."""
        return float(np.percentile(self.times[system], 95))


def alternate(what: str, systems: dict[str, Callable[[Any], Any]], inputs: Sequence[Any], rounds: int) -> Row:
    """Run every system on every input in turn, `rounds` times, after one unmeasured run of each."""
    for run in systems.values():
        run(inputs[0])
    times: dict[str, list[float]] = {name: [] for name in systems}
    for item in tqdm(list(inputs) * rounds, desc=what, unit="input"):
        for name, run in systems.items():
            began = time.perf_counter()
            run(item)
            times[name].append(1000 * (time.perf_counter() - began))
    return Row(what, times)


def photographs(folder: Path | None) -> list[bytes]:
    """Return encoded photographs: those of `folder`, or demo ones scaled to heights as cameras have them."""
    if folder is not None:
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        return [path.read_bytes() for path in found]
    paths = sorted((MODELS / "demo" / "train").glob("*/*.jpg"))
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, PHOTOGRAPHS).astype(int)]
    # One step of the golden ratio after the other: all heights come among all people.
    steps = np.arange(PHOTOGRAPHS) * 0.618034 % 1
    heights = HEIGHTS_PX[0] * (HEIGHTS_PX[1] / HEIGHTS_PX[0]) ** steps
    return [jpeg(scaled(path, round(height))) for path, height in zip(chosen, heights, strict=True)]


def scaled(path: Path, height: int) -> Pixels:
    """Decode a picture and scale it to a height in pixels."""
    pixels = images.decode(path.read_bytes(), MAX_PIXELS).pixels
    width = round(pixels.shape[1] * height / pixels.shape[0])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def jpeg(pixels: Pixels) -> bytes:
    """Encode RGB pixels as a JPEG of quality 90."""
    return bytes(cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def group(side_px: int = 180) -> Pixels:
    """Lay out fifty demo faces, ten by five."""
    paths = sorted((MODELS / "demo" / "train").glob("*/*.jpg"))[:50]
    tiles = []
    for path in paths:
        pixels = images.decode(path.read_bytes(), MAX_PIXELS).pixels
        edge = min(pixels.shape[:2])
        tile = cv2.resize(pixels[:edge, (pixels.shape[1] - edge) // 2 :][:, :edge], (side_px, side_px))
        tiles.append(tile.astype(np.uint8))
    return np.vstack([np.hstack(tiles[start : start + 10]) for start in range(0, 50, 10)])


def detection_rows(rounds: int) -> tuple[list[Row], str]:
    """Our detector and the mtcnn package on the same pixels, and how many of the faces both find.

    Large pictures are searched at full size, as the package does, and at the size that the service takes.
    """
    unbounded = load_mtcnn(MODELS, max_side_px=0, threads=THREADS)
    bounded = load_mtcnn(MODELS, threads=THREADS)
    fast: dict[str, Callable[[Any], Any]] = {FAST: load_yunet(MODELS, threads=THREADS)} if has_fast() else {}
    packages: dict[str, Callable[[Any], Any]] = {}
    if installed("mtcnn"):
        from mtcnn import MTCNN

        packages["mtcnn package"] = MTCNN().detect_faces
    paths = sorted((MODELS / "demo" / "val").glob("*/*.jpg"))[:10]
    cases = [
        ("one face, 600 px high", [scaled(path, 600) for path in paths], rounds),
        ("one face, 1600 px high", [scaled(path, 1600) for path in paths[:4]], rounds),
        ("50 faces, 1800 x 900 px", [group()], 3 * rounds),
    ]
    rows, faces = [], []
    for what, pictures, times in cases:
        within = fast if max(pictures[0].shape) <= MAX_SIDE_PX else {}
        systems = {"ours": unbounded} | within | packages
        rows.append(alternate(f"detection, {what}", systems, pictures, times))
        if max(pictures[0].shape) > MAX_SIDE_PX:
            bound = f"{what}, searched at {MAX_SIDE_PX} px"
            systems = {"ours": bounded} | fast | packages
            rows.append(alternate(f"detection, {bound}", systems, pictures, times))
            faces.append((bound, bounded, pictures))
        faces.append((what, unbounded, pictures))
    if not packages:
        return rows, ""
    theirs = packages["mtcnn package"]
    told = [f"{what}: {common(detect, theirs, pictures)}" for what, detect, pictures in faces]
    return rows, f"- **Faces** found by both (IoU over 0.5), of those that either finds: {'; '.join(told)}."


def common(detect: Callable[[Any], Any], package: Callable[[Any], Any], pictures: Sequence[Pixels]) -> str:
    """Count the faces that our detector and the package both find, of all that are found: `both of all`."""
    both = either = 0
    for picture in pictures:
        ours = np.array([[f.box.x, f.box.y, f.box.w, f.box.h] for f in detect(picture)]).reshape(-1, 4)
        theirs = np.array([face["box"] for face in package(picture)], dtype=float).reshape(-1, 4)
        found = int((overlaps(ours, theirs).max(axis=1, initial=0) > 0.5).sum())
        both, either = both + found, either + len(ours) + len(theirs) - found
    return f"{both} of {either}"


def embedding_rows(rounds: int) -> list[Row]:
    """Our embedding, plain float32 ONNX Runtime and deepface's Keras model on the same crops."""
    ours = embedding_network.load("Facenet", MODELS, threads=THREADS)
    plain = embedding_network.load("Facenet", MODELS, threads=THREADS, engine="onnxruntime")
    detect = load_mtcnn(MODELS, threads=THREADS)
    cut = []
    for path in sorted((MODELS / "demo" / "train").glob("*/*.jpg"))[:32]:
        pixels = images.decode(path.read_bytes(), MAX_PIXELS).pixels
        faces = detect(pixels)[:1]
        small = crops.crop_faces(pixels, faces, 112, "arcface")
        cut.append((crops.crop_faces(pixels, faces, 160), small))
    systems: dict[str, Callable[[Any], Any]] = {
        "ours": lambda crop: ours.embed(crop[0]),
        "ONNX Runtime float32": lambda crop: plain.embed(crop[0]),
    }
    if has_fast():
        mobile = embedding_network.load("MobileFaceNet", MODELS, threads=THREADS)
        systems[FAST] = lambda crop: mobile.embed(crop[1])
    sixteen = tuple(np.concatenate(some) for some in zip(*cut[:16], strict=True))
    batch = alternate("embedding, 16 faces", systems, [sixteen], 5 * rounds)
    if installed("deepface"):
        from deepface import DeepFace

        keras = DeepFace.build_model("Facenet")
        systems["deepface Keras forward, not mirrored"] = lambda crop: keras.forward(
            preprocess.standardise(crop[0])
        )
    return [alternate("embedding, one face and its mirror image", systems, cut[:16], rounds), batch]


def request_row(pairs: dict[str, Running], pictures: Sequence[bytes], rounds: int) -> Row:
    """POST /face-recognition of our services, and deepface's represent, on the same photographs."""
    session = requests.Session()

    def recognise(running: Running, data: bytes) -> None:
        body = {"image": base64.b64encode(data).decode("ascii"), "include_unknown": True}
        answer = session.post(f"{running.url}/face-recognition", json=body, timeout=60)
        assert answer.status_code == 200, answer.text

    systems: dict[str, Callable[[Any], Any]] = {
        name: partial(recognise, running) for name, running in pairs.items()
    }
    if installed("deepface"):
        from deepface import DeepFace

        def represent(data: bytes) -> None:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            DeepFace.represent(pixels, "Facenet", enforce_detection=False, detector_backend="mtcnn")

        systems["deepface represent"] = represent
    if installed("face_recognition"):
        import face_recognition

        def encodings(data: bytes) -> None:
            face_recognition.face_encodings(images.decode(data, MAX_PIXELS).pixels)

        systems["face_recognition (dlib)"] = encodings
    return alternate(f"one photograph among {SAMPLES} samples, over HTTP", systems, pictures, rounds)


def enrol(running: Running, count: int) -> float:
    """Enrol `count` samples, 93 demo photographs a request, under new ids; returns the best pictures/s."""
    paths = sorted((MODELS / "demo" / "train").glob("*/*.jpg"))
    texts = [base64.b64encode(path.read_bytes()).decode("ascii") for path in paths]
    best = 0.0
    for start in tqdm(range(0, count, len(paths)), desc="enrolling", unit="request"):
        numbered = zip(range(start, min(start + len(paths), count)), paths, texts, strict=False)
        body = [{"id": str(n), "name": path.parent.name, "image": text} for n, path, text in numbered]
        began = time.perf_counter()
        answer = requests.post(f"{running.url}/update-samples", json=body, timeout=300)
        assert answer.status_code == 200, answer.text
        best = max(best, len(body) / (time.perf_counter() - began))
    return best


@dataclass(frozen=True, slots=True)
class Load:
    """What `clients` concurrent clients saw. Times in milliseconds; `memory` in MB after so many requests."""

    clients: int
    seconds: float
    times: list[float]
    statuses: dict[int, int]
    memory: list[tuple[int, dict[str, float]]]


def load(running: Running, clients: int, *, seconds: float, requests_wanted: int = 0) -> Load:
    """Send single-face pictures, 600 px high, from several clients at once, for a time and a number."""
    paths = sorted((MODELS / "demo" / "val").glob("*/*.jpg"))
    bodies = [{"image": base64.b64encode(jpeg(scaled(path, 600))).decode("ascii")} for path in paths]
    times: list[float] = []
    statuses: dict[int, int] = {}
    memory: list[tuple[int, dict[str, float]]] = []
    lock = threading.Lock()
    began = time.perf_counter()

    def client(offset: int) -> None:
        session = requests.Session()
        for body in itertools.islice(itertools.cycle(bodies), offset, None):
            sent = time.perf_counter()
            if sent - began > seconds and len(times) >= requests_wanted:
                return
            status = session.post(f"{running.url}/face-recognition", json=body, timeout=60).status_code
            with lock:
                times.append(1000 * (time.perf_counter() - sent))
                statuses[status] = statuses.get(status, 0) + 1
                if len(times) % 250 == 0:
                    memory.append((len(times), running.resident_mb()))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(clients, time.perf_counter() - began, times, statuses, memory)


def has_fast() -> bool:
    """Tell whether the models of MODELS=fast are prepared."""
    return all((MODELS / f"{name}.onnx").is_file() for name in ("yunet", "mobilefacenet"))


def installed(package: str) -> bool:
    """Tell whether a peer can be measured, and say so if it cannot."""
    there = importlib.util.find_spec(package) is not None
    if not there:
        print(f"{package} is not installed and is left out")
    return there


def machine(*packages: str) -> str:
    """Describe the CPU, the cores this process may use, and the versions of packages, where installed."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = model.group(1) if model else platform.processor()
    return f"{name}, {cores} cores; Python {platform.python_version()}; " + ", ".join(versions)


@dataclass(frozen=True, slots=True)
class Served:
    """What was measured of a pair of services: pictures enrolled per second, two loads, seconds to start."""

    rate: float
    throughput: Load
    soak: Load
    start_s: float


def told(name: str, served: Served) -> list[str]:
    """Render what was measured of a pair of services as Markdown."""
    memory, throughput = served.soak.memory, served.throughput
    first, last = memory[min(3, len(memory) - 1)], memory[-1]
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(throughput.statuses.items()))
    return [
        f"- **Throughput** ({name}), {throughput.clients} clients, single-face pictures 600 px high, "
        f"{throughput.seconds:.0f} s: {len(throughput.times) / throughput.seconds:.1f} per second, "
        f"median {np.median(throughput.times):.0f} ms, p99 {np.percentile(throughput.times, 99):.0f} ms; "
        f"answers: {statuses}.",
        f"- **Enrolment** ({name}), 93 photographs in one request: {served.rate:.0f} pictures per second.",
        f"- **Start** ({name}): both services answer within {served.start_s:.1f} s.",
        f"- **Memory** of the largest worker ({name}): {max(first[1].values()):.0f} MB after {first[0]} "
        f"requests, {max(last[1].values()):.0f} MB after {last[0]} (memory.png: ours).",
    ]


def table(rows: Sequence[Row]) -> list[str]:
    """Render rows as Markdown: median, 95th percentile, and how many times ours is as fast."""
    lines = ["| what | system | median ms | p95 ms | ours is |", "| --- | --- | ---: | ---: | ---: |"]
    for row in rows:
        ours = row.median("ours")
        for system in row.times:
            times = row.median(system) / ours
            ratio = "" if system == "ours" else f"{times:.{1 if times >= 1 else 2}f} x as fast"
            lines.append(
                f"| {row.what} | {system} | {row.median(system):.1f} | {row.p95(system):.1f} | {ratio} |"
            )
    return lines


def chart(row: Row, path: Path) -> None:
    """Draw one row as bars."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(row.times)[::-1]
    figure, axes = pyplot.subplots(figsize=(8, 0.7 * len(names) + 1.2), layout="constrained")
    bars = axes.barh(
        names, [row.median(name) for name in names], color=["#9aa5b1"] * (len(names) - 1) + ["#1b6ca8"]
    )
    axes.bar_label(bars, fmt="%.0f ms", padding=4)
    axes.set_xlabel("median milliseconds for one photograph, picture to vector or better (less is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(path, dpi=120)


def memory_chart(measured: Load, path: Path) -> None:
    """Draw the resident memory of every worker against the number of requests."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.5), layout="constrained")
    for worker in measured.memory[0][1]:
        axes.plot(
            [n for n, _ in measured.memory],
            [mb.get(worker, np.nan) for _, mb in measured.memory],
            label=worker,
        )
    axes.set(xlabel="requests", ylabel="resident MB", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="a folder of photographs instead of the scaled demo ones")
    parser.add_argument(
        "--rounds", type=int, default=1, help="more of them take longer and tell more (%(default)s)"
    )
    parser.add_argument("--load-seconds", type=float, default=60, help="of the throughput test (%(default)s)")
    parser.add_argument("--soak-requests", type=int, default=10_000, help="of the memory test (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks", help="where RESULTS.md goes (%(default)s)"
    )
    arguments = parser.parse_args()
    # Read by deepface and TensorFlow when they are imported, which is below.
    os.environ |= {"DEEPFACE_HOME": str(MODELS), "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    pictures = photographs(arguments.images)
    rows, faces = detection_rows(3 * arguments.rounds)
    rows += embedding_rows(6 * arguments.rounds)
    with ExitStack() as stack:
        pairs = {
            name: stack.enter_context(
                services(Path(stack.enter_context(tempfile.TemporaryDirectory())), MODELS=models)
            )
            for name, models in (("ours", "classic"), (FAST, "fast"))
            if name == "ours" or has_fast()
        }
        rates = {name: enrol(running, SAMPLES) for name, running in pairs.items()}
        end_to_end = request_row(pairs, pictures, arguments.rounds)
        served = {
            name: Served(
                rates[name],
                load(running, 8, seconds=arguments.load_seconds),
                load(running, 2, seconds=0, requests_wanted=arguments.soak_requests),
                running.start_s,
            )
            for name, running in pairs.items()
        }
    peers = installed("mtcnn") and installed("deepface")
    steps = profile(pictures[:PROFILED], MODELS, THREADS, SAMPLES, peers)
    memory_chart(served["ours"].soak, arguments.out / "memory.png")
    chart(end_to_end, arguments.out / "speed.png")
    report = results(rows, faces, end_to_end, served, steps)
    (arguments.out / "RESULTS.md").write_text(report, encoding="utf-8")
    print(report)


def results(
    rows: Sequence[Row],
    faces: str,
    end_to_end: Row,
    served: dict[str, Served],
    steps: Sequence[str],
) -> str:
    """Render all figures as Markdown."""
    return "\n".join(
        [
            "# Speed",
            "",
            f"`make benchmark`, on {machine(*PACKAGES)}. "
            f"Threads of one call in the in-process rows: {THREADS}.",
            "",
            *table([*rows, end_to_end]),
            "",
            *filter(None, [faces]),
            *(line for name, each in served.items() for line in told(name, each)),
            "- **Under load while workers are killed** (`make soak`): [SOAK.md](SOAK.md).",
            "",
            *steps,
            "",
            "The gallery in both databases, beside its peers: [GALLERY.md](GALLERY.md), by "
            "`make gallery-benchmark`.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
