"""The dialect of CompreFace at its edge: when it is on, paths, pages and the form of errors."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from dialect import SERVICES, client_of
from fakes import app_of, ok
from recognition.config import SettingsError, read
from recognition.gallery import Gallery

CONFIG = "/api/v1/config"


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return client_of(gallery)


def test_it_is_off_unless_it_is_set_or_has_services(gallery: Gallery) -> None:
    on = {"COMPREFACE": "1"}
    services = {"COMPREFACE_SERVICES": SERVICES}
    for settings, status in (({}, 404), (on, 200), (services, 200), ({**services, "COMPREFACE": "0"}, 404)):
        assert app_of(gallery, **settings).test_client().get(CONFIG).status_code == status, settings
    with pytest.raises(SettingsError, match="COMPREFACE_SERVICES"):
        read({"COMPREFACE_SERVICES": "R:recognition"})


def test_native_paths_stay_as_they_are(client: FlaskClient) -> None:
    assert ok(client.get("/samples"))["total"] == 0
    assert client.get("/api").status_code == client.get("/api/v2/config").status_code == 404
    assert client.get("/api/v2/config").json["code"] == "not_found"  # type: ignore[index]


def test_how_large_pictures_may_be(gallery: Gallery) -> None:
    client = client_of(gallery, MAX_BODY_BYTES="123456")
    assert ok(client.get(CONFIG)) == {"clientMaxFileSize": 123456, "clientMaxBodySize": 123456}


@pytest.mark.parametrize("path", ["/api/v1/config/", "//api/v1/config", "/api//v1///config//"])
def test_slashes_too_many(client: FlaskClient, path: str) -> None:
    assert client.get("/", environ_overrides={"PATH_INFO": path}).status_code == 200


def errors_of(answer: TestResponse) -> tuple[int, str, int]:
    assert answer.json is not None and set(answer.json) == {"message", "code"}
    return answer.status_code, answer.json["message"], answer.json["code"]


def test_unknown_paths_and_methods(client: FlaskClient) -> None:
    status, _, code = errors_of(client.get("/api/v1/unknown"))
    assert (status, code) == (404, 0)
    assert errors_of(client.post(CONFIG)) == (404, "Request method 'POST' not supported", 0)


def test_pages_of_any_site_may_call_it(client: FlaskClient) -> None:
    origin = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    asks = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    preflight = client.options("/api/v1/recognition/recognize", headers=asks)
    assert preflight.status_code == 204
    assert "x-api-key" in preflight.headers["Access-Control-Allow-Headers"].split(", ")
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    for path in (CONFIG, "/api/v1/unknown"):
        assert client.get(path, headers=origin).headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Origin" not in client.get("/samples", headers=origin).headers


def test_hosts_are_looked_at(client: FlaskClient) -> None:
    assert errors_of(client.get(CONFIG, headers={"Host": "evil.example"}))[0] == 421
