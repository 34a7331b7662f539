"""Which gallery is opened: none is made unasked, and its URL is shown without its secrets."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from galleries import PostgreSQL, enrol, nearest_ids
from recognition.errors import GalleryUnavailable
from recognition.gallery import open_gallery, shown


def open_existing(url: str) -> None:
    open_gallery(url, lock_timeout_s=5, create=False).close()


def test_an_existing_gallery_is_opened(url: str) -> None:
    with closing(open_gallery(url, lock_timeout_s=5)) as gallery:
        enrol(gallery, ["a"], [1])
    with closing(open_gallery(url, lock_timeout_s=5, create=False)) as gallery:
        assert nearest_ids(gallery, 1) == ["a"]


def foreign(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("CREATE TABLE places (name TEXT); INSERT INTO places VALUES ('here')")


NO_GALLERIES = {
    "no folder": lambda file: None,
    "no file": lambda file: file.parent.mkdir(),
    "an empty file": lambda file: (file.parent.mkdir(), file.touch()),
    "another program's": lambda file: (file.parent.mkdir(), foreign(file)),
}


@pytest.mark.parametrize("there", NO_GALLERIES)
def test_no_sqlite_file_is_made_or_changed_unasked(tmp_path: Path, there: str) -> None:
    file = tmp_path / "folder" / "gallery.sqlite3"
    NO_GALLERIES[there](file)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(GalleryUnavailable) as refused:
        open_existing(f"sqlite:///{file}")
    assert refused.value.detail == f"There is no gallery at sqlite:///{file}."
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_file_that_is_no_database_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no database" * 1000)
    with pytest.raises(GalleryUnavailable, match="cannot be used"):
        open_existing(f"sqlite:///{tmp_path / 'file'}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_tables_are_made_in_postgresql_unasked(postgresql: PostgreSQL) -> None:
    with postgresql.database() as name:
        url = postgresql.url(name).replace("postgres:@", "postgres:secret@")
        with pytest.raises(GalleryUnavailable, match=r"^There is no gallery at postgresql") as refused:
            open_existing(url)
        assert "secret" not in refused.value.detail
        assert name in refused.value.detail
        made = (
            "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace AND nspname = 'public'"
        )
        assert postgresql.execute(made, name) == []
        assert postgresql.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'", name) == []


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_urls_of_postgresql_as_others_write_them_work(postgresql: PostgreSQL, scheme: str) -> None:
    with postgresql.database() as name:
        url = postgresql.url(name).replace("postgresql+psycopg:", f"{scheme}:")
        with closing(open_gallery(url, lock_timeout_s=5)) as gallery:
            enrol(gallery, ["a"], [1])
            assert nearest_ids(gallery, 1) == ["a"]


@pytest.mark.parametrize(
    ("url", "without_secrets"),
    [
        ("sqlite:////var/lib/faces/gallery.sqlite3", "sqlite:////var/lib/faces/gallery.sqlite3"),
        ("postgresql://door:s3cret@db:5432/faces", "postgresql://door:***@db:5432/faces"),
        ("postgres://door:s3cret@db/faces", "postgresql://door:***@db/faces"),
        ("postgresql+psycopg://door@db/faces", "postgresql+psycopg://door@db/faces"),
        ("postgresql:///faces?user=door&password=s3cret&host=db", "postgresql:///faces?host=db&user=door"),
        ("postgresql://db/faces?sslpassword=s3cret&sslkey=a.pem", "postgresql://db/faces?sslkey=a.pem"),
        ("postgresql://db/faces?PASSWORD=s3cret&oauth_client_secret=s3cret", "postgresql://db/faces"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, without_secrets: str) -> None:
    assert shown(url) == without_secrets
