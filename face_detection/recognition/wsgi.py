"""`app` for gunicorn, with the real detector, embedding service and database."""

from recognition.app import production_app
from recognition.config import from_environment
from serving.server import NOTICES

app = production_app(from_environment(), NOTICES)
