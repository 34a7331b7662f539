"""What a Linux process gives up before it touches hostile bytes: files, network, programs, other processes.

No library does this after a bare `pip install`: pyseccomp needs libseccomp.so, and PyPI has no bindings of
Landlock. Numbers are those of Linux's include/uapi and arch/x86/entry/syscalls/syscall_64.tbl, for good.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import struct
import sys
from collections.abc import Callable
from mmap import PROT_EXEC
from pathlib import Path

NOBODY = 65534  # user and group: what Linux itself calls overflowuid, and owns no file

# linux/capability.h: what it takes to become another user, and for the service to end that user's processes.
CAP_KILL, CAP_SETGID, CAP_SETUID = 5, 6, 7
NO_CAPABILITIES = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3; the sets follow, empty

# linux/prctl.h
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38

# linux/landlock.h. The calls have the same numbers on every processor.
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_ATTRIBUTES = struct.Struct("=QQQ")  # handled_access_fs, handled_access_net, scoped

# linux/seccomp.h, linux/bpf_common.h, linux/audit.h
SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL = 1, 2
# All threads. Without the second flag, kernels before 5.16 slow the process down, to protect secrets in its
# own memory from code that runs there: it has none.
SECCOMP_FLAGS = 1 | 4
ALLOW, KILL, REFUSE, MISSING = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06  # LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
INSTRUCTION = struct.Struct("=HBBI")  # code, lines to skip if true, and if false, operand
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; an argument has 8 bytes

# Python's name of the processor: its AUDIT_ARCH_, the column of the tables below, and the call `seccomp`.
PROCESSORS = {"x86_64": (0xC000003E, 0, 317), "aarch64": (0xC00000B7, 1, 277)}

# What decoding needs, on x86_64 and on aarch64. It has three descriptors, and nothing here makes another.
ALLOWED = {
    "recvfrom": (45, 207),
    "sendto": (44, 206),
    "read": (0, 63),
    "write": (1, 64),
    "brk": (12, 214),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),  # glibc begins a thread with these two
    "set_robust_list": (273, 99),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
# Allowed unless the memory becomes executable.
MAPPING = {"mmap": (9, 222), "mprotect": (10, 226)}
# Allowed for a thread, which libde265, the reader of HEIC, cannot do without, but not for a process. What
# clone3 asks for cannot be seen here; it is said to be missing, and then libraries take clone.
CLONE, CLONE3 = (56, 220), (435, 435)
CLONE_THREAD, CLONE_NEW = 0x00010000, 0x7E020000  # linux/sched.h: a thread; any namespace of its own
MAX_THREADS = 4096  # of all processes of this user; where seccomp cannot tell threads from processes, none
# Allowed for its own limit of processor time, which each picture renews.
PRLIMIT = (302, 261)
# What no decoder tries by accident: the kernel ends the process. Any other call fails, so that a library that
# would like to open a file can do without, and abort() ends it with another signal.
FATAL = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kill": (62, 129),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
}


Line = tuple[int, int, int, int]  # what INSTRUCTION packs


def enter() -> list[str]:
    """Give up, for good, what decoding does not need. Modules that are needed later must be loaded already.

    Returns:
        What the kernel, or who started the process, does not allow to give up, in words; normally nothing.
    """
    os.chdir("/")
    missing = []
    for name, give_up in (
        ("another user", _become_nobody),
        ("no new privileges", _renounce_privileges),
        ("Landlock", _leave_files_and_network),
        ("limits of files and processes", _forbid_new_files_and_processes),
        ("seccomp", _allow_few_calls),
    ):
        try:
            give_up()
        except OSError as e:
            missing.append(f"{name} ({e.strerror})")
    return missing


def _become_nobody() -> None:
    """Change root into a user who owns nothing. Any other user stays, and has no right to change."""
    if os.geteuid():
        return
    (held,) = re.findall(r"CapEff:\s+(\w+)", Path("/proc/self/status").read_text())
    needed = 1 << CAP_KILL | 1 << CAP_SETGID | 1 << CAP_SETUID
    if int(held, 16) & needed != needed:
        raise PermissionError(errno.EPERM, "root without the capabilities KILL, SETGID and SETUID")
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _renounce_privileges() -> None:
    libc = _libc()
    _call(libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(libc.prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)  # other processes of the same user cannot look into it
    _call(libc.capset, NO_CAPABILITIES, bytes(24))


def _leave_files_and_network() -> None:
    """Enter a Landlock domain without any rule: all that this kernel's Landlock knows is denied."""
    syscall = _libc().syscall
    version = _call(syscall, LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    # Rights over files: 13 in version 1, then REFER, TRUNCATE and, in version 5, IOCTL_DEV. Version 4 adds
    # BIND_TCP and CONNECT_TCP; version 6 abstract UNIX sockets and signals.
    files = 13 + (version >= 2) + (version >= 3) + (version >= 5)
    attributes = LANDLOCK_ATTRIBUTES.pack((1 << files) - 1, 0b11 * (version >= 4), 0b11 * (version >= 6))
    ruleset = _call(syscall, LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    _call(syscall, LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _forbid_new_files_and_processes() -> None:
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        resource.setrlimit(limit, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    threads = MAX_THREADS if _has_seccomp() else 0
    threads = threads if most == resource.RLIM_INFINITY else min(threads, most)
    resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))


def _has_seccomp() -> bool:
    machine = os.uname().machine
    action = ctypes.c_uint32(KILL)
    return machine in PROCESSORS and not _libc().syscall(
        PROCESSORS[machine][2], SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(action)
    )


def _allow_few_calls() -> None:
    machine = os.uname().machine
    if machine not in PROCESSORS or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, f"no list of calls for {machine}, {sys.maxsize.bit_length() + 1} bits")
    architecture, column, seccomp = PROCESSORS[machine]
    lines = calls_filter(architecture, column)
    instructions = ctypes.create_string_buffer(b"".join(INSTRUCTION.pack(*line) for line in lines))
    header = struct.pack("@HP", len(lines), ctypes.addressof(instructions))  # struct sock_fprog
    if _call(_libc().syscall, seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FLAGS, header):
        raise OSError(errno.EBUSY, "a thread has a filter of its own")


def calls_filter(architecture: int, column: int) -> list[Line]:
    """Return the instructions that decide on a call, which they see as a struct seccomp_data."""

    def argument(index: int) -> Line:  # its lower half
        return (LOAD, 0, 0, ARGUMENTS + 8 * index)

    allow, kill, refuse = ((RETURN, 0, 0, action) for action in (ALLOW, KILL, REFUSE))
    # On x86_64 a call in the x32 way has the same architecture, but bit 30 of its number set: none of these.
    lines = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), kill, (LOAD, 0, 0, NUMBER)]
    for numbers in ALLOWED.values():
        lines += [(EQUAL, 0, 1, numbers[column]), allow]
    for numbers in MAPPING.values():
        lines += [(EQUAL, 0, 4, numbers[column]), argument(2), (ANY_BIT, 0, 1, PROT_EXEC), refuse, allow]
    lines += [(EQUAL, 0, 5, CLONE[column]), argument(0), (ANY_BIT, 2, 0, CLONE_NEW)]
    lines += [(ANY_BIT, 0, 1, CLONE_THREAD), allow, refuse]
    lines += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, MISSING)]
    lines += [(EQUAL, 0, 6, PRLIMIT[column]), argument(0), (EQUAL, 0, 3, 0)]
    lines += [argument(1), (EQUAL, 0, 1, resource.RLIMIT_CPU), allow, refuse]
    for numbers in FATAL.values():
        lines += [(EQUAL, 0, 1, numbers[column]), kill]
    return [*lines, refuse]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(function: Callable[..., int], *arguments: object) -> int:
    result = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
