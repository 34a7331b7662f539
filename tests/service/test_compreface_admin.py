"""CompreFace's admin calls, as programs make them that set it up: who may, and what they get."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from fakes import app_of
from galleries import NOW, FakeClock
from recognition import client_keys
from recognition.audit import Audit
from recognition.compreface.sessions import AT_ONCE, METHOD, Door
from recognition.gallery import Gallery, galleries, logins, open_gallery, services
from serving import keys
from serving.errors import Overloaded

ANN = {"email": "Ann@Example.com", "password": "a long word", "firstName": "Ann", "lastName": "Ämter"}
BASIC = ("CommonClientId", "password")
ADMIN_KEY, ADMIN = keys.new("root", "admin")
OTHER_KEY, OTHER = keys.new("door", "enrol")
BOUND_KEY, BOUND = keys.new("bound", "admin", "lobby")
FAR, NEAR = {"REMOTE_ADDR": "203.0.113.7"}, {"REMOTE_ADDR": "192.168.1.9"}
NAMES = ("", "/api/v1")  # where the calls are


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def gallery(url: str, clock: FakeClock, log: Path) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock, audit=Audit(log))
    yield gallery
    gallery.close()


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return app_of(gallery, COMPREFACE="1").test_client()


@pytest.fixture
def guarded(gallery: Gallery) -> FlaskClient:
    """Where API_KEYS are set."""
    entries = " ".join(key.entry() for key in (ADMIN, OTHER, BOUND))
    return app_of(gallery, COMPREFACE="1", API_KEYS=entries).test_client()


def login(client: FlaskClient, prefix: str = "", **more: Any) -> TestResponse:
    form = {
        "grant_type": "password",
        "username": ANN["email"],
        "password": ANN["password"],
        **more.pop("form", {}),
    }
    return client.post(f"{prefix}/admin/oauth/token", data=form, **{"auth": BASIC, **more})


def signed_in(client: FlaskClient) -> FlaskClient:
    assert client.post("/admin/user/register", json=ANN).status_code == 201
    assert login(client).status_code == 200
    return client


def refused(answer: TestResponse, status: int, code: int) -> str:
    body: Any = answer.json
    assert (answer.status_code, sorted(body), body["code"]) == (status, ["code", "message"], code), body
    return str(body["message"])


def oauth_refused(answer: TestResponse, status: int, error: str) -> str:
    body: Any = answer.json
    assert (answer.status_code, body["error"]) == (status, error), answer.data
    assert sorted(body) == ["error", "error_description"]
    return str(body["error_description"])


@pytest.mark.parametrize("prefix", NAMES)
def test_a_program_sets_it_up(client: FlaskClient, gallery: Gallery, prefix: str) -> None:
    """With the cookie alone, as CompreFace wants it."""
    registered = client.post(f"{prefix}/admin/user/register", json={**ANN, "isAllowStatistics": True})
    assert (registered.status_code, registered.data) == (201, b"")
    token = login(client, prefix)
    body: Any = token.json
    assert token.status_code == 200
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("bearer", 2400, "all")
    cookie = token.headers["Set-Cookie"]
    assert cookie.startswith(f"CFSESSION={body['access_token']};")
    for part in ("HttpOnly", "SameSite=Strict", f"Path={prefix}/admin", "Max-Age=2400"):
        assert part in cookie
    app = client.post(f"{prefix}/admin/app", json={"name": "Frigate"})
    made: Any = app.json
    assert app.status_code == 201 and uuid.UUID(made["id"]) and made["name"] == "Frigate"
    assert (made["role"], made["owner"]["firstName"]) == ("OWNER", "Ann")
    assert client.get(f"{prefix}/admin/apps").json == [made]
    where = f"{prefix}/admin/app/{made['id']}"
    assert client.get(where).json == made
    told = {}
    for kind, name in (("RECOGNITION", "Front door"), ("DETECTION", "look"), ("VERIFY", "compare")):
        answer = client.post(f"{where}/model", json={"name": name, "type": kind})
        model: Any = answer.json
        assert (answer.status_code, model["name"], model["type"]) == (201, name, kind)
        service = services.find(gallery, client_keys.digest(model["apiKey"]))
        assert service is not None and (service.id, service.app) == (model["id"], made["id"])
        told[model.pop("apiKey")] = model
    assert client.get(f"{where}/models").json == list(told.values())
    assert galleries.names(gallery) == ["Front-door", "default"]
    opened = client.get("/api/v1/recognition/subjects/", headers={"x-api-key": next(iter(told))})
    assert (opened.status_code, opened.json) == (200, {"subjects": []})
    assert [client.get(f"{where}/model/{each['id']}").json for each in told.values()] == list(told.values())


def test_a_bearer_token_will_do(client: FlaskClient, gallery: Gallery) -> None:
    client.post("/admin/user/register", json=ANN)
    token: Any = login(client).json
    fresh = app_of(gallery, COMPREFACE="1").test_client()
    with_token = {"Authorization": f"Bearer {token['access_token']}"}
    assert fresh.get("/admin/apps", headers=with_token).json == []
    assert fresh.get("/admin/apps").status_code == 401


def test_names_keys_and_services_change(client: FlaskClient, gallery: Gallery) -> None:
    signed_in(client)
    app: Any = client.post("/admin/app", json={"name": "one"}).json
    where = f"/admin/app/{app['id']}"
    model: Any = client.post(f"{where}/model", json={"name": "door", "type": "RECOGNITION"}).json
    place = f"{where}/model/{model['id']}"
    renamed: Any = client.put(place, json={"name": "gate"}).json
    assert renamed["name"] == "gate" and "apiKey" not in renamed
    changed: Any = client.put(f"{place}/apikey").json
    assert changed["apiKey"] != model["apiKey"]
    assert services.find(gallery, client_keys.digest(model["apiKey"])) is None
    assert services.find(gallery, client_keys.digest(changed["apiKey"])) is not None
    assert client.put(where, json={"name": "two"}).json["name"] == "two"  # type: ignore[index]
    removed = client.delete(place)
    assert (removed.status_code, removed.data) == (200, b"")
    assert services.listed(gallery) == [] and "door" in galleries.names(gallery)
    client.post(f"{where}/model", json={"name": "gate", "type": "DETECTION"})
    assert client.delete(where).status_code == 200
    assert services.listed(gallery) == [] and client.get("/admin/apps").json == []


def test_what_is_refused_of_applications_and_services(client: FlaskClient, gallery: Gallery) -> None:
    signed_in(client)
    app: Any = client.post("/admin/app", json={"name": "one"}).json
    other: Any = client.post("/admin/app", json={"name": "two"}).json
    where = f"/admin/app/{app['id']}"
    model: Any = client.post(f"{where}/model", json={"name": "door", "type": "VERIFY"}).json
    nowhere = str(uuid.uuid4())
    assert refused(client.post("/admin/app", json={"name": "one"}), 400, 17) == "Name one is not unique"
    refused(client.put(where, json={"name": "two"}), 400, 17)
    refused(client.post(f"{where}/model", json={"name": "door", "type": "VERIFY"}), 400, 17)
    for name, code in (("", 26), ("  ", 26), ("x" * 51, 26), ("a/b", 36), ("a;b", 36), ("a\\b", 36)):
        refused(client.post("/admin/app", json={"name": name}), 400, code)
        refused(client.put(where, json={"name": name}), 400, code)
        refused(client.post(f"{where}/model", json={"name": name, "type": "VERIFY"}), 400, code)
        refused(client.put(f"{where}/model/{model['id']}", json={"name": name}), 400, code)
    for kind in ("", "FACES", "R"):
        refused(client.post(f"{where}/model", json={"name": "x", "type": kind}), 400, 26)
    for method, path, sent in (
        ("GET", "", None),
        ("PUT", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "/models", None),
        ("POST", "/model", {"name": "x", "type": "VERIFY"}),
        ("GET", f"/model/{model['id']}", None),
    ):
        for app_id in (nowhere, "x", "%00", "%ED%A0%80"):
            answer = client.open(f"/admin/app/{app_id}{path}", method=method, json=sent)
            assert answer.status_code == 404 and answer.json["code"] == 2, (method, path)  # type: ignore[index]
    for place in (f"{where}/model/{nowhere}", f"/admin/app/{other['id']}/model/{model['id']}"):
        for method in ("GET", "DELETE"):
            refused(client.open(place, method=method), 404, 10)
        refused(client.put(place, json={"name": "x"}), 404, 10)
        refused(client.put(f"{place}/apikey"), 404, 10)
    assert [each.name for each in services.listed(gallery)] == ["door"]


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b'{"name": 7}', b'{"name": "a\\u0000"}', b"[" * 9000, b'"\\ud800"']
)
def test_what_is_no_json_gets_an_empty_answer(client: FlaskClient, body: bytes) -> None:
    signed_in(client)
    answer = client.post("/admin/app", data=body, content_type="application/json")
    assert (answer.status_code, answer.data) == (400, b"")


# --- who may register


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"email": ""}, 5),
        ({"email": None}, 5),
        ({"password": " "}, 5),
        ({"email": "ann"}, 22),
        ({"email": "a b@c"}, 22),
        ({"firstName": ""}, 26),
        ({"lastName": "x" * 51}, 26),
        ({"password": "x" * 1001}, 26),
    ],
)
def test_what_nobody_can_register_with(
    client: FlaskClient, gallery: Gallery, changed: Any, code: int
) -> None:
    refused(client.post("/admin/user/register", json={**ANN, **changed}), 400, code)
    assert logins.registered(gallery) is None


def test_nobody_registers_after_the_first(client: FlaskClient, gallery: Gallery) -> None:
    client.post("/admin/user/register", json=ANN)
    again = refused(client.post("/admin/user/register", json={**ANN, "password": "another"}), 400, 4)
    assert again == "This email already registered"
    refused(client.post("/admin/user/register", json={**ANN, "email": "ben@example.com"}), 400, 9)
    known = logins.registered(gallery)
    assert known is not None and known[0].email == "ann@example.com"


@pytest.mark.parametrize(
    "elsewhere",
    [{"environ_base": FAR}, {"environ_base": NEAR, "headers": {"X-Forwarded-For": "203.0.113.7"}}],
)
def test_without_keys_it_answers_nearby_alone(client: FlaskClient, gallery: Gallery, elsewhere: Any) -> None:
    refused(client.post("/admin/user/register", json=ANN, **elsewhere), 403, 0)
    assert logins.registered(gallery) is None
    assert client.post("/admin/user/register", json=ANN, environ_base=NEAR).status_code == 201
    refused(login(client, **elsewhere), 403, 0)
    assert login(client, environ_base=NEAR).status_code == 200
    refused(client.get("/admin/apps", **elsewhere), 403, 0)
    assert client.get("/admin/apps", environ_base=NEAR).status_code == 200


def test_nobody_registers_where_keys_are_set(guarded: FlaskClient, gallery: Gallery) -> None:
    assert "API_KEYS" in refused(guarded.post("/admin/user/register", json=ANN), 400, 9)
    assert logins.registered(gallery) is None


def test_where_keys_are_set_the_password_is_one(guarded: FlaskClient, log: Path) -> None:
    for wrong in (OTHER_KEY, BOUND_KEY, "x", "", "password"):
        assert (
            oauth_refused(login(guarded, form={"password": wrong}), 400, "invalid_request")
            == "Bad credentials"
        )
    assert (
        login(guarded, form={"password": ADMIN_KEY, "username": "anybody"}, environ_base=FAR).status_code
        == 200
    )
    made = guarded.post("/admin/app", json={"name": "one"}, environ_base=FAR)
    assert made.status_code == 201
    assert guarded.get("/admin/user/me").json["email"] == "root"  # type: ignore[index]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["what"], line["who"], line["outcome"]) for line in lines[-4:]] == [
        ("login", "root", "begun"),
        ("login", "root", "done"),
        ("make_application", "root", "begun"),
        ("make_application", "root", "done"),
    ]
    assert sum(line["outcome"] == "failed" and line["code"] == "bad_credentials" for line in lines) == 5
    assert ADMIN_KEY not in log.read_text()


def test_a_session_is_worth_what_its_login_is(
    client: FlaskClient, guarded: FlaskClient, gallery: Gallery
) -> None:
    """Where keys are set later, those who have registered are out, and so is whose key was taken away."""
    client.post("/admin/user/register", json=ANN)
    ours: Any = login(client).json
    theirs: Any = login(guarded, form={"password": ADMIN_KEY}).json

    def status(of: FlaskClient, session: Any) -> int:
        fresh = of.application.test_client()
        return fresh.get(
            "/admin/apps", headers={"Authorization": f"Bearer {session['access_token']}"}
        ).status_code

    rotated = app_of(gallery, COMPREFACE="1", API_KEYS=keys.new("root", "admin")[1].entry()).test_client()
    assert (status(client, ours), status(client, theirs)) == (200, 401)
    assert (status(guarded, ours), status(guarded, theirs)) == (401, 200)
    assert (status(rotated, ours), status(rotated, theirs)) == (401, 401)
    logins.forget(gallery)
    assert (status(client, ours), status(guarded, theirs)) == (401, 401)


# --- logging in


def test_who_cannot_log_in(client: FlaskClient) -> None:
    oauth_refused(login(client), 400, "invalid_request")
    client.post("/admin/user/register", json=ANN)
    for form in ({"password": "x"}, {"password": ""}, {"username": "ben@example.com"}, {"username": ""}):
        assert oauth_refused(login(client, form=form), 400, "invalid_request") == "Bad credentials"
    oauth_refused(login(client, auth=None), 401, "unauthorized")
    oauth_refused(login(client, auth=("CommonClientId", "x")), 401, "invalid_client")
    for grant in ("", "refresh_token", "client_credentials"):
        oauth_refused(login(client, form={"grant_type": grant}), 400, "invalid_request")
    assert client.get("/admin/apps").status_code == 401


def test_the_form_may_be_of_any_kind(client: FlaskClient) -> None:
    client.post("/admin/user/register", json=ANN)
    form = {"grant_type": "password", "username": "ann@example.com", "password": ANN["password"]}
    for sent in ({"data": form, "content_type": "multipart/form-data"}, {"query_string": form}):
        assert client.post("/admin/oauth/token", auth=BASIC, **sent).status_code == 200


def test_tries_are_bounded(client: FlaskClient) -> None:
    client.post("/admin/user/register", json=ANN)  # is one, too
    for _ in range(9):
        oauth_refused(login(client, form={"password": "x"}), 400, "invalid_request")
    answer = login(client)
    assert answer.status_code == 429 and 0 < int(answer.headers["Retry-After"]) <= 60
    assert login(client, environ_base=NEAR).status_code == 200


def test_with_keys_those_who_fail_keep_nobody_out(guarded: FlaskClient) -> None:
    """Behind a proxy all come from one address."""
    for _ in range(10):
        oauth_refused(login(guarded, form={"password": "x"}), 400, "invalid_request")
    assert login(guarded, form={"password": "x"}).status_code == 429
    assert login(guarded, form={"password": ADMIN_KEY}).status_code == 200


def test_sessions_are_over_after_a_while_and_when_somebody_logs_out(
    client: FlaskClient, clock: FakeClock
) -> None:
    signed_in(client)
    clock.now = NOW + timedelta(seconds=2399)
    assert client.get("/admin/apps").status_code == 200
    clock.now = NOW + timedelta(seconds=2400)
    assert oauth_refused(client.get("/admin/apps"), 401, "unauthorized")
    again: Any = login(client).json
    gone = client.delete("/admin/oauth/token")
    assert gone.status_code == 200 and "CFSESSION=;" in gone.headers["Set-Cookie"]
    late = {"Authorization": f"Bearer {again['access_token']}"}
    assert client.get("/admin/apps", headers=late).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/apps"),
        ("POST", "/admin/app"),
        ("GET", "/admin/app/x/models"),
        ("POST", "/admin/app/x/model"),
        ("DELETE", "/admin/app/x"),
        ("PUT", "/admin/app/x/model/y/apikey"),
        ("GET", "/admin/user/me"),
        ("DELETE", "/admin/oauth/token"),
    ],
)
def test_all_else_needs_a_session(client: FlaskClient, gallery: Gallery, method: str, path: str) -> None:
    for prefix in NAMES:
        for headers in (
            {},
            {"Authorization": "Bearer x"},
            {"Cookie": "CFSESSION=x"},
            {"x-api-key": ADMIN_KEY},
        ):
            oauth_refused(client.open(prefix + path, method=method, headers=headers), 401, "unauthorized")


def test_few_wait_for_their_password_to_be_checked(gallery: Gallery) -> None:
    """However many addresses they come from: a thread that waits answers nobody else."""
    door = Door([])
    logins.register(gallery, "ann@example.com", "Ann", "A", generate_password_hash("right", METHOD))
    with Flask("x").test_request_context(), ExitStack() as others:
        for _ in range(AT_ONCE):
            assert door._few.acquire(blocking=False)
            others.callback(door._few.release)
        with pytest.raises(Overloaded):
            door.log_in(gallery, "ann@example.com", "right")
        others.close()
        assert door.log_in(gallery, "ann@example.com", "right")


# --- browsers


def test_another_name_is_refused(client: FlaskClient, gallery: Gallery) -> None:
    """A page whose name leads here (DNS rebinding) would be of the same origin."""
    for path in ("/admin/user/register", "/api/v1/admin/user/register"):
        assert client.post(path, json=ANN, base_url="http://evil.example.com/").status_code == 421
    assert logins.registered(gallery) is None


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_pages_of_other_sites_are_refused(client: FlaskClient, gallery: Gallery, headers: Any) -> None:
    refused(client.post("/admin/user/register", json=ANN, headers=headers), 403, 0)
    signed_in(client)
    for answer in (
        login(client, headers=headers),
        client.get("/admin/apps", headers=headers),
        client.post("/admin/app", json={"name": "x"}, headers=headers),
        client.delete("/admin/oauth/token", headers=headers),
    ):
        refused(answer, 403, 0)
        assert "Access-Control-Allow-Origin" not in answer.headers
    preflight = client.options("/admin/app", headers={**headers, "Access-Control-Request-Method": "POST"})
    assert "Access-Control-Allow-Origin" not in preflight.headers
    assert client.get("/admin/apps").json == []


def test_where_the_dialect_is_off_there_is_no_such_door(gallery: Gallery) -> None:
    for variables in ({}, {"COMPREFACE": "0"}):
        client = app_of(gallery, **variables).test_client()
        assert client.post("/admin/user/register", json=ANN).status_code == 404
    assert logins.registered(gallery) is None
