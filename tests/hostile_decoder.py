"""A decoding process whose decoder does what the picture tells it to."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from serving import prison
from serving import sandbox_process as decoding_process
from serving.errors import InvalidImage
from serving.remarks import TRUNCATED, Picture

SERVICE = os.getppid()
LIBC = ctypes.CDLL(None, use_errno=True)


def claimed(height: int, width: int) -> SimpleNamespace:
    """A picture of a size that there is no memory for."""
    return SimpleNamespace(pixels=SimpleNamespace(shape=(height, width, 3)), remarks=())


DEEDS: dict[str, Callable[[], Any]] = {
    "loops for ever": lambda: [None for _ in iter(int, 1)],
    "sleeps": lambda: os.read(0, 1),
    "aborts": os.abort,
    "reads where nothing is": lambda: ctypes.string_at(0),
    "exits": lambda: os._exit(0),
    "exits with ceremony": sys.exit,
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "allocates without end": lambda: [bytearray(2**24) for _ in iter(int, 1)],
    "allocates at once": lambda: bytearray(2**40),
    "recurses without end": lambda: DEEDS["recurses without end"](),
    "raises": lambda: 1 / 0,
    "claims more than there may be": lambda: claimed(2**40, 2**20),
    "claims an empty picture": lambda: claimed(0, 2**40),
    "answers nonsense": lambda: os.write(0, b"nonsense"),
    "writes a file": lambda: os.write(os.open("/tmp", os.O_TMPFILE | os.O_WRONLY), b"x"),
    "knows a secret": lambda: os.environ["SECRET"],
}


PTRACE_SEIZE = 0x4206  # linux/ptrace.h
IO_URING_SETUP = 425


def done(result: int) -> int:
    """The result of a call of the kernel. Raises OSError: it was refused."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read_memory(address: int) -> None:
    buffer = ctypes.create_string_buffer(8)
    here, there = (struct.pack("@PN", at, 8) for at in (ctypes.addressof(buffer), address))
    done(LIBC.process_vm_readv(SERVICE, here, 1, there, 1, 0))


def read_memory_file(address: int) -> None:
    with Path(f"/proc/{SERVICE}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        memory.read(8)


def connect(family: int, address: Any) -> None:
    with socket.socket(family) as channel:
        channel.connect(address)


# Each is given what there is to be had: `folder`, `file`, a `descriptor` and an `address` of the service, and
# three listening sockets, `port`, `unix` and `abstract`. It raises OSError or ValueError unless it succeeds.
ATTACKS: dict[str, Callable[[SimpleNamespace], Any]] = {
    "lists a folder": lambda here: list(Path(here.folder).iterdir()),
    "reads a file": lambda here: Path(here.file).read_text(),
    "writes to a file": lambda here: os.write(os.open(here.file, os.O_WRONLY), b"x"),
    "empties a file": lambda here: os.truncate(here.file, 0),
    "deletes a file": lambda here: Path(here.file).unlink(),
    "renames a file": lambda here: Path(here.file).rename(here.file + ".away"),
    "makes a folder": lambda here: Path(here.folder, "made").mkdir(),
    "reads the environment of the service": lambda here: Path(f"/proc/{SERVICE}/environ").read_bytes(),
    "opens a file of the service": lambda here: Path(f"/proc/{SERVICE}/fd/{here.descriptor}").read_text(),
    "takes a file of the service": lambda here: os.pidfd_open(SERVICE),
    "reads the file of the memory of the service": lambda here: read_memory_file(here.address),
    "reads the memory of the service": lambda here: read_memory(here.address),
    "traces the service": lambda here: done(LIBC.ptrace(PTRACE_SEIZE, SERVICE, None, None)),
    "signals the service": lambda here: os.kill(SERVICE, 0),
    "limits the service": lambda here: resource.prlimit(SERVICE, resource.RLIMIT_CORE),
    "makes a TCP connection": lambda here: connect(socket.AF_INET, ("127.0.0.1", here.port)),
    "connects to a UNIX socket": lambda here: connect(socket.AF_UNIX, here.unix),
    "connects to an abstract UNIX socket": lambda here: connect(socket.AF_UNIX, "\0" + here.abstract),
    "opens a UDP socket": lambda here: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "makes a pair of sockets": lambda here: socket.socketpair(),
    "uses io_uring": lambda here: done(LIBC.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(120))),
    "forks": lambda here: os.fork() or os._exit(0),
    "starts a program": lambda here: os.posix_spawn("/bin/touch", ["touch", here.folder + "/touched"], {}),
    "becomes a program": lambda here: os.execv("/bin/touch", ["touch", here.folder + "/touched"]),
    "makes a file in memory": lambda here: os.memfd_create("file"),
    "writes a program into memory": lambda here: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
    "raises its limit of memory": lambda here: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
    "raises its limit of files": lambda here: resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)),
    "becomes root": lambda here: os.setresuid(0, 0, 0),
}


def take_away(feature: str) -> None:
    """Make this process's kernel one that lacks Landlock, or seccomp."""
    *_, seccomp = prison.PROCESSORS[os.uname().machine]
    number = seccomp if feature == "seccomp" else prison.LANDLOCK_CREATE_RULESET
    lines = [
        (prison.LOAD, 0, 0, prison.NUMBER),
        (prison.EQUAL, 0, 1, number),
        (prison.RETURN, 0, 0, 0x00050000 | errno.ENOSYS),
        (prison.RETURN, 0, 0, prison.ALLOW),
    ]
    program = ctypes.create_string_buffer(b"".join(prison.INSTRUCTION.pack(*line) for line in lines))
    done(LIBC.prctl(prison.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    pr_set_seccomp, filter_mode = 22, 2  # linux/prctl.h, linux/seccomp.h
    header = struct.pack("@HP", len(lines), ctypes.addressof(program))
    done(LIBC.prctl(pr_set_seccomp, filter_mode, header))


def decode(data: bytes, max_pixels: int, array: decoding_process.Array) -> Picture:
    """Do one of DEEDS, or of ATTACKS with a line break and a JSON object, and make a picture of the bytes.

    The picture is 1 pixel wide, and truncated if it says so. What this prints is nobody's business.
    """
    print("printed")
    print("complained", file=sys.stderr, flush=True)
    name, _, what = data.decode().partition("\n")
    if name in ATTACKS:
        try:
            ATTACKS[name](SimpleNamespace(**json.loads(what)))
        except (OSError, ValueError) as e:
            raise InvalidImage(str(e)) from e
    deed = DEEDS.get(name)
    outcome = deed() if deed else None
    if isinstance(outcome, SimpleNamespace):
        return outcome  # type: ignore[return-value]
    pixels = array(len(data), 1)
    pixels[:] = np.frombuffer(data, np.uint8)[:, None, None]
    return Picture(pixels, (TRUNCATED,) if data == b"truncated" else ())


if __name__ == "__main__":
    if sys.argv[1] == "--without":
        take_away(sys.argv[2])
        del sys.argv[1:3]
    decoding_process.main(decode)
