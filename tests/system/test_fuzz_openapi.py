"""Requests that nobody thought of, made of /openapi.json, to both services: a few, with FUZZ=1 many."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from PIL import Image
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from running import Pair, Service, running_pair, workers_of
from services import resident_mb
from serving import keys

LONG = bool(os.environ.get("FUZZ"))
EXAMPLES = 400 if LONG else 3
TIMEOUT_S = 60
GROWTH_LIMIT_MB = 40
KEY, KEPT = keys.new("fuzz", "admin")
WATCHER, WATCHES = keys.new("watcher", "monitor")
SECRET = "the-secret-between-the-services-0123456789"
CALLERS = {
    "detection": [
        {},
        {"x-api-key": "wrong"},
        {"x-api-key": WATCHER},
        *[{"Authorization": f"Bearer {KEY}"}] * 7,
    ],
    "extraction": [{}, {"Authorization": "Bearer wrong"}, *[{"Authorization": f"Bearer {SECRET}"}] * 8],
}


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, 160, 160, 3), np.uint8))
    return stream.getvalue()


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


schemathesis.openapi.format("binary", st.sampled_from([npy(), png()]) | st.binary(max_size=200))


@schemathesis.serializer("application/x-npy")
def as_it_is(_: schemathesis.SerializationContext, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Pair]:
    environment = {"API_KEYS": f"{KEPT.entry()} {WATCHES.entry()}", "EMBEDDING_SECRET": SECRET}
    with running_pair(tmp_path_factory.mktemp("fuzz"), models_dir, **environment) as pair:
        yield pair


def assert_contract(answer: requests.Response) -> None:
    """Hold an answer against what every answer promises, whatever was sent."""
    assert answer.status_code < 500, answer.text
    assert answer.headers["X-Request-Id"]
    if answer.status_code != 200:
        body = answer.json()
        assert set(body) == {"error", "code", "detail", "request_id"}
        assert all(isinstance(value, str) and value for value in body.values())
        assert body["request_id"] == answer.headers["X-Request-Id"]
        assert (body["error"] == "Invalid request.") == (answer.status_code == 400)
        assert ("Retry-After" in answer.headers) == (answer.status_code == 429)


def explore(service: Service, name: str, mode: GenerationMode) -> None:
    document = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    for found in document.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode), caller=st.sampled_from(CALLERS[name]))
        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=not LONG,
            phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def send(case: Case, caller: dict[str, str]) -> None:
            answer = requests.request(**case.as_transport_kwargs(headers=caller), timeout=TIMEOUT_S)
            assert_contract(answer)
            # a path that is no route's, such as one with a line break, asks for a key before it is a 404
            refused = [status_code_conformance] if answer.status_code == 401 else []
            case.validate_response(answer, checks=CHECKS, excluded_checks=refused)

        with suppress(Unsatisfiable):  # nothing can be wrong with a call without parameters or a body
            send()


@pytest.mark.parametrize("name", ["detection", "extraction"])
def test_whatever_is_sent_the_contract_holds_and_no_worker_dies_or_grows(guarded: Pair, name: str) -> None:
    service: Service = getattr(guarded, name)
    workers = workers_of(service)
    explore(service, name, GenerationMode.POSITIVE)
    warm = max(map(resident_mb, workers))
    explore(service, name, GenerationMode.NEGATIVE)
    assert workers_of(service) == workers
    after = max(map(resident_mb, workers))
    print(f"{name}: the largest worker has {warm:.0f} MB, after as much again {after:.0f} MB")
    assert not LONG or after - warm < GROWTH_LIMIT_MB
