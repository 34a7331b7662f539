"""How gunicorn serves this folder's app; its command line options win over these."""

import ctypes
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from recognition.config import from_environment, make_metrics_folder
from serving import logs, models

settings = from_environment()

# One heap for all threads of a worker: in heaps of their own each would keep the pictures that it has freed.
M_ARENA_MAX = -8  # from glibc's malloc.h; other C libraries have no mallopt
if hasattr(c_library := ctypes.CDLL(None), "mallopt"):
    c_library.mallopt(M_ARENA_MAX, 1)

# The workers' metrics meet in this folder; prometheus_client reads where when it is imported.
metrics_folder = make_metrics_folder()

from prometheus_client.multiprocess import mark_process_dead  # noqa: E402  as just said

bind = f"{settings.face_detection_host}:{settings.face_detection_port}"
workers = settings.workers
worker_class = "serving.worker.Worker"
threads = settings.threads
# The search shares its work between threads of its own, which those of OpenBLAS would only wait for.
raw_env = ["OPENBLAS_NUM_THREADS=1"]
timeout = 120  # a worker that gives no sign of life for so long, in seconds, is replaced
graceful_timeout = 30
keepalive = 75  # seconds; longer than clients and proxies usually keep an idle connection
control_socket_disable = True  # nobody uses it, and both services would share one path
limit_request_line = 0  # an id and a name in a query may be longer than the 8,190 bytes it can be set to
logconfig_dict = logs.config(as_json=settings.log_format == "json")


def on_starting(server):
    """Prepare missing models once, in the master, before any worker starts."""
    if not (settings.api_keys or settings.api_keys_file):
        server.log.warning("authentication is off: whoever reaches this port may do everything; see API_KEYS")
    models.prepare(settings.models_dir)


def child_exit(server, worker):
    """Take a worker that has gone out of the gauges; what it counted stays."""
    mark_process_dead(worker.pid, metrics_folder)


def on_exit(server):
    """Remove the metrics' folder; only the master, who is the last to go, comes here."""
    shutil.rmtree(metrics_folder, ignore_errors=True)
