"""Measures indexes of archives: a second pass over many files, memory, and how fast faces are seen.

    python benchmarks/archives.py --pictures lfw
    python benchmarks/archives.py --pictures lfw --take 400 --files 100000

Real pictures, `--take` of those in the folder `--pictures`, are indexed and enrolled in turns by the program,
each time anew. Then folders with so many `--files`, some of them small pictures and the others text, are
indexed twice: first all of them are new, then none. The start of the program is measured with one file, and
taken off.

Data flow: folders -> the program in processes of its own -> seconds, and the most memory that each took
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = 100  # that the many files are in
PICTURES = 3000  # of them at most, which take time once
SIDE_PX = 64


def run(arguments: Sequence[str | Path], folder: Path, models_dir: Path) -> tuple[float, int]:
    """Run the program with a gallery of its own in a folder: seconds, and the most memory, in MiB.

    Raises:
        SystemExit: it fails.
    """
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{folder / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
        "PYTHONPATH": os.pathsep.join(
            str(ROOT / name) for name in (".", "face_detection", "feature_extraction")
        ),
    }
    began = time.perf_counter()
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "recognition", *map(str, arguments)],
        environment,
        file_actions=[(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)],
    )
    _, status, usage = os.wait4(process, 0)
    taken_s = time.perf_counter() - began
    if (code := os.waitstatus_to_exitcode(status)) != 0:
        sys.exit(f"archives.py: {' '.join(map(str, arguments))} ended with {code}")
    return taken_s, usage.ru_maxrss // 1024


def speeds(pictures: Sequence[Path], rounds: int, folder: Path, models_dir: Path) -> dict[str, Any]:
    """Index and enrol the same pictures in turns; pictures a second, the start taken off."""
    few, many = folder / "one", folder / "all"
    for target, some in ((few, pictures[:1]), (many, pictures)):
        target.mkdir()
        for number, path in enumerate(some):
            shutil.copy(path, target / f"{number:06}{path.suffix}")
    seconds: dict[str, list[float]] = {"index": [], "enrol": []}
    for number in range(rounds):
        for command, taken in seconds.items():
            both = []
            for source in (few, many):
                own = folder / f"{command}-{number}-{source.name}"
                own.mkdir()
                options = ["--accept-low-quality"] if command == "enrol" else []
                both.append(run([command, source, *options], own, models_dir)[0])
            taken.append(both[1] - both[0])
    rates = {name: (len(pictures) - 1) / statistics.median(taken) for name, taken in seconds.items()}
    return {"pictures": len(pictures), "a_second": rates, "ratio": rates["index"] / rates["enrol"]}


def passes(number: int, folder: Path, models_dir: Path) -> dict[str, Any]:
    """Index so many files, and again when nothing has changed."""
    files = folder / "files"
    pixels = np.full((SIDE_PX, SIDE_PX, 3), 128, np.uint8)
    picture = cv2.imencode(".jpg", pixels)[1].tobytes()
    for place in range(number):
        target = files / f"{place % FOLDERS:02}"
        target.mkdir(parents=True, exist_ok=True)
        data = picture if place < min(PICTURES, number // 10) else b"a text"
        (target / f"{place}").write_bytes(data)
    one = folder / "alone"
    one.mkdir()
    (one / "file").write_bytes(b"a text")
    start_s, start_mib = run(["index", one, "--index", folder / "one.sqlite3"], folder, models_dir)
    first_s, first_mib = run(["index", files, "--index", folder / "many.sqlite3"], folder, models_dir)
    again_s, again_mib = run(["index", files, "--index", folder / "many.sqlite3"], folder, models_dir)
    return {
        "files": number,
        "seconds": {"start": start_s, "first pass": first_s, "second pass": again_s},
        "most MiB": {"start": start_mib, "first pass": first_mib, "second pass": again_mib},
        "files a second in the second pass": number / max(1e-9, again_s - start_s),
        "with the start": number / again_s,
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the report, and return it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, help="folder with pictures")
    parser.add_argument("--take", type=int, default=400, help="so many of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=0, help="so many files, indexed twice")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    options = parser.parse_args(argv)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.pictures:
            every = sorted(path for path in options.pictures.rglob("*") if path.suffix in (".jpg", ".png"))
            some = every[:: max(1, len(every) // options.take)][: options.take]
            report["speed"] = speeds(some, options.rounds, folder, options.models_dir.resolve())
        if options.files:
            report["passes"] = passes(options.files, folder, options.models_dir.resolve())
    print(json.dumps(report, indent=2))
    return report


if __name__ == "__main__":
    main()
