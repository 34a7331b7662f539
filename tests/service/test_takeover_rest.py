"""CompreFace's HTTP calls as a source: logins, pages, and one that does not behave."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import compreface_source
from compreface_source import EMAIL, PASSWORD, SESSION, Behaviour, a_key, an_id, answering, grey, home, many
from recognition.gallery import galleries, open_gallery, services
from recognition.takeover import rest as calls
from recognition.takeover.report import Report
from recognition.takeover.rest import Rest
from recognition.takeover.source import Example, Service, SourceFailure, Trouble
from recognition.takeover.taking import Wishes, take_over
from running import free_port, served

MAX_BYTES = 4000
IMG = "/api/v1/recognition/faces/{}/img"
FACES, SUBJECTS = "/api/v1/recognition/faces", "/api/v1/recognition/subjects"

Opened = Callable[..., Rest]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "BACKOFF_S", 0)


@pytest.fixture
def opened() -> Iterator[Opened]:
    sources: list[Rest] = []

    def open_(url: str, *theirs: compreface_source.Service) -> Rest:
        services = [Service(each.name, "recognition", each.key) for each in theirs]
        sources.append(Rest(url, services, MAX_BYTES))
        return sources[-1]

    yield open_
    for source in sources:
        source.close()


def every(some: Any) -> set[str]:
    return {example.id for example in some}


def shown(source: Rest) -> dict[str, bytes | Trouble]:
    """All examples that a source shows, by id, each once."""
    pairs = [(example.id, picture) for example, picture in source.examples(source.services(), every)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_pages_are_asked_for_in_an_order(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PAGE", 10)
    service, behaviour = many(25), Behaviour()
    with answering([service], behaviour) as url:
        source = opened(url, service)
        assert source.count(source.services()) == 25
        assert shown(source) == {row.id: row.content for row in service.examples}
    pages = [path for _, path in behaviour.asked if path.startswith(f"{FACES}?")]
    assert pages == [
        f"{FACES}?page=0&size=1&sort=id",
        *(f"{FACES}?page={n}&size=10&sort=id" for n in range(3)),
    ]
    assert {method for method, _ in behaviour.asked} == {"GET"}


@pytest.mark.parametrize("address", ["{}", "{}/", "{}/api/v1", "{}/api/v1/"])
def test_the_address_may_have_the_path(address: str, opened: Opened) -> None:
    with answering([many(1)]) as url:
        assert list(shown(opened(address.format(url), many(1)))) == [an_id(1000)]


def test_a_source_with_smaller_pages_than_were_asked_for(opened: Opened) -> None:
    with answering([many(25)], Behaviour(page_cap=7)) as url:
        assert len(shown(opened(url, many(25)))) == 25


def test_pages_without_an_order_are_gone_through_again(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAGE", 10)
    with answering([many(25)], Behaviour(unordered=1)) as url:
        source = opened(url, many(25))
        assert len(shown(source)) == 25
        assert source.troubles == []
    with answering([many(25)], Behaviour(unordered=99)) as url:
        source = opened(url, many(25))
        assert len(shown(source)) == 22
        assert source.troubles == [
            Trouble("not_shown", "Many: the source says that it has 25 examples, and shows 22.")
        ]


def test_ids_that_are_none_are_told(opened: Opened) -> None:
    faces = [
        {"image_id": "../../subjects", "subject": "x"},
        {"image_id": 7},
        None,
        {"image_id": an_id(1).upper()},
    ]
    page = json.dumps({"faces": faces, "total_elements": 4}).encode()
    behaviour = Behaviour(broken={FACES: [page]})
    with answering([many(0)], behaviour) as url:
        source = opened(url, many(0))
        assert shown(source) == {an_id(1): calls.NO_PICTURE}
        assert [each.code for each in source.troubles] == ["not_shown"]
    assert [path for _, path in behaviour.asked if "subjects" in path] == []


@pytest.mark.parametrize("total", [-1, 10**12, "many", None, True, 1e300])
def test_a_number_of_examples_that_cannot_be(total: Any, opened: Opened) -> None:
    page = json.dumps({"faces": [], "total_elements": total}).encode()
    with answering([many(1)], Behaviour(broken={FACES: [page]})) as url:
        source = opened(url, many(1))
        with pytest.raises(SourceFailure, match="nonsense where the examples should be"):
            source.count(source.services())


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"<html>", b'{"subjects": [1]}', b'{"subjects": null}', b"[" * 100_000, b"\xff\xfe"],
)
def test_nonsense_for_subjects(body: bytes, opened: Opened) -> None:
    with answering([many(1)], Behaviour(broken={SUBJECTS: [body]})) as url:
        source = opened(url, many(1))
        with pytest.raises(SourceFailure, match="nonsense where the subjects"):
            list(source.subjects(source.services()[0]))


def test_more_than_can_be_believed(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_JSON_BYTES", 100)
    with answering([many(200)]) as url:
        source = opened(url, many(200))
        with pytest.raises(SourceFailure, match="nonsense"):
            list(source.subjects(source.services()[0]))


def test_what_passes_is_tried_again(opened: Opened) -> None:
    broken: dict[str, list[int | bytes | None]] = {
        SUBJECTS: [503, None, 429],
        FACES: [502, None],
        IMG.format(an_id(1000)): [None, 504, None],
    }
    with answering([many(2)], Behaviour(broken=broken)) as url:
        source = opened(url, many(2))
        assert list(source.subjects(source.services()[0])) == ["subject 0"]
        assert shown(source) == {an_id(1000): grey(20), an_id(1001): grey(21)}


def test_pictures_that_cannot_be_had(opened: Opened) -> None:
    broken: dict[str, list[int | bytes | None]] = {
        IMG.format(an_id(1000)): [404],
        IMG.format(an_id(1001)): [500],
        IMG.format(an_id(1002)): [b""],
        IMG.format(an_id(1003)): [b"x" * (MAX_BYTES + 1)],
        IMG.format(an_id(1004)): [b"x" * 10_000_000],
    }
    with answering([many(6)], Behaviour(broken=broken)) as url:
        found = shown(opened(url, many(6)))
    assert {each: got.code for each, got in found.items() if isinstance(got, Trouble)} == {
        an_id(1000): "gone",
        an_id(1001): "source_failed",
        an_id(1002): "no_picture",
        an_id(1003): "image_too_large",
        an_id(1004): "image_too_large",
    }
    assert found[an_id(1005)] == grey(25)


def test_a_source_that_gives_no_picture_any_more_is_left(opened: Opened) -> None:
    broken: dict[str, list[int | bytes | None]] = {IMG.format(an_id(1000 + n)): [500] for n in range(5, 40)}
    behaviour = Behaviour(broken=broken)
    got: list[Example] = []
    with answering([many(40)], behaviour) as url:
        source = opened(url, many(40))
        with pytest.raises(SourceFailure, match=r"gives no pictures any more\. .* status 500"):
            got.extend(example for example, _ in source.examples(source.services(), every))
    assert len(got) == 5 + calls.FAILURES_IN_A_ROW
    assert len([path for _, path in behaviour.asked if path.endswith("/img")]) < 40


def test_a_source_that_is_not_there(opened: Opened) -> None:
    source = opened(f"http://127.0.0.1:{free_port()}", many(1))
    with pytest.raises(SourceFailure, match="cannot be reached"):
        source.count(source.services())


def test_a_key_goes_nowhere_else(opened: Opened) -> None:
    """A redirect is not followed: whoever it leads to would get the key."""
    with served((200, b"{}")) as (elsewhere, sent):
        with answering([many(1)], Behaviour(redirect=f"{elsewhere}/x")) as url:
            source = opened(url, many(1))
            with pytest.raises(SourceFailure, match="it redirects"):
                source.count(source.services())
            with pytest.raises(SourceFailure, match="it redirects"):
                source.log_in(EMAIL, PASSWORD)
        assert sent == []


def test_no_error_has_a_key(opened: Opened) -> None:
    wrong = compreface_source.Service("Door", a_key(231))
    with answering([many(1)]) as url:
        source = opened(url, wrong)
        with pytest.raises(SourceFailure) as e:
            source.count(source.services())
    assert e.value.detail == (
        "The source refuses the examples of Door (status 404): is the key or login right?"
    )
    assert a_key(231) not in repr(source.services())


def test_a_wrong_key_opens_nothing_here(opened: Opened, empty_sqlite: Path, tmp_path: Path) -> None:
    def enrol(*_: object) -> Any:
        raise AssertionError("there is nothing to enrol")

    file = shutil.copy(empty_sqlite, tmp_path / "gallery.sqlite3")
    wrong = compreface_source.Service("Door", a_key(99))
    with answering([many(1)]) as url, closing(open_gallery(f"sqlite:///{file}", lock_timeout_s=5)) as gallery:
        with pytest.raises(SourceFailure, match="is the key or login right"):
            take_over(opened(url, wrong), gallery, enrol, Wishes(), Report(), lambda total: lambda done: None)
        assert services.listed(gallery) == []
        assert galleries.names(gallery) == ["default"]


def test_a_login_finds_all_services(opened: Opened) -> None:
    behaviour = Behaviour()
    with answering(home(), behaviour) as url:
        source = opened(url)
        source.log_in(EMAIL, PASSWORD)
    assert [(each.name, each.kind, each.app, each.key) for each in source.services()] == [
        ("Door", "recognition", "Home", a_key(100)),
        ("Look", "detection", "Home", a_key(101)),
        ("Same?", "verification", "Home", a_key(102)),
        ("Door", "recognition", "Büro", a_key(103)),
        ("Demo", "recognition", "Demo app", "00000000-0000-0000-0000-000000000002"),
    ]
    assert not [path for _, path in behaviour.asked if re.search(f"{PASSWORD}|{SESSION}", path)]


def test_a_wrong_login(opened: Opened) -> None:
    with (
        answering(home()) as url,
        pytest.raises(SourceFailure, match=r"refuses the login \(status 400\)") as e,
    ):
        opened(url).log_in(EMAIL, "another-password")
    assert "another-password" not in e.value.detail


@pytest.mark.parametrize(
    ("apps", "said"),
    [
        (b"{}", "nonsense where the services"),
        (b'[{"id": "../x", "name": "a"}]', "nonsense where the services"),
        (b"[" + b"{}," * 2000 + b"{}]", "nonsense where the services"),
    ],
)
def test_nonsense_for_services(apps: bytes, said: str, opened: Opened) -> None:
    with (
        answering(home(), Behaviour(broken={"/admin/apps": [apps]})) as url,
        pytest.raises(SourceFailure, match=said),
    ):
        opened(url).log_in(EMAIL, PASSWORD)


def test_services_whose_keys_are_not_shown_are_told(opened: Opened) -> None:
    models = [{"id": "1", "name": "Door", "type": "RECOGNITION"}, {"name": "x", "apiKey": "k", "type": "NEW"}]
    path = f"/admin/app/{an_id(200)}/models"
    with answering([many(1)], Behaviour(broken={path: [json.dumps(models).encode()]})) as url:
        source = opened(url)
        source.log_in(EMAIL, PASSWORD)
    assert source.services() == []
    assert [each.detail for each in source.troubles] == [
        "Door of Home: its key is not shown to this user.",
        "x of Home: its type, 'NEW', is none that is known.",
    ]
