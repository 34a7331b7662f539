"""recognition.client against the real services, and against servers that are none."""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from recognition.client import Client, ServiceError
from running import Pair, echoing, free_port, served

ERROR = b'{"error": "Too many requests.", "code": "overloaded", "detail": "busy", "request_id": "r"}'


@pytest.fixture
def client(pair: Pair) -> Iterator[Client]:
    with Client(pair.url) as client:
        yield client


def test_five_lines_enrol_and_recognise(client: Client, photographs: dict[str, list[Path]]) -> None:
    first, other = photographs["madonna"][:2]
    client.enrol("m/1?#%", "Madonna", first, metadata={"born": 1958}, action="enter")
    (face,) = client.recognise(str(other))
    assert (face["id"], face["name"], face["metadata"]) == ("m/1?#%", "Madonna", {"born": 1958})
    assert client.recognise(other.read_bytes()) == [face]


def test_a_client_works_in_one_gallery(
    pair: Pair, client: Client, photographs: dict[str, list[Path]]
) -> None:
    picture = photographs["madonna"][0]
    client.make_gallery("lobby")
    try:
        with Client(pair.url, gallery="lobby") as there:
            there.enrol("1", "Madonna", picture)
            assert [face["id"] for face in there.recognise(picture)] == ["1"]
            assert (there.count(), client.count(), client.recognise(picture)) == (1, 0, [])
            assert there.ready()["gallery"]["samples"] == 1
            assert (
                there.verify(picture, picture)["verified"] and there.detect(picture) and there.draw(picture)
            )
            file = io.BytesIO()
            assert there.export(file) == 1
            there.clear()
            file.seek(0)
            assert there.import_(file)["imported"] == 1
            model = there.ready()["model"]
            assert there.change_model(model)["samples"] == 1  # which it has already
            assert (there.model_change()["model"], client.model_change()["model"]) == (model, None)
            assert there.stop_model_change()["to"] is None
            assert {each["name"]: each["samples"] for each in there.galleries()} == {"default": 0, "lobby": 1}
    finally:
        client.delete_gallery("lobby")
    with Client(pair.url, gallery="lobby") as gone, pytest.raises(ServiceError) as refused:
        gone.count()
    assert refused.value.code == "not_found"


def test_a_host_without_a_scheme_is_http(pair: Pair) -> None:
    with Client(pair.url.removeprefix("http://")) as client:
        assert client.ready()["status"] == "ready"


def test_options_reach_the_service(client: Client, photographs: dict[str, list[Path]]) -> None:
    picture = photographs["madonna"][0]
    assert client.recognise(picture) == []
    (unknown,) = client.recognise(picture, include_unknown=True, top_k=3, per="sample", limit=1)
    assert (unknown["id"], unknown["candidates"]) == ("", [])
    client.enrol("1", "Madonna", photographs["madonna"][1])
    assert client.recognise(picture, min_distance=0.01) == []
    with pytest.raises(ServiceError) as refused:
        client.recognise(picture, min_distance=-1)
    assert refused.value.code == "invalid_request"
    assert "min_distance" in refused.value.detail
    with pytest.raises(ServiceError, match=r"top: unknown field; did you mean top_k\?"):
        client.recognise(picture, top=3)
    assert refused.value.request_id


def test_samples_are_listed_counted_and_removed(client: Client, photographs: dict[str, list[Path]]) -> None:
    some = [
        {"id": f"{person}/{number}", "name": person, "picture": path}
        for person, paths in photographs.items()
        for number, path in enumerate(paths[:2])
    ]
    ids = [sample["id"] for sample in some]
    answer = client.enrol_all(some)
    assert (answer["success"], answer["fail"], list(answer["samples"])) == (ids, [], sorted(ids))
    assert [sample["id"] for sample in client.samples()] == sorted(sample["id"] for sample in some)
    assert [sample["id"] for sample in client.samples(after="madonna/0", name="madonna")] == ["madonna/1"]
    assert client.sample("madonna/0")["name"] == "madonna"
    assert client.face("madonna/0").startswith(b"\xff\xd8\xff")
    with pytest.raises(ServiceError, match="no sample with this id"):
        client.face("nobody")
    exported, with_faces = io.BytesIO(), io.BytesIO()
    assert client.export(exported) == client.export(with_faces, faces=True) == len(some)
    assert (exported.getvalue().count(b'"face"'), with_faces.getvalue().count(b'"face"')) == (0, len(some))
    assert (client.count(), client.count("madonna")) == (10, 2)
    client.delete("madonna/0")
    with pytest.raises(ServiceError) as missing:
        client.delete("madonna/0")
    assert missing.value.code == "not_found"
    assert client.delete_named("madonna") == 1
    client.clear()
    assert list(client.samples()) == []


def test_faces_are_found_and_compared(client: Client, photographs: dict[str, list[Path]]) -> None:
    first, other = photographs["madonna"][:2]
    stranger = photographs["ben_afflek"][0]
    assert set(client.detect(first)[0]) == {"bbox", "confidence", "landmarks", "quality", "reasons"}
    assert client.verify(first, other)["verified"]
    assert not client.verify(first, stranger)["verified"]
    assert client.verify(first, stranger, min_distance=20)["verified"]
    assert client.ready()["status"] == "ready"


