"""The files through which the workers add up their metrics: made so that a full disk harms only the metrics.

prometheus_client maps files into memory that grow with what they hold. Where the disk has no room left, it is
the writing to that memory that fails, and the kernel kills the process. So each worker's files get all the
room they ever need before it starts. A worker for which there is none counts for itself alone.

Knows their names and nothing else of prometheus_client, which decides by the environment when it is imported.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the variable that prometheus_client reads
COUNTED = ("counter", "histogram")  # outlive their worker: what it has counted is counted on
MOMENTARY = ("gauge_livemax", "gauge_livesum")
BYTES_EACH = 512 * 1024  # all routes with all statuses take less


def make_folder(name: str) -> str | None:
    """Make the folder in which the metrics of a service's workers meet; None: it cannot be made.

    name: of the service's package.
    """
    try:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix=f"{name}-metrics-")
    except OSError as e:
        print(f"{name}: each worker tells its own metrics: {e.strerror}", file=sys.stderr)
        os.environ.pop(FOLDER, None)
    return os.environ.get(FOLDER)


def reserve(folder: str, pid: int) -> None:
    """Make a worker's files, with all the room that they ever need; what had its number before is counted on.

    Whoever adds up the workers reads all files that are there, so these are there when they are whole.

    Raises:
        OSError: the disk is full; nothing has changed then.
    """
    whole = [_file(folder, kind, pid) for kind in (*COUNTED, *MOMENTARY)]
    begun = [path.with_suffix(".new") for path in whole]
    try:
        for path, new in zip(whole, begun, strict=True):
            kept = path.read_bytes() if path.exists() else b""
            new.write_bytes(kept.ljust(BYTES_EACH, b"\0"))
    except OSError:
        for new in begun:
            new.unlink(missing_ok=True)
        raise
    for path, new in zip(whole, begun, strict=True):
        new.replace(path)


def settle(folder: str, pid: int) -> None:
    """Remove what a worker that has ended told of itself, and give back the room it needs no more."""
    for kind in MOMENTARY:
        _file(folder, kind, pid).unlink(missing_ok=True)
    for kind in COUNTED:
        if (path := _file(folder, kind, pid)).exists():
            with path.open("r+b") as file:
                used = int.from_bytes(file.read(4), sys.byteorder)  # bytes, which is what a file begins with
                file.truncate(max(used, 8))


def remove(folder: str | None) -> None:
    """Remove the folder."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _file(folder: str, kind: str, pid: int) -> Path:
    return Path(folder, f"{kind}_{pid}.db")
