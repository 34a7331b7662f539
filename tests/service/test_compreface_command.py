"""`recognition compreface`: services are listed, added and removed on both databases; keys are shown once."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from click.testing import CliRunner, Result

from recognition import client_keys
from recognition.cli.main import cli
from recognition.config import read
from recognition.gallery import Gallery, galleries, logins, services

KEY = "5f2c0a9e-7d14-4b86-a3c1-9e0d7f6b2854"
SECOND = "00000000-0000-0000-0000-000000000002"


def run(url: str, *arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(cli, ["compreface", "--database", url, *arguments], env=variables)


def ok(url: str, *arguments: str, **variables: str) -> list[Any]:
    result = run(url, *arguments, "--json", **variables)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(url: str, status: int, *arguments: str, **variables: str) -> str:
    result = run(url, *arguments, **variables)
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    return result.output


def test_a_service_is_added_listed_and_removed(url: str, gallery: Gallery) -> None:
    (added,) = ok(url, "services", "add", "door", "--take-all")
    assert uuid.UUID(added["key"]).version == 4
    service = services.find(gallery, client_keys.digest(added["key"]))
    assert service is not None and (service.gallery, service.take_all, service.kind) == (
        "door",
        True,
        "recognition",
    )
    (listed,) = ok(url, "services", "list")
    assert listed == {name: value for name, value in added.items() if name != "key"}
    assert listed["created"].endswith("+00:00") and not listed["guessable"]
    assert added["key"] not in run(url, "services", "list").output
    assert ok(url, "services", "remove", "door") == [{"removed": service.id, "gallery": "door"}]
    assert ok(url, "services", "list") == []
    assert galleries.names(gallery) == ["default", "door"]


def test_the_key_is_shown_once_as_text(url: str, gallery: Gallery) -> None:
    result = run(url, "services", "add", "look", "--kind", "detection")
    assert result.stdout.startswith("key, for the client alone:  ")
    assert "first service" in result.stderr
    again = run(url, "services", "add", "gate", "--key", KEY)
    assert again.stdout.split()[-1] == KEY and "first service" not in again.stderr
    listed = run(url, "services", "list").stdout.splitlines()
    assert [line.split()[:3] for line in listed] == [
        ["look", "detection", "-"],
        ["gate", "recognition", "gate"],
    ]


def test_what_is_said_of_services_that_run(url: str, gallery: Gallery) -> None:
    assert "first service" not in run(url, "services", "add", "a", COMPREFACE="1").stderr
    assert "COMPREFACE=0" in run(url, "services", "add", "b", COMPREFACE="0").stderr


def test_a_key_of_before_is_taken_in_any_case(url: str, gallery: Gallery) -> None:
    (added,) = ok(url, "services", "add", "door", "--key", KEY.upper(), "--gallery", "default")
    assert (added["key"], added["gallery"]) == (KEY, "default")
    assert "already" in refused(url, 1, "services", "add", "gate", "--key", KEY)
    assert "already" in refused(url, 1, "services", "add", "door")
    assert "not a UUID" in refused(url, 2, "services", "add", "gate", "--key", "x")


def test_a_key_that_others_can_guess_is_taken_if_asked_for(url: str, gallery: Gallery) -> None:
    assert "--guessable" in refused(url, 1, "services", "add", "door", "--key", SECOND)
    result = run(url, "services", "add", "door", "--key", SECOND, "--guessable")
    assert result.exit_code == 0 and "Warning: others can guess this key" in result.stderr
    assert "Others can guess the key" in run(url, "services", "list").stdout
    assert ok(url, "services", "list")[0]["guessable"] is True


def test_entries_for_the_settings(url: str, gallery: Gallery) -> None:
    (door,) = ok(url, "services", "add", "door", "--entry", "--key", KEY)
    assert door == {"key": KEY, "entry": f"door:recognition:{client_keys.digest(KEY).hex()}"}
    (gate,) = ok(url, "services", "add", "gate", "--entry", "--gallery", "lobby")
    (look,) = ok(url, "services", "add", "look", "--entry", "--kind", "verification")
    assert services.listed(gallery) == []
    entries = "\n".join(each["entry"] for each in (door, gate, look))
    settings = read({"COMPREFACE_SERVICES": entries})
    told = [(each.name, each.gallery) for each in settings.compreface_services.values()]
    assert told == [("door", "door"), ("gate", "lobby"), ("look", None)]
    listed = ok(url, "services", "list", COMPREFACE_SERVICES=entries)
    assert [(each["name"], each["created"]) for each in listed] == [
        ("door", None),
        ("gate", None),
        ("look", None),
    ]
    said = refused(url, 1, "services", "add", "x", "--key", KEY, COMPREFACE_SERVICES=entries)
    assert "in the settings" in said
    assert "COMPREFACE_SERVICES" in refused(url, 1, "services", "remove", "door", COMPREFACE_SERVICES=entries)
    assert "cannot say it" in refused(url, 2, "services", "add", "x", "--entry", "--take-all")


@pytest.mark.parametrize(
    "arguments",
    [
        ("x", "--kind", "faces"),
        ("x", "--kind", "detection", "--gallery", "lobby"),
        ("x", "--kind", "verification", "--take-all"),
        ("front door",),
        ("x", "--gallery", "../x"),
        ("a b", "--gallery", "x", "--entry"),
    ],
)
def test_wrong_arguments(url: str, gallery: Gallery, arguments: tuple[str, ...]) -> None:
    refused(url, 2, "services", "add", *arguments)
    assert services.listed(gallery) == [] and galleries.names(gallery) == ["default"]


def test_which_service_is_removed_must_be_clear(url: str, gallery: Gallery) -> None:
    from recognition.gallery import applications

    first = services.add(gallery, "door", "detection", b"1")
    app = applications.make(gallery, "cameras")
    services.add(gallery, "door", "detection", b"2", app=app.id)
    assert first.id in refused(url, 1, "services", "remove", "door")
    ok(url, "services", "remove", first.id)
    ok(url, "services", "remove", "door")
    assert "no service" in refused(url, 1, "services", "remove", "door")


def test_without_a_database_none_is_made_by_looking(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'none.sqlite3'}"
    for arguments in (("list",), ("remove", "door")):
        refused(url, 3, "services", *arguments)
        assert not (tmp_path / "none.sqlite3").exists()
    ok(url, "services", "add", "door")
    assert (tmp_path / "none.sqlite3").exists()


def test_a_forgotten_password(url: str, gallery: Gallery) -> None:
    logins.register(gallery, "ann@example.com", "Ann", "Ämter", "digest")
    refused(url, 1, "forget-logins")
    assert ok(url, "forget-logins", "--yes") == [{"forgotten": 1}]
    assert logins.registered(gallery) is None
    assert ok(url, "forget-logins", "--yes") == [{"forgotten": 0}]
