"""Every status, code and text of CompreFace's dialect, by what a client sends: bytes in, JSON out."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from recognition.gallery import open_gallery
from squares import (
    KEYS,
    NONE,
    ONE,
    RECOGNITION,
    UNKNOWN,
    Caller,
    Square,
    app_of_squares,
    png,
    unit,
    uploaded,
)

TWO = png(Square(50, 60), Square(90, 40))
NOBODY = "00000000-0000-4000-8000-000000000000"  # the id of no example
FACES, SUBJECTS = "/recognition/faces", "/recognition/subjects"
RECOGNISE, DETECT, VERIFY = "/recognition/recognize", "/detection/detect", "/verification/verify"
EMPTY = None  # instead of code and text: a body without a byte


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Caller]:
    file = tmp_path_factory.mktemp("errors") / "gallery.sqlite3"
    file.write_bytes(empty_sqlite.read_bytes())
    with closing(open_gallery(f"sqlite:///{file}", lock_timeout_s=5)) as gallery:
        caller = Caller(app_of_squares(gallery).test_client())
        caller.add("Ann")
        yield caller


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Case:
    """A request, and how it is refused."""

    method: str
    path: str
    status: int
    code: int | None
    message: str | None
    sent: dict[str, Any] = field(default_factory=dict)
    key: str | None = RECOGNITION


def bad(path: str, code: int | None, message: str | None, *, method: str = "POST", **sent: Any) -> Case:
    key = sent.pop("key", next(key for kind, key in KEYS.items() if path.startswith(f"/{kind}")))
    return Case(method, path, 400, code, message, sent, key)


def missing(path: str, code: int, message: str, **more: Any) -> Case:
    return replace(bad(path, code, message, **more), status=404)


def data_of(body: str, **more: Any) -> dict[str, Any]:
    return {"data": body, "content_type": "application/json", **more}


NO_FACE = (28, "No face is found in the given image")
NOT_BASE64 = (21, "Provided value is not Base64")
LIMIT = (26, "Limit should be equal or greater than 0; ")
COUNT = (26, "prediction_count should be equal or greater than 1; ")
BLANK_SUBJECT = (26, "Subject name is empty; ")
NO_SUBJECT = (26, "Subject name cannot be empty")
LONG_SUBJECT = (26, "Subject name size must be between 1 and 50")
CHARACTERS = (36, "The name cannot contain the following special characters: ';', '/', '\\'")
TWO_FACES = (31, "More than one face in the source image")
WRONG_ID = (44, "Image Id is incorrect")
UNFORESEEN = (0, "Something went wrong, please try again")

# Calls that take a picture in the part, or the field, `file`.
PICTURE_CALLS = {
    "recognise": RECOGNISE,
    "detect": DETECT,
    "add": f"{FACES}?subject=Bob",
    "verify an example": f"{FACES}/{NOBODY}/verify",
}


def with_threshold(path: str, value: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}det_prob_threshold={value}"


def about_pictures() -> Iterator[tuple[str, Case]]:
    for call, path in PICTURE_CALLS.items():
        yield f"{call}, no part", bad(path, 34, "Required part file is missing", form={"x": "y"})
        yield (
            f"{call}, a field, not a file",
            bad(path, 34, "Required part file is missing", form={"file": "x"}),
        )
        for name in ("x.txt", "x", "photo.jpg.exe", "Foto Ä.pdf", "jpg"):
            refusal = (21, f"File [{name}] has an unavailable extension")
            yield f"{call}, called {name}", bad(path, *refusal, file=ONE, name=name)
        for what, data in {
            "no face": NONE,
            "no picture": b"no picture at all",
            "nothing": b"",
            "half a picture": ONE[: len(ONE) // 3],
        }.items():
            yield f"{call}, {what}", bad(path, *NO_FACE, file=data)
            if data:
                yield f"{call}, {what}, JSON", bad(path, *NO_FACE, json={"file": b64(data)})
        for value in ("data:image/png;base64," + b64(ONE), "%%%", "Ünsinn", "a.b"):
            yield f"{call}, {value[:22]}", bad(path, *NOT_BASE64, json={"file": value})
        yield f"{call}, no field", bad(path, 5, "Field file cannot be empty", json={})
        yield f"{call}, field of null", bad(path, 5, "Field file cannot be empty", json={"file": None})
        for body in (
            "{",
            "",
            "null",
            "[]",
            '"x"',
            '{"file": [1]}',
            '{"file": {}}',
            b"\xff\xfe{".decode("latin-1"),
        ):
            yield f"{call}, body {body!r}", bad(path, EMPTY, None, **data_of(body))
        for threshold in ("1.5", "-0.1", "NaN", "1", "1.0"):
            yield f"{call}, threshold {threshold}", bad(with_threshold(path, threshold), *NO_FACE, file=ONE)
        yield f"{call}, threshold x", bad(with_threshold(path, "x"), EMPTY, None, file=ONE)
        if call != "add":
            yield f"{call}, limit", bad(f"{path}?limit=-1", *LIMIT, file=ONE)
            yield f"{call}, limit in the form", bad(path, *LIMIT, file=ONE, form={"limit": "-1"})
            yield f"{call}, limit, JSON", bad(f"{path}?limit=-1", *LIMIT, json={"file": b64(ONE)})
            for wrong in ("limit=x", "limit=1.5", "limit=99999999999", "status=maybe"):
                yield f"{call}, {wrong}", bad(f"{path}?{wrong}", EMPTY, None, file=ONE)


def about_verification() -> Iterator[tuple[str, Case]]:
    for part, other in (("source_image", "target_image"), ("target_image", "source_image")):
        text = f"Required part {part} is missing"
        yield f"verify, no {part}", bad(VERIFY, 34, text, form={other: ONE})
        json_text = f"Field {part} cannot be empty"
        yield f"verify, no {part}, JSON", bad(VERIFY, 5, json_text, json={other: b64(ONE)})
        yield f"verify, {part} null", bad(VERIFY, 5, json_text, json={other: b64(ONE), part: None})
        for what, data in {"no face": NONE, "no picture": b"no picture"}.items():
            yield f"verify, {part} has {what}", bad(VERIFY, *NO_FACE, form={other: ONE, part: data})
            sent = {other: b64(ONE), part: b64(data)}
            yield f"verify, {part} has {what}, JSON", bad(VERIFY, *NO_FACE, json=sent)
        sent = {other: b64(ONE), part: "data:image/png;base64," + b64(ONE)}
        yield f"verify, {part} a data URI", bad(VERIFY, *NOT_BASE64, json=sent)
    yield (
        "verify, two in the source",
        bad(VERIFY, *TWO_FACES, form={"source_image": TWO, "target_image": ONE}),
    )
    sent = {"source_image": b64(TWO), "target_image": b64(ONE)}
    yield "verify, two in the source, JSON", bad(VERIFY, *TWO_FACES, json=sent)
    yield "verify, limit", bad(f"{VERIFY}?limit=-1", *LIMIT, form={"source_image": ONE, "target_image": ONE})
    yield "verify, broken", bad(VERIFY, EMPTY, None, **data_of("{"))


def about_subjects() -> Iterator[tuple[str, Case]]:
    for method, path in (("POST", SUBJECTS), ("PUT", f"{SUBJECTS}/Ann")):
        for what, refusal, value in (
            ("blank", NO_SUBJECT, "  "),
            ("null", NO_SUBJECT, None),
            ("long", LONG_SUBJECT, 51 * "x"),
            ("a semicolon", CHARACTERS, "a;b"),
            ("a slash", CHARACTERS, "a/b"),
            ("a backslash", CHARACTERS, "a\\b"),
        ):
            yield f"{method} {what}", bad(path, *refusal, method=method, json={"subject": value})
        yield f"{method} nothing", bad(path, *NO_SUBJECT, method=method, json={})
        for body in ("{", "", "[]", '{"subject": []}', '{"subject": {}}'):
            yield f"{method} {body}", bad(path, EMPTY, None, method=method, **data_of(body))
    for name in ("Ann", "ANN", "ann"):
        yield f"POST {name} again", bad(SUBJECTS, 43, "Subject already exists", json={"subject": name})
    unknown = (42, "Subject Nobody not found")
    yield "PUT unknown", missing(f"{SUBJECTS}/Nobody", *unknown, method="PUT", json={"subject": "x"})
    yield "DELETE unknown", missing(f"{SUBJECTS}/Nobody", *unknown, method="DELETE")


def about_examples() -> Iterator[tuple[str, Case]]:
    yield "add, no subject", bad(FACES, 33, "Required parameter subject is missing", file=ONE)
    yield (
        "add, no subject, JSON",
        bad(FACES, 33, "Required parameter subject is missing", json={"file": b64(ONE)}),
    )
    for blank in ("", "%20", "%09%20"):
        yield f"add, blank {blank}", bad(f"{FACES}?subject={blank}", *BLANK_SUBJECT, file=ONE)
    yield "add, two faces", bad(f"{FACES}?subject=Bob", *TWO_FACES, file=TWO)
    yield "add, two faces, JSON", bad(f"{FACES}?subject=Bob", *TWO_FACES, json={"file": b64(TWO)})
    text = f"Image {NOBODY} not found"
    yield "delete an unknown example", missing(f"{FACES}/{NOBODY}", 44, text, method="DELETE")
    yield "verify an unknown example", missing(f"{FACES}/{NOBODY}/verify", *WRONG_ID, file=ONE)
    yield (
        "verify an unknown example, JSON",
        missing(f"{FACES}/{NOBODY}/verify", *WRONG_ID, json={"file": b64(ONE)}),
    )
    yield "delete by no id", bad(f"{FACES}/no-id", EMPTY, None, method="DELETE")
    yield "verify by no id", bad(f"{FACES}/no-id/verify", EMPTY, None, file=ONE)
    yield "show by no id", bad(f"{FACES}/no-id/img", EMPTY, None, method="GET")
    for body in ("{", "", "{}", '"x"', '["no-id"]', "[[]]", f'["{NOBODY}", "no-id"]'):
        yield f"delete several, {body}", bad(f"{FACES}/delete", EMPTY, None, **data_of(body))
    for wrong, refusal in {"0": COUNT, "-1": COUNT, "x": (EMPTY, None), "1.5": (EMPTY, None)}.items():
        yield f"prediction_count {wrong}", bad(f"{RECOGNISE}?prediction_count={wrong}", *refusal, file=ONE)
    yield "detect_faces", bad(f"{RECOGNISE}?detect_faces=perhaps", EMPTY, None, file=ONE)


def about_embeddings() -> Iterator[tuple[str, Case]]:
    verify = f"/recognition/embeddings/faces/{NOBODY}/verify"
    empty = (5, "Field embeddings cannot be empty")
    for path in ("/recognition/embeddings/recognize", verify):
        for body in ({}, {"embeddings": []}, {"embeddings": None}):
            yield f"{path}, {body}", bad(path, *empty, json=body)
        for text in ("{", "", "[]", '{"embeddings": "x"}', '{"embeddings": [["x"]]}', '{"embeddings": {}}'):
            yield f"{path}, {text}", bad(path, EMPTY, None, **data_of(text))
    path = "/recognition/embeddings/recognize"
    yield (
        "embeddings, prediction_count",
        bad(f"{path}?prediction_count=0", *COUNT, json={"embeddings": [unit(1)]}),
    )
    for wrong in ([[1.0, 2.0]], [[]], [unit(1), [1.0]]):
        yield f"embeddings of another length, {wrong}", bad(path, *UNFORESEEN, json={"embeddings": wrong})
    yield "embeddings, unknown example", missing(verify, *WRONG_ID, json={"embeddings": [unit(1)]})
    verify = "/verification/embeddings/verify"
    full = {"source": unit(1), "targets": [unit(2)]}
    for name in full:
        for value in ([], None):
            text = f"Field {name} cannot be empty"
            yield f"embeddings, {name} {value}", bad(verify, 5, text, json={**full, name: value})
        others = {other: full[other] for other in full if other != name}
        yield f"embeddings, no {name}", bad(verify, 5, f"Field {name} cannot be empty", json=others)
        yield f"embeddings, {name} text", bad(verify, EMPTY, None, json={**full, name: "x"})
    yield (
        "embeddings to verify of another length",
        bad(verify, *UNFORESEEN, json={**full, "targets": [[1.0]]}),
    )


CASES: dict[str, Case] = {}
for about in (about_pictures, about_verification, about_subjects, about_examples, about_embeddings):
    for what, case in about():
        assert what not in CASES, what
        CASES[what] = case


@pytest.mark.parametrize("name", CASES)
def test_what_is_refused_is_refused_with_its_code_and_text(service: Caller, name: str) -> None:
    case = CASES[name]
    sent = dict(case.sent)
    if "form" in sent:
        sent["form"] = {
            part: uploaded(value) if isinstance(value, bytes) else value
            for part, value in sent["form"].items()
        }
    answer = replace(service, key=case.key).ask(case.method, case.path, **sent)
    assert answer.status_code == case.status, answer.data
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    if case.code is None:
        assert answer.data == b""
    else:
        assert answer.mimetype == "application/json"
        assert answer.json == {"message": case.message, "code": case.code}


def test_a_refusal_leaves_everything_as_it_was(service: Caller) -> None:
    """After all of the above."""
    assert service.ok("GET", SUBJECTS) == {"subjects": ["Ann"]}
    assert [face["subject"] for face in service.ok("GET", FACES)["faces"]] == ["Ann"]


# --- keys

# Each call, and of which kind of service it is.
CALLS: list[tuple[str, str, str]] = [
    ("POST", RECOGNISE, "Recognition"),
    ("GET", FACES, "Recognition"),
    ("POST", FACES, "Recognition"),
    ("DELETE", FACES, "Recognition"),
    ("DELETE", f"{FACES}/{NOBODY}", "Recognition"),
    ("POST", f"{FACES}/delete", "Recognition"),
    ("POST", f"{FACES}/{NOBODY}/verify", "Recognition"),
    ("GET", f"{FACES}/{NOBODY}/img", "Recognition"),
    ("GET", SUBJECTS, "Recognition"),
    ("POST", SUBJECTS, "Recognition"),
    ("DELETE", SUBJECTS, "Recognition"),
    ("PUT", f"{SUBJECTS}/Ann", "Recognition"),
    ("DELETE", f"{SUBJECTS}/Ann", "Recognition"),
    ("POST", "/recognition/embeddings/recognize", "Recognition"),
    ("POST", f"/recognition/embeddings/faces/{NOBODY}/verify", "Recognition"),
    ("POST", DETECT, "Detection"),
    ("POST", VERIFY, "Verification"),
    ("POST", "/verification/embeddings/verify", "Verification"),
]
each_call = pytest.mark.parametrize(("method", "path", "kind"), CALLS, ids=lambda value: str(value))


@each_call
def test_every_call_asks_for_a_key_of_its_kind_before_it_looks_at_anything_else(
    service: Caller, method: str, path: str, kind: str
) -> None:
    """Though nothing that the calls need is sent."""
    own = KEYS[kind.lower()]

    def answer(key: str | None) -> tuple[int, Any]:
        asked = replace(service, key=key).ask(method, path, data=b"{", content_type="application/json")
        return asked.status_code, asked.json

    missing_header = {"message": "Missing header: x-api-key", "code": 20}
    assert answer(None) == (400, missing_header)
    for key in (
        "",
        "x",
        own[:-1],
        own.replace("-", ""),
        f"{{{own}}}",
        f"urn:uuid:{own}",
        "g" + own[1:],
        f"{own}0",
    ):
        assert answer(key) == (400, {"message": "Service API key should be UUID", "code": 26}), key
    for key in (UNKNOWN, *(key for key in KEYS.values() if key != own)):
        text = f"{kind} service with API Key {key} not found"
        assert answer(key) == (404, {"message": text, "code": 10}), key


def test_a_key_is_the_same_in_capitals(service: Caller) -> None:
    for key in (RECOGNITION, RECOGNITION.upper()):
        assert replace(service, key=key).ok("GET", SUBJECTS) == {"subjects": ["Ann"]}


def test_a_key_is_taken_from_its_header_alone(service: Caller) -> None:
    for sent in (
        {"headers": {"Authorization": f"Bearer {RECOGNITION}"}},
        {"query_string": {"x-api-key": RECOGNITION}},
    ):
        assert replace(service, key=None).ask("GET", SUBJECTS, **sent).json["code"] == 20  # type: ignore[index]


def test_the_keys_of_the_native_service_are_none_here(service: Caller) -> None:
    assert service.client.get("/samples", headers={"x-api-key": RECOGNITION}).status_code in (200, 401)
    answer = service.client.get("/api/v1/recognition/subjects", headers={"Authorization": "Bearer x"})
    assert answer.json == {"message": "Missing header: x-api-key", "code": 20}


# --- what else may come

UNKNOWN_PATHS = [
    "/",
    "/recognition",
    "/recognition/nowhere",
    "/nowhere",
    "/recognition/faces/x/y/z",
    "/static/x",
]


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_an_unknown_path_is_told_in_the_same_form(service: Caller, path: str, method: str) -> None:
    answer = service.ask(method, path)
    assert answer.status_code in (400, 404)
    assert set(answer.json or {}) == {"message", "code"}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_wrong_method_is_told_in_the_same_form(service: Caller) -> None:
    for method, path in (("PATCH", SUBJECTS), ("GET", RECOGNISE), ("PUT", FACES), ("TRACE", DETECT)):
        answer = service.ask(method, path)
        assert answer.status_code in (400, 404, 405), answer.data
        assert set(answer.json or {}) == {"message", "code"}


def test_what_is_neither_a_form_nor_json_is_no_crash(service: Caller) -> None:
    for path in (RECOGNISE, f"{FACES}?subject=Bob"):
        for kind in (
            "text/plain",
            "image/jpeg",
            "application/x-www-form-urlencoded",
            "",
            "multipart/form-data",
        ):
            answer = service.ask("POST", path, data=ONE, content_type=kind)
            assert 400 <= answer.status_code < 500
            assert answer.data == b"" or set(answer.json or {}) == {"message", "code"}


def test_deep_and_long_json_is_refused(service: Caller) -> None:
    for body in (100_000 * "[", '{"file":' * 50_000, "9" * 100_000, '{"file": "' + 600_000 * "=" + '"}'):
        answer = service.ask("POST", RECOGNISE, **data_of(body))
        assert answer.status_code == 400
    deep = '{"embeddings": ' + 10_000 * "[" + 10_000 * "]" + "}"
    assert service.ask("POST", "/recognition/embeddings/recognize", **data_of(deep)).status_code == 400


@pytest.mark.parametrize("item", ["[],", "[1,2],", "1,", "{},"])
def test_what_takes_much_memory_to_read_is_refused_before_it_is_read(service: Caller, item: str) -> None:
    body = '{"embeddings":[' + item * 1_000_000 + "[]]}"
    tracemalloc.start()
    try:
        answer = service.ask("POST", "/recognition/embeddings/recognize", **data_of(body))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status_code, set(answer.json or {})) == (400, {"message", "code"})
    assert most < 10 * len(body)  # read, it would take 50 times as much


def test_numbers_that_are_none_are_refused(service: Caller) -> None:
    for number in ("NaN", "Infinity", "1e999", "-1e999"):
        body = f'{{"embeddings": [[{number}, 0, 0, 0]]}}'
        answer = service.ask("POST", "/recognition/embeddings/recognize", **data_of(body))
        assert answer.status_code == 400, number


def test_a_vector_of_zeros_has_no_direction_and_no_crash(service: Caller) -> None:
    answer = service.ask(
        "POST", "/recognition/embeddings/recognize", json={"embeddings": [[0.0, 0.0, 0.0, 0.0]]}
    )
    assert answer.status_code in (200, 400)
    assert b"NaN" not in answer.data


def test_no_answer_is_more_than_message_and_code(service: Caller) -> None:
    """No request id in the body, no path, no traceback; the id is in a header, as everywhere."""
    answer = service.ask("POST", RECOGNISE, file=b"x")
    assert json.loads(answer.data) == {"message": NO_FACE[1], "code": 28}
    assert answer.headers["X-Request-Id"]


def test_too_large_a_body_is_refused(empty_sqlite: Path, tmp_path: Path) -> None:
    file = tmp_path / "gallery.sqlite3"
    file.write_bytes(empty_sqlite.read_bytes())
    with closing(open_gallery(f"sqlite:///{file}", lock_timeout_s=5)) as gallery:
        app = app_of_squares(gallery, MAX_BODY_BYTES="100000", MAX_IMAGE_PIXELS="10000")
        caller = Caller(app.test_client())
        large = uploaded(bytes(200_000))
        for sent in ({"form": {"file": large}}, {"json": {"file": 200_000 * "A"}}):
            answer = caller.ask("POST", RECOGNISE, **sent)
            assert answer.status_code in (400, 413)
            assert set(answer.json or {}) == {"message", "code"}
        many_pixels = caller.ask("POST", RECOGNISE, file=ONE)  # 100 x 120
        assert many_pixels.status_code == 400
        assert set(many_pixels.json or {}) == {"message", "code"}


def test_a_chunked_body_without_an_end_of_its_own_is_bounded_too(service: Caller) -> None:
    stream = io.BytesIO(b"{" * 10)
    answer = service.ask(
        "POST",
        RECOGNISE,
        input_stream=stream,
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert (answer.status_code, answer.data) == (400, b"")
