"""How gunicorn serves feature_extraction: `gunicorn -c python:embedding.gunicorn_conf embedding.wsgi:app`."""

from embedding.config import from_environment, read
from serving import server

settings = from_environment()

place = settings.feature_extraction_host, settings.feature_extraction_port
imported_once = "embedding.network", "embedding.wire"
globals().update(server.configuration(settings, "embedding", *place, read, imported_once=imported_once))
