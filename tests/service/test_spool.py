"""Events that wait on disk: in order, bounded, overwritten when gone, and there whatever happens."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import an_event
from recognition.events import spool as spools
from recognition.events.delivery import Waiting
from recognition.events.spool import MAX_PICTURE_BYTES, Spool, SpoolUnavailable
from running import ROOT

A, B = {"a": True}, {"b": False}
PATHS = os.pathsep.join(str(ROOT / folder) for folder in (".", "tests", "face_detection"))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "events.sqlite3"


@pytest.fixture
def spool(file: Path, said: list[str]) -> Iterator[Spool]:
    spool = Spool(file, said.append, limit=10)
    yield spool
    spool.close()


def ids(spool: Spool, outlet: str) -> list[str]:
    """Deliver everything to an outlet."""
    taken = []
    while waiting := spool.next(outlet):
        taken.append(waiting.id)
        spool.done(waiting)
    return taken


def test_each_outlet_gets_each_event_in_order(spool: Spool) -> None:
    for number in range(5):
        spool.put(an_event(number), b"face", A | B)
    assert spool.count() == {"a": 5, "b": 5}
    first, other = spool.next("a"), spool.next("b")
    assert first and other
    assert (first.id, first.person, first.picture) == (an_event(0).id, "ann", b"face")
    assert other.picture is None
    assert ids(spool, "a") == [an_event(number).id for number in range(5)]
    assert spool.count() == {"b": 5}
    assert ids(spool, "b") == ids_of(range(5))
    assert spool.count() == {}


def ids_of(numbers: range) -> list[str]:
    return [an_event(number).id for number in numbers]


def test_an_event_that_is_sent_again_takes_the_place_of_what_waits(spool: Spool) -> None:
    spool.put(an_event(0, until=None), None, A)
    under_way = spool.next("a")
    spool.put(an_event(0), None, A)
    assert under_way
    spool.done(under_way)
    newer = spool.next("a")
    assert newer
    assert "03:01" in newer.body


def test_the_oldest_are_dropped_beyond_the_limit_which_is_said(spool: Spool, said: list[str]) -> None:
    for number in range(25):
        spool.put(an_event(number), None, A)
    assert ids(spool, "a") == ids_of(range(15, 25))
    assert [message.partition(" ")[0] for message in said] == ["1", "10"]


def test_a_camera_may_be_called_by_any_bytes(spool: Spool) -> None:
    spool.put(an_event(camera=os.fsdecode(b"\xff")), None, A)
    assert ids(spool, "a") == [an_event().id]


def test_a_huge_picture_is_left_out(spool: Spool) -> None:
    spool.put(an_event(), bytes(MAX_PICTURE_BYTES + 1), A)
    waiting = spool.next("a")
    assert waiting
    assert waiting.picture is None


def test_all_is_there_when_the_file_is_opened_again(file: Path, said: list[str]) -> None:
    spool = Spool(file, said.append)
    spool.put(an_event(), b"face", A | B)
    identity = spool.identity
    spool.close()
    again = Spool(file, said.append)
    assert again.identity == identity
    assert again.count() == {"a": 1, "b": 1}
    again.close()
    assert said == []


def test_only_the_owner_can_read_it(spool: Spool, file: Path) -> None:
    spool.put(an_event(), None, A)
    files = list(file.parent.iterdir())
    assert {path.name for path in files} >= {"events.sqlite3", "events.sqlite3-wal"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_nothing_remains_of_what_is_gone(spool: Spool, file: Path) -> None:
    secret = "Ann of the secret name"
    spool.put(an_event(0, name=secret), b"her very face", A)
    spool.put(an_event(1, name=secret, person="gone"), None, A)
    assert secret.encode() in b"".join(path.read_bytes() for path in file.parent.iterdir())
    spool.forget(an_event(1).id)
    assert spool.ids() == {an_event(0).id}
    assert ids(spool, "a") == ids_of(range(1))
    left = b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert secret.encode() not in left
    assert b"her very face" not in left


def test_what_waited_for_a_month_is_gone(file: Path, said: list[str]) -> None:
    now = 1e9
    spool = Spool(file, said.append, clock=lambda: now)
    spool.put(an_event(0), None, A)
    now += 29 * 24 * 3600
    spool.put(an_event(1), None, A)
    spool.forget_old()
    assert spool.count() == {"a": 2}
    now += 2 * 24 * 3600
    spool.forget_old()
    assert ids(spool, "a") == [an_event(1).id]
    assert said == ["1 events for a are dropped: they waited for 30 days."]
    spool.close()


def test_one_process_uses_a_file(spool: Spool, file: Path) -> None:
    with pytest.raises(SpoolUnavailable, match="Another process"):
        Spool(file, print)


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no queue at all, but notes " * 100)
    with pytest.raises(SpoolUnavailable, match="something else"):
        Spool(file, print)
    assert file.read_text().startswith("no queue")
    with pytest.raises(SpoolUnavailable, match="cannot be made"):
        Spool(tmp_path / "notes.txt" / "events.sqlite3", print)


def test_a_newer_version_is_left_alone(file: Path, said: list[str]) -> None:
    Spool(file, said.append).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE about SET version = 99")
    connection.close()
    with pytest.raises(SpoolUnavailable, match="another version"):
        Spool(file, said.append)


FILLING = """
import resource, signal, sys
from pathlib import Path
from brokers import an_event
from recognition.events.spool import Spool

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
said = []
spool = Spool(Path(sys.argv[1]), said.append)
spool.put(an_event(0), None, {"a": True})
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
for number in range(1, 100):
    spool.put(an_event(number), bytes(2000), {"a": True})
