"""What a database had as a whole becomes the gallery `default`'s own, and others can be made beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from galleries import MODEL, enrol, nearest_ids
from older_galleries import RELEASED, make_older
from recognition.errors import GalleryModelMismatch
from recognition.gallery import galleries, migrations, open_gallery, people
from recognition.gallery.database import transaction
from recognition.gallery.tables import galleries as table
from recognition.gallery.transfer import faults

PEOPLE = "0007"  # the version before


@pytest.fixture
def url(bare_url: str) -> str:
    """What is there is made by older versions."""
    return bare_url


def bring_to(url: str, version: str) -> None:
    """Bring an older database to a version that is not the newest one."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        if engine.name == "postgresql":
            connection.exec_driver_sql("DROP INDEX IF EXISTS samples_by_vector")
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        command.upgrade(config, version)
    engine.dispose()


def test_room_for_second_vectors_touches_no_sample(url: str) -> None:
    """Neither PostgreSQL's index of a million vectors is made anew, nor a row written."""
    make_older(url, RELEASED, [(str(n), f"name {n % 7}") for n in range(30)])
    open_gallery(url, lock_timeout_s=5).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        if engine.name == "postgresql":
            of_ours = "starts_with(relname, 'samples')"
            files = f"SELECT relname, relfilenode FROM pg_class WHERE {of_ours} ORDER BY 1"
        else:
            files = "SELECT name, rootpage FROM sqlite_master WHERE tbl_name = 'samples' ORDER BY 1"
        before = connection.exec_driver_sql(files).all()
        newer = (
            "unknown_faces",
            "unknowns",
            "events",
            "services",
            "applications",
            "sessions",
            "administrators",
        )
        for table in (*newer, "second_vectors", "changes"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        for column in (
            "model",
            "second",
            "other_model",
            "other_fingerprint",
            "other_indexed",
            "unknowns_revision",
            "samples",
            "people",
            "half",
            "other_half",
        ):
            connection.exec_driver_sql(f"ALTER TABLE galleries DROP COLUMN {column}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0010'")
    gallery = open_gallery(url, lock_timeout_s=5)
    with engine.begin() as connection:
        assert connection.exec_driver_sql(files).all() == before
    assert nearest_ids(gallery, 29) == ["29"]
    assert (gallery.count(), galleries.listed(gallery)[0].persons) == (30, 7)
    assert list(faults(gallery)) == []
    gallery.close()
    engine.dispose()


@pytest.mark.parametrize("version", [RELEASED, PEOPLE])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_nothing_is_lost(url: str, version: str, count: int) -> None:
    make_older(url, RELEASED, [(str(n), f"name {n % 7}") for n in range(count)])
    if version != RELEASED:
        bring_to(url, version)
    gallery = open_gallery(url, lock_timeout_s=5)
    with transaction(gallery.engine) as connection:
        (row,) = connection.execute(sa.select(table)).all()
    assert (row.name, row.revision, row.complete_since, row.fingerprint) == ("default", 1, 1, MODEL)
    indexed = gallery.engine.name == "postgresql" and version == RELEASED
    assert row.indexed == (128 if indexed else None)
    assert (gallery.count(), people.page(gallery, limit=9).total) == (count, min(count, 7))
    if count:
        assert nearest_ids(gallery, count - 1) == [str(count - 1)]
        with pytest.raises(GalleryModelMismatch):
            enrol(gallery, ["x"], [1], "another model")
        assert gallery.delete("0")
    galleries.make(gallery, "lobby")
    enrol(gallery.of("lobby"), ["0"], [5], "another model")
    enrol(gallery, ["new"], [9999])
    assert nearest_ids(gallery, 9999) == ["new"]
    assert list(faults(gallery)) == []
    gallery.close()
