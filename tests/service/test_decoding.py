"""Pictures in processes of their own: the same pixels, and no harm from whatever a decoder does."""

from __future__ import annotations

import base64
import io
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hostile_decoder import DEEDS
from processes import children, status
from recognition.app import create_app
from recognition.config import read
from recognition.gallery import open_gallery
from serving import pictures as images
from serving.errors import ImageTooLarge, InvalidImage
from serving.model import Model
from serving.sandbox import KEPT_BYTES, Decoder

HOSTILE = (sys.executable, "-m", "hostile_decoder")
MAX_PIXELS = 30_000_000
LIMIT_S = 60
MEMORY_LIMIT_KB = 45_000  # measured: 34,000, and 85,000 after a picture of 30 megapixels
MEMORY_LIMIT_AFTER_KB = 110_000

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere pictures are decoded in the worker"
)


def wait_until_gone(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            end = os.pidfd_open(pid)
            assert select.select([end], [], [], LIMIT_S)[0]
            os.close(end)


def encoded(pixels: np.ndarray | Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with closing(Decoder(max_pixels=MAX_PIXELS, timeout_s=LIMIT_S)) as decoder:
        yield decoder


@pytest.fixture
def hostile() -> Iterator[Decoder]:
    """A decoder that does what pictures tell it to, and whose processes are all gone afterwards."""
    before = children()
    with closing(Decoder(max_pixels=MAX_PIXELS, timeout_s=1, command=HOSTILE)) as decoder:
        yield decoder
    assert children() == before


# --- the same pixels


NOISE = np.random.default_rng(3).integers(0, 256, (60, 90, 3), np.uint8)


KINDS: list[tuple[str, str, dict[str, object]]] = [
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {}),
    ("PNG", "I;16", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("BMP", "RGB", {}),
    ("GIF", "P", {}),
    ("ICO", "RGB", {}),
    ("ICO", "RGBA", {"bitmap_format": "bmp"}),
    *(
        ("TIFF", "RGB", {"compression": how})
        for how in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "lzma", "zstd")
    ),
    ("TIFF", "1", {"compression": "group3"}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "CMYK", {"compression": "tiff_lzw"}),
    ("TIFF", "F", {}),
    ("TIFF", "LAB", {}),
    *(("AVIF", mode, {}) for mode in ("RGB", "RGBA", "L")),
    *(("HEIF", mode, {}) for mode in ("RGB", "RGBA", "L")),
    ("HEIF", "RGB", {"tile_size": 64}),
    *(("JPEG2000", mode, {}) for mode in ("RGB", "RGBA", "L", "LA", "I;16")),
    ("JPEG2000", "RGB", {"no_jp2": True, "tile_size": (32, 32)}),
]


@pytest.mark.parametrize(("form", "mode", "options"), KINDS, ids=str)
def test_every_format_gives_the_pixels_of_images_decode(
    decoder: Decoder, form: str, mode: str, options: dict[str, object]
) -> None:
    grey = Image.fromarray(NOISE).convert("L") if mode == "I;16" else Image.fromarray(NOISE)
    data = encoded(grey.convert(mode), form, **options)
    pixels = decoder(data).pixels
    assert (pixels == images.decode(data, MAX_PIXELS).pixels).all()
    assert (pixels.dtype, pixels.flags.c_contiguous, pixels.flags.writeable) == (np.uint8, True, True)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(decoder: Decoder, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(NOISE, "JPEG", exif=exif)
    assert (decoder(data).pixels == images.decode(data, MAX_PIXELS).pixels).all()


def test_what_is_too_large_or_no_picture_is_told_apart(decoder: Decoder) -> None:
    with pytest.raises(ImageTooLarge, match=f"{MAX_PIXELS} pixels"):
        decoder(encoded(np.zeros((MAX_PIXELS // 1000 + 1, 1000), np.uint8)))
    for data in (b"", b"text", encoded(NOISE)[:5000]):
        with pytest.raises(InvalidImage):
            decoder(data)


def test_a_picture_keeps_its_pixels_when_others_follow(decoder: Decoder) -> None:
    first = decoder(encoded(np.full((50, 50, 3), 10, np.uint8))).pixels
    decoder(encoded(np.full((50, 50, 3), 20, np.uint8)))
    assert (first == 10).all()


def test_many_at_once_do_not_mix(decoder: Decoder) -> None:
    shades = [encoded(np.full((40 + shade, 30, 3), shade, np.uint8)) for shade in range(60)]
    with ThreadPoolExecutor(4) as pool:
        for shade, picture in enumerate(pool.map(decoder, shades)):
            pixels = picture.pixels
            assert pixels.shape == (40 + shade, 30, 3)
            assert (pixels == shade).all()


def test_a_process_is_small_and_stays_small_after_a_large_picture() -> None:
    before = children()
    with closing(Decoder(max_pixels=MAX_PIXELS, timeout_s=LIMIT_S)) as decoder:
        decoder.start()
        (pid,) = children().keys() - before.keys()
        decoder(encoded(NOISE, "JPEG"))
        assert status(pid, "VmRSS") < MEMORY_LIMIT_KB
        assert decoder(encoded(np.full((5000, 6000), 7, np.uint8), compress_level=1)).pixels.max() == 7
        assert status(pid, "RssShmem") <= KEPT_BYTES // 1024
        assert status(pid, "VmRSS") < MEMORY_LIMIT_AFTER_KB


def test_the_process_loads_nothing_large() -> None:
    script = "import sys, serving.sandbox_process; print(sorted({m.split('.')[0] for m in sys.modules}))"
    outcome = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"cv2", "flask", "onnxruntime", "urllib3", "sqlalchemy"} & set(eval(outcome.stdout))


# --- whatever a decoder does


FINE = b"a picture"


@pytest.mark.parametrize("deed", DEEDS)
def test_whatever_a_decoder_does_the_next_picture_is_fine(
    hostile: Decoder, deed: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECRET", "x")
    with pytest.raises(InvalidImage):
        hostile(deed.encode())
    assert hostile(FINE).pixels.tobytes() == bytes(np.repeat(np.frombuffer(FINE, np.uint8), 3))
    output = capfd.readouterr()
    assert (output.out, output.err) == ("", "")


def test_a_failure_leaves_no_process_thread_or_file_behind(hostile: Decoder) -> None:
    def held() -> tuple[int, int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(children())

    hostile(FINE)
    before = held()
    for _ in range(8):
        with pytest.raises(InvalidImage):
            hostile(b"aborts")
        hostile(FINE)
    assert held() == before
    assert set(children().values()) <= {"S", "R"}


def test_others_go_on_while_one_hangs() -> None:
    before = children()
    with (
        closing(Decoder(max_pixels=MAX_PIXELS, timeout_s=LIMIT_S, command=HOSTILE)) as decoder,
        ThreadPoolExecutor(1) as pool,
    ):
        decoder.start()
        hanging = pool.submit(decoder, b"sleeps")
        while len(children()) < len(before) + 2:  # until it has been taken, and the others need another one
            assert decoder(FINE).pixels.shape == (len(FINE), 1, 3)
        assert not hanging.done()
        for pid in children().keys() - before.keys():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(InvalidImage):
            hanging.result(LIMIT_S)


def test_there_are_no_more_processes_than_allowed() -> None:
    before = children()
    with (
        closing(Decoder(max_pixels=MAX_PIXELS, timeout_s=LIMIT_S, limit=1, command=HOSTILE)) as decoder,
        ThreadPoolExecutor(8) as pool,
    ):
        assert children() == before  # none before the first picture
        shapes = list(pool.map(lambda length: decoder(b"a" * length).pixels.shape, range(1, 50)))
        assert shapes == [(length, 1, 3) for length in range(1, 50)]
        assert len(children()) == len(before) + 1


def test_a_process_that_died_in_its_sleep_costs_no_picture(hostile: Decoder) -> None:
    hostile(FINE)
    for pid in [pid for pid, state in children().items() if state == "S"]:
        if "hostile_decoder" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
            wait_until_gone([pid])
    assert hostile(FINE).pixels.shape == (len(FINE), 1, 3)


def test_a_program_that_does_not_start_is_an_error_of_ours() -> None:
    with pytest.raises(OSError):
        Decoder(max_pixels=10, timeout_s=1, command=(sys.executable, "-c", "exit()")).start()


PARENT = """
import sys, threading
from serving.sandbox import Decoder
decoder = Decoder(max_pixels=100, timeout_s=2, command=(sys.executable, "-m", "hostile_decoder"))
threading.Thread(target=decoder, args=(b"loops for ever",)).start()
decoder(b"a picture")
print("started", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_the_processes_die_with_their_parent_however_it_dies(by: int) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    pids = list(children(parent.pid))
    assert len(pids) == 2  # one loops, one waits
    parent.send_signal(by)
    parent.wait(LIMIT_S)
    parent.stdin.close()
    parent.stdout.close()
    wait_until_gone(pids)


class NoEmbedder:
    """Describes a model; nothing is embedded."""

    def model(self, name: str | None = None) -> Model:
        return Model("a model", 4, 8, 1.0, (0.0, 2.0), "fingerprint")

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        raise AssertionError


def test_callers_are_told_that_it_was_their_picture(hostile: Decoder, tmp_path: Path) -> None:
    gallery = open_gallery(f"sqlite:///{tmp_path / 'gallery.sqlite3'}", 10)
    app = create_app(read({}), detector=lambda _: [], embedder=NoEmbedder(), gallery=gallery, decode=hostile)
    client = app.test_client()

    def sent(*deeds: bytes) -> list[str]:
        return [base64.b64encode(deed).decode() for deed in deeds]

    for deed in (b"aborts", b"sleeps"):
        answer = client.post("/face-recognition", json={"image": sent(deed)[0]})
        assert answer.status_code == 400
        assert answer.json is not None
        assert answer.json["code"] == "invalid_image"
    images = zip("abc", sent(b"aborts", FINE, b"loops for ever"), strict=True)
    answer = client.post("/update-samples", json=[{"id": id_, "name": "n", "image": i} for id_, i in images])
    assert answer.json is not None
    codes = {id_: error["code"] for id_, error in answer.json["errors"].items()}
    assert codes == {"a": "invalid_image", "b": "no_face", "c": "invalid_image"}
    gallery.close()
