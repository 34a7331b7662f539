"""What Linux tells of processes."""

from __future__ import annotations

import re
from pathlib import Path


def children(pid: int | str = "self") -> dict[int, str]:
    """The processes that a process has started, and the letter of the state that each is in."""
    pids = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child): state_of(int(child)) for path in pids for child in path.read_text().split()}


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "gone"


def status(pid: int, name: str) -> int:
    """One number of /proc/PID/status; sizes are in kB."""
    (number,) = re.findall(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(number)
