"""How gunicorn serves face_detection: `gunicorn -c python:recognition.gunicorn_conf recognition.wsgi:app`."""

from typing import Any

from recognition.config import from_environment
from serving import server

settings = from_environment()


def warn(master: Any) -> None:
    """Say in the log that nobody is asked for a key."""
    if not (settings.api_keys or settings.api_keys_file):
        master.log.warning("authentication is off: whoever reaches this port may do everything; see API_KEYS")


place = settings.face_detection_host, settings.face_detection_port
globals().update(server.configuration(settings, "recognition", *place, on_starting=warn))