def test_what_may_be_wrong_is_found(client: Client, photographs: dict[str, list[Path]]) -> None:
    madonna, ben = photographs["madonna"], photographs["ben_afflek"]
    for number, picture in enumerate([*madonna[:3], ben[0]]):
        client.enrol(f"m{number}", "Madonna", picture)
    client.enrol("b", "Ben", ben[1])
    steps: list[tuple[int, int]] = []
    first, *rest = client.doctor(lambda examined, total: steps.append((examined, total)))
    assert steps == [(5, 5)]
    assert (first["what"], [sample["id"] for sample in first["samples"]]) == ("unlike_own", ["m3", "b"])
    move = first["advice"][0]
    client.change_sample(move["sample"], person=move["into"])
    assert client.doctor() == []
    assert first["sure"] > 0.9 and all(finding["sure"] < first["sure"] for finding in rest)


def test_a_refused_enrolment_is_an_error(client: Client) -> None:
    with pytest.raises(ServiceError, match="cannot be read") as refused:
        client.enrol("1", "Nobody", b"no picture")
    assert refused.value.code == "invalid_image"
    with pytest.raises(FileNotFoundError):
        client.enrol("1", "Nobody", "nowhere.jpg")


def test_a_busy_service_is_asked_again_with_the_same_body() -> None:
    with served((429, ERROR), (503, ERROR), (200, b"[]")) as (url, sent), Client(url) as client:
        assert client.recognise(b"picture") == []
    assert len(sent) == 3
    assert sent[0] == sent[1] == sent[2]
    assert b"picture" in sent[0]


def test_a_service_that_stays_busy_is_not_asked_for_ever() -> None:
    with served((429, ERROR)) as (url, sent), Client(url, retries=2) as client:
        with pytest.raises(ServiceError) as refused:
            client.detect(b"picture")
        assert (refused.value.code, refused.value.detail, refused.value.request_id) == (
            "overloaded",
            "busy",
            "r",
        )
        assert len(sent) == 3
        with pytest.raises(ServiceError):
            client.ready()
        assert len(sent) == 4


@pytest.mark.parametrize(
    "answer", [(200, b"<html>"), (404, b"<html>"), (500, b"[]"), (403, b"{}"), (302, b"")]
)
def test_a_server_that_is_none_of_ours_is_told(answer: tuple[int, bytes]) -> None:
    with (
        served(answer) as (url, _),
        Client(url) as client,
        pytest.raises(ServiceError, match="is not this service") as told,
    ):
        client.ready()
    assert told.value.code == "unexpected_answer"


def test_a_server_that_says_nothing_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for retries in (0, 4):
            with Client(url, timeout_s=0.05, retries=retries) as client, pytest.raises(ServiceError) as told:
                client.health()
            assert told.value.code == "timeout"


@pytest.mark.parametrize("sent", [b"", b"<html>", b'{"gallery":1}\n{"id":"1"}\n', b'{"samples":'])
def test_an_export_that_breaks_off_is_told(sent: bytes) -> None:
    with (
        served((200, sent)) as (url, _),
        Client(url) as client,
        pytest.raises(ServiceError, match="broke the export off"),
    ):
        client.export(io.BytesIO())


@pytest.mark.parametrize(
    "host",
    ["no address", "ftp://127.0.0.1", "http://[::1:6337", f"http://127.0.0.1:{free_port()}"],
    ids=["no address", "another protocol", "half a bracket", "a free port"],
)
def test_where_nothing_answers_is_told(host: str) -> None:
    with Client(host) as client, pytest.raises(ServiceError) as told:
        client.ready()
    assert told.value.code == "unreachable"
    assert host in told.value.detail


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of passwords with one for every host."""
    (tmp_path / "netrc").write_text("default login me password geheim\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.parametrize(("key", "sent"), [("k", "Bearer k"), (None, None)])
def test_no_password_of_netrc_is_sent(netrc: None, key: str | None, sent: str | None) -> None:
    with echoing() as url, Client(url, key=key) as client:
        assert client.health()["authorization"] == sent


def test_a_password_in_the_address_is_sent_where_there_is_no_key(netrc: None) -> None:
    with echoing() as url:
        named = url.replace("://", "://me:other@")
        with Client(named) as client:
            basic = base64.b64encode(b"me:other").decode()
            assert client.health()["authorization"] == f"Basic {basic}"
        with Client(named, key="k") as client:
            assert client.health()["authorization"] == "Bearer k"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_is_asked_for_other_machines_alone(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with echoing() as proxy, echoing() as service:
        monkeypatch.setenv(variable, proxy)
        with Client("http://faces.invalid:6337") as client:
            assert client.health()["path"] == "http://faces.invalid:6337/health"
        for host in (service, service.replace("127.0.0.1", "localhost")):
            with Client(host) as client:
                assert client.health()["path"] == "/health"
        closed = free_port()
        with Client(f"http://[::1]:{closed}") as client, pytest.raises(ServiceError) as refused:
            client.health()  # the proxy would have answered
        assert refused.value.code == "unreachable"


def test_the_hosts_that_need_no_proxy_are_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    with echoing() as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "faces.invalid")
        with Client("http://faces.invalid:6337") as client, pytest.raises(ServiceError) as refused:
            client.health()
        assert refused.value.code == "unreachable"
