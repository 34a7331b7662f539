"""Whether the processor can run the libraries: some of them, imported where it cannot, end without a word."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # of Linux
# As Linux calls the instructions of x86-64-v2 (System V ABI, AMD64 supplement 1.0, table 3.1). The wheels of
# NumPy 2.4, OpenCV 5, simplejpeg, ONNX Runtime 1.32 and OpenVINO 2026 need no more: QEMU's `-cpu Nehalem`, of
# 2008, runs all our networks, and `-cpu qemu64`, which lacks them, is killed while NumPy is imported.
SERVING = ("cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3")
ADVICE = "let the virtual machine have its host's processor (QEMU: -cpu host), or use another machine"
PREPARING = (*SERVING, "avx")  # TensorFlow's wheels need it, too


def lacking(needed: Collection[str], cpuinfo: str | None = None) -> str | None:
    """Say in one sentence which instructions the processor lacks; None: it has them, or nobody knows.

    Args:
        needed: instructions, as Linux calls them.
        cpuinfo: what /proc/cpuinfo says; None: look there. Only processors with x86's `flags` can lack any.
    """
    if cpuinfo is None:
        try:
            cpuinfo = CPUINFO.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    missing = sorted(set(needed) - set(flags[1].split())) if flags else []
    if not missing:
        return None
    return (
        f"this processor, or the virtual machine's model of it, lacks instructions that are needed: "
        f"{', '.join(missing)}"
    )
