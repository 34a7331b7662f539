"""`app` for gunicorn, with the real network."""

from embedding.app import production_app
from embedding.config import from_environment
from serving.server import NOTICES

app = production_app(from_environment(), NOTICES)
