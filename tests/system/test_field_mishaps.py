"""Mishaps of the field: wrong clocks, streams that end, passwords in addresses, old processors."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests

from galleries import MODEL, a_sample, vectors_of
from recognition.gallery import open_gallery
from running import ROOT, Pair, free_port

TIMEOUT_S = 120
SECRET = "geheim"


def recognition(*arguments: object, under: tuple[str, ...] = (), **environment: str) -> Any:
    command = [*under, sys.executable, "-m", "recognition", *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=ROOT / "face_detection",
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


# --- a clock that is wrong


@pytest.mark.parametrize("ahead", ["+1y", "+60d", "+20y"])
def test_a_start_with_the_clock_ahead_erases_nothing(tmp_path: Path, ahead: str) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed (Debian's package faketime)")
    url = f"sqlite:///{tmp_path / 'gallery.sqlite3'}"
    now = datetime.now(UTC)
    times = {"created": now, "modified": now}
    with closing(open_gallery(url, 5)) as gallery:
        soon = a_sample("a", expires_at=now + timedelta(days=40), **times)
        gallery.upsert([soon, a_sample("b", **times)], vectors_of(1, 2), MODEL)
    under = ("faketime", "-f", ahead)
    counted = recognition("gallery", "--database", url, "count", under=under)
    assert counted.stdout == "1\n", counted.stderr
    backed_up = recognition("gallery", "--database", url, "backup", tmp_path / "copy", under=under)
    assert backed_up.stdout == "2 samples backed up.\n"  # as it is
    assert "the clock has jumped" in backed_up.stderr
    assert recognition("gallery", "--database", url, "count").stdout == "2\n"


# --- a stream that ends


@contextmanager
def mjpeg(frames: int) -> Iterator[int]:
    """A camera on a port that sends so many frames, and then hangs up."""
    jpeg = cv2.imencode(".jpg", np.full((120, 160, 3), 128, np.uint8))[1].tobytes()
    head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"
    part = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg)

    def serve() -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:  # closed below
                return
            with client, socket.socket.makefile(client, "rb") as request:
                while request.readline().strip():
                    pass
                client.sendall(head + frames * part)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_stream_that_ends_is_told_and_is_no_success(pair: Pair, as_json: bool) -> None:
    with mjpeg(15) as port:
        source = f"http://user:{SECRET}@127.0.0.1:{port}/x.mjpg"
        more = ("--json",) if as_json else ()
        done = recognition("watch", "--fail", source, "--every", "0", "--host", pair.url, *more)
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    assert done.stderr.strip() == "127.0.0.1: it has ended"


# --- passwords in addresses

ADDRESS = f"user:{SECRET}@127.0.0.1:9"
ODD = f"user:a@{SECRET}/{SECRET}@127.0.0.1:9"  # which should be percent-encoded, and is not


@pytest.mark.parametrize("address", [ADDRESS, ODD])
@pytest.mark.parametrize(
    "arguments",
    [
        ("watch", "--fail", "rtsp://{}/x"),
        ("watch", "--fail", "rtsp://{}/x", "--json"),
        ("watch", "--fail", "http://{}/x?password={secret}"),
        ("watch", "--fail", "{}"),
        ("samples", "list", "--host", "http://{}"),
        ("samples", "list", "--host", "{}"),
        ("samples", "list", "--host", "http://{}:9:9"),
        ("samples", "list", "--host", "http://{}[", "--json"),
        ("doctor", "--host", "http://{}"),
        ("recognise", "rtsp://{}/x"),
        ("enrol", "rtsp://{}/x", "--host", "http://{}"),
        ("rtsp://{}/x",),
        ("samples", "http://{}"),
        ("watch", "--fail", "0", "rtsp://{}/x"),
        ("gallery", "--database", "postgresql://{}/x", "count"),
        ("gallery", "--database", "postgresql://{}/x?sslpassword={secret}", "count"),
        ("gallery", "--database", "postgresql://{}:port/x", "count"),
        ("gallery", "--database", "mysql://{}/x", "count"),
    ],
)
def test_a_command_shows_no_password(address: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    given = [argument.format(address, secret=SECRET) for argument in arguments]
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}", "OPENCV_FFMPEG_DEBUG": "1"}
    with closing(open_gallery(settings["DATABASE_URL"], 5)):
        pass
    done = recognition(*given, **settings)
    assert done.returncode != 0
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr + done.stdout


@pytest.mark.parametrize("address", [ADDRESS, ODD])
@pytest.mark.parametrize(
    "settings",
    [
        {"FEATURE_EXTRACTION_URL": "http://{}"},
        {"FEATURE_EXTRACTION_URL": "ftp://{}"},
        {"FEATURE_EXTRACTION_URL": "http://{}:port"},
        {"DATABASE_URL": "postgresql://{}/x?password={secret}"},
        {"DATABASE_URL": "mysql://{}/x"},
        {"HTTP_PROXY": "http://{}", "http_proxy": "http://{}", "FEATURE_EXTRACTION_URL": "http://h.invalid"},
        {"ALLOWED_HOSTS": "http://{}"},
        {"CORS_ORIGINS": "http://{}"},
    ],
)
def test_a_service_and_doctor_show_no_password(
    address: str, settings: dict[str, str], tmp_path: Path, models_dir: Path
) -> None:
    given = {name: value.format(address, secret=SECRET) for name, value in settings.items()}
    environment = {
        "MODELS_DIR": str(models_dir),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
        "GALLERY_LOCK_TIMEOUT_S": "1",
    } | given
    done = recognition("doctor", **environment)
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "wsgi:app"]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        service = subprocess.Popen(
            command,
            cwd=ROOT / "face_detection",
            env=os.environ | environment,
            stdout=stream,
            stderr=stream,
        )
    try:
        while service.poll() is None:
            try:
                answer = requests.get(f"http://127.0.0.1:{port}/ready", timeout=TIMEOUT_S)
            except requests.ConnectionError:
                continue
            assert SECRET not in answer.text + str(answer.headers)
            break
    finally:
        service.terminate()
        service.wait(TIMEOUT_S)
    assert SECRET not in log.read_text()


# --- a processor that cannot run the libraries


def on_processor(folder: Path, without: tuple[str, ...]) -> tuple[str, ...]:
    """What runs a command where /proc/cpuinfo lacks these flags."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    if not any(line.startswith("flags") for line in lines):
        pytest.skip("this is no x86")
    told = (
        " ".join(word for word in line.split(" ") if word not in without)
        if line.startswith("flags")
        else line
        for line in lines
    )
    (folder / "cpuinfo").write_text("\n".join([*told, ""]))
    script = 'mount --bind "$0" /proc/cpuinfo && exec "$@"'
    under = ("unshare", "--mount", "sh", "-c", script, str(folder / "cpuinfo"))
    if subprocess.run([*under, "true"], capture_output=True).returncode != 0:
        pytest.skip("this user may not mount anything")
    return under


