"""CompreFace's dialect at its edge: when it is on, keys, pages, hosts, the log, and what may pass."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from numpy.typing import NDArray
from werkzeug.test import TestResponse

from fakes import app_of, ok
from recognition import client_keys
from recognition.app import create_app
from recognition.config import SettingsError, read
from recognition.errors import EmbeddingUnavailable
from recognition.faces import Face
from recognition.gallery import Gallery, open_gallery, services
from serving.errors import ClientGone
from serving.model import Model
from squares import ONE, RECOGNITION, SERVICES, Caller, Embedder, Square, app_of_squares, detector, png

CONFIG, SUBJECTS = "/api/v1/config", "/recognition/subjects"
KEY = "9d2f6c1e-0b5a-4f37-8f2e-6a1c3b7d9e40"
PLEASE_TRY_AGAIN = {"message": "Something went wrong, please try again", "code": 0}


@pytest.fixture
def caller(gallery: Gallery) -> Caller:
    return Caller(app_of_squares(gallery).test_client())


# --- when it is on


def test_it_is_off_unless_it_is_set_or_has_services(gallery: Gallery) -> None:
    def status(**settings: str) -> int:
        return app_of(gallery, **settings).test_client().get(CONFIG).status_code

    assert status() == 404
    assert status(COMPREFACE="1") == status(COMPREFACE_SERVICES=SERVICES) == 200
    assert status(COMPREFACE_SERVICES=SERVICES, COMPREFACE="0") == 404
    services.add(gallery, "door", "detection", client_keys.digest(KEY))
    assert status() == 200 and status(COMPREFACE="0") == 404
    with pytest.raises(SettingsError, match="COMPREFACE_SERVICES"):
        read({"COMPREFACE_SERVICES": "R:recognition"})


def test_nothing_of_it_is_loaded_where_it_is_off() -> None:
    loaded = "[name for name in sys.modules if 'compreface' in name or name == 'recognition.probing']"
    program = f"import sys, recognition.app; print({loaded})"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_services_come_and_go_without_a_restart(gallery: Gallery) -> None:
    caller = Caller(app_of_squares(gallery, COMPREFACE_SERVICES="", COMPREFACE="1").test_client(), KEY)
    assert caller.ask("GET", SUBJECTS).json["code"] == 10  # type: ignore[index]
    service = services.add(gallery, "door", "recognition", client_keys.digest(KEY))
    caller.add("Ann")
    assert ok(caller.client.get("/samples?gallery=door"))["total"] == 1
    services.remove(gallery, service.id)
    assert caller.ask("GET", SUBJECTS).json["code"] == 10  # type: ignore[index]
    assert ok(caller.client.get("/samples?gallery=door"))["total"] == 1


def test_a_service_may_take_poor_examples(gallery: Gallery) -> None:
    for take_all in (False, True):
        key = KEY[:-1] + str(int(take_all))
        services.add(gallery, f"s{key[-1]}", "recognition", client_keys.digest(key), take_all=take_all)
        caller = Caller(app_of_squares(gallery, MIN_QUALITY="0.9").test_client(), key)
        answer = caller.ask("POST", "/recognition/faces?subject=Ann", file=ONE)
        assert answer.status_code == (201 if take_all else 400)
        if not take_all:
            assert answer.json["code"] == 28  # type: ignore[index]
            assert "too poor" in answer.json["message"]  # type: ignore[index]


def test_native_paths_stay_as_they_are(caller: Caller) -> None:
    assert ok(caller.client.get("/samples"))["total"] == 0
    for path in ("/api", "/api/v2/config", "/api/v10/config", "/administrators"):
        assert caller.client.get(path).json["code"] == "not_found"  # type: ignore[index]


def test_how_large_pictures_may_be(gallery: Gallery) -> None:
    caller = Caller(app_of_squares(gallery, MAX_BODY_BYTES="123456").test_client(), None)
    assert caller.ok("GET", "/config") == {"clientMaxFileSize": 123456, "clientMaxBodySize": 123456}


@pytest.mark.parametrize("path", ["/api/v1/config/", "//api/v1/config", "/api//v1///config//"])
def test_slashes_too_many(caller: Caller, path: str) -> None:
    for told in ({"PATH_INFO": path, "RAW_URI": path}, {"PATH_INFO": path, "RAW_URI": ""}):
        assert caller.client.get("/", environ_overrides=told).status_code == 200


@pytest.mark.parametrize("name", ["/", "a/", "/a", "a//b", "//"])
def test_slashes_of_a_name_are_its_own(caller: Caller, name: str) -> None:
    """As examples' subjects may have them; without them another one, or everybody, would be deleted."""
    for each in (name, "a", "b"):
        caller.add(each)
    path = f"{SUBJECTS}/{quote(name, safe='')}"
    assert caller.ok("DELETE", path) == {"subject": name}
    assert caller.ok("GET", SUBJECTS) == {"subjects": ["a", "b"]}
    assert caller.ask("DELETE", path).json["code"] == 42  # type: ignore[index]
    assert caller.ask("DELETE", "/recognition/faces/%2F").status_code in (400, 404)
    assert caller.ok("GET", SUBJECTS) == {"subjects": ["a", "b"]}


