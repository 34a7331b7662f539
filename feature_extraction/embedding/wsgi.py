"""`app` for gunicorn, with the real network."""

from embedding.app import production_app
from embedding.config import from_environment

app = production_app(from_environment())
