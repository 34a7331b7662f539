"""Broken pictures through the decoder: it refuses them, and neither dies nor grows. FUZZ=1: many more."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from galleries import PROCESSES
from mutations import MAX_PIXELS, decode_many, mutated, seeds
from processes import children, state_of
from running import ROOT
from serving.errors import ImageTooLarge, InvalidImage
from serving.sandbox import Decoder

FUZZ = os.environ.get("FUZZ") == "1"
PICTURES = 120_000 if FUZZ else 3_000
THROUGH_THE_DECODER = 10_000 if FUZZ else 500
HOSTILE = ROOT.parent / "shared" / "data" / "hostile"
GROWTH_LIMIT_KB = 60_000  # after a quarter of them; measured: 29,000 once, and none of a single format
SILENCE_LIMIT_S = 300  # for 100 pictures, most of which take less than a millisecond

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and decodes as on Linux")


@pytest.fixture(scope="module")
def pictures(demo: Path) -> list[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return seeds([folder for folder in (demo, HOSTILE) if folder.is_dir()])


def test_broken_pictures_are_refused_without_harm(pictures: list[bytes]) -> None:
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=decode_many, args=(theirs, pictures, range(PICTURES)), daemon=True)
    process.start()
    theirs.close()
    told: list[tuple[int, int]] = []
    try:
        while not told or told[-1][0] < PICTURES:
            assert ours.poll(SILENCE_LIMIT_S), f"hangs soon after picture {told[-1:]}"
            told.append(ours.recv())
            assert isinstance(told[-1][1], int), told[-1]
    except EOFError:
        pytest.fail(f"died within 100 pictures after {told[-1:]}")
    finally:
        process.kill()
        process.join()
    warm = max(memory for _, memory in told[: len(told) // 4 + 1])
    print(f"{PICTURES} pictures of {len(pictures)} seeds, memory {warm} to {told[-1][1]} kB")
    assert told[-1][1] - warm < GROWTH_LIMIT_KB


def test_broken_pictures_cost_no_decoding_process_its_life(pictures: list[bytes]) -> None:
    decoded = 0
    before = children()
    with closing(Decoder(max_pixels=MAX_PIXELS, timeout_s=60)) as decoder:
        decoder.start()
        (first,) = children().keys() - before.keys()
        for number in range(THROUGH_THE_DECODER):
            try:
                decoder(mutated(f"decoder {number}", pictures))
                decoded += 1
            except (InvalidImage, ImageTooLarge):
                pass
        assert children().keys() - before.keys() == {first}
        assert state_of(first) in "SR"
    assert 0 < decoded < THROUGH_THE_DECODER
