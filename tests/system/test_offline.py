"""Nothing leaves the machine: every way in is gone under a watch on sockets and name look-ups."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

import watching

LIMIT_S = 300
TOUR = Path(__file__).parents[1] / "tour.py"

watched = pytest.mark.skipif(bool(watching.why_not()), reason=watching.why_not() or "can be watched")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(home: Path, tmp_path: Path, models_dir: Path) -> dict[str, str]:
    """That of somebody who has set nothing: no switch of the tests' own, no other place for caches."""
    taken_out = ("ORT_", "XDG_", "API_", "CI", "DEEPFACE_HOME", "FACENET_WEIGHTS")
    own = {name: value for name, value in os.environ.items() if not name.startswith(taken_out)}
    return own | {
        "HOME": str(home),
        "MODELS_DIR": str(models_dir),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
    }


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@watched
def test_no_service_and_no_command_calls_anybody(
    home: Path, tmp_path: Path, models_dir: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, str(TOUR), str(tmp_path), str(models_dir)]
    outcome, calls = watching.watch(command, tmp_path / "calls", environment, LIMIT_S)
    assert outcome.returncode == 0, outcome.stderr
    assert calls == []
    assert files_below(home) == set()


@watched
def test_the_conversion_calls_nobody(
    home: Path, tmp_path: Path, models_dir: Path, environment: dict[str, str]
) -> None:
    """MTCNN's networks, whose weights are in its package; FaceNet's conversion takes a minute."""
    prepared = tmp_path / "models"
    prepared.mkdir()
    for name in ("facenet.onnx", "demo"):
        (prepared / name).symlink_to((models_dir / name).absolute())
    shutil.copyfile(models_dir / "manifest.json", prepared / "manifest.json")
    command = [sys.executable, "-m", "preparation", "--models-dir", str(prepared)]
    outcome, calls = watching.watch(command, tmp_path / "calls", environment, LIMIT_S)
    assert outcome.returncode == 0, outcome.stderr
    assert (prepared / "pnet.onnx").is_file()
    assert calls == []
    assert files_below(home) <= {".keras/keras.json"}  # Keras's settings, which tell nothing


@watched
def test_the_watch_sees_a_look_up(tmp_path: Path) -> None:
    program = 'import socket; socket.getaddrinfo("example.invalid", 80)'
    outcome, calls = watching.watch([sys.executable, "-c", program], tmp_path / "calls", os.environ, LIMIT_S)
    assert "socket.gaierror" in outcome.stderr
    assert calls


@watched
@pytest.mark.parametrize(
    "program",
    [
        's.connect(("192.0.2.1", 9))',  # RFC 5737: an address that nobody has
        's.sendto(b"x", ("192.0.2.1", 9))',
        's.sendmsg([b"x"], [], 0, ("192.0.2.1", 9))',
    ],
)
def test_the_watch_sees_a_datagram(tmp_path: Path, program: str) -> None:
    program = f"import socket; s = socket.socket(type=socket.SOCK_DGRAM); {program}"
    _, calls = watching.watch([sys.executable, "-c", program], tmp_path / "calls", os.environ, LIMIT_S)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "line",
    [
        '7 connect(5, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("93.184.216.34")}, 16) = 0',
        '7 connect(5, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("10.0.0.1")}, 16 <unfin',
        '7 connect(5, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0',
        "7 connect(5, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 ENETUNREACH',
        "7 connect(5, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "::ffff:192.0.2.1", &sin6_addr), sin6_scope_id=0}, 28) = 0',
        '7 connect(5, {sa_family=AF_UNIX, sun_path="/run/systemd/resolve/io.systemd.Resolve"}, 110) = 0',
        '7 sendto(5, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("192.0.2.1")}, 16',
        '7 sendmsg(5, {msg_name={sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("192.0.2.1")}, ms',
        "7 connect(5, {sa_family=AF_BLUETOOTH, rc_bdaddr=...}, 10) = 0",
        '7 sendmmsg(5, [{msg_hdr={msg_name={sa_family=AF_UNIX, sun_path="/x"}}}, {msg_hdr={msg_name='
        '{sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("192.0.2.1")}}}], 2, 0) = 2',
    ],
)
def test_a_line_that_leaves_the_machine(line: str) -> None:
    assert watching.leaves(line)


@pytest.mark.parametrize(
    "line",
    [
        '7 connect(5, {sa_family=AF_INET, sin_port=htons(5000), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
        "7 connect(5, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0',
        "7 connect(5, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "::ffff:127.0.0.1", &sin6_addr), sin6_scope_id=0}, 28) = 0',
        '7 connect(6, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such file)',
        '7 connect(6, {sa_family=AF_UNIX, sun_path=@"abstract"}, 110) = 0',
        "7 connect(6, {sa_family=AF_UNSPEC, sa_data=...}, 16) = 0",
        '7 sendto(5, "GET / HTTP/1.1", 14, MSG_NOSIGNAL, NULL, 0) = 14',
        "7 sendto(3, [{nlmsg_len=20}], 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20",
        "7 +++ exited with 0 +++",
        "7 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=8, si_uid=0, si_status=0} ---",
    ],
)
def test_a_line_that_does_not(line: str) -> None:
    assert not watching.leaves(line)
