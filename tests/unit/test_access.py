"""Who may call what: every route, with every scope, and what is refused before the body is read."""

from __future__ import annotations

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from flask import Flask
from PIL import Image

from recognition.app import create_app
from recognition.config import read
from recognition.errors import EmbeddingUnavailable
from recognition.faces import Face
from recognition.web import routes
from serving import access, documentation, health, keys
from serving.model import Model
from serving.routes import Route

KEYS = {scope: keys.new(f"the-{scope}", scope) for scope in keys.SCOPES}
ENTRIES = " ".join(key.entry() for _, key in KEYS.values())


class NoGallery:
    """Empty, and stays so."""

    def get(self, sample_id: str) -> None:
        return None

    def delete(self, sample_id: str) -> bool:
        return False

    def delete_named(self, name: str) -> int:
        return 0

    def clear(self) -> None:
        pass

    def count(self, name: str | None = None, person: str | None = None) -> int:
        return 0

    def page(self, **_: Any) -> list[Any]:
        return []


class NoEmbedder:
    """Never there."""

    def model(self, name: str | None = None) -> Model:
        raise EmbeddingUnavailable("It is down.")


def no_faces(_: np.ndarray) -> list[Face]:
    return []


def guarded(**settings: str) -> Flask:
    return create_app(
        read({"API_KEYS": ENTRIES} | settings),
        detector=no_faces,
        embedder=NoEmbedder(),  # type: ignore[arg-type]
        gallery=NoGallery(),  # type: ignore[arg-type]
    )


def with_key(scope: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[scope][0]}"}


PARTS = {
    "sample_id": "a",
    "person_id": "anybody",
    "name": "start.js",
    "filename": "app.js",
    "gallery": "other",
    "event_id": "0b4cba0e-6f37-4f0c-9b5a-7a2f6d1e8c11",
}
TABLE = (*routes.ROUTES, *health.ROUTES, *documentation.ROUTES)


def path_of(route: Route) -> str:
    return re.sub(r"<(?:path:)?(\w+)>", lambda part: PARTS[part[1]], route.path)


def test_every_route_says_what_it_asks_for() -> None:
    rules = {
        (method, rule.rule)
        for rule in guarded().url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert sorted(rules) == sorted((route.method, route.path) for route in TABLE)
    assert len({route.name for route in TABLE}) == len(TABLE)
    assert {route.scope for route in TABLE} <= {keys.OPEN, keys.ANY, *keys.SCOPES}
    openly = {route.path for route in TABLE if route.scope == keys.OPEN}
    assert openly == {"/", "/static/<path:filename>", "/health", "/openapi.json", "/docs", "/docs/<name>"}


def test_pictures_and_the_check_of_a_gallery_wait_in_the_queue() -> None:
    queued = {route.path for route in TABLE if route.queued}
    assert queued == {
        *("/face-recognition", "/draw", "/detect", "/verify", "/embeddings", "/events"),
        *("/update-samples", "/samples", "/corrections", "/doctor"),
    }


def test_a_route_that_was_forgotten_is_the_administrators() -> None:
    app = guarded()

    @app.get("/forgotten")
    def forgotten() -> str:
        return "ours"

    client = app.test_client()
    assert client.get("/forgotten").status_code == 401
    for scope in keys.SCOPES:
        status = client.get("/forgotten", headers=with_key(scope)).status_code
        assert status == (200 if scope == "admin" else 403)


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)
def test_each_call_with_each_scope(route: Route) -> None:
    client = guarded().test_client()
    asked, method, path = route.scope, route.method, path_of(route)
    answer = client.open(path, method=method, buffered=True)
    assert answer.status_code == (200 if asked == keys.OPEN else 401)
    for scope in keys.SCOPES:
        answer = client.open(path, method=method, headers=with_key(scope), buffered=True)
        let_in = asked in (keys.OPEN, keys.ANY, scope) or scope == "admin"
        assert (answer.status_code not in (401, 403)) == let_in
        if not let_in:
            assert answer.json is not None
            assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
            assert asked in answer.json["detail"]


