"""`app` for `gunicorn wsgi:app` in this folder, which also reads gunicorn.conf.py."""

from recognition.wsgi import app as app