LACKS = "this processor, or the virtual machine's model of it, lacks instructions that are needed: sse4_2"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("doctor",), 1),
        (("doctor", "--host", "http://127.0.0.1:9"), 1),
        (("serve",), 3),
        (("detect", "picture"), 3),
        (("enrol", "picture"), 3),
        (("watch", "--fail", "0"), 3),
        (("gallery", "count"), 3),
        (("keys", "new", "door", "recognise"), 0),
        (("--help",), 0),
    ],
)
def test_a_command_says_what_the_processor_lacks(
    arguments: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    under = on_processor(tmp_path, ("sse4_2",))
    (tmp_path / "picture").touch()
    given = [str(tmp_path / part) if part == "picture" else part for part in arguments]
    done = recognition(*given, under=under)
    assert done.returncode == status, done.stderr
    assert ((done.stdout + done.stderr).count(LACKS) == 1) == bool(status)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("folder", ["face_detection", "feature_extraction"])
def test_a_service_says_what_the_processor_lacks(folder: str, tmp_path: Path) -> None:
    under = on_processor(tmp_path, ("sse4_2",))
    command = [*under, sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{free_port()}", "wsgi:app"]
    done = subprocess.run(command, cwd=ROOT / folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 3
    assert done.stderr.startswith(f"{folder} cannot start: {LACKS}; ")
    assert len(done.stderr.splitlines()) == 1


def test_models_cannot_be_prepared_without_avx(tmp_path: Path) -> None:
    """TensorFlow would be killed; with prepared models nothing is missed."""
    under = on_processor(tmp_path, ("avx",))
    command = [
        *under,
        sys.executable,
        str(ROOT / "prepare_models.py"),
        "--models-dir",
        str(tmp_path / "models"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "lacks instructions that are needed: avx; prepare the models on another machine" in done.stderr