def test_options_that_a_call_does_not_have_are_passed_over(caller: Caller) -> None:
    path = "/recognition/faces?subject=A&limit=-1&status=x&prediction_count=0"
    assert caller.ask("POST", path, file=ONE).status_code == 201


def test_a_name_with_a_nul_is_nobodys(caller: Caller) -> None:
    assert caller.ok("GET", "/recognition/faces?subject=%00")["faces"] == []


# --- pages and hosts


def test_pages_of_any_site_may_call_it_and_the_native_service_no_more_than_before(caller: Caller) -> None:
    origin = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    for path in ("/config", "/unknown"):
        assert caller.ask("GET", path, headers=origin).headers["Access-Control-Allow-Origin"] == "*"
    assert caller.ask("POST", SUBJECTS, json={"subject": "Ann"}, headers=origin).status_code == 201
    native = caller.client.post("/clear-samples", headers=origin)
    assert native.status_code == 403 and "Access-Control-Allow-Origin" not in native.headers
    asks = {**origin, "Access-Control-Request-Method": "POST"}
    assert "Access-Control-Allow-Origin" not in caller.client.options("/clear-samples", headers=asks).headers


def test_hosts_are_looked_at(caller: Caller) -> None:
    answer = caller.ask("GET", "/config", headers={"Host": "evil.example"})
    assert answer.status_code == 421 and set(answer.json or {}) == {"message", "code"}


# --- the log, the metrics, and the limit of requests


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.fields for record in caplog.records if record.message == "answered"]  # type: ignore[attr-defined]


