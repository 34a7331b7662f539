"""`app` for gunicorn, with the real detector, embedding service and database."""

from recognition.app import production_app
from recognition.config import from_environment

app = production_app(from_environment())
