"""How gunicorn serves this folder's app; its command line options win over these."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from recognition import models
from recognition.config import from_environment

settings = from_environment()

bind = f"{settings.face_detection_host}:{settings.face_detection_port}"
workers = settings.workers
worker_class = "gthread"
threads = settings.threads
timeout = 120  # a worker that gives no sign of life for so long, in seconds, is replaced
graceful_timeout = 30
keepalive = 75  # seconds; longer than clients and proxies usually keep an idle connection
control_socket_disable = True  # nobody uses it, and both services would share one path
limit_request_line = 0  # an id and a name in a query may be longer than the 8,190 bytes it can be set to
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s bytes %(M)s ms request_id=%({x-request-id}o)s'


def on_starting(server):
    """Prepare missing models once, in the master, before any worker starts."""
    if not (settings.api_keys or settings.api_keys_file):
        server.log.warning("authentication is off: whoever reaches this port may do everything; see API_KEYS")
    models.prepare(settings.models_dir)
