"""What a processor lacks, as Linux describes it."""

from __future__ import annotations

import pytest

from serving.processor import PREPARING, SERVING, lacking

NEHALEM = "fpu sse sse2 ht lm pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm"
QEMU64 = "fpu sse sse2 ht lm pni cx16 lahf_lm svm"


def cpuinfo(flags: str, processors: int = 2) -> str:
    return processors * f"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: {flags}\nbugs\t\t:\n\n"


@pytest.mark.parametrize("flags", [NEHALEM, f"{NEHALEM} avx avx2 bmi1"])
def test_instructions_of_2008_suffice_for_serving(flags: str) -> None:
    assert lacking(SERVING, cpuinfo(flags)) is None
    assert (lacking(PREPARING, cpuinfo(flags)) is None) == ("avx" in flags)


def test_what_is_missing_is_named_in_one_sentence() -> None:
    said = lacking(SERVING, cpuinfo(QEMU64))
    assert said == (
        "this processor, or the virtual machine's model of it, lacks instructions that are needed: "
        "popcnt, sse4_1, sse4_2, ssse3"
    )
    assert "avx" in (lacking(PREPARING, cpuinfo(NEHALEM)) or "")


@pytest.mark.parametrize("text", ["", "processor: 0\nFeatures: fp asimd\n", "flagship: none", "\0"])
def test_what_says_nothing_of_x86_is_let_through(text: str) -> None:
    """As on ARM, or where /proc is not to be read."""
    assert lacking(PREPARING, text) is None


def test_this_machine_runs_the_tests() -> None:
    assert lacking(SERVING) is None
