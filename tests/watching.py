"""Watches with strace whom a program and all that it starts send anything to."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

CALLS = "connect,sendto,sendmsg,sendmmsg"
LOCAL_FAMILIES = {"AF_UNIX", "AF_NETLINK", "AF_UNSPEC"}  # the last undoes a connection
DNS_PORT = 53

ADDRESS = re.compile(
    r"sa_family=(?P<family>AF_\w+)"
    r"(?:, sun_path=@?\"(?P<path>[^\"]*)\""
    r"|, sin_port=htons\((?P<port4>\d+)\), sin_addr=inet_addr\(\"(?P<host4>[^\"]+)\"\)"
    r"|, sin6_port=htons\((?P<port6>\d+)\),.*?inet_pton\(AF_INET6, \"(?P<host6>[^\"]+)\")?"
)


def why_not() -> str:
    """Why this machine cannot watch; empty if it can."""
    if not shutil.which("strace"):
        return "strace is not installed, so nothing tells whom the programs would send to"
    tried = subprocess.run(["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "true"], capture_output=True)
    return f"strace cannot watch here: {tried.stderr.decode().strip()}" if tried.returncode else ""


def watch(
    command: Sequence[str], log: Path, environment: Mapping[str, str], timeout_s: float
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a command to its end under strace: its outcome, and the calls that went off this machine."""
    strace = ["strace", "-f", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(log)]
    outcome = subprocess.run(
        [*strace, *command], env=environment, capture_output=True, text=True, timeout=timeout_s
    )
    return outcome, [line for line in log.read_text(errors="replace").splitlines() if leaves(line)]


def leaves(line: str) -> bool:
    """Tell whether a line of strace's is a look-up of a name, or a call to anything but this machine.

    A call without an address is on a socket that was connected before; a look-up may ask a server of this
    machine, on port 53 or, with systemd-resolved, on a socket of the file system.
    """
    for address in ADDRESS.finditer(line):
        host, port = address["host4"] or address["host6"], address["port4"] or address["port6"]
        if host is None:
            local = address["family"] in LOCAL_FAMILIES and "systemd/resolve" not in (address["path"] or "")
        else:
            ip = ipaddress.ip_address(host)
            ip = getattr(ip, "ipv4_mapped", None) or ip
            local = ip.is_loopback and int(port) != DNS_PORT
        if not local:
            return True
    return False