def test_the_log_names_the_service_and_never_a_key_or_a_subject(
    caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        image_id = caller.add("Aardvark")
        caller.ask("PUT", f"{SUBJECTS}/Aardvark", json={"subject": "Ann"})
        Caller(caller.client, None).ask("GET", f"/static/{RECOGNITION}/images/{image_id}")
        caller.ask("DELETE", f"{SUBJECTS}/Nobody")
    told = lines(caplog)
    assert [line["key"] for line in told] == 4 * ["recognition"]
    assert [line["status"] for line in told] == [201, 200, 200, 404]
    assert told[0]["route"] == "/api/v1/recognition/faces" and told[0]["faces"] == 1
    assert not re.search(f"{RECOGNITION}|{image_id}|Aardvark", repr(told))
    metrics = caller.client.get("/metrics").text
    assert 'route="/api/v1/static/<key>/images/<image_id>",status="200"' in metrics
    assert RECOGNITION not in metrics


def test_each_service_has_a_limit_of_requests(gallery: Gallery) -> None:
    caller = Caller(app_of_squares(gallery, RATE_LIMIT_PER_MINUTE="2").test_client())
    assert [caller.ask("GET", SUBJECTS).status_code for _ in range(2)] == [200, 200]
    refused = caller.ask("GET", SUBJECTS)
    assert refused.status_code == 429 and set(refused.json or {}) == {"message", "code"}
    assert int(refused.headers["Retry-After"]) > 0
    assert Caller(caller.client, None).ask("GET", "/config").status_code == 200


# --- what fails

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Failing(Embedder):
    """Fails instead of embedding."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def embed(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        raise self.failure


def failing(gallery: Gallery, failure: Exception) -> Caller:
    settings = read({"MIN_QUALITY": "0", "COMPREFACE_SERVICES": SERVICES})
    app = create_app(settings, detector=detector, embedder=Failing(failure), gallery=gallery)
    return Caller(app.test_client())


def test_what_may_pass_is_a_503(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    caller = failing(gallery, EmbeddingUnavailable("It is down."))
    for path in ("/recognition/recognize", "/recognition/faces?subject=Ann"):
        answer = caller.ask("POST", path, file=ONE)
        assert (answer.status_code, answer.json) == (503, PLEASE_TRY_AGAIN)
        assert int(answer.headers["Retry-After"]) > 0
    assert "embedding_unavailable: It is down." in caplog.text
    assert caller.ok("GET", SUBJECTS) == {"subjects": []}


def test_a_database_that_is_gone_is_a_503(tmp_path: Path, empty_sqlite: Path) -> None:
    file = tmp_path / "gallery.sqlite3"
    file.write_bytes(empty_sqlite.read_bytes())
    gallery = open_gallery(f"sqlite:///{file}", lock_timeout_s=1)
    caller = Caller(app_of_squares(gallery).test_client())
    file.unlink()
    for key in (RECOGNITION, KEY):  # of the settings, and one that is looked up
        answer = Caller(caller.client, key).ask("GET", SUBJECTS)
        assert (answer.status_code, answer.json) == (503, PLEASE_TRY_AGAIN)
    gallery.close()


def test_what_nobody_has_foreseen_is_a_400_and_in_the_log(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    answer = failing(gallery, RuntimeError("secret")).ask("POST", "/recognition/recognize", file=ONE)
    assert (answer.status_code, answer.json) == (400, PLEASE_TRY_AGAIN)
    assert "secret" in caplog.text


def test_a_client_that_has_gone_is_told_to_the_log(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        failing(gallery, ClientGone("It has.")).ask("POST", "/recognition/recognize", file=ONE)
    assert [(line["status"], line["code"]) for line in lines(caplog)] == [(499, "client_gone")]


def test_overload_is_a_503_before_the_body_is_read(gallery: Gallery) -> None:
    answers: list[TestResponse] = []

    def busy(pixels: NDArray[np.uint8]) -> list[Face]:
        """While one picture is searched, another one comes."""
        if not answers:
            with ThreadPoolExecutor(1) as pool:
                answers.append(pool.submit(caller.ask, "POST", "/recognition/recognize", file=ONE).result())
        return detector(pixels)

    settings = {"MIN_QUALITY": "0", "COMPREFACE_SERVICES": SERVICES, "MAX_RUNNING": "1", "MAX_WAITING": "0"}
    app = create_app(read(settings), detector=busy, embedder=Embedder(), gallery=gallery)
    caller = Caller(app.test_client())
    assert caller.ask("POST", "/recognition/recognize", file=ONE).status_code == 200
    assert (answers[0].status_code, answers[0].json) == (503, PLEASE_TRY_AGAIN)
    assert int(answers[0].headers["Retry-After"]) > 0


# --- several at once


def test_examples_of_one_new_subject_that_come_at_once_are_one_subjects(
    gallery: Gallery, other: Gallery
) -> None:
    callers = [Caller(app_of_squares(each).test_client()) for each in (gallery, other)]

    def add(number: int) -> str:
        return callers[number % 2].add(("Ann", "ANN")[number // 2 % 2], Square(10 * number))

    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(add, range(8)))
    assert len(set(ids)) == 8
    (subject,) = callers[0].ok("GET", SUBJECTS)["subjects"]
    assert subject.casefold() == "ann"
    listed = callers[1].ok("GET", "/recognition/faces")["faces"]
    assert sorted(face["image_id"] for face in listed) == sorted(ids)


def test_a_subject_is_searched_for_by_all_workers_at_once(gallery: Gallery, other: Gallery) -> None:
    one, two = (Caller(app_of_squares(each).test_client()) for each in (gallery, other))
    for caller, peer in ((one, two), (two, one)):
        image_id = caller.add("Ann")
        sent = {"file": png(Square())}
        (face,) = peer.ok("POST", "/recognition/recognize", **sent)["result"]
        assert face["subjects"][0]["subject"] == "Ann"
        peer.ok("DELETE", f"/recognition/faces/{image_id}")
        (face,) = caller.ok("POST", "/recognition/recognize", **sent)["result"]
        assert face["subjects"] == []
