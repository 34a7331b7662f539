"""Uploads read in a process of its own: the same crops, and no harm from whatever a decoder does."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedding import preprocess
from embedding.uploads import UploadReader
from hostile_decoder import DEEDS
from hostile_pictures import INVALID, READABLE, SMALL, TOO_LARGE, encoded

SIDE = 16
MAX_PIXELS = 30_000_000
LIMIT_S = 60
HOSTILE = (sys.executable, "-m", "hostile_reader")
UNENDING = {"loops for ever", "sleeps"}
HARMLESS = {"claims more than there may be"}  # to this reader: its crops have one size

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere uploads are read in the worker")


def process_of(reader: UploadReader) -> int:
    assert reader._process is not None
    return reader._process[0].pid


@pytest.fixture(scope="module")
def reader() -> Iterator[UploadReader]:
    with closing(UploadReader(side=SIDE, max_pixels=MAX_PIXELS, timeout_s=LIMIT_S)) as reader:
        yield reader


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadReader]:
    monkeypatch.setenv("SECRET", "it is told")
    with closing(
        UploadReader(side=SIDE, max_pixels=MAX_PIXELS, timeout_s=LIMIT_S, command=HOSTILE)
    ) as reader:
        yield reader


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_the_same_crops_as_in_this_process(reader: UploadReader, form: str) -> None:
    data = encoded(SMALL, form)
    expected = preprocess.read_crop(data, SIDE, MAX_PIXELS)
    assert expected is not None
    np.testing.assert_array_equal(reader(data), expected)


def test_hostile_pictures_are_refused_and_cost_no_process_its_life(reader: UploadReader) -> None:
    assert reader(encoded(SMALL, "PNG")) is not None
    first = process_of(reader)
    for name, data in (TOO_LARGE | INVALID).items():
        assert reader(data) is None, name
    for name, (data, _) in READABLE.items():
        assert reader(data) is not None, name
    assert process_of(reader) == first


@pytest.mark.parametrize("deed", sorted(DEEDS.keys() - UNENDING - HARMLESS))
def test_whatever_a_decoder_does_the_next_picture_is_read(hostile: UploadReader, deed: str) -> None:
    assert hostile(deed.encode()) is None
    assert hostile(b"abc") is not None


@pytest.mark.parametrize("deed", sorted(UNENDING))
def test_what_never_ends_is_ended(deed: str) -> None:
    with closing(UploadReader(side=SIDE, max_pixels=MAX_PIXELS, timeout_s=0.5, command=HOSTILE)) as reader:
        assert reader(deed.encode()) is None
        assert reader._process is None


def test_a_process_that_was_killed_is_replaced(hostile: UploadReader) -> None:
    assert hostile(b"a") is not None
    process, _ = hostile._process or pytest.fail("it has no process")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert hostile(b"a") is not None


def test_threads_get_their_own_crops(hostile: UploadReader) -> None:
    with ThreadPoolExecutor(8) as pool:
        crops = list(pool.map(lambda number: hostile(bytes([number])), range(100)))
    assert [crop[0, 0, 0] for crop in crops if crop is not None] == list(range(100))


def test_the_largest_pictures_fit_into_its_memory(reader: UploadReader) -> None:
    for form, mode in (("PNG", "RGBA"), ("PNG", "I;16"), ("WEBP", "RGBA"), ("TIFF", "RGB"), ("JPEG", "CMYK")):
        picture = SMALL.convert(mode).resize((5400, 5500))
        assert reader(encoded(picture, form)) is not None, (form, mode)


def test_nothing_of_the_environment_is_known_to_it(hostile: UploadReader) -> None:
    hostile(b"a")
    environment = Path(f"/proc/{process_of(hostile)}/environ").read_bytes()
    assert not re.search(rb"SECRET", environment)


def test_what_libraries_say_reaches_no_log(reader: UploadReader, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encoded(SMALL.convert("1"), "TIFF", compression="group4"))
    data[8:12] = b"\x13\x57\x9b\xdf"  # libtiff complains of bad code words
    reader(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_what_does_not_start_is_told() -> None:
    with closing(UploadReader(side=SIDE, max_pixels=1, timeout_s=1, command=("false",))) as reader:
        with pytest.raises(OSError, match="does not start"):
            reader(b"")
        assert reader._process is None
