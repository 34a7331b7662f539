"""Galleries as older versions of the program left them: made by the migrations that those versions had."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from galleries import MODEL, NOW, vectors_of
from recognition.gallery import migrations
from recognition.gallery.database import open_postgresql, open_sqlite, transaction
from recognition.gallery.tables import Vector

RELEASED = "0004"  # by 1.0.0
FIRST = "0001"

# Of the vectors in PostgreSQL, when there was one gallery.
INDEX = (
    "CREATE INDEX samples_by_vector ON samples USING hnsw ((vector::vector({dimension:d})) vector_l2_ops)"
    " WITH (m = 16, ef_construction = 200)"
)

SAMPLES = sa.table(
    "samples",
    sa.column("sample_id"),
    sa.column("name"),
    sa.column("metadata"),
    sa.column("vector", Vector),
    sa.column("fingerprint"),
    sa.column("created", sa.DateTime),
    sa.column("modified", sa.DateTime),
    sa.column("revision"),
)


def make_older(url: str, version: str, names: Iterable[tuple[str, str]], dimension: int = 128) -> None:
    """Make a gallery of a version in a database, in the place of what is there.

    Args:
        url: of the database.
        version: of the tables, up to RELEASED.
        names: id and name of each sample; the vector of the n-th is that of seed n.
        dimension: of the vectors.
    """
    parsed = sa.make_url(url)
    on_sqlite = parsed.get_backend_name() == "sqlite"
    engine = open_sqlite(Path(parsed.database or ""), 5) if on_sqlite else open_postgresql(parsed, 30, 100)
    present = sa.MetaData()
    with transaction(engine, write=True) as connection:
        present.reflect(connection)
        present.drop_all(connection)
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        command.upgrade(config, version)
        rows = [
            {"sample_id": sample_id, "name": name, "vector": _stored(number, dimension, on_sqlite)}
            for number, (sample_id, name) in enumerate(names)
        ]
        moment = NOW.replace(tzinfo=None)
        alike = {"metadata": '{"a": [1]}', "fingerprint": MODEL, "created": moment, "modified": moment}
        if rows:
            connection.execute(SAMPLES.insert(), [{**row, **alike, "revision": 1} for row in rows])
        fill = sa.text("UPDATE gallery_state SET revision = 1, complete_since = 1, fingerprint = :model")
        connection.execute(fill, {"model": MODEL})
        if not on_sqlite:
            connection.exec_driver_sql(INDEX.format(dimension=dimension))
    engine.dispose()


def _stored(seed: int, dimension: int, on_sqlite: bool) -> object:
    vector = vectors_of(seed, dimension=dimension)[0]
    return vector.astype("<f4").tobytes() if on_sqlite else vector
