"""Who has registered for CompreFace's admin calls, and sessions: on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from galleries import NOW, FakeClock
from recognition.audit import Audit
from recognition.errors import AdministratorExists
from recognition.gallery import Gallery, logins, open_gallery
from recognition.gallery.tables import sessions

SOON = NOW + timedelta(minutes=40)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def gallery(url: str, clock: FakeClock, log: Path) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock, audit=Audit(log))
    yield gallery
    gallery.close()


def test_the_first_who_registers_is_the_only_one(url: str, gallery: Gallery) -> None:
    assert logins.registered(gallery) is None
    ann = logins.register(gallery, "ann@example.com", "Ann", "Ämter", "digest")
    assert logins.registered(gallery) == (ann, "digest")
    with closing(open_gallery(url, lock_timeout_s=5)) as other:
        for email in ("ann@example.com", "ben@example.com"):
            with pytest.raises(AdministratorExists):
                logins.register(other, email, "Ben", "B", "digest")
        assert logins.registered(other) == (ann, "digest")


def test_sessions_are_known_everywhere_until_they_are_over(
    url: str, gallery: Gallery, clock: FakeClock
) -> None:
    ann = logins.register(gallery, "ann@example.com", "Ann", "A", "digest")
    logins.begin_session(gallery, b"1", SOON, administrator=ann.id, api_key=None)
    logins.begin_session(gallery, b"2", SOON, administrator=None, api_key=b"key")
    with closing(open_gallery(url, lock_timeout_s=5, clock=clock)) as other:
        assert logins.find_session(other, b"1") == logins.Session(ann, None, SOON)
        assert logins.find_session(other, b"2") == logins.Session(None, b"key", SOON)
        assert logins.find_session(other, b"3") is None
        logins.end_session(other, b"2")
        logins.end_session(other, b"3")
    assert logins.find_session(gallery, b"2") is None
    clock.now = SOON
    assert logins.find_session(gallery, b"1") is None
    logins.begin_session(gallery, b"4", SOON + timedelta(hours=1), administrator=ann.id, api_key=None)
    with gallery.engine.connect() as connection:  # those that are over are gone
        assert connection.execute(sa.select(sessions.c.digest)).scalars().all() == [b"4"]


def test_all_of_it_is_forgotten(url: str, backend: str, gallery: Gallery) -> None:
    ann = logins.register(gallery, "vanishing@example.com", "Ann", "A", "digest")
    logins.begin_session(gallery, b"1", SOON, administrator=ann.id, api_key=None)
    assert logins.forget(gallery) == 1
    assert logins.registered(gallery) is None and logins.find_session(gallery, b"1") is None
    assert logins.forget(gallery) == 0
    if backend == "sqlite":
        for path in Path(sa.make_url(url).database or "").parent.iterdir():
            assert b"vanishing" not in path.read_bytes(), path
    logins.register(gallery, "ben@example.com", "Ben", "B", "digest")


def test_the_audit_log_has_no_names(gallery: Gallery, log: Path) -> None:
    ann = logins.register(gallery, "ann@example.com", "Ann", "Ämter", "digest")
    logins.begin_session(gallery, b"1", SOON, administrator=ann.id, api_key=None)
    logins.begin_session(gallery, b"2", SOON, administrator=None, api_key=b"key")
    logins.end_session(gallery, b"1")
    logins.forget(gallery)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    done = [(line["what"], line.get("administrator")) for line in lines if line["outcome"] == "done"]
    assert done == [
        ("register", ann.id),
        ("login", ann.id),
        ("login", None),
        ("logout", None),
        ("forget_logins", None),
    ]
    for told in ("example", "Ann", "digest"):
        assert told not in log.read_text()
