"""Both services as real processes on free ports, for the benchmarks that go through HTTP."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """The two services. `start_s`: from the first process to both answering, in seconds."""

    url: str
    detection: subprocess.Popen[bytes]
    extraction: subprocess.Popen[bytes]
    start_s: float

    def resident_mb(self) -> dict[str, float]:
        """Return the resident memory of every worker, in MB, by service and process id."""
        return {
            f"{name} {pid}": resident_mb(pid)
            for name, master in (("face_detection", self.detection), ("feature_extraction", self.extraction))
            for pid in _children(master.pid)
        }


@contextmanager
def services(folder: Path, **settings: str) -> Iterator[Running]:
    """Start both services with a database of their own in `folder`; stop them afterwards."""
    ports = _free_port(), _free_port()
    environment = {
        **os.environ,
        "FEATURE_EXTRACTION_URL": f"http://127.0.0.1:{ports[1]}",
        "DATABASE_URL": f"sqlite:///{folder / 'gallery.sqlite3'}",
        **settings,
    }
    began = time.monotonic()
    processes = []
    try:
        for name, port in zip(("face_detection", "feature_extraction"), ports, strict=True):
            command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "wsgi:app"]
            with (folder / f"{name}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(command, cwd=ROOT / name, env=environment, stdout=log, stderr=log)
                )
        while not all(_answers(port) for port in ports):
            if time.monotonic() - began > START_LIMIT_S:
                raise TimeoutError(f"the services did not start; their logs are in {folder}")
            time.sleep(0.02)
        detection, extraction = processes
        yield Running(f"http://127.0.0.1:{ports[0]}", detection, extraction, time.monotonic() - began)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


def resident_mb(pid: int | str) -> float:
    """Return the resident memory of a process, in MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
