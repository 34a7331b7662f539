"""Which hosts both services answer to: a page whose name leads here (DNS rebinding) reads nothing."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest
from flask import Flask

from embedding import config as embedding_config
from embedding.app import create_app as create_embedding_app
from embedding.network import Network
from recognition.app import create_app
from recognition.config import SettingsError, read
from serving import keys
from serving.model import Model

NOTHING: Any = None
KEY, KEPT = keys.new("administrator", "admin")
MACHINE = socket.gethostname()
ALLOWED = "faces.example.com, .Door.example  NAS.home"


def recognition(**settings: str) -> Flask:
    return create_app(read(settings), detector=NOTHING, embedder=NOTHING, gallery=NOTHING)


def embedding(**settings: str) -> Flask:
    network = Network(Model("n", 2, 8, 1.0, (0.0, 1.0), "f"), NOTHING)
    return create_embedding_app(embedding_config.read(settings), network=network)


both = pytest.mark.parametrize("app", [recognition, embedding])


def status(app: Flask, host: str, path: str = "/health", method: str = "GET", **headers: str) -> int:
    environ = {"HTTP_HOST": host}  # as it was sent: the test client would not send all of these
    answer = app.test_client().open(path, method=method, headers=headers, environ_overrides=environ)
    if answer.status_code == 421 and method != "HEAD":
        assert answer.json is not None
        assert set(answer.json) == {"error", "code", "detail", "request_id"}
        assert answer.json["code"] == "misdirected_request"
        assert "ALLOWED_HOSTS" in answer.json["detail"]
    return answer.status_code


OWN = [
    "",  # of no browser
    "localhost",
    "LOCALHOST:6337",
    "localhost.",
    "door.localhost:80",
    "127.0.0.1:6337",
    "127.3.4.5",
    "[::1]:6337",
    "[::ffff:127.0.0.1]",
    "192.168.1.20:6337",
    "203.0.113.7",
    "[2001:db8::7]",
    MACHINE,
    f"{MACHINE.partition('.')[0].upper()}.local:6337",
    "balancer:5000",  # in compose.yaml
    "feature-extraction:5000",
    "face_detection",
    "balancer.internal:5000",
    "host.docker.internal:6337",
]
OTHERS = [
    "evil.example",
    "evil.example:6337",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil-localhost.example",
    "other-machine-of-this-network.local",
    "ai.",  # a top-level domain, in DNS
    "127.0.0.1, evil.example",
    "localhost evil.example",
    "evil.example/localhost",
    "user@localhost",
    "[evil.example]",
    "[::1].evil.example",
    "127.0.0.1:evil.example",
    "lo\xe9calhost",
    ".",
    ":80",
    "x" * 300 + ".example",
]


@both
def test_names_and_addresses_of_this_machine(app: Any) -> None:
    assert [host for host in OWN if status(app(), host) != 200] == []


@both
def test_no_other_name(app: Any) -> None:
    assert [host for host in OTHERS if status(app(), host) != 421] == []


@both
def test_names_that_are_allowed(app: Any) -> None:
    allowing = app(ALLOWED_HOSTS=ALLOWED)
    for host in (
        "faces.example.com",
        "FACES.example.com:8443",
        "door.example",
        "a.b.door.example",
        "nas.home.",
    ):
        assert status(allowing, host) == 200, host
    for host in (
        "x.faces.example.com",
        "example.com",
        "evildoor.example",
        "door.example.evil",
        "evil.example",
    ):
        assert status(allowing, host) == 421, host
    assert status(allowing, "localhost") == 200


@both
def test_no_call_answers_to_another_name(app: Any) -> None:
    built = app()
    for rule in built.url_map.iter_rules():
        path = re.sub(r"<.*?>", "x", rule.rule)
        for method in rule.methods or ():
            assert status(built, "evil.example", path, method) == 421, rule
    assert status(built, "evil.example", "/nowhere") == 421


def test_not_even_with_a_key_or_for_a_page_that_may_call() -> None:
    app = recognition(API_KEYS=KEPT.entry(), CORS_ORIGINS="https://door.example")
    assert status(app, "evil.example", "/export", Authorization=f"Bearer {KEY}") == 421
    preflight = {"Origin": "https://door.example", "Access-Control-Request-Method": "POST"}
    assert status(app, "evil.example", "/detect", "OPTIONS", **preflight) == 421


@pytest.mark.parametrize(
    "hosts",
    ["*", "*.example", "https://faces.example", "faces.example:443", "faces..example", "[::1]", "a/b"],
)
def test_hosts_that_are_none_stop_the_start(hosts: str) -> None:
    with pytest.raises(SettingsError, match="ALLOWED_HOSTS"):
        read({"ALLOWED_HOSTS": f"faces.example.com {hosts}"})
