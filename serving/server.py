"""gunicorn's settings, for both services; the options of its command line win over them."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

from serving import logs, models, worker
from serving.settings import Common

M_ARENA_MAX = -8  # from glibc's malloc.h; other C libraries have no mallopt


def configuration(
    settings: Common,
    name: str,
    host: str,
    port: int,
    on_starting: Callable[[Any], None] = lambda server: None,
) -> dict[str, Any]:
    """Return gunicorn's settings of a service, and prepare this process for it.

    Args:
        settings: of the service.
        name: of its package.
        host, port: where it listens.
        on_starting: is called with gunicorn's master before there are workers.
    """
    # One heap for all threads of a worker: in heaps of their own each would keep the pictures it has freed.
    if hasattr(c_library := ctypes.CDLL(None), "mallopt"):
        c_library.mallopt(M_ARENA_MAX, 1)
    folder = _metrics_folder(name)

    class Worker(worker.Worker):
        limit_s = settings.request_read_timeout_s

    def starting(server: Any) -> None:
        on_starting(server)
        models.prepare(settings.models_dir)  # once, before any worker needs them

    def child_exit(_server: Any, gone: Any) -> None:
        from prometheus_client.multiprocess import mark_process_dead  # reads where the folder is, once it is

        mark_process_dead(gone.pid, folder)  # type: ignore[no-untyped-call]  # what it counted stays

    def on_exit(_server: Any) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # only the master, who is the last to go, comes here

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
        "child_exit": child_exit,
        "on_exit": on_exit,
    }


@cache
def _metrics_folder(name: str) -> str:
    """Make the folder in which the workers' metrics meet; the same one when gunicorn reloads its settings.

    prometheus_client reads where it is when it is imported.
    """
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=f"{name}-metrics-")
    return folder
