"""A soak: load for a quarter of an hour while workers are killed. `python benchmarks/soak.py`.

Both services run on this machine and are asked for a number of pictures a second, at the moments when they
are due, whether earlier answers have come or not: recognitions, broken pictures among them, and enrolments
with ids of their own. Unless `--rate` names it, the number is 80 % of what eight clients get answered of the
same mixture in a minute before. Every half minute a worker of one of the services, by chance, is killed
(SIGKILL). SOAK.md gets what became of each request, the memory of all processes, and whether every
acknowledged sample is there.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder) for folder in ("benchmarks", "tests", "face_detection")
)

import matplotlib
import requests

from hostile_pictures import INVALID, READABLE, TOO_LARGE
from services import Running, resident_mb, services
from speed import machine

ROOT = Path(__file__).resolve().parents[1]
MODELS = Path(os.environ.get("MODELS_DIR", ROOT / "models"))
HOSTILE_FILES = ROOT.parent / "shared" / "data" / "hostile"
LARGEST_HOSTILE = 1_000_000  # bytes
HOSTILE, ENROLMENTS = 0.1, 0.1  # of all requests
CLIENTS = 64
MEASURING_CLIENTS, PART_OF_MEASURED = 8, 0.8
TIMEOUT_S = 60
LOOK_S = 1.0  # how often the memory is looked at
RECOVERY_S = 10.0  # until the worker in the place of a killed one has loaded its models and caught up
REFUSED = ("400 invalid_image", "413 image_too_large")  # what is due to a hostile picture


@dataclass(frozen=True, slots=True)
class Pictures:
    """What is sent, in base64: photographs, and files that are hostile to decoders."""

    good: Sequence[str]
    hostile: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request: status and code, or the exception; when it was due, and when it ended."""

    what: str
    told: str
    due_s: float
    ended_s: float
    stored: Sequence[str] = ()

    def fails(self) -> bool:
        """Tell whether it is something else than this request is due."""
        return self.told != "200" and not (self.what == "hostile picture" and self.told in REFUSED)


@dataclass(frozen=True, slots=True)
class Watched:
    """Memory of all processes in MB, and who was killed; each with its moment, in seconds from the start."""

    memory: list[tuple[float, float]] = field(default_factory=list)
    killed: list[tuple[float, str]] = field(default_factory=list)


def request_of(number: int, pictures: Pictures) -> tuple[str, str, object]:
    """Choose by chance, the same for the same number: what to ask, the path and the body."""
    chance = random.Random(number)
    kind = chance.random()
    if kind < ENROLMENTS:
        sample = {"id": str(number), "name": str(number % 5), "image": chance.choice(pictures.good)}
        return "enrolment", "/update-samples", [sample]
    if kind < ENROLMENTS + HOSTILE:
        return "hostile picture", "/face-recognition", {"image": chance.choice(pictures.hostile)}
    return "recognition", "/face-recognition", {"image": chance.choice(pictures.good)}


def ask(url: str, number: int, pictures: Pictures, began: float, due_s: float) -> Answer:
    """Send one request over a connection of its own."""
    what, path, body = request_of(number, pictures)
    stored = []
    try:
        answer = requests.post(url + path, json=body, timeout=TIMEOUT_S)
        told = "200" if answer.ok else f"{answer.status_code} {answer.json()['code']}"
        if answer.ok and what == "enrolment":
            stored = answer.json()["success"]
    except (requests.RequestException, ValueError, KeyError) as e:
        told = type(e).__name__
    return Answer(what, told, due_s, time.monotonic() - began, stored)


