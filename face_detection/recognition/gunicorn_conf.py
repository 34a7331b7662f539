"""How gunicorn serves face_detection: `gunicorn -c python:recognition.gunicorn_conf recognition.wsgi:app`."""

from typing import Any

from recognition.config import from_environment, read
from serving import server

settings = from_environment()


def announce(master: Any) -> None:
    """Say in the log how long samples are kept, and while no keys are set what is open to whom."""
    if settings.default_expires_days is not None:
        master.log.info(
            "DEFAULT_EXPIRES_DAYS: what is enrolled without `expires_at` is deleted after %d days",
            settings.default_expires_days,
        )
    if not (settings.api_keys or settings.api_keys_file):
        master.log.warning(
            "no keys are set: anyone who can reach %s can enrol, recognise, list and delete samples and "
            "people; only this machine and private networks can clear, export and import, make and delete "
            "galleries, and see kept faces and events; API_KEYS closes it",
            ", ".join(master.cfg.bind),
        )


place = settings.face_detection_host, settings.face_detection_port
imported_once = (
    "recognition.service",
    "recognition.changing",
    "recognition.web.render",
    "recognition.web.wire_people",
    "recognition.web.wire_events",
)
globals().update(
    server.configuration(
        settings, "recognition", *place, read, on_starting=announce, imported_once=imported_once
    )
)
