"""The gallery: enrolled samples in a database, and the search among them.

store.py   tables and transactions (SQLAlchemy)
index.py   the vectors in memory, kept in step with the table
"""

from recognition.gallery.store import Gallery, open_gallery

__all__ = ["Gallery", "open_gallery"]