assert len(said) == 1 and "disk is full" in said[0], said
assert spool.count() == {"a": 100}, spool.count()
taken = []
for _ in range(60):  # delivery goes on, from disk and from memory
    waiting = spool.next("a")
    taken.append(waiting.id)
    spool.done(waiting)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
spool.put(an_event(100), None, {"a": True})
assert "can be written again" in said[1], said
while waiting := spool.next("a"):
    taken.append(waiting.id)
    spool.done(waiting)
assert taken == [an_event(number).id for number in range(101)], taken
spool.close()
assert len(said) == 2, said
"""


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_full_disk_loses_nothing_that_memory_can_hold(file: Path) -> None:
    outcome = run(FILLING, file)
    assert outcome.returncode == 0, outcome.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount")
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    if not mounted or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_small_disk_that_is_full_holds_up_nobody(small_disk: Path, said: list[str]) -> None:
    spool = Spool(small_disk / "events.sqlite3", said.append)
    for number in range(200):
        spool.put(an_event(number), bytes(4000), A)
    assert "disk is full" in said[0]
    assert ids(spool, "a") == ids_of(range(200))
    spool.close()


def test_memory_is_bounded_while_the_disk_is_full(
    file: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "HELD", 20)
    monkeypatch.setattr(spools, "HELD_WITH_PICTURE", 5)
    spool = Spool(file, said.append)
    spool._connection.execute("PRAGMA query_only = ON")
    for number in range(30):
        spool.put(an_event(number), b"face", A)
    assert spool.count() == {"a": 20}
    held: list[Waiting] = spool._held
    assert [each.picture is not None for each in held] == [False] * 15 + [True] * 5
    assert any("1 events for a are dropped" in message for message in said)
    spool._connection.execute("PRAGMA query_only = OFF")
    assert ids(spool, "a") == ids_of(range(10, 30))
    spool.close()


PUTTING = """
import sys
from pathlib import Path
from brokers import an_event
from recognition.events.spool import Spool

spool = Spool(Path(sys.argv[1]), print)
first = int(sys.argv[2])
for number in range(first, first + 10_000):
    spool.put(an_event(number), b"face" * 1000, {"a": True})
    print(number, flush=True)
"""


def test_whatever_put_has_taken_outlives_a_kill_at_any_moment(file: Path, said: list[str]) -> None:
    taken: list[int] = []
    for kill in range(5):
        command = [sys.executable, "-c", PUTTING, str(file), str(100_000 * kill)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": PATHS}
        ) as sender:
            assert sender.stdout
            for number in range(7 * kill + 1):
                taken.append(int(sender.stdout.readline()))
                assert taken[-1] == 100_000 * kill + number
            sender.kill()
            taken += [int(line) for line in sender.stdout if line.endswith("\n")]
    spool = Spool(file, said.append, limit=10**6)
    there = ids(spool, "a")
    assert set(there) >= {an_event(number).id for number in taken}
    assert len(there) == len(set(there)) <= len(taken) + 5
    spool.close()
