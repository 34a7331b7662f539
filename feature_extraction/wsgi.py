"""`app` for gunicorn: `gunicorn wsgi:app` in this folder, which also reads gunicorn.conf.py."""

from embedding.app import production_app
from embedding.config import from_environment

app = production_app(from_environment())
