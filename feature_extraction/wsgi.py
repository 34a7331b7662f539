"""`app` for `gunicorn wsgi:app` in this folder, which also reads gunicorn.conf.py."""

from embedding.wsgi import app as app
