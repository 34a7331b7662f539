"""Services for CompreFace's clients: added, found by their keys, removed; their galleries, and older ones."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from fakes import app_of
from galleries import NOW, FakeClock, enrol, nearest_ids
from older_galleries import FIRST, RELEASED, make_older
from recognition import client_keys
from recognition.audit import Audit
from recognition.client_keys import ClientService, Kind
from recognition.errors import ServiceExists
from recognition.gallery import (
    Gallery,
    applications,
    backup,
    erasures,
    galleries,
    open_gallery,
    services,
    transfer,
)
from recognition.gallery.database import transaction
from serving import keys
from serving.errors import InvalidRequest, NotFound

KEYS = [str(uuid.UUID(int=number << 96 | 0x4123_89AB_4567_89AB_CDEF_0123)) for number in range(1, 9)]
DIGESTS = [client_keys.digest(key) for key in KEYS]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def gallery(url: str, clock: FakeClock, log: Path) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock, audit=Audit(log))
    yield gallery
    gallery.close()


def lines(path: Path) -> list[tuple[str, str, str | None, str | None]]:
    read = map(json.loads, path.read_text().splitlines())
    return [(line["what"], line["outcome"], line.get("gallery"), line.get("service")) for line in read]


def test_a_key_finds_its_service_in_every_process(url: str, gallery: Gallery) -> None:
    door = services.add(gallery, "door", "recognition", DIGESTS[0], take_all=True)
    assert door == ClientService(door.id, "door", "recognition", "door", True, None, NOW, False)
    assert str(uuid.UUID(door.id)) == door.id
    with closing(open_gallery(url, lock_timeout_s=5)) as other:
        assert services.find(other, DIGESTS[0]) == door
        assert services.find(other, client_keys.digest(KEYS[0].upper())) == door
        assert services.find(other.of("door"), DIGESTS[0]) == door
        assert services.find(other, DIGESTS[1]) is None
        assert services.listed(other) == [door]
        assert "door" in galleries.names(other)


@pytest.mark.parametrize("kind", ["detection", "verification"])
def test_other_kinds_have_no_gallery(gallery: Gallery, kind: Kind) -> None:
    service = services.add(gallery, "look", kind, DIGESTS[0], gallery_name="lobby")
    assert (service.kind, service.gallery) == (kind, None)
    assert galleries.names(gallery) == ["default"]


def test_a_gallery_that_is_there_can_be_had_by_its_name_alone(gallery: Gallery) -> None:
    """Two services are never put together by chance."""
    enrol(gallery, ["a"], [1])
    named = services.add(gallery, "one", "recognition", DIGESTS[0], gallery_name="default")
    own = services.add(gallery, "default", "recognition", DIGESTS[1])
    third = services.add(gallery, "default!", "recognition", DIGESTS[2])
    assert [each.gallery for each in (named, own, third)] == ["default", "default-2", "default-3"]
    made = services.add(gallery, "two", "recognition", DIGESTS[3], gallery_name="lobby")
    assert made.gallery == "lobby"
    assert gallery.of("default-2").count() == 0 and gallery.count() == 1


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Front door", "Front-door"),
        ("Gesichter für alle", "Gesichter-f-r-alle"),
        ("名", "service"),
        ("..", "service"),
        ("-a%_", "a-_"),
        ("x" * 255, "x" * 56),
    ],
)
def test_galleries_are_called_as_they_may_be(gallery: Gallery, name: str, made: str) -> None:
    assert services.add(gallery, name, "recognition", DIGESTS[0]).gallery == made


def test_names_and_keys_are_had_once(gallery: Gallery) -> None:
    app = applications.make(gallery, "cameras")
    services.add(gallery, "door", "detection", DIGESTS[0])
    services.add(gallery, "door", "detection", DIGESTS[1], app=app.id)
    for name, digest, within in (
        ("door", DIGESTS[2], None),
        ("door", DIGESTS[2], app.id),
        ("gate", DIGESTS[0], app.id),
    ):
        with pytest.raises(ServiceExists):
            services.add(gallery, name, "recognition", digest, app=within)
    with pytest.raises(NotFound):
        services.add(gallery, "gate", "detection", DIGESTS[2], app=str(uuid.uuid4()))
    assert galleries.names(gallery) == ["default"]
    assert [each.name for each in services.listed(gallery)] == ["door", "door"]
    assert [each.app for each in services.listed(gallery, app=app.id)] == [app.id]


def test_removed_keys_open_nothing_and_galleries_stay(gallery: Gallery) -> None:
    service = services.add(gallery, "door", "recognition", DIGESTS[0])
    enrol(gallery.of("door"), ["a"], [1])
    services.remove(gallery, service.id)
    assert services.find(gallery, DIGESTS[0]) is None and services.listed(gallery) == []
    assert nearest_ids(gallery.of("door"), 1) == ["a"]
    for call in (
        lambda: services.remove(gallery, service.id),
        lambda: services.rename(gallery, service.id, "x"),
        lambda: services.change_key(gallery, service.id, DIGESTS[1]),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_service_has_another_name_or_key(gallery: Gallery) -> None:
    service = services.add(gallery, "door", "recognition", DIGESTS[0], guessable=True)
    services.add(gallery, "gate", "recognition", DIGESTS[1])
    assert services.rename(gallery, service.id, "door").name == "door"
    renamed = services.rename(gallery, service.id, "Front door")
    assert (renamed.name, renamed.gallery, renamed.id) == ("Front door", "door", service.id)
    with pytest.raises(ServiceExists):
        services.rename(gallery, service.id, "gate")
    with pytest.raises(ServiceExists):
        services.change_key(gallery, service.id, DIGESTS[1])
    changed = services.change_key(gallery, service.id, DIGESTS[2])
    assert not changed.guessable and services.find(gallery, DIGESTS[2]) == changed
    assert services.find(gallery, DIGESTS[0]) is None


def test_a_deleted_gallery_takes_its_services_along(gallery: Gallery, log: Path) -> None:
    door, gate, look = (
        services.add(gallery, "door", "recognition", DIGESTS[0]),
        services.add(gallery, "gate", "recognition", DIGESTS[1], gallery_name="door"),
        services.add(gallery, "look", "detection", DIGESTS[2]),
    )
    galleries.delete(gallery.of("door"))
    assert services.listed(gallery) == [look]
    (done,) = (
        each
        for each in map(json.loads, log.read_text().splitlines())
        if each["what"] == "delete_gallery" and each["outcome"] == "done"
    )
    assert done["services"] == [door.id, gate.id]
    assert services.add(gallery, "door", "recognition", DIGESTS[0]).gallery == "door"


def test_a_gallery_that_is_emptied_keeps_its_services(gallery: Gallery) -> None:
    """Also where the database empties tables as a whole."""
    door = services.add(gallery, "door", "recognition", DIGESTS[0])
    enrol(gallery.of("door"), ["a"], [1])
    gallery.of("door").clear()
    gallery.clear()
    assert services.listed(gallery) == [door]


def test_applications_go_with_their_services(gallery: Gallery) -> None:
    cameras, others = applications.make(gallery, "cameras"), applications.make(gallery, "others")
    assert applications.listed(gallery) == [cameras, others]
    with pytest.raises(ServiceExists):
        applications.make(gallery, "cameras")
    with pytest.raises(ServiceExists):
        applications.rename(gallery, cameras.id, "others")
    assert applications.rename(gallery, cameras.id, "webcams").name == "webcams"
    services.add(gallery, "door", "recognition", DIGESTS[0], app=cameras.id)
    kept = services.add(gallery, "gate", "recognition", DIGESTS[1], app=others.id)
    applications.remove(gallery, cameras.id)
    assert services.listed(gallery) == [kept] and galleries.names(gallery) == ["default", "door", "gate"]
    for call in (
        lambda: applications.remove(gallery, cameras.id),
        lambda: applications.rename(gallery, cameras.id, "x"),
        lambda: applications.get(gallery, cameras.id),
    ):
        with pytest.raises(NotFound):
            call()
    assert applications.get(gallery, others.id) == others


def test_the_audit_log_has_who_opened_what(gallery: Gallery, log: Path) -> None:
    service = services.add(gallery, "door", "recognition", DIGESTS[0])
    services.rename(gallery, service.id, "gate")
    services.remove(gallery, service.id)
    assert lines(log) == [
        (what, outcome, where, of)
        for changes in (
            [("make_gallery", "door", None), ("add_service", "door", service.id)],
            [("change_service", None, service.id)],
            [("remove_service", None, service.id)],
        )
        for outcome in ("begun", "done")
        for what, where, of in changes
    ]
    assert erasures.read([log.read_bytes().splitlines()]).strange == 0
    for secret in (KEYS[0], DIGESTS[0].hex()):
        assert secret not in log.read_text()


def test_nothing_but_digests_is_stored(url: str, backend: str, gallery: Gallery) -> None:
    services.add(gallery, "door", "recognition", DIGESTS[0])
    gallery.engine.dispose()
    if backend == "sqlite":
        for file in Path(sa.make_url(url).database or "").parent.iterdir():
            assert KEYS[0].encode() not in file.read_bytes()


def test_a_gallery_of_recognition_is_demanded_by_the_database(gallery: Gallery) -> None:
    services.add(gallery, "door", "recognition", DIGESTS[0])
    with (
        pytest.raises(Exception, match="cannot be used"),
        transaction(gallery.engine, write=True) as connection,
    ):
        connection.exec_driver_sql("UPDATE services SET gallery = NULL")


def test_what_else_looks_at_all_tables(url: str, backend: str, gallery: Gallery, tmp_path: Path) -> None:
    """Neither a check, nor an export, nor a backup minds them; the backup has them."""
    door = services.add(gallery, "door", "recognition", DIGESTS[0])
    door_gallery = gallery.of("door")
    enrol(door_gallery, ["a"], [1])
    assert list(transfer.faults(gallery)) == []
    exported = b"".join(transfer.export(door_gallery))
    assert DIGESTS[0].hex().encode() not in exported and door.id.encode() not in exported
    if backend == "sqlite":
        backup.backup(gallery, tmp_path / "copy")
        with closing(open_gallery(f"sqlite:///{tmp_path / 'copy'}", lock_timeout_s=5)) as copy:
            assert services.find(copy, DIGESTS[0]) == door


def test_the_native_calls_tell_nothing_of_them(gallery: Gallery) -> None:
    client = app_of(gallery).test_client()
    services.add(gallery, "door", "recognition", DIGESTS[0])
    listed = client.get("/galleries").json
    assert [each["name"] for each in listed["galleries"]] == ["default", "door"]  # type: ignore[index]
    assert client.delete("/galleries/door").status_code == 200
    assert services.listed(gallery) == []


def test_ready_tells_of_keys_that_others_can_guess(gallery: Gallery) -> None:
    bound, entry = keys.new("bound", "admin", "lobby")
    galleries.make(gallery, "lobby")

    def warnings(of: FlaskClient, key: str = "") -> list[tuple[str, str]]:
        headers = {"Authorization": f"Bearer {key}"}
        answer: Any = of.get("/ready", headers=headers).json
        return [(each["code"], each["detail"]) for each in answer["warnings"]]

    client = app_of(gallery, COMPREFACE="1").test_client()
    assert warnings(client) == []
    guessed = services.add(gallery, "door", "recognition", DIGESTS[0], guessable=True)
    services.add(gallery, "gate", "recognition", DIGESTS[1])
    told = [("guessable_keys", "Others can guess the keys of these services: door.")]
    assert warnings(client) == told
    assert warnings(app_of(gallery).test_client()) == told
    assert warnings(app_of(gallery, COMPREFACE="0").test_client()) == []  # then no such key opens anything
    guarded = app_of(gallery, COMPREFACE="1", API_KEYS=entry.entry()).test_client()
    assert warnings(guarded, bound) == []  # it is not of its gallery
    services.remove(gallery, guessed.id)
    assert warnings(client) == []
    example = client_keys.entry("shown", "detection", "00000000-0000-0000-0000-000000000003")
    settings = {"COMPREFACE_SERVICES": example}
    assert [code for code, _ in warnings(app_of(gallery, **settings).test_client())] == ["guessable_keys"]


@pytest.mark.parametrize("version", [FIRST, RELEASED])
def test_older_galleries_get_room_for_them(bare_url: str, version: str) -> None:
    make_older(bare_url, version, [("a", "name of a")])
    with closing(open_gallery(bare_url, lock_timeout_s=5)) as gallery:
        assert services.listed(gallery) == []
        service = services.add(gallery, "door", "recognition", DIGESTS[0], gallery_name="default")
        assert services.find(gallery, DIGESTS[0]) == service
        assert nearest_ids(gallery, 0) == ["a"]
        assert isinstance(service.created, datetime) and service.created.tzinfo is UTC
        with pytest.raises(InvalidRequest):
            galleries.delete(gallery)
        assert gallery.count() == 1
