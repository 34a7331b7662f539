"""The gallery: enrolled samples in a database, and the search among them. It knows values and matching only.

opening.py opens one; store.py changes it, in transactions.py's transactions, alike for SQLite and PostgreSQL;
search*.py is where they differ.
transfer.py and portable.py move it as a file; tables.py and migrations/ are its tables; the rest serves them.
"""

from recognition.gallery.database import LEAST_FREE_BYTES
from recognition.gallery.opening import NO_GALLERY, open_gallery, shown
from recognition.gallery.store import Gallery
from recognition.gallery.upkeep import keep_up

__all__ = ["LEAST_FREE_BYTES", "NO_GALLERY", "Gallery", "keep_up", "open_gallery", "shown"]
