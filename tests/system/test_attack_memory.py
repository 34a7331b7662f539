"""The requests that cost the most memory, sixteen at once, to a real worker: it stays small, and it lives."""

from __future__ import annotations

import base64
import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from PIL import Image

from hostile_pictures import png
from running import running_pair, workers_of
from squares import RECOGNITION, SERVICES

COMPREFACE = "/api/v1/recognition"
MANY_PX = (8000, 6000)  # 144 MB decoded
AT_ONCE = 16
LIMIT_MB = 1024  # of one worker's own memory; the services' container has 4 GiB for two


def most_mb(pid: int) -> int:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024


def enrolment(picture: bytes, number: int) -> bytes:
    image = base64.b64encode(picture).decode()
    return json.dumps([{"id": str(n), "name": "n", "image": image} for n in range(number)]).encode()


def upload(picture: bytes, number: int) -> bytes:
    """A form of 60 MB: many files, each of which Werkzeug itself would keep on disk."""
    name = b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nn\r\n'
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    return name + number * (head + picture.ljust(600_000, b"\0") + b"\r\n") + b"--b--\r\n"


def filled(start: bytes, item: bytes) -> bytes:
    """JSON of 60 MB whose array has as many items as fit."""
    return (
        start
        + item * (60_000_000 // len(item))
        + item.rstrip(b",")
        + b"]" * start.count(b"[")
        + b"}" * start.count(b"{")
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sixteen_of_the_worst_requests_at_once_fit_in_memory(tmp_path: Path, models_dir: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", MANY_PX).save(stream, "WEBP")
    header = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n'
    attacks = [
        ("/update-samples", enrolment(stream.getvalue(), 8), "application/json"),
        ("/update-samples", enrolment(png(100, 60_000), 3), "application/json"),
        ("/update-samples", b"[" + b'{"":{}},' * 1_500_000 + b"{}]", "application/json"),
        (
            "/face-recognition",
            header + b"a:b\r\n" * 2_000_000 + b"\r\nx\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
        ),
        ("/samples", upload(png(100, 100), 100), "multipart/form-data; boundary=b"),
        (f"{COMPREFACE}/embeddings/recognize", filled(b'{"embeddings":[', b"[1,2],"), "application/json"),
        (f"{COMPREFACE}/faces/delete", filled(b"[", b'"",'), "application/json"),
        (f"{COMPREFACE}/recognize", filled(b'{"file":"","x":[', b"[],"), "application/json"),
        (f"{COMPREFACE}/recognize", upload(png(100, 100), 100), "multipart/form-data; boundary=b"),
    ]
    with running_pair(tmp_path, models_dir, WORKERS="1", COMPREFACE_SERVICES=SERVICES) as pair:

        def send(number: int) -> int:
            path, body, media = attacks[0 if number == 0 else 1 + number % (len(attacks) - 1)]
            headers = {"Content-Type": media, "x-api-key": RECOGNITION}
            return requests.post(pair.url + path, data=body, headers=headers, timeout=120).status_code

        (worker,) = workers_of(pair.detection)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            statuses = list(pool.map(send, range(AT_ONCE)))
        assert set(statuses) <= {200, 400, 408, 413, 429, 503}  # the last where too much waits, by CompreFace
        assert statuses[0] == 200
        assert workers_of(pair.detection) == [worker]
        print(f"the worker had {most_mb(worker)} MB at most")
        assert most_mb(worker) < LIMIT_MB
