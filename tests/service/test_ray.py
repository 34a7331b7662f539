"""Workers of Ray, with a real Ray on this machine, and stand-ins for what they do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recognition.cli.cluster import AHEAD, LOCAL, Workers, WorkersUnavailable, joined

NUMBER = 2
LISTENING = "0A"  # TCP_LISTEN in the kernel's tcp_states.h
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


class Doubler:
    """Doubles numbers, and dies at those of which there is a file, once, or time and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if (folder / "broken").exists():
            raise OSError("no models here")

    def about(self) -> str:
        return "a doubler"

    def double(self, numbers: list[int]) -> list[int]:
        for number in numbers:
            if number < 0:
                raise ValueError("negative")
            once = self.folder / f"once-{number}"
            if once.exists() or (self.folder / f"always-{number}").exists():
                once.unlink(missing_ok=True)
                os.kill(os.getpid(), signal.SIGKILL)
        return [2 * number for number in numbers]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with joined(LOCAL, NUMBER) as (ray, number):
        assert number == NUMBER
        yield ray


@pytest.fixture
def workers(ray: Any, tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(ray, Doubler, NUMBER, tmp_path)
    yield workers
    workers.close()


def doubled(workers: Workers, batches: list[list[int]]) -> dict[int, int | None]:
    """What came of each number; none may come twice."""
    found: dict[int, int | None] = {}
    for numbers, outcomes in workers.each(batches, "double", lambda number: None):
        assert not found.keys() & set(numbers)
        found |= dict(zip(numbers, outcomes, strict=True))
    return found


BATCHES = [[4 * batch + number for number in range(4)] for batch in range(8)]
EXPECTED = {number: 2 * number for number in range(32)}


def test_each_batch_is_done_once(workers: Workers) -> None:
    assert workers.about() == "a doubler"
    assert doubled(workers, BATCHES) == EXPECTED
    assert doubled(workers, []) == {}
    assert doubled(workers, BATCHES[:1]) == {number: 2 * number for number in range(4)}


def test_few_batches_are_on_their_way_at_once(workers: Workers) -> None:
    taken = 0

    def source() -> Iterator[list[int]]:
        nonlocal taken
        for batch in BATCHES:
            taken += 1
            yield batch

    for done, _ in enumerate(workers.each(source(), "double", lambda number: 0)):
        assert taken - done <= NUMBER * AHEAD
    assert taken == len(BATCHES)


def test_a_worker_that_dies_is_replaced_and_nothing_is_lost_or_done_twice(
    workers: Workers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (5, 17):
        (tmp_path / f"once-{number}").touch()
    assert doubled(workers, BATCHES) == EXPECTED
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err.count("another one takes its place") == 2


def test_an_item_that_kills_every_worker_is_given_up_alone(workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "always-6").touch()
    assert doubled(workers, BATCHES) == EXPECTED | {6: None}


def test_an_error_is_passed_on_and_the_next_call_goes_on(workers: Workers) -> None:
    with pytest.raises(ValueError, match="negative"):
        doubled(workers, [[1], [-1], [2]])
    parts = workers.each(BATCHES, "double", lambda number: 0)
    next(parts)
    parts.close()  # as where storing fails
    assert doubled(workers, BATCHES) == EXPECTED


def test_workers_that_do_not_start_are_no_reason_to_try_for_ever(ray: Any, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    workers = Workers(ray, Doubler, NUMBER, tmp_path)
    with pytest.raises(WorkersUnavailable, match="no models here"):
        workers.about()
    workers.close()


def test_workers_that_differ_are_refused(ray: Any, tmp_path: Path) -> None:
    workers = Workers(ray, Different, NUMBER)
    with pytest.raises(WorkersUnavailable, match="differ"):
        list(workers.each([[each] for each in range(100)], "wait", lambda number: 0))
    workers.close()


class Different:
    """Says something else each time."""

    def about(self) -> int:
        return os.getpid()

    def wait(self, numbers: list[int]) -> list[int]:
        time.sleep(0.2)  # so that the other one gets ready before all is done
        return numbers


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_it_listens_to_this_machine_alone_and_leaves_nothing_in_the_home_folder(workers: Workers) -> None:
    workers.about()
    own = {os.getpid(), *descendants(os.getpid())}
    addresses = {address for inode, address in listening() if inode in sockets(own)}
    assert addresses and addresses <= LOOPBACK
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert not (Path.home() / ".ray").exists()


def descendants(process: int) -> set[int]:
    parents = {}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in {process, *found}} - found:
        found |= more
    return found


def sockets(processes: set[int]) -> set[str]:
    found = set()
    for process in processes:
        try:
            found |= {str(each.readlink()) for each in Path(f"/proc/{process}/fd").iterdir()}
        except OSError:
            continue
    return {link.removeprefix("socket:[").removesuffix("]") for link in found if link.startswith("socket:")}


def listening() -> Iterator[tuple[str, str]]:
    """Yield inode and address, in the kernel's hexadecimal form, of each socket that listens."""
    for kind in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING:
                yield fields[9], fields[1].partition(":")[0]
