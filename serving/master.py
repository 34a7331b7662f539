"""A gunicorn master that never gives up workers that serve because others cannot start.

gunicorn's own ends the service when any worker fails to start, and at SIGHUP stops the workers that serve
before others have loaded. Here only the very first start may fail, with exit status 3. A worker that cannot
start later on is tried again, less and less often, while the others go on.
"""

from __future__ import annotations

import mmap
import signal
import time
from collections.abc import Callable
from typing import Any

from gunicorn.arbiter import Arbiter

from serving.notices import RELOAD_REFUSED, WORKER_NOT_STARTED, Notices
from serving.variables import SettingsError

LONGEST_PAUSE_S = 10.0
NO_STATUS = -1  # with which no process exits


class Master(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's master, except for what the module's docstring says; `take_over` makes one."""

    check_settings: Callable[[], object]
    notices: Notices
    replaced = 0  # workers up to this age are to be replaced
    failures = 0  # of starts, since all workers served
    next_try = 0.0  # on the monotonic clock; no worker is started before

    def handle_hup(self) -> None:
        """Replace all workers, unless the settings as they are now would keep new ones from starting."""
        try:
            self.check_settings()
        except SettingsError as e:
            self.log.error("the reload is refused, the workers keep the settings that they have: %s", e)
            by_file = isinstance(e.__cause__, OSError | UnicodeDecodeError)  # then the text names its path
            self.notices.put(RELOAD_REFUSED, "The settings file cannot be read." if by_file else str(e))
            return
        self.notices.put(RELOAD_REFUSED, "")
        self.log.info("Hang up: %s", self.master_name)
        self.log.reopen_files()
        self.replaced = self.worker_age

    def manage_workers(self) -> None:
        """Start workers that are missing, and stop the oldest ones as soon as enough others serve."""
        current = [
            worker
            for worker in self.WORKERS.values()
            if worker.age > self.replaced and not worker.is_stopping
        ]
        missing = self.num_workers - len(current)
        if missing <= 0 and all(is_loaded(worker) for worker in current):
            self.failures = 0
            self.notices.put(WORKER_NOT_STARTED, "")
        if time.monotonic() >= self.next_try:
            for _ in range(missing):
                self._start_worker()
        serving = [worker for worker in self.WORKERS.values() if is_loaded(worker) and not worker.is_stopping]
        serving.sort(key=lambda worker: worker.age)
        for worker in serving[: max(0, len(serving) - self.num_workers)]:
            worker.is_stopping = True
            self.kill_worker(worker.pid, signal.SIGTERM)

    def reap_workers(self) -> None:
        """Take note of workers that have ended; once one has served, none of them ends the service."""
        if any(is_loaded(worker) for worker in self.WORKERS.values()):
            self._outlive_workers()
        super().reap_workers()

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """End the service, with this status even if another worker fails to start meanwhile."""
        self._outlive_workers()
        super().halt(reason, exit_status)

    def worker_ended(self, worker: Any) -> None:
        """Wait before the next try if a worker has ended before it served."""
        if is_loaded(worker) or not self.LISTENERS:  # without listeners all workers are being stopped
            return
        self._wait()

    def _outlive_workers(self) -> None:
        """Let no status with which a worker exits end the service."""
        self.WORKER_BOOT_ERROR = self.APP_LOAD_ERROR = NO_STATUS

    def _start_worker(self) -> None:
        try:
            self.spawn_worker()
        except OSError as e:  # no process, no file in TMPDIR
            if self.WORKER_BOOT_ERROR != NO_STATUS:
                raise
            self.log.error("a worker cannot be started: %s", e)
            self._wait()

    def _wait(self) -> None:
        if time.monotonic() < self.next_try:  # several failed at once
            return
        pause_s = min(2.0**self.failures, LONGEST_PAUSE_S)
        self.failures += 1
        self.next_try = time.monotonic() + pause_s
        self.log.error("a worker could not start; the next try is in %.0f s", pause_s)
        self.notices.put(WORKER_NOT_STARTED, "A worker cannot start; it is tried again. The log says why.")


def take_over(server: Any, check_settings: Callable[[], object], notices: Notices) -> None:
    """Turn gunicorn's master into this one; it calls the hook `on_starting` before it does anything.

    Args:
        server: the master.
        check_settings: reads the settings as they are now; raises SettingsError.
        notices: are told what keeps workers from starting.
    """
    server.__class__ = Master
    server.check_settings, server.notices = check_settings, notices


def before_fork(_master: Any, worker: Any) -> None:
    """Prepare a worker, as the hook `pre_fork`: it says through shared memory that it has loaded."""
    worker.loaded = mmap.mmap(-1, 1)
    worker.is_stopping = False


def loaded(worker: Any) -> None:
    """Say in a worker, as the hook `post_worker_init`, that it has loaded and begins to serve."""
    worker.loaded[0] = 1


def is_loaded(worker: Any) -> bool:
    """Tell whether a worker has begun to serve."""
    return bool(worker.loaded[0])
