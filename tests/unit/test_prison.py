"""The filter of system calls, on processors that this machine may not have."""

from __future__ import annotations

import struct
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("the others have no seccomp", allow_module_level=True)

import mmap
import resource
import signal

from serving.prison import (
    ALLOW,
    ALLOWED,
    ANY_BIT,
    CLONE,
    CLONE3,
    EQUAL,
    FATAL,
    KILL,
    LOAD,
    MAPPING,
    MISSING,
    PRLIMIT,
    PROCESSORS,
    REFUSE,
    RETURN,
    calls_filter,
)

X32_BIT = 0x40000000  # arch/x86/include/uapi/asm/unistd.h
HIGH = 1 << 32  # Linux ignores the upper half of an argument that is an int

each_processor = pytest.mark.parametrize(
    ("architecture", "column"), [(architecture, column) for architecture, column, _ in PROCESSORS.values()]
)


def verdict(architecture: int, column: int, number: int, *arguments: int, seen: int | None = None) -> int:
    """Run the filter as Linux does: what becomes of a call."""
    call = struct.pack("=IIQ6Q", number, seen or architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    lines = iter(calls_filter(architecture, column))
    value = 0
    for code, if_true, if_false, operand in lines:
        if code == RETURN:
            return operand
        if code == LOAD:
            (value,) = struct.unpack_from("=I", call, operand)
            continue
        true = {EQUAL: value == operand, ANY_BIT: bool(value & operand)}[code]
        for _ in range(if_true if true else if_false):
            next(lines)
    raise AssertionError("the filter ends without a verdict")


@each_processor
def test_only_the_calls_of_the_list_are_allowed(architecture: int, column: int) -> None:
    numbers = {call[column] for call in [*ALLOWED.values(), *MAPPING.values(), PRLIMIT]}
    allowed = {number for number in range(600) if verdict(architecture, column, number) == ALLOW}
    assert allowed == numbers
    killed = {number for number in range(600) if verdict(architecture, column, number) == KILL}
    assert killed == {call[column] for call in FATAL.values()}
    assert verdict(architecture, column, 599) == REFUSE


@each_processor
def test_calls_of_another_architecture_end_the_process(architecture: int, column: int) -> None:
    i386 = 0x40000003  # AUDIT_ARCH_I386, linux/audit.h
    assert verdict(architecture, column, ALLOWED["read"][column], seen=i386) == KILL
    assert verdict(architecture, column, ALLOWED["read"][column] | X32_BIT) == REFUSE


@each_processor
@pytest.mark.parametrize("call", MAPPING)
def test_no_memory_becomes_executable(architecture: int, column: int, call: str) -> None:
    number = MAPPING[call][column]
    data = mmap.PROT_READ | mmap.PROT_WRITE
    assert verdict(architecture, column, number, 0, 4096, data) == ALLOW
    for executable in (mmap.PROT_EXEC, mmap.PROT_EXEC | data):
        assert verdict(architecture, column, number, 0, 4096, executable) == REFUSE


@each_processor
def test_it_may_start_a_thread_and_no_process(architecture: int, column: int) -> None:
    thread = 0x003D0F00  # what glibc asks for: CLONE_VM, CLONE_THREAD, ...
    assert verdict(architecture, column, CLONE[column], thread) == ALLOW
    for more in (0, HIGH):
        assert verdict(architecture, column, CLONE[column], more | signal.SIGCHLD) == REFUSE  # fork
        assert verdict(architecture, column, CLONE[column], more | 0x4111) == REFUSE  # vfork
    for namespace in (0x00020000, 0x02000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(architecture, column, CLONE[column], thread | namespace) == REFUSE
    assert verdict(architecture, column, CLONE3[column]) == MISSING


@each_processor
def test_a_process_sets_its_own_limit_of_processor_time_and_no_other(architecture: int, column: int) -> None:
    number = PRLIMIT[column]
    assert verdict(architecture, column, number, 0, resource.RLIMIT_CPU) == ALLOW
    assert verdict(architecture, column, number, 1, resource.RLIMIT_CPU) == REFUSE
    assert verdict(architecture, column, number, HIGH | 1, resource.RLIMIT_CPU) == REFUSE
    assert verdict(architecture, column, number, 0, resource.RLIMIT_AS) == REFUSE
    assert verdict(architecture, column, number, 0, HIGH | resource.RLIMIT_AS) == REFUSE