WRONG = {
    "no key": {},
    "an empty one": {"Authorization": "Bearer "},
    "another": {"Authorization": "Bearer " + "x" * 43},
    "its hash": {"x-api-key": KEYS["admin"][1].digest.hex()},
    "its entry": {"x-api-key": KEYS["admin"][1].entry()},
    "its half": {"x-api-key": KEYS["admin"][0][:20]},
    "another scheme": {"Authorization": f"Basic {KEYS['admin'][0]}"},
    "no scheme": {"Authorization": KEYS["admin"][0]},
    "parameters": {"Authorization": f'Bearer token="{KEYS["admin"][0]}"'},
    "odd letters": {"x-api-key": "\xe9\xff"},
    "a cookie": {"Cookie": f"key={KEYS['admin'][0]}"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
def test_without_a_valid_key_nothing_is_told(headers: dict[str, str]) -> None:
    client = guarded().test_client()
    for path in ("/samples", "/nowhere", "/ready", "/metrics", f"/ready?key={KEYS['admin'][0]}"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json is not None
        assert set(answer.json) == {"error", "code", "detail", "request_id"}
        assert answer.json["code"] == "unauthorized"
        assert KEYS["admin"][0] not in answer.text
    assert client.get("/health", headers=headers).status_code == 200


def test_either_header_and_any_case_of_the_scheme() -> None:
    client = guarded().test_client()
    key = KEYS["enrol"][0]
    for headers in (
        {"x-api-key": key},
        {"Authorization": f"bearer {key}"},
        {"AUTHORIZATION": f"BEARER {key}"},
    ):
        assert client.get("/samples/count", headers=headers).json == {"count": 0}
    proxied = {"Authorization": "Basic eDp5", "X-API-Key": key}  # a proxy's own login in front
    assert client.get("/samples/count", headers=proxied).status_code == 200


def test_whoever_has_a_key_is_told_of_unknown_paths_and_methods() -> None:
    client = guarded().test_client()
    assert client.get("/nowhere", headers=with_key("monitor")).status_code == 404
    assert client.put("/detect", headers=with_key("monitor")).status_code == 405


def test_a_mere_get_can_be_kept_from_clearing() -> None:
    client = guarded(ALLOW_GET_CLEAR="0").test_client()
    answer = client.get("/clear-samples", headers=with_key("admin"))
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert "GET" not in answer.headers["Allow"]
    assert client.post("/clear-samples", headers=with_key("admin")).status_code == 200
    assert guarded().test_client().get("/clear-samples", headers=with_key("admin")).status_code == 200


NEAR = ["127.0.0.1", "127.8.9.10", "::1", "10.1.2.3", "172.16.0.1", "172.31.255.254", "192.168.1.20"]
NEAR += ["169.254.7.7", "fe80::1", "fe80::1%eth0", "fd00::7", "::ffff:192.168.1.20"]
FAR = ["8.8.8.8", "172.32.0.1", "192.169.0.1", "100.64.0.1", "2001:db8::1", "::ffff:8.8.8.8", "0.0.0.0"]
FAR += ["::", "unknown", "10.0.0.1:80", "10.1"]


def test_which_addresses_are_near() -> None:
    assert [address for address in NEAR if not access.is_near(address)] == []
    assert [address for address in FAR if access.is_near(address)] == []


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)
def test_without_keys_strangers_may_call_all_but_what_the_administrators_may_and_faces(route: Route) -> None:
    client = guarded(API_KEYS="").test_client()

    def refused(peer: str, **headers: str) -> bool:
        answer = client.open(
            path_of(route),
            method=route.method,
            headers=headers,
            environ_base={"REMOTE_ADDR": peer},
            buffered=True,
        )
        if answer.status_code != 403:
            return False
        assert answer.json is not None
        assert answer.json["code"] == "not_local"
        assert "API_KEYS" in answer.json["detail"]
        return True

    near = route.scope == keys.ADMIN or route.near
    for peer in ("192.168.1.20", "::1", ""):  # the last is that of a Unix socket
        assert not refused(peer)
    assert refused("8.8.8.8") == near
    assert refused("8.8.8.8", **{"X-Forwarded-For": "127.0.0.1"}) == near  # anybody can write that
    assert refused("127.0.0.1", **{"X-Forwarded-For": "8.8.8.8"}) == near
    assert refused("127.0.0.1", **{"X-Forwarded-For": "10.0.0.1, 8.8.8.8"}) == near
    assert not refused("127.0.0.1", **{"X-Forwarded-For": "192.168.1.20"})


def test_what_strangers_may_not_call_without_keys() -> None:
    """What destroys or reveals a whole gallery, or gives away what a face can be recognised by, or who
    was where.
    """
    assert {(route.method, route.path) for route in TABLE if route.scope == keys.ADMIN or route.near} == {
        ("GET", "/clear-samples"),
        ("POST", "/clear-samples"),
        ("DELETE", "/samples"),
        ("GET", "/export"),
        ("POST", "/import"),
        ("POST", "/galleries"),
        ("DELETE", "/galleries/<gallery>"),
        *((method, "/model-change") for method in ("GET", "POST", "DELETE")),
        ("GET", "/persons/<path:person_id>/export"),
        ("GET", "/samples/<path:sample_id>/face"),
        ("GET", "/events"),
        ("GET", "/events/<event_id>"),
        ("GET", "/events/<event_id>/picture"),
        ("DELETE", "/events"),
    }


def test_without_keys_a_route_that_was_forgotten_is_the_administrators() -> None:
    app = guarded(API_KEYS="")

    @app.get("/forgotten")
    def forgotten() -> str:
        return "ours"

    for peer, status in (("8.8.8.8", 403), ("127.0.0.1", 200)):
        answer = app.test_client().get("/forgotten", environ_base={"REMOTE_ADDR": peer})
        assert answer.status_code == status


def test_the_machine_itself_may_come_by_its_public_address() -> None:
    class Connection:
        """As gunicorn gives it."""

        def getsockname(self) -> tuple[str, int]:
            return ("203.0.113.7", 6337)

    client = guarded(API_KEYS="").test_client()
    for peer, status in (("203.0.113.7", 200), ("203.0.113.8", 403)):
        places = {"REMOTE_ADDR": peer, "gunicorn.socket": Connection()}
        assert client.post("/clear-samples", environ_base=places).status_code == status


def test_with_keys_an_administrator_may_come_from_anywhere() -> None:
    answer = (
        guarded()
        .test_client()
        .delete("/samples", headers=with_key("admin"), environ_base={"REMOTE_ADDR": "8.8.8.8"})
    )
    assert answer.status_code == 200


class Unread(io.RawIOBase):
    """A body that nobody may touch."""

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any) -> int:
        raise AssertionError("the body was read")


RECOGNISE = next(route for route in TABLE if (route.method, route.path) == ("POST", "/face-recognition"))


def send_unread(app: Flask, route: Route = RECOGNISE, **headers: str) -> tuple[int, Any, str | None]:
    answer = app.test_client().open(
        path_of(route),
        method=route.method,
        content_type="application/json",
        headers=headers,
        environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": "60000000"},
    )
    return answer.status_code, answer.json and answer.json["code"], answer.headers.get("Retry-After")


def test_the_body_of_a_stranger_is_not_read() -> None:
    assert send_unread(guarded()) == (401, "unauthorized", None)
    assert send_unread(guarded(), **with_key("enrol")) == (403, "forbidden", None)


@pytest.mark.parametrize("route", [route for route in TABLE if route.json], ids=lambda route: route.name)
def test_a_body_is_small_or_waits_for_its_turn(route: Route) -> None:
    """What is parsed takes many times its size in memory, in as many threads as there are."""
    if route.queued:
        return
    assert send_unread(guarded(API_KEYS=""), route) == (413, "body_too_large", None)


def test_each_key_has_a_limit_of_its_own_and_the_body_is_not_read() -> None:
    app = guarded(RATE_LIMIT_PER_MINUTE="2")
    client = app.test_client()
    for _ in range(2):
        assert client.get("/samples", headers=with_key("enrol")).status_code == 200
    status, code, retry_after = send_unread(app, **with_key("enrol"))  # whatever it may do
    assert (status, code) == (403, "forbidden")
    answer = client.get("/samples", headers=with_key("enrol"))
    assert answer.json is not None
    assert (answer.status_code, answer.json["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert client.get("/health", headers=with_key("enrol")).status_code == 200
    assert client.get("/samples", headers=with_key("admin")).status_code == 200
    assert client.get("/update-samples", headers=with_key("admin")).status_code == 200
    status, code, retry_after = send_unread(app, **with_key("admin"))
    assert (status, code) == (429, "rate_limited")
    assert retry_after is not None


def test_without_keys_each_address_has_a_limit() -> None:
    client = guarded(API_KEYS="", RATE_LIMIT_PER_MINUTE="1").test_client()
    for address, status in (("10.0.0.1", 200), ("10.0.0.2", 200), ("10.0.0.1", 429)):
        answer = client.get("/update-samples", environ_base={"REMOTE_ADDR": address})
        assert answer.status_code == status


def test_a_full_queue_answers_without_reading_the_body() -> None:
    arrived, release = threading.Event(), threading.Event()

    def slow_detector(_: np.ndarray) -> list[Face]:
        arrived.set()
        assert release.wait(30)
        return []

    app = create_app(
        read({"MAX_RUNNING": "1", "MAX_WAITING": "0"}),
        detector=slow_detector,
        embedder=None,  # type: ignore[arg-type]
        gallery=None,  # type: ignore[arg-type]
    )
    picture = io.BytesIO()
    Image.new("RGB", (20, 20)).save(picture, "PNG")
    picture.seek(0)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(app.test_client().post, "/detect", data={"file": (picture, "x.png")})
        assert arrived.wait(30)
        assert send_unread(app) == (429, "overloaded", "2")
        release.set()
        assert running.result(timeout=30).status_code == 200
    assert send_unread(app) == (500, "internal_error", None)  # it was read, now that there is room
