"""Versions of the tables: older ones are brought up to date, newer ones refused, on both databases."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from galleries import MODEL, NOW, a_sample, as_sent, enrol, nearest_ids, vectors_of
from older_galleries import FIRST, RELEASED, make_older
from recognition.app import load_gallery
from recognition.config import read
from recognition.errors import GalleryUnavailable
from recognition.gallery import migrations, open_gallery
from recognition.gallery.tables import VERSION, metadata

# What SQLite tells of a gallery that was made before the tables had versions.
UNVERSIONED = """
CREATE TABLE samples (
    "key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    sample_id TEXT NOT NULL,
    name TEXT NOT NULL,
    metadata TEXT NOT NULL,
    action TEXT,
    vector BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    created DATETIME NOT NULL,
    modified DATETIME NOT NULL,
    revision BIGINT NOT NULL,
    UNIQUE (sample_id)
);
CREATE INDEX ix_samples_revision ON samples (revision);
CREATE TABLE tombstones ("key" BIGINT NOT NULL, revision BIGINT NOT NULL, PRIMARY KEY ("key"));
CREATE INDEX ix_tombstones_revision ON tombstones (revision);
CREATE TABLE gallery_state (
    id INTEGER NOT NULL,
    revision BIGINT NOT NULL,
    complete_since BIGINT NOT NULL,
    fingerprint TEXT,
    PRIMARY KEY (id)
);
INSERT INTO gallery_state VALUES (1, 2, 0, 'model-a');
INSERT INTO tombstones VALUES (1, 2);
"""
ROW = "INSERT INTO samples VALUES (2, ?, ?, ?, ?, ?, ?, ?, ?, 1)"


@pytest.fixture
def url(bare_url: str) -> str:
    """What is there is made by older versions."""
    return bare_url


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def table_names(url: str) -> set[str]:
    engine = sa.create_engine(url)
    names = set(sa.inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_a_gallery_from_before_the_versions_is_brought_up_to_date(tmp_path: Path) -> None:
    file = tmp_path / "gallery.sqlite3"
    sample = a_sample("old", name="x", metadata={"a": [1]}, action="open")
    moment = str(NOW.replace(tzinfo=None))
    blob = vectors_of(1)[0].astype("<f4").tobytes()
    row = (sample.id, sample.name, json.dumps(sample.metadata), sample.action, blob, MODEL, moment, moment)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(UNVERSIONED)
        connection.execute(ROW, row)
        connection.commit()
    for _ in range(2):
        gallery = open_gallery(f"sqlite:///{file}", lock_timeout_s=5)
        assert [as_sent(each) for each in gallery.page(limit=9)] == [sample]
        assert gallery.count("x") == 1
        assert nearest_ids(gallery, 1) == ["old"]
        gallery.close()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(VERSION,)]


TWO = [("a", "name of a"), ("b", "name of b")]


def test_the_first_version_is_brought_up_to_date(url: str) -> None:
    make_older(url, FIRST, TWO)
    gallery = open_gallery(url, lock_timeout_s=5)
    assert nearest_ids(gallery, 1, k=2) == ["b", "a"]
    gallery.close()


def test_the_index_of_vectors_outlives_a_change_of_every_row(url: str) -> None:
    make_older(url, RELEASED, TWO)
    engine = sa.create_engine(url)
    indexes = "SELECT indexdef FROM pg_indexes WHERE indexname = 'samples_by_vector'"

    def of_vectors() -> list[str]:
        if engine.name == "sqlite":
            return []
        with engine.connect() as connection:
            return list(connection.exec_driver_sql(indexes).scalars())

    before = of_vectors()
    assert len(before) == (engine.name == "postgresql")
    gallery = open_gallery(url, lock_timeout_s=5)
    of_default = "COALESCE(((gallery = 1) AND (vector_dims(vector) = 128)), false)"
    assert of_vectors() == [f"{definition} WHERE {of_default}" for definition in before]
    enrol(gallery, ["c"], [9])
    assert nearest_ids(gallery, 9) == ["c"]
    gallery.close()
    engine.dispose()


def test_many_workers_may_bring_an_older_gallery_up_to_date_at_once(url: str) -> None:
    together = threading.Barrier(6)

    def open_and_search() -> list[str]:
        together.wait()
        with closing(open_gallery(url, lock_timeout_s=30)) as opened:
            return nearest_ids(opened, 1, k=2)

    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            make_older(url, FIRST, TWO)
            opened = [pool.submit(open_and_search) for _ in range(6)]
            assert [future.result() for future in opened] == [["b", "a"]] * 6


OPEN = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
from recognition.gallery import open_gallery
open_gallery(sys.argv[1], lock_timeout_s=5).close()
"""


def test_one_line_is_logged_of_what_was_done_to_the_tables(url: str) -> None:
    """In a process of its own: Alembic logs while it is imported."""

    def logged() -> str:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", OPEN, url]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr

    assert logged() == "made the gallery's tables\n"
    assert logged() == ""
    make_older(url, FIRST, TWO)
    assert logged() == f"brought the gallery's tables from version 0001 to {VERSION}\n"
    assert logged() == ""


def test_a_newer_version_is_refused_and_left_alone(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = open_gallery(url, lock_timeout_s=5)
    enrol(gallery, ["a"], [1])
    gallery.close()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(GalleryUnavailable, match="newer version"):
        open_gallery(url, lock_timeout_s=5)
    with pytest.raises(SystemExit) as stopped:
        load_gallery(read({"DATABASE_URL": url}))
    assert stopped.value.code == 3
    said = capsys.readouterr().err
    assert said.startswith("face_detection cannot start: DATABASE_URL: A newer version of this program")
    assert "9999" in said
    execute(url, f"UPDATE alembic_version SET version_num = '{VERSION}'")
    gallery = open_gallery(url, lock_timeout_s=5)
    assert nearest_ids(gallery, 1) == ["a"]
    gallery.close()


def test_a_migration_that_fails_changes_nothing(url: str, tmp_path: Path) -> None:
    (tmp_path / "new folder").mkdir()
    execute(url, "CREATE TABLE gallery_state (mine INTEGER)")
    with pytest.raises(GalleryUnavailable):
        open_gallery(url, lock_timeout_s=5)
    assert table_names(url) == {"gallery_state"}
    execute(url, "DROP TABLE gallery_state")
    gallery = open_gallery(url, lock_timeout_s=5)
    enrol(gallery, ["a"], [1])
    gallery.close()


def test_the_migrations_make_the_tables_that_the_code_has(url: str) -> None:
    open_gallery(url, lock_timeout_s=5).close()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head() == VERSION


def test_an_up_to_date_gallery_is_opened_while_another_writes(url: str) -> None:
    """Only a migration waits for the writers."""
    gallery = open_gallery(url, lock_timeout_s=5)
    vectors = np.ones((1, 4), np.float32)
    gallery.upsert([a_sample("a")], vectors, MODEL)
    with gallery.engine.connect().execution_options(write=True) as writing, writing.begin():
        second = open_gallery(url, lock_timeout_s=0.5)
        assert second.count() == 1
        second.close()
    gallery.close()
