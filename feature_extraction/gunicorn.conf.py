"""What `gunicorn wsgi:app` reads in this folder."""

from embedding.gunicorn_conf import *  # noqa: F403  gunicorn looks its settings up by their names
