"""The gallery: enrolled samples in a database, and the search among them.

opening.py   opens one of either kind of database
store.py     what can be done with samples (SQLAlchemy), the same for SQLite and PostgreSQL
search.py    the one part that differs: search_memory.py for SQLite, search_database.py for PostgreSQL
index.py     the vectors in memory, kept in step with the table
atrest.py    vectors as they lie in the table, plain or encrypted by cipher.py
rows.py      rows of the tables: read, counted, stored and removed
upkeep.py    what is done every minute: expired samples go
database.py  connections and transactions of both
tables.py    the tables; migrations/ their versions
backup.py    a copy of a SQLite gallery
portable.py  a gallery as a file
transfer.py  a gallery goes into such a file and comes out of one
__main__.py  the command `python -m recognition.gallery`
"""

from recognition.gallery.database import LEAST_FREE_BYTES
from recognition.gallery.opening import open_gallery, shown
from recognition.gallery.store import Gallery
from recognition.gallery.upkeep import keep_up

__all__ = ["LEAST_FREE_BYTES", "Gallery", "keep_up", "open_gallery", "shown"]
