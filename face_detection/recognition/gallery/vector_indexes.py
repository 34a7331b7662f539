"""PostgreSQL's indexes of vectors: pgvector's HNSW, one for each gallery that is large enough, by its rows.

An index holds its vectors as float32, or as 16-bit floats ("half"), of which the gallery's row tells, beside
their dimension: what a process is set to matters only where it makes one. Either gives candidates alone.
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import Any

import sqlalchemy as sa

from recognition.errors import GalleryUnavailable
from recognition.gallery.rows import this_gallery
from recognition.gallery.tables import DEFAULT_KEY, gallery_of
from recognition.gallery.vector_rows import Vectors

# The parameters of HNSW (Malkov and Yashunin, arXiv 1603.09320) that make an index; see `DatabaseSearch`.
M = 16
EF_CONSTRUCTION = 200
MOST_DIMENSIONS = {False: 2000, True: 4000}  # pgvector indexes float32 and 16-bit floats up to these
TYPES = {False: "vector", True: "halfvec"}  # pgvector's names
# The rows of an index, which search and index must state in the same words. What stands in a COALESCE
# PostgreSQL takes for half of all rows, counted or not; a gallery that it has not counted it would take for
# so few that it sorts them instead of using the index. Without the dimension, an index would stumble over
# deleted vectors of another model that somebody may still see.
INDEXED = "coalesce(gallery = {gallery:d} AND vector_dims(vector) = {dimension:d}, false)"
CREATE_INDEX = (
    "CREATE INDEX {name} ON {table} USING hnsw ((vector::{type}({dimension:d})) {type}_l2_ops)"
    f" WITH (m = {M}, ef_construction = {EF_CONSTRUCTION}) WHERE {INDEXED}"
)
# A gallery other than `default` has an index from so many samples on: to compare each of them takes longer
# then (5.7 ms a face, 4.8 with the index, 128 values). An index costs something whenever a sample is stored
# or a search is planned, in any gallery.
INDEXED_FROM = 2000
_BEING_MADE = sa.text(
    "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database() LIMIT 1"
)
NONE = 0  # as `galleries.indexed`: it was dropped, and none is made before somebody asks for one


def wished_half(of: sa.Engine | sa.Connection) -> bool:
    """Tell whether new indexes hold 16-bit floats, as the database was opened."""
    half: bool = of.get_execution_options().get("halfvec", False)
    return half


def indexable(of: sa.Engine | sa.Connection, dimension: int) -> bool:
    """Tell whether a new index takes vectors of so many values."""
    return dimension <= MOST_DIMENSIONS[wished_half(of)]


def name_of(gallery: int, vectors: Vectors) -> str:
    """Return the name of the index of a gallery's vectors."""
    name = "second_vectors_by_vector" if vectors.second else "samples_by_vector"
    return name if gallery == DEFAULT_KEY else f"{name}_{gallery}"


def names_of(gallery: int, vectors: Vectors) -> tuple[str, str, str]:
    """Return this name, that of one that is to take its place, and that of one whose place was taken."""
    name = name_of(gallery, vectors)
    return name, f"{name}_anew", f"{name}_replaced"


def index_of(
    gallery: int, vectors: Vectors, dimension: int, *, half: bool = False, name: str | None = None
) -> str:
    """Return the statement that makes it. `name`: another name than its own."""
    names = {"name": name or name_of(gallery, vectors), "table": vectors.vector.table.name}
    return CREATE_INDEX.format(gallery=gallery, dimension=dimension, type=TYPES[half], **names)


def make(connection: sa.Connection, vectors: Vectors, dimension: int) -> None:
    """Make the index of the gallery's vectors, which are searched, in a transaction that writes."""
    half = wished_half(connection)
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # other galleries may be large
    drop(connection, vectors)  # one may be left of a change that was stopped while it made one
    connection.exec_driver_sql(index_of(gallery_of(connection), vectors, dimension, half=half))
    connection.execute(this_gallery(connection).values(indexed=dimension, half=half))


def being_made(connection: sa.Connection) -> bool:
    """Tell whether an index is made beside those who write, in this database.

    Whoever then wants to make or drop another one waits until that is done, and so does whoever comes next.
    """
    return connection.execute(_BEING_MADE).scalar() is not None


def drop(connection: sa.Connection, vectors: Vectors) -> None:
    """Drop the index of the gallery's vectors, if there is one, and what reindexing.py has left of others.

    Raises:
        GalleryUnavailable: at once, where it would have to wait for one that is being made.
    """
    names = [
        name
        for name in names_of(gallery_of(connection), vectors)
        if connection.execute(sa.select(sa.func.to_regclass(name))).scalar() is not None
    ]
    if not names:
        return
    if being_made(connection):
        raise GalleryUnavailable("An index is being made: try again when that is done, or stop it.")
    connection.exec_driver_sql(f"DROP INDEX {', '.join(names)}")


def make_beside(
    engine: sa.Engine, gallery: int, vectors: Vectors, dimension: int, *, half: bool, name: str | None = None
) -> None:
    """Make the index of a gallery's vectors while others write, who would wait too long for `make`.

    Raises:
        GalleryUnavailable: the database cannot be reached, or cannot make it.
    """
    create = index_of(gallery, vectors, dimension, half=half, name=name)
    # What an interrupted one has left is of no use, and would be in the way.
    remove = f"DROP INDEX CONCURRENTLY IF EXISTS {name or name_of(gallery, vectors)}"
    try:
        run_alone(
            engine,
            remove,
            create.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1),
            f"ANALYZE {vectors.vector.table.name}",
        )
    except GalleryUnavailable as e:
        with suppress(GalleryUnavailable):  # enrolments would go on to write into what is there of it
            run_alone(engine, remove)
        raise GalleryUnavailable("The index of the vectors cannot be made.") from e.__cause__


def run_alone(engine: sa.Engine, *statements: str) -> None:
    """Run statements of which each is a transaction, however long they take.

    Raises:
        GalleryUnavailable: the database cannot be reached, or refuses one.
    """
    try:
        with closing(engine.raw_connection()) as borrowed:
            driver: Any = borrowed.driver_connection
            driver.execute("SET statement_timeout = 0")
            try:
                for statement in statements:
                    driver.execute(statement)
            finally:
                if not driver.closed:
                    driver.execute("RESET statement_timeout")
    except (engine.dialect.loaded_dbapi.Error, sa.exc.SQLAlchemyError) as e:
        raise GalleryUnavailable("The database cannot be used right now.") from e