def measure(running: Running, seconds: float, pictures: Pictures) -> float:
    """Return how many requests a second are answered to clients that ask one after the other."""
    began = time.monotonic()
    numbers = itertools.count()

    def client(_: int) -> int:
        asked = 0
        while time.monotonic() < began + seconds:
            asked += not ask(running.url, next(numbers), pictures, began, 0).fails()
        return asked

    with ThreadPoolExecutor(MEASURING_CLIENTS) as pool:
        answered = sum(pool.map(client, range(MEASURING_CLIENTS)))
    rate = answered / (time.monotonic() - began)
    requests.post(f"{running.url}/clear-samples", timeout=TIMEOUT_S).raise_for_status()
    return rate


def masters_of(running: Running) -> dict[str, int]:
    """The first process of each service, whose children are the workers."""
    return {"face_detection": running.detection.pid, "feature_extraction": running.extraction.pid}


def children(pid: int) -> list[int]:
    """The processes that a process has started, from whichever of its threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def tree_mb(pid: int) -> float:
    """Resident memory of a process and all below it, decoders too; one that ends meanwhile is nothing."""
    try:
        return resident_mb(pid) + sum(tree_mb(child) for child in children(pid))
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def watch_and_kill(running: Running, every_s: float, began: float, over: threading.Event) -> Watched:
    """Note the memory of all processes, and kill a worker now and then, until it is over."""
    watched, chance, masters = Watched(), random.Random(1), masters_of(running)
    while not over.wait(LOOK_S):
        passed = time.monotonic() - began
        watched.memory.append((passed, sum(map(tree_mb, masters.values()))))
        if passed >= (len(watched.killed) + 1) * every_s:
            name = chance.choice(sorted(masters))
            os.kill(chance.choice(children(masters[name])), signal.SIGKILL)
            watched.killed.append((passed, name))
    return watched


def soak(
    running: Running, minutes: float, rate: float, kill_every_s: float, pictures: Pictures
) -> tuple[list[Answer], Watched]:
    """Send `rate` requests a second for so many minutes; returns when the last one has been answered."""
    over, began = threading.Event(), time.monotonic()
    with ThreadPoolExecutor(1) as watcher, ThreadPoolExecutor(CLIENTS) as pool:
        watching = watcher.submit(watch_and_kill, running, kill_every_s, began, over)
        try:
            asked = []
            for number in range(round(60 * minutes * rate)):
                due_s = number / rate
                time.sleep(max(0.0, began + due_s - time.monotonic()))
                asked.append(pool.submit(ask, running.url, number, pictures, began, due_s))
            answers = [future.result() for future in asked]
        finally:
            over.set()
        return answers, watching.result()


def found(url: str) -> set[str]:
    """The ids of all samples."""
    ids: set[str] = set()
    after: str | None = ""
    while after is not None:
        query = {"limit": "1000"} | ({"after": after} if after else {})
        page = requests.get(f"{url}/samples", params=query, timeout=TIMEOUT_S).json()
        ids.update(sample["id"] for sample in page["samples"])
        after = page["next"]
    return ids


def report(answers: Sequence[Answer], watched: Watched, there: set[str], workers: str, load: str) -> str:
    """Write what SOAK.md says. workers: how many there are in the end; load: what was done, in words."""
    times = sorted(answer.ended_s - answer.due_s for answer in answers)
    counts = Counter((answer.what, answer.told) for answer in answers)
    failed = [answer for answer in answers if answer.fails()]
    near = sum(
        any(answer.due_s - RECOVERY_S <= killed_s <= answer.ended_s for killed_s, _ in watched.killed)
        for answer in failed
    )
    memory = [mb for _, mb in watched.memory]
    middle = len(memory) // 2
    kills = Counter(name for _, name in watched.killed)
    acknowledged = {id_ for answer in answers for id_ in answer.stored}
    rows = "\n".join(f"| {what} | {told} | {count} |" for (what, told), count in sorted(counts.items()))
    return f"""# Soak

{load} Killed: {", ".join(f"{kills[name]} workers of {name}" for name in sorted(kills)) or "none"}.

| request | answer | number |
| --- | --- | ---: |
{rows}

