"""gunicorn's settings, for both services; the options of its command line win over them."""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from serving import logs, master, metrics_files, models, worker
from serving.notices import METRICS_APART, Notices
from serving.settings import Common

M_ARENA_MAX = -8  # from glibc's malloc.h; other C libraries have no mallopt
NOTICES = Notices()  # the master's, which its workers share
APART = "There is no room in TMPDIR: /metrics tells only of the worker that answers."


def configuration(
    settings: Common,
    name: str,
    host: str,
    port: int,
    check_settings: Callable[[], object],
    on_starting: Callable[[Any], None] = lambda server: None,
    *,
    imported_once: Sequence[str] = (),
) -> dict[str, Any]:
    """Return gunicorn's settings of a service, and prepare this process for it.

    Args:
        settings: of the service.
        name: of its package.
        host, port: where it listens.
        check_settings: reads them as they are at a reload; raises SettingsError.
        on_starting: is called with gunicorn's master before there are workers.
        imported_once: modules that the master imports, for workers to start sooner and to share memory.
            None may start threads or import prometheus_client, which metrics_files.py says more of.
    """
    # Nothing is left for Python to look through when a process exits: that took a worker 0.4 s.
    atexit.register(gc.freeze)
    # One heap for all threads of a worker: in heaps of their own each would keep the pictures it has freed.
    if hasattr(c_library := ctypes.CDLL(None), "mallopt"):
        c_library.mallopt(M_ARENA_MAX, 1)
    folder = metrics_files.make_folder(name)
    if folder is None:
        NOTICES.put(METRICS_APART, APART)

    class Worker(worker.Worker):
        limit_s = settings.request_read_timeout_s

    def starting(server: Any) -> None:
        master.take_over(server, check_settings, NOTICES)
        on_starting(server)
        models.prepare(settings.models_dir)  # once, before any worker needs them
        for module in imported_once:
            importlib.import_module(module)
        gc.freeze()  # collecting garbage would write to memory that is shared until then

    def post_fork(_server: Any, worker: Any) -> None:
        if folder is None:
            return
        try:
            metrics_files.reserve(folder, worker.pid)
        except OSError as e:
            worker.log.error("this worker tells its own metrics only: %s", e.strerror)
            NOTICES.put(METRICS_APART, APART)
            del os.environ[metrics_files.FOLDER]
        else:
            NOTICES.put(METRICS_APART, "")

    def child_exit(server: Any, gone: Any) -> None:
        if folder is not None:
            metrics_files.settle(folder, gone.pid)
        server.worker_ended(gone)

    def on_exit(_server: Any) -> None:
        metrics_files.remove(folder)  # only the master, who is the last to go, comes here

    return {
        "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "workers": settings.workers,
        "worker_class": Worker,
        "threads": settings.threads,
        # The services share their work between threads of their own, which OpenBLAS's would only wait for.
        "raw_env": ["OPENBLAS_NUM_THREADS=1"],
        "timeout": 120,  # seconds without a sign of life after which a worker is replaced
        "graceful_timeout": 30,
        "keepalive": 75,  # seconds; longer than clients and proxies usually keep an idle connection
        "control_socket_disable": True,  # unused, and both services would share one path
        "limit_request_line": 0,  # head.py bounds it: gunicorn's own bound cannot be large enough
        "http_parser": "python",  # the one that head.py and worker.py know
        "sendfile": False,  # answers go through pace.py, which bounds how long that takes
        "logconfig_dict": logs.config(as_json=settings.log_format == "json"),
        "on_starting": starting,
        "pre_fork": master.before_fork,
        "post_fork": post_fork,
        "post_worker_init": master.loaded,
        "child_exit": child_exit,
        "on_exit": on_exit,
    }
