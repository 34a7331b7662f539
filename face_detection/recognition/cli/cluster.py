"""Ray: started on this machine or joined elsewhere, and batches of work done by its workers.

Workers are Ray's actors: processes that load networks once and take one batch after another, each of which at
most two at a time. One that dies is replaced, and what it was at is done again by another one. Whoever has
handed the work out stores what comes back, so that nothing is stored twice.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import click
from setproctitle import setproctitle

from recognition.cli.session import UNAVAILABLE, fail

LOCAL = "local"
ADDRESS = re.compile(r"auto|[^/@\s]+:\d{1,5}")
NEEDS = "--ray needs the extra `ray`: pip install 'face-recognition-service[ray]'"
AHEAD = 2  # batches that a worker has: the one that it is at, and the next one
DEATHS = 3  # of workers at one item, before it is given up
STARTS = 3  # of workers, or of Ray, that fail one after the other, before the command does
STORE_BYTES = 100 * 2**20  # for what is on its way, where Ray is started; its least is 75 MiB

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class WorkersUnavailable(Exception):
    """Ray cannot be used, or workers do not start: its text says why, for people."""


def _address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None or value == LOCAL or ADDRESS.fullmatch(value):
        return value
    raise click.BadParameter(f"{value!r} is no HOST:PORT; without one, put --ray at the end.")


RAY = click.option(
    "--ray",
    metavar="[HOST:PORT]",
    is_flag=False,
    flag_value=LOCAL,
    callback=_address,
    help="Let workers of Ray do it, of the cluster there; without one, here.",
)


JOBS = click.option("--jobs", type=click.IntRange(min=1), help="Workers of Ray; default: as there are cores.")


@dataclass(eq=False)
class _Batch(Generic[Item]):
    """Items that one worker does together, and of how many workers at them died."""

    items: Sequence[Item]
    deaths: int = 0


@dataclass(eq=False)
class _Worker:
    """An actor, what it will say of itself, and the batches that it has, with what will come of them."""

    actor: Any
    about: Any
    is_ready: bool = False
    has: deque[tuple[_Batch[Any], Any]] = field(default_factory=deque)

    @property
    def next(self) -> Any:
        """What comes of it next: it does one thing after the other."""
        return self.has[0][1] if self.is_ready else self.about


class Workers:
    """So many workers. Each has `about`, and methods that take a list and return one that is as long."""

    def __init__(self, ray: Any, kind: type, number: int, *arguments: object) -> None:
        self._ray = ray
        self._start: Callable[[], Any] = partial(ray.remote(num_cpus=1)(kind).remote, *arguments)
        self._failed = 0
        self._said: Any = None  # of itself by the first one that was ready
        self._workers: list[_Worker] = []
        for _ in range(number):
            self._add()

    def about(self) -> Any:
        """Return what the first worker that is ready says of itself.

        Raises:
            WorkersUnavailable: they do not start.
        """
        while self._said is None:
            self._wait()
        return self._said

    def each(
        self,
        batches: Iterable[Sequence[Item]],
        method: str,
        give_up: Callable[[Item], Outcome],
    ) -> Iterator[tuple[Sequence[Item], Sequence[Outcome]]]:
        """Yield batches with what came of their items, in the order in which they get done.

        Batches are taken as workers have room for them. One at which a second worker dies is halved, until it
        is known which item it was.

        Args:
            batches: lists of items.
            method: of the workers.
            give_up: tells what comes of an item at which workers die again and again.

        Raises:
            WorkersUnavailable: no worker starts any more. What the method raises.
        """
        source = iter(batches)
        again: deque[_Batch[Item]] = deque()
        more = True
        try:
            while more or again or any(worker.has for worker in self._workers):
                while (free := self._with_room(alone=bool(again))) is not None:
                    if again:
                        batch = again.popleft()
                    elif (some := next(source, None)) is not None:
                        batch = _Batch(some)
                    else:
                        more = False
                        break
                    free.has.append((batch, getattr(free.actor, method).remote(list(batch.items))))
                if (worker := self._wait()) is None:
                    continue
                batch, coming = worker.has[0]
                try:
                    outcomes = self._ray.get(coming)
                except self._ray.exceptions.RayTaskError:
                    raise
                except self._ray.exceptions.RayError:
                    died_at = [each for each, _ in worker.has]
                    self._replace(worker)
                    for each in died_at:
                        each.deaths += 1
                        if each.deaths >= DEATHS and len(each.items) == 1:
                            yield each.items, [give_up(each.items[0])]
                        else:
                            again += _to_do_again(each)
                    continue
                worker.has.popleft()
                yield batch.items, outcomes
        finally:
            for worker in self._workers:  # what it is at comes to nothing
                worker.has.clear()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            self._ray.kill(worker.actor)
        self._workers.clear()

    def _with_room(self, *, alone: bool) -> _Worker | None:
        """Return the worker that is to have the next batch; None: none has room.

        alone: it is to have no other one, as for one at which a worker died: whose fault that was, only a
        worker tells that has just this one, and what it did before may be lost with it, too.
        """
        most = 0 if alone else AHEAD - 1
        room = [
            each
            for each in self._workers
            if each.is_ready and len(each.has) <= most and not any(batch.deaths for batch, _ in each.has)
        ]
        return min(room, key=lambda each: len(each.has), default=None)

    def _wait(self) -> _Worker | None:
        """Wait for a worker that has done a batch or died, and return it; None: one is about to get ready."""
        busy = {each.next: each for each in self._workers if each.has or not each.is_ready}
        if not busy:
            return None
        (first, *_), _ = self._ray.wait(list(busy))
        worker = busy[first]
        if worker.is_ready:
            return worker
        try:
            about = self._ray.get(first)
        except self._ray.exceptions.RayError as e:
            self._failed += 1
            if self._failed >= STARTS:
                raise WorkersUnavailable(f"Workers of Ray do not start: {_reason(e)}") from e
            self._replace(worker)
            return None
        self._said = self._said or about
        if about != self._said:
            raise WorkersUnavailable(f"Workers of Ray differ: {about}, and {self._said}.")
        worker.is_ready, self._failed = True, 0
        return None

    def _replace(self, worker: _Worker) -> None:
        click.echo("A worker of Ray died; another one takes its place.", err=True)
        self._ray.kill(worker.actor)  # it may just be out of reach
        self._workers.remove(worker)
        self._add()

    def _add(self) -> None:
        actor = self._start()
        self._workers.append(_Worker(actor, actor.about.remote()))


def _to_do_again(batch: _Batch[Item]) -> list[_Batch[Item]]:
    """Leave a batch whole after the first death, as most machines just went away; then halve it."""
    if batch.deaths == 1 or len(batch.items) == 1:
        return [batch]
    middle = len(batch.items) // 2
    return [_Batch(batch.items[:middle], 1), _Batch(batch.items[middle:], 1)]


def _reason(error: Exception) -> str:
    """Return the last line of what Ray says: the exception's own, behind its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def joined(address: str, jobs: int | None) -> Iterator[tuple[Any, int]]:
    """Join a cluster of Ray, or start Ray on this machine; it, or what was begun there, ends with the block.

    Args:
        address: HOST:PORT of a cluster, `auto` for the one that runs here, or LOCAL.
        jobs: how many workers there are to be; None: as there are cores.

    Yields:
        The module ray, and the number of workers.

    Raises:
        click.UsageError: Ray is not installed.
        SystemExit: with UNAVAILABLE, where it cannot be reached, or workers do not start.
    """
    with tempfile.TemporaryDirectory(prefix="recognition-", ignore_cleanup_errors=True) as folder:
        try:
            ray = _imported(local=address == LOCAL)
            if address == LOCAL:
                _start(ray, jobs, Path(folder))
            else:
                # Ray shows a cluster's users the command, which may have a database's password in it.
                setproctitle("recognition --ray")
                ray.init(address=address, configure_logging=False, log_to_driver=False)
        except click.UsageError:
            raise
        except Exception as e:  # Ray raises just that, too
            fail(UNAVAILABLE, {"code": "ray_unavailable", "detail": f"Ray at {address}: {_reason(e)}"})
        try:
            yield ray, jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))
        except WorkersUnavailable as e:
            fail(UNAVAILABLE, {"code": "ray_unavailable", "detail": _reason(e)})
        finally:
            ray.shutdown()


def _imported(*, local: bool) -> Any:
    """Return the module ray, which tells its makers nothing of its use, and listens to this machine alone."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns that this will change
    os.environ["RAY_DEDUP_LOGS"] = "1"
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = ".*"  # it tells of dead workers on stdout, amid our JSON
    if local:
        # The one switch that keeps Ray's servers on the loopback address, whatever the system; and a token,
        # which lets other users of the machine do nothing, without a file of it in the home folder.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as e:
        raise click.UsageError(NEEDS) from e
    return ray


def _start(ray: Any, cores: int | None, folder: Path) -> None:
    for left in reversed(range(STARTS)):
        try:
            ray.init(
                address=LOCAL,
                num_cpus=cores,
                num_gpus=0,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                object_store_memory=STORE_BYTES,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder / "ray"),  # which Ray opens to everybody
            )
            return
        except Exception as e:
            # Ray gives its processes half a minute, which is too little where others want the processor, too.
            if not left or "timed out during startup" not in str(e):
                raise