- Requests that failed: {len(failed)} of {len(answers)}, {near} of them in progress when a worker was \
killed, or due within {RECOVERY_S:g} s afterwards.
- Time to an answer, counted from when the request was due: median \
{1000 * statistics.median(times):.0f} ms, 99 % within {times[int(0.99 * len(times))]:.1f} s, \
all within {times[-1]:.1f} s.
- Samples acknowledged: {len(acknowledged)}; lost of these: {len(acknowledged - there)}; stored without \
an acknowledgement: {len(there - acknowledged)}.
- Memory of all processes: median {statistics.median(memory[:middle]):.0f} MB in the first half, \
{statistics.median(memory[middle:]):.0f} in the second, at most {max(memory):.0f}.
- Workers at the end: {workers}.

![Memory of all processes over time, and the moments of the kills](soak.png)
"""


def chart(watched: Watched, path: Path) -> None:
    """Draw the memory over time, and a line for each kill."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    kills = [seconds / 60 for seconds, _ in watched.killed]
    whole_height = axes.get_xaxis_transform()
    axes.vlines(
        kills, 0, 1, transform=whole_height, color="#cccccc", linewidth=0.8, label="a worker is killed"
    )
    axes.plot(*zip(*[(seconds / 60, mb) for seconds, mb in watched.memory], strict=True), color="#1b6ca8")
    axes.set(xlabel="minutes", ylabel="MB, all processes", ylim=(0, None))
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=120)


def pictures_to_send() -> Pictures:
    """Read the demo photographs and what is hostile, as far as it is not too large to be sent often."""
    made = [*TOO_LARGE.values(), *INVALID.values(), *(data for data, _ in READABLE.values())]
    files = sorted(HOSTILE_FILES.iterdir()) if HOSTILE_FILES.is_dir() else []
    hostile = made + [file.read_bytes() for file in files]
    good = [file.read_bytes() for file in sorted((MODELS / "demo" / "train").rglob("*.jpg"))]
    small = [data for data in hostile if len(data) <= LARGEST_HOSTILE]
    return Pictures(*([base64.b64encode(data).decode() for data in kind] for kind in (good, small)))


def main() -> None:
    """Run the soak and write SOAK.md and soak.png; status 1 if a sample was lost, or workers are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=15, help="(%(default)s)")
    parser.add_argument("--rate", type=float, help="requests a second; without it, it is measured")
    parser.add_argument("--kill-every-s", type=float, default=30, help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder of both (%(default)s)")
    options = parser.parse_args()
    pictures = pictures_to_send()
    with tempfile.TemporaryDirectory() as folder, services(Path(folder), MODELS_DIR=str(MODELS)) as running:
        count = partial(map, lambda pid: len(children(pid)), masters_of(running).values())
        before = list(count())
        measured = None if options.rate else measure(running, 60, pictures)
        rate = options.rate or PART_OF_MEASURED * measured
        answers, watched = soak(running, options.minutes, rate, options.kill_every_s, pictures)
        there, after = found(running.url), list(count())
    source = f", {100 * PART_OF_MEASURED:.0f} % of the {measured:.1f} measured before," if measured else ""
    load = (
        f"`benchmarks/soak.py`, on {machine('openvino', 'numpy')}. "
        f"{rate:.1f} requests per second{source} for {options.minutes:g} minutes; "
        f"{100 * ENROLMENTS:.0f} % of them were enrolments and {100 * HOSTILE:.0f} % hostile pictures. "
        f"Every {options.kill_every_s:g} s a worker was killed."
    )
    workers = " and ".join(f"{now} of {then}" for now, then in zip(after, before, strict=True))
    text = report(answers, watched, there, workers, load)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "SOAK.md").write_text(text, encoding="utf-8")
    chart(watched, options.out / "soak.png")
    print(text)
    lost = {id_ for answer in answers for id_ in answer.stored} - there
    sys.exit(bool(lost) or before != after)


if __name__ == "__main__":
    main()
