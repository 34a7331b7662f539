"""`app` for gunicorn: `gunicorn wsgi:app` in this folder, which also reads gunicorn.conf.py."""

import logging

from embedding.app import production_app
from embedding.config import from_environment

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

app = production_app(from_environment())
