"""Code that has taken over the process that decodes pictures: what it tries, and that nothing of it works."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hostile_decoder import ATTACKS
from processes import children, status
from serving.errors import InvalidImage
from serving.sandbox import Decoder

HOSTILE = (sys.executable, "-m", "hostile_decoder")
LIMIT_S = 60
FINE = b"a picture"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere pictures are decoded in the worker"
)
as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="becomes another user",
)


def hostile(*more: str) -> Decoder:
    return Decoder(max_pixels=10_000, timeout_s=LIMIT_S, command=(*HOSTILE, *more))


@pytest.fixture
def spoils() -> Iterator[dict[str, Any]]:
    """What there is to be had on this machine, open to all its users; nothing may be missing afterwards."""
    secret = ctypes.create_string_buffer(b"a secret")
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        Path(folder).chmod(0o777)
        file = Path(folder, "gallery")
        file.write_text("a secret")
        file.chmod(0o666)
        unix.bind(f"{folder}/socket")
        Path(folder, "socket").chmod(0o777)
        abstract.bind(f"\0{folder}")
        for listener in (server, unix, abstract):
            listener.listen()
            listener.setblocking(False)
        with file.open() as opened:
            yield {
                "folder": folder,
                "file": str(file),
                "descriptor": opened.fileno(),
                "port": server.getsockname()[1],
                "unix": f"{folder}/socket",
                "abstract": folder,
                "address": ctypes.addressof(secret),
            }
        assert {path.name for path in Path(folder).iterdir()} == {"gallery", "socket"}
        assert file.read_text() == "a secret"
        for listener in (server, unix, abstract):
            with pytest.raises(BlockingIOError):
                listener.accept()


@pytest.fixture(scope="module", params=[None, "Landlock", "seccomp"], ids="without {}".format)
def lacking(request: pytest.FixtureRequest) -> str | None:
    """What the kernel lacks: each of the walls holds alone."""
    if request.param == "seccomp" and os.geteuid() != 0:
        pytest.skip("where an ordinary user runs the service, not all is prevented without seccomp")
    return request.param


@pytest.fixture(scope="module")
def decoder(lacking: str | None) -> Iterator[Decoder]:
    with closing(hostile(*(["--without", lacking] if lacking else []))) as decoder:
        yield decoder


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_works_and_the_next_picture_is_fine(
    spoils: dict[str, Any], attack: str, lacking: str | None, decoder: Decoder
) -> None:
    if attack == "writes a program into memory" and lacking == "seccomp":
        pytest.skip("only seccomp prevents it")
    with pytest.raises(InvalidImage):
        decoder(f"{attack}\n{json.dumps(spoils)}".encode())
    assert decoder(FINE).pixels.shape == (len(FINE), 1, 3)


# Starts processes while it can read Python and the modules, which may belong to root, and gives that up then.
UNPRIVILEGED = """
import ctypes, json, os, sys
from hostile_decoder import ATTACKS, LIBC, done
from serving import prison
from serving.errors import InvalidImage
from serving.sandbox import Decoder

spoils = json.loads(sys.argv[1])
secret = ctypes.create_string_buffer(b"a secret")
spoils |= {"address": ctypes.addressof(secret), "descriptor": os.open(spoils["file"], os.O_RDONLY)}
decoder = Decoder(max_pixels=10_000, timeout_s=60, command=(sys.executable, "-m", "hostile_decoder"))
for _ in prison.FATAL:
    decoder.start()
done(LIBC.capset(prison.NO_CAPABILITIES, bytes(24)))
done(LIBC.prctl(prison.PR_SET_DUMPABLE, 1, 0, 0, 0))
for attack in ATTACKS:
    try:
        decoder(f"{attack}\\n{json.dumps(spoils)}".encode())
    except InvalidImage:
        print(attack)
decoder.close()
"""


@as_root
def test_nothing_works_where_an_ordinary_user_runs_the_service(spoils: dict[str, Any]) -> None:
    user = ["--reuid=12345", "--regid=12345", "--clear-groups"]
    can_read_all = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    outcome = subprocess.run(
        ["setpriv", *user, *can_read_all, sys.executable, "-c", UNPRIVILEGED, json.dumps(spoils)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert outcome.stdout.splitlines() == list(ATTACKS)


@as_root
def test_a_process_has_nothing_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALLERY_KEY", "x")
    before = children()
    with closing(Decoder(max_pixels=100, timeout_s=LIMIT_S)) as decoder:
        decoder.start()
        (pid,) = children().keys() - before.keys()
        files = sorted(path.readlink().name.partition(":")[0] for path in Path(f"/proc/{pid}/fd").iterdir())
        assert files == ["memfd", "null", "null", "socket"]
        names = {line.partition("=")[0] for line in Path(f"/proc/{pid}/environ").read_text().split("\0")}
        assert names == {"PYTHONPATH", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX", ""}
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
        for name, value in {"Uid": 65534, "Gid": 65534, "NoNewPrivs": 1, "CapPrm": 0, "Threads": 1}.items():
            assert status(pid, name) == value, name


# --- what the kernel lacks is in the log


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("feature", ["Landlock", "seccomp"])
def test_what_the_kernel_lacks_is_logged_once(feature: str, caplog: pytest.LogCaptureFixture) -> None:
    with closing(hostile("--without", feature)) as decoder:
        decoder.start()
        decoder.start()
    (line,) = warnings(caplog)
    assert f"{feature} (Function not implemented)" in line


ROOT_WITHOUT_CAPABILITIES = """
import logging
from serving.sandbox import Decoder
logging.basicConfig()
decoder = Decoder(max_pixels=100, timeout_s=60)
decoder.start()
decoder.close()
"""


@as_root
def test_root_that_cannot_become_another_user_is_told() -> None:
    outcome = subprocess.run(
        ["setpriv", "--bounding-set=-all", sys.executable, "-c", ROOT_WITHOUT_CAPABILITIES],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "another user (root without the capabilities KILL, SETGID and SETUID)" in outcome.stderr


# --- and so is what nobody does by accident


@pytest.mark.parametrize("attack", ["traces the service", "becomes a program", "signals the service"])
def test_an_attack_is_logged(spoils: dict[str, Any], attack: str, caplog: pytest.LogCaptureFixture) -> None:
    with closing(hostile()) as decoder, pytest.raises(InvalidImage):
        decoder(f"{attack}\n{json.dumps(spoils)}".encode())
    assert any("only an attack" in line for line in warnings(caplog))


@pytest.mark.parametrize("accident", ["aborts", "reads where nothing is", "allocates without end", "raises"])
def test_an_accident_is_not_taken_for_an_attack(accident: str, caplog: pytest.LogCaptureFixture) -> None:
    with closing(hostile()) as decoder, pytest.raises(InvalidImage):
        decoder(accident.encode())
    assert not any("only an attack" in line for line in warnings(caplog))
