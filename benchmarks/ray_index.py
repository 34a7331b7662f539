"""Measures `recognition index --ray` beside the plain command, and what a killed worker costs.

    python benchmarks/ray_index.py --pictures lfw
    python benchmarks/ray_index.py --pictures lfw --take 400 --rounds 5

The same pictures are indexed in turns, each time anew, by the plain program and by workers of Ray that it
starts on this machine. What counts is the time from the first pictures in the index to the last one, so the
start of the program, and of Ray, is told apart. Where others use the machine, too, the processor's time for
a picture says more: two processes get more of it than one. Once more, a worker is killed when a third is
done; what is in the index then is compared with the plain command's.

Data flow: folder -> the program in processes of its own -> seconds at which its index had so many pictures
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EVERY_S = 0.05
WORKER = b"ray::Worker"


def index(
    arguments: Sequence[str], source: Path, folder: Path, models_dir: Path, kill: bool
) -> dict[str, Any]:
    """Index a folder with a gallery and an index of its own, and look on.

    kill: whether one worker is killed when a third is done.

    Returns:
        The seconds until the first pictures were in the index; and from then until the last one was: seconds,
        those of the processor, and pictures.

    Raises:
        SystemExit: it fails.
    """
    folder.mkdir()
    total = sum(1 for _ in source.iterdir())
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{folder / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
        "PYTHONPATH": os.pathsep.join(
            str(ROOT / name) for name in (".", "face_detection", "feature_extraction")
        ),
    }
    command = [sys.executable, "-m", "recognition", "index", str(source), *arguments]
    began = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    first: tuple[float, int] | None = None
    last = (0.0, 0)
    used = first_used = 0.0
    while process.poll() is None:
        number, now = count(folder / "archive.sqlite3"), time.perf_counter()
        if number > last[1]:
            last = (now, number)
            used = processor_s(process.pid)
            first_used = used if first is None else first_used
            first = first or last
        if kill and number >= total / 3:
            os.kill(a_worker_of(process.pid), signal.SIGKILL)
            kill = False
        time.sleep(EVERY_S)
    if process.returncode != 0 or first is None or last[1] != total or kill:
        sys.exit(f"ray_index.py: {' '.join(command)} failed:\n{(folder / 'log').read_text()}")
    return {
        "start_s": first[0] - began,
        "s": last[0] - first[0],
        "processor_s": used - first_used,
        "pictures": last[1] - first[1],
    }


def count(file: Path) -> int:
    """Count the pictures of an index; of one that is not there yet none."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM pictures").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def processor_s(process: int) -> float:
    """Return the seconds that a process and all that it has started have had of the processor."""
    ticks = 0
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if process in (int(each.name), *ancestors(int(each.name))):
                fields = (each / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def a_worker_of(process: int) -> int:
    """Return the process of one of Ray's workers that a process has started."""
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            is_one = (each / "cmdline").read_bytes().startswith(WORKER)
            if is_one and process in ancestors(int(each.name)):
                return int(each.name)
    sys.exit("ray_index.py: there is no worker")


def ancestors(process: int) -> list[int]:
    """Return what has started a process, and so on."""
    found = []
    while process > 1:
        status = Path(f"/proc/{process}/stat").read_text()
        process = int(status.rpartition(")")[2].split()[1])
        found.append(process)
    return found


def faces_in(file: Path) -> list[tuple[Any, ...]]:
    """Return all that an index has of faces, in the order of the pictures' paths."""
    query = (
        "SELECT path, number, x, y, w, h, confidence, quality, vector FROM pictures LEFT JOIN faces ON "
        "faces.picture = pictures.key ORDER BY path, number"
    )
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the report, and return it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, required=True, help="folder with pictures")
    parser.add_argument("--take", type=int, default=400, help="so many of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    options = parser.parse_args(argv)
    commands = {"plain": [], "ray": ["--ray"]}
    rates: dict[str, list[float]] = {name: [] for name in commands}
    starts: dict[str, list[float]] = {name: [] for name in commands}
    used: dict[str, list[float]] = {name: [] for name in commands}
    models_dir = options.models_dir.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = folder / "pictures"
        source.mkdir()
        every = sorted(path for path in options.pictures.rglob("*") if path.suffix in (".jpg", ".png"))
        for number, path in enumerate(every[:: max(1, len(every) // options.take)][: options.take]):
            shutil.copy(path, source / f"{number:06}{path.suffix}")
        for number in range(options.rounds):
            for name, arguments in commands.items():
                taken = index(arguments, source, folder / f"{name}-{number}", models_dir, False)
                rates[name].append(taken["pictures"] / taken["s"])
                starts[name].append(taken["start_s"])
                used[name].append(taken["processor_s"] / taken["pictures"])
                print(name, json.dumps(taken), file=sys.stderr, flush=True)
        killed = index(commands["ray"], source, folder / "killed", models_dir, True)
        plain = faces_in(folder / "plain-0" / "archive.sqlite3")
        report = {
            "pictures": sum(1 for _ in source.iterdir()),
            "a_second": {name: statistics.median(some) for name, some in rates.items()},
            "ratio": statistics.median(rates["ray"]) / statistics.median(rates["plain"]),
            "ratios": [ray / plain for ray, plain in zip(rates["ray"], rates["plain"], strict=True)],
            "processor_s": {name: statistics.median(some) for name, some in used.items()},
            "start_s": {name: statistics.median(some) for name, some in starts.items()},
            "killed": {
                "a_second": killed["pictures"] / killed["s"],
                "same_faces": faces_in(folder / "killed" / "archive.sqlite3") == plain,
            },
            "same_faces": faces_in(folder / "ray-0" / "archive.sqlite3") == plain,
        }
    print(json.dumps(report, indent=2))
    return report


if __name__ == "__main__":
    main()
