"""A soak: load for a quarter of an hour while workers are killed. `python benchmarks/soak.py --rate 14`.

Both services run on this machine and are asked for a number of pictures a second, at the moments when they
are due, whether earlier answers have come or not: recognitions, broken pictures among them, and enrolments
with ids of their own. Every half minute a worker of one of the services, by chance, is killed (SIGKILL).
SOAK.md gets what became of each request, the memory of all processes, and whether every acknowledged sample
is there.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder) for folder in ("benchmarks", "tests", "face_detection")
)

import matplotlib
import requests

from hostile_pictures import INVALID, READABLE, TOO_LARGE
from serving import Running, resident_mb, services

ROOT = Path(__file__).resolve().parents[1]
MODELS = Path(os.environ.get("MODELS_DIR", ROOT / "models"))
CLIENTS = 64
HOSTILE = 0.1  # of all requests
ENROLMENTS = 0.1
LARGEST_HOSTILE = 1_000_000  # bytes
TIMEOUT_S = 60
LOOK_S = 1.0  # how often the memory is looked at


@dataclass
class Outcomes:
    """What became of the requests. Its lists and counters are changed by one operation at a time."""

    answers: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds since the start, MB of all
    killed: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Caller:
    """Sends one request of a kind that chance decides, over a connection of its thread's own."""

    def __init__(self, url: str, good: list[str], hostile: list[str], outcomes: Outcomes) -> None:
        self.url, self.good, self.hostile, self.outcomes = url, good, hostile, outcomes
        self.own = threading.local()

    def __call__(self, number: int) -> None:
        """Send it, and note what became of it."""
        chance = random.Random(number)
        kind = chance.random()
        if kind < ENROLMENTS:
            path, what = "/update-samples", "enrolment"
            body: object = [{"id": str(number), "name": str(number % 5), "image": chance.choice(self.good)}]
        elif kind < ENROLMENTS + HOSTILE:
            path, what, body = "/face-recognition", "hostile picture", {"image": chance.choice(self.hostile)}
        else:
            path, what, body = "/face-recognition", "recognition", {"image": chance.choice(self.good)}
        session = self.own.__dict__.setdefault("session", requests.Session())
        began = time.monotonic()
        try:
            answer = session.post(self.url + path, json=body, timeout=TIMEOUT_S)
            told = str(answer.status_code) if answer.ok else f"{answer.status_code} {answer.json()['code']}"
            stored = answer.json()["success"] if answer.ok and path == "/update-samples" else []
        except (requests.RequestException, ValueError) as e:
            told, stored = type(e).__name__, []
        with self.outcomes.lock:
            self.outcomes.answers[f"{what}: {told}"] += 1
            self.outcomes.seconds.append(time.monotonic() - began)
            self.outcomes.acknowledged.update(stored)


def children(pid: int) -> list[int]:
    """The processes that a process has started, from whichever of its threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def tree_mb(pid: int) -> float:
    """Resident memory of a process and all below it; one that ends meanwhile counts as nothing."""
    try:
        return resident_mb(pid) + sum(tree_mb(child) for child in children(pid))
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def watch_and_kill(running: Running, every_s: float, outcomes: Outcomes, over: threading.Event) -> None:
    """Note the memory of all processes, and kill a worker now and then, until it is over."""
    began, chance, kills = time.monotonic(), random.Random(1), 0
    masters = {"face_detection": running.detection.pid, "feature_extraction": running.extraction.pid}
    while not over.wait(LOOK_S):
        passed = time.monotonic() - began
        outcomes.memory.append((passed, sum(map(tree_mb, masters.values()))))
        if passed >= (kills + 1) * every_s:
            kills += 1
            name = chance.choice(sorted(masters))
            if workers := children(masters[name]):
                os.kill(chance.choice(workers), signal.SIGKILL)
                outcomes.killed[name] += 1


def soak(running: Running, minutes: float, rate: float, kill_every_s: float, good: list[str]) -> Outcomes:
    """Send `rate` requests a second for so many minutes; returns when the last one has been answered."""
    outcomes, over = Outcomes(), threading.Event()
    hostile = [*TOO_LARGE.values(), *INVALID.values(), *(data for data, _ in READABLE.values())]
    encoded = [base64.b64encode(data).decode() for data in hostile if len(data) <= LARGEST_HOSTILE]
    caller = Caller(running.url, good, encoded, outcomes)
    watcher = threading.Thread(target=watch_and_kill, args=(running, kill_every_s, outcomes, over))
    watcher.start()
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number in range(round(60 * minutes * rate)):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            pool.submit(caller, number)
    over.set()
    watcher.join()
    return outcomes


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


def report(outcomes: Outcomes, there: set[str], options: argparse.Namespace) -> str:
    """Write what SOAK.md says."""
    times = sorted(outcomes.seconds)
    memory = [mb for _, mb in outcomes.memory]
    middle = len(memory) // 2
    rows = [f"| {what.replace(': ', ' | ')} | {count} |" for what, count in sorted(outcomes.answers.items())]
    kills = ", ".join(f"{count} of {name}" for name, count in sorted(outcomes.killed.items())) or "none"
    acknowledged = outcomes.acknowledged
    return f"""# Soak

{options.rate:g} requests a second for {options.minutes:g} minutes, {ENROLMENTS:.0%} of them enrolments and \
{HOSTILE:.0%} hostile pictures, on {os.cpu_count()} cores. \
Workers killed, one every {options.kill_every_s:g} s: {kills}.

| request | answer | number |
| --- | --- | ---: |
{chr(10).join(rows)}

- Answers came after a median of {1000 * statistics.median(times):.0f} ms, 99 % of them within \
{times[int(0.99 * len(times))]:.1f} s and all within {times[-1]:.1f} s.
- Samples acknowledged: {len(acknowledged)}; lost of them: {len(acknowledged - there)}; \
stored although no answer said so: {len(there - acknowledged)}.
- Memory of all processes: a median of {statistics.median(memory[:middle]):.0f} MB in the first half, \
{statistics.median(memory[middle:]):.0f} in the second, at most {max(memory):.0f}.

![Memory of all processes over time](soak.png)

`{Path(sys.executable).name} benchmarks/soak.py {" ".join(sys.argv[1:])}`
"""


def chart(memory: list[tuple[float, float]], path: Path) -> None:
    """Draw the memory over time."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    axes.plot([seconds / 60 for seconds, _ in memory], [mb for _, mb in memory])
    axes.set(xlabel="minutes", ylabel="MB, all processes", ylim=(0, None))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the soak and write SOAK.md and soak.png."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=15)
    rate = "requests a second: 80 %% of what benchmarks/speed.py measured"
    parser.add_argument("--rate", type=float, required=True, help=rate)
    parser.add_argument("--kill-every-s", type=float, default=30)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks", help="folder of SOAK.md and soak.png"
    )
    options = parser.parse_args()
    files = sorted((MODELS / "demo" / "train").rglob("*.jpg"))
    good = [base64.b64encode(file.read_bytes()).decode() for file in files]
    with tempfile.TemporaryDirectory() as folder, services(Path(folder), MODELS_DIR=str(MODELS)) as running:
        outcomes = soak(running, options.minutes, options.rate, options.kill_every_s, good)
        there = found(running.url)
    options.out.mkdir(parents=True, exist_ok=True)
    text = report(outcomes, there, options)
    (options.out / "SOAK.md").write_text(text, encoding="utf-8")
    chart(outcomes.memory, options.out / "soak.png")
    print(text)
    sys.exit(bool(outcomes.acknowledged - there))


if __name__ == "__main__":
    main()
