"""The files of the workers' metrics: they have all their room from the beginning, or there are none."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from serving import metrics_files

PID = 12345
FULL = """
import os, sys
from pathlib import Path
from serving import metrics_files
folder = os.environ[metrics_files.FOLDER]
metrics_files.reserve(folder, os.getpid())
sizes = {path: path.stat().st_size for path in Path(folder).iterdir()}

from embedding.routes import ROUTES as EMBEDDING, count_requests
from recognition.web import metrics, routes
from serving import documentation, failures, health
from serving.stages import Notes

class Gallery:
    def total(self):
        return 0

measured = metrics.create(Gallery())
both = {
    measured: (*routes.ROUTES, *health.ROUTES, *documentation.ROUTES),
    count_requests(): (*EMBEDDING, *health.ROUTES, *documentation.ROUTES),
}
stages = "queue decode detect crop embed search draw store".split()
for each, table in both.items():
    for path in {route.path for route in table} | {"none"}:
        for status in (200, 500, *failures.ERROR_TEXT):
            each.answered(path, status, 1.0, Notes([(stage, 1.0) for stage in stages]))
    for model in range(100):
        each.use(f"model {model}", 32 * "f")
assert {path: path.stat().st_size for path in Path(folder).iterdir()} == sizes
used = {path.name: int.from_bytes(path.read_bytes()[:4], sys.byteorder) for path in sizes}
assert all(used.values()), used
metrics_files.settle(folder, os.getpid())
left = {path.name: path.stat().st_size for path in Path(folder).iterdir()}
assert left == {name: size for name, size in used.items() if not name.startswith("gauge")}
print(max(used.values()), measured.render().decode())
"""

MASTER = """
import importlib, sys, threading
from pathlib import Path
configuration = importlib.import_module(sys.argv[1])
assert configuration.imported_once
for module in configuration.imported_once:
    importlib.import_module(module)
threads = threading.active_count(), len(list(Path("/proc/self/task").iterdir()))
print("prometheus_client" in sys.modules, *threads)
"""


@pytest.mark.parametrize("configuration", ["recognition.gunicorn_conf", "embedding.gunicorn_conf"])
def test_what_a_master_imports_decides_nothing_for_its_workers(configuration: str) -> None:
    """They fork from it: no threads may run, and where their metrics go is not known yet."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MASTER, configuration]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "1", "1"], done.stderr


def test_nothing_that_is_measured_ever_needs_more_room(tmp_path: Path) -> None:
    """All routes of both services, in one process, with all statuses and stages."""
    environment = os.environ | {metrics_files.FOLDER: str(tmp_path)}
    command = [sys.executable, "-c", FULL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'recognition_requests_total{route="/ready",status="503"} 1.0' in done.stdout
    assert "model_info" not in done.stdout  # of a process that has ended


def test_without_room_there_are_no_files(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (metrics_files.BYTES_EACH - 1, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            metrics_files.reserve(str(tmp_path), PID)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_metrics_can_be_read_while_workers_start(tmp_path: Path) -> None:
    """A file that is there before it is whole was an internal error of GET /metrics."""
    workers = threading.Thread(
        target=lambda: [metrics_files.reserve(str(tmp_path), pid) for pid in range(PID, PID + 60)]
    )
    workers.start()
    everyone = CollectorRegistry()
    MultiProcessCollector(everyone, str(tmp_path))  # type: ignore[no-untyped-call]
    while workers.is_alive():
        generate_latest(everyone)
    assert len(list(tmp_path.glob("*.db"))) == 4 * 60


def test_what_a_process_of_the_same_number_has_counted_stays(tmp_path: Path) -> None:
    counter = tmp_path / f"counter_{PID}.db"
    counter.write_bytes((24).to_bytes(4, sys.byteorder) + bytes(4) + b"what was counted")
    metrics_files.reserve(str(tmp_path), PID)
    assert counter.stat().st_size == metrics_files.BYTES_EACH
    metrics_files.settle(str(tmp_path), PID)
    assert counter.read_bytes()[8:] == b"what was counted"


def test_a_folder_that_cannot_be_made_leaves_each_process_its_own_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setenv(metrics_files.FOLDER, "what somebody else has set")
    assert metrics_files.make_folder("recognition") is None
    assert metrics_files.FOLDER not in os.environ
    assert "each worker tells its own metrics: No such file or directory" in capsys.readouterr().err
