"""Anything at all sent to CompreFace's dialect: no crash, and every error in its form. FUZZ=1: much more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from anything import almost, anything, fuzzed, images, multipart, numbers, pictures, texts
from recognition.compreface.calls import CALLS
from recognition.gallery import open_gallery
from squares import KEYS, ONE, RECOGNITION, Caller, app_of_squares

NOBODY = "00000000-0000-4000-8000-000000000000"
FORM = "multipart/form-data; boundary=limit"
FACES = "/recognition/faces"
# Werkzeug leaves the files of a form that it cannot read to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Caller]:
    file = tmp_path_factory.mktemp("fuzz") / "gallery.sqlite3"
    file.write_bytes(empty_sqlite.read_bytes())
    with closing(open_gallery(f"sqlite:///{file}", lock_timeout_s=5)) as gallery:
        app = app_of_squares(gallery, MAX_BODY_BYTES="100000", MAX_IMAGE_PIXELS="100000")
        caller = Caller(app.test_client())
        caller.add("Ann")
        yield caller


def check(answer: TestResponse) -> None:
    """Hold an answer against what every answer promises, whatever was sent."""
    assert answer.status_code < 500, answer.text
    assert answer.headers["X-Request-Id"]
    if answer.status_code == 400 and not answer.data:  # of a wrong type, or broken JSON
        return
    if answer.mimetype == "application/json":
        told = json.loads(answer.data, parse_constant=pytest.fail)  # neither NaN nor Infinity
        if answer.status_code >= 400 and "error" in told:  # of OAuth, RFC 6749
            assert set(told) == {"error", "error_description"}
        elif answer.status_code >= 400:
            assert set(told) == {"message", "code"}
            assert type(told["code"]) is int and isinstance(told["message"], str) and told["message"]
            assert "Traceback" not in answer.text
    else:
        assert answer.status_code == 200 and answer.mimetype.startswith(
            ("image/", "application/octet-stream")
        )


def of_its_kind(caller: Caller, path: str) -> Caller:
    """The same caller with the key that a path asks for."""
    return replace(caller, key=next((key for kind, key in KEYS.items() if kind in path), RECOGNITION))


vectors = st.lists(numbers, max_size=5) | st.lists(st.floats(-1, 1), min_size=4, max_size=4)
embeddings = almost({"embeddings": st.lists(vectors, max_size=3)}) | anything
subjects = almost({"subject": texts}) | anything
bodies: dict[str, st.SearchStrategy[Any]] = {
    "POST /recognition/recognize": almost({"file": images}) | anything,
    f"POST {FACES}?subject=Bob": almost({"file": images}) | anything,
    f"POST {FACES}/delete": st.lists(st.uuids().map(str) | texts, max_size=3) | anything,
    f"POST {FACES}/{NOBODY}/verify": almost({"file": images}) | anything,
    "POST /recognition/subjects": subjects,
    "PUT /recognition/subjects/Ann": subjects,
    "POST /recognition/embeddings/recognize": embeddings,
    f"POST /recognition/embeddings/faces/{NOBODY}/verify": embeddings,
    "POST /detection/detect": almost({"file": images}) | anything,
    "POST /verification/verify": almost({"source_image": images, "target_image": images}) | anything,
    "POST /verification/embeddings/verify": almost({"source": vectors, "targets": st.lists(vectors)})
    | anything,
}


@fuzzed
@given(st.data())
@pytest.mark.parametrize("call", bodies)
def test_json_bodies(caller: Caller, call: str, data: st.DataObject) -> None:
    body = json.dumps(data.draw(bodies[call])).encode()
    damage = data.draw(st.none() | st.tuples(st.integers(0, len(body)), st.binary(max_size=3)))
    if damage:
        body = body[: damage[0]] + damage[1] + body[damage[0] :]
    method, path = call.split(" ")
    check(of_its_kind(caller, path).ask(method, path, data=body, content_type="application/json"))


OPTIONS = [
    "limit",
    "det_prob_threshold",
    "prediction_count",
    "face_plugins",
    "status",
    "detect_faces",
    "subject",
]
values = (
    texts
    | numbers.map(str)
    | st.sampled_from(["", "true", "0.5", "landmarks,calculator", "1", "-0", "1_0", "٣"])
)
options = st.dictionaries(st.sampled_from([*OPTIONS, "page", "size", "sort"]) | texts, values, max_size=4)
files = st.lists(
    st.tuples(
        st.sampled_from(["file", "source_image", "target_image"]) | texts, pictures | st.just(ONE), texts
    ),
    max_size=3,
)
PICTURES = [
    "/recognition/recognize",
    FACES,
    f"{FACES}/{NOBODY}/verify",
    "/detection/detect",
    "/verification/verify",
]


@fuzzed
@given(form=options, sent=files, damage=st.none() | st.tuples(st.integers(0, 500), st.binary(max_size=4)))
@example(form={"limit": "1", "subject": "Bob"}, sent=[("file", ONE, "x.png")], damage=None)
@pytest.mark.parametrize("path", PICTURES)
def test_forms(
    caller: Caller,
    path: str,
    form: dict[str, str],
    sent: list[tuple[str, bytes, str]],
    damage: tuple[int, bytes] | None,
) -> None:
    body = multipart(form, sent)
    if damage:
        body = body[: damage[0]] + damage[1] + body[damage[0] :]
    check(of_its_kind(caller, path).ask("POST", path, data=body, content_type=FORM))


@fuzzed
@given(query=options, picture=pictures | st.just(ONE))
@pytest.mark.parametrize("path", PICTURES)
def test_options_in_the_query(caller: Caller, path: str, query: dict[str, str], picture: bytes) -> None:
    parts = [(name, picture, "x.png") for name in ("file", "source_image", "target_image")]
    sane = {encodable(name): encodable(value) for name, value in query.items()}
    asked = {"query_string": sane, "data": multipart({}, parts), "content_type": FORM}
    check(of_its_kind(caller, path).ask("POST", path, **asked))


def encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@fuzzed
@given(query=options)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_lists(caller: Caller, method: str, query: dict[str, str]) -> None:
    sane = {encodable(name): encodable(value) for name, value in query.items()}
    check(caller.ask(method, FACES, query_string=sane))


METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"])


@fuzzed
@given(call=st.sampled_from(CALLS), method=METHODS | st.none(), part=texts, body=anything)
def test_parameters_of_paths(caller: Caller, call: Any, method: str | None, part: str, body: Any) -> None:
    path = "/".join(
        quote(encodable(part), safe="") if step.startswith("<") else step for step in call.path.split("/")
    )
    check(of_its_kind(caller, path).ask(method or call.method, path, json=body if method else None))


@fuzzed
@given(raw=st.binary(max_size=60), method=METHODS)
def test_raw_paths_and_queries(caller: Caller, raw: bytes, method: str) -> None:
    text = raw.decode("latin-1").replace("\n", "").replace("\r", "")
    for path in (
        f"/api/v1/{text}",
        f"/api/v1/recognition/subjects/{text}",
        f"/api/v1{FACES}/{text}",
        f"/api/v1{FACES}",
    ):
        places = {"PATH_INFO": path, "QUERY_STRING": text, "RAW_URI": ""}
        headers = {"x-api-key": RECOGNITION}
        check(
            caller.client.open("/", method=method, environ_overrides=places, headers=headers, buffered=True)
        )


@fuzzed
@given(
    key=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=80)
    | st.sampled_from([*KEYS.values()]),
    path=st.sampled_from([call.path for call in CALLS]),
)
def test_keys(caller: Caller, key: str, path: str) -> None:
    check(replace(caller, key=key).ask("GET", path))


def test_the_good_ones_are_among_them(caller: Caller) -> None:
    """What the above is made of is taken where it is whole."""
    caller.ok("DELETE", "/recognition/subjects")
    caller.add("Ann")
    body = multipart({"limit": "1"}, [("file", ONE, "x.png")])
    answer = caller.ask("POST", "/recognition/recognize", data=body, content_type=FORM)
    assert answer.status_code == 200 and answer.json["result"][0]["subjects"][0]["subject"] == "Ann"  # type: ignore[index]
