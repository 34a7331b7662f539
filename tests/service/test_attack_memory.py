"""Requests that are small to send and large to work on, and clients that do not wait for the answer."""

from __future__ import annotations

import base64
import io
import itertools
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from recognition import config
from recognition.app import create_app
from recognition.bounds import MAX_METADATA_BYTES
from recognition.faces import Box, Face
from recognition.gallery import Gallery, open_gallery
from recognition.web import routes
from recognition.web.wire import MAX_SAMPLES, MAX_SMALL_MARKS
from serving.bodies import MAX_PART_BYTES, MAX_PART_HEADERS, MAX_PARTS, MAX_SMALL_JSON_BYTES
from serving.errors import InvalidRequest
from serving.json_size import MAX_MARKS, check_size
from serving.model import Model
from serving.remarks import Picture
from serving.routes import Route

MODEL = Model("a model", 4, 8, 9.0, (0.0, 20.0), "fingerprint")
PIXELS = (20, 20, 3)
LARGE_FILE = 600_000  # bytes; Werkzeug itself keeps files of more than 500 KB on disk
NO_LANDMARKS = np.full((5, 2), np.nan, np.float32)


class Embedder:
    """Gives every crop the same vector, and counts the crops."""

    def __init__(self) -> None:
        self.crops = 0

    def model(self, name: str | None = None) -> Model:
        return MODEL

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        self.crops += len(crops)
        return np.full((len(crops), 4), 5, np.float32)


@pytest.fixture
def gallery(sqlite_url: str) -> Iterator[Gallery]:
    gallery = open_gallery(sqlite_url, lock_timeout_s=5)
    yield gallery
    gallery.close()


def client_of(gallery: Gallery, embedder: Embedder | None = None, **parts: Any) -> FlaskClient:
    settings = config.read({"MIN_QUALITY": "0", "MAX_FACES": "5", "ENROLMENT_THREADS": "2"})
    parts = {"detector": lambda _: [], "embedder": embedder or Embedder(), "gallery": gallery} | parts
    return create_app(settings, **parts).test_client()


def a_picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", PIXELS[:2]).save(stream, "PNG")
    return stream.getvalue()


def samples(number: int) -> list[dict[str, str]]:
    image = base64.b64encode(a_picture()).decode()
    return [{"id": str(n), "name": "n", "image": image} for n in range(number)]


def faces(number: int) -> list[Face]:
    return [Face(Box(0, 0, 1 + n / number, 1), 0.999, NO_LANDMARKS) for n in range(number)]


# --- pictures


def test_pictures_without_a_face_are_not_kept(gallery: Gallery) -> None:
    decoded: list[weakref.ref[np.ndarray]] = []
    kept: list[int] = []

    def decode(_: bytes) -> Picture:
        kept.append(sum(each() is not None for each in decoded))
        pixels = np.zeros(PIXELS, np.uint8)
        decoded.append(weakref.ref(pixels))
        return Picture(pixels)

    answer = client_of(gallery, decode=decode).post("/update-samples", json=samples(60))
    assert answer.json is not None
    assert answer.json["errors"]["59"]["code"] == "no_face"
    assert max(kept) <= 2  # ENROLMENT_THREADS
    assert not any(each() is not None for each in decoded)


def test_no_more_pictures_are_begun_than_are_soon_needed(gallery: Gallery) -> None:
    begun, ahead = itertools.count(), []

    class Slow(Embedder):
        def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
            vectors = super().embed(crops, model)
            ahead.append(next(begun) - self.crops)
            return vectors

    def detector(_: np.ndarray) -> list[Face]:
        next(begun)
        return faces(1)

    answer = client_of(gallery, Slow(), detector=detector).post("/update-samples", json=samples(100))
    assert answer.json is not None
    assert len(answer.json["success"]) == 100
    assert max(ahead) < 20


# --- faces


def test_only_the_largest_faces_are_recognised_and_the_answer_says_so(gallery: Gallery) -> None:
    embedder = Embedder()
    client = client_of(gallery, embedder, detector=lambda _: faces(300))

    def sent(path: str, **options: str) -> Any:
        return client.post(path, data={"file": (io.BytesIO(a_picture()), "a.png"), **options})

    recognised = sent("/face-recognition", include_unknown="true")
    assert (len(recognised.json), recognised.headers["X-Faces-Left-Out"]) == (5, "295")
    assert embedder.crops == 5
    for path, fewer in (("/detect", 5), ("/draw", None)):
        answer = sent(path)
        assert answer.headers["X-Faces-Left-Out"] == "295"
        assert fewer is None or len(answer.json) == fewer
    enough = sent("/face-recognition", include_unknown="true", limit="3")
    assert len(enough.json) == 3
    assert "X-Faces-Left-Out" not in enough.headers


# --- JSON

LIMITED = """
import resource, sys
from recognition.web import wire
from serving.errors import InvalidRequest
body = eval(sys.argv[1])
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 200 * 2**20,) * 2)
try:
    wire.parse_enrolments(body)
except InvalidRequest as e:
    print(e.detail)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process")
@pytest.mark.parametrize(
    "body",
    [
        "b'[' + b'{},' * 4_000_000 + b'{}]'",
        """b'[' + b'{"":{}},' * 1_500_000 + b'{}]'""",
        "b'[' + b'[],' * 4_000_000 + b'[]]'",
        "b'[' + b'1,' * 6_000_000 + b'1]'",
        """b'[{"metadata":[' + b'[],' * 4_000_000 + b'1]}]'""",
        """b'[{' + b','.join(b'"%d":1' % n for n in range(1_000_000)) + b'}]'""",
    ],
    ids=["objects", "full objects", "arrays", "numbers", "metadata", "fields"],
)
def test_json_of_millions_of_values_takes_little_memory(body: str) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, body], capture_output=True, text=True, timeout=60)
    assert "more than 1000000 values" in done.stdout, done.stderr


WITH_JSON = [route for route in routes.ROUTES if route.json]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("route", WITH_JSON, ids=lambda route: route.name)
def test_every_call_with_json_has_a_bound(gallery: Gallery, route: Route, chunked: bool) -> None:
    """What waits for a turn may be large, but of few values; what does not wait is small."""
    body = b'{"image":[' + b"1," * MAX_MARKS + b"1]}"
    sent: dict[str, Any] = {"data": body}
    if chunked:
        stream = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
        sent = {"headers": {"Transfer-Encoding": "chunked"}, "environ_overrides": stream}
    path = re.sub(r"<[\w:]+>", "x", route.path)
    answer = client_of(gallery).open(path, method=route.method, content_type="application/json", **sent)
    assert answer.json is not None
    if route.queued:
        assert answer.status_code == 400
        assert "values" in answer.json["detail"]
    else:
        assert (answer.status_code, answer.json["code"]) == (413, "body_too_large")


def test_what_does_not_wait_for_a_turn_has_few_values(gallery: Gallery) -> None:
    client = client_of(gallery)
    for item in (b'{"":1},', b"[],", b"1,"):
        body = b'{"name": "n", "metadata": [%b1]}' % (item * (MAX_SMALL_JSON_BYTES // len(item) - 40))
        assert len(body) <= MAX_SMALL_JSON_BYTES
        for route in WITH_JSON:
            if not route.queued:
                path = re.sub(r"<[\w:]+>", "x", route.path)
                answer = client.open(path, method=route.method, data=body, content_type="application/json")
                assert answer.json is not None
                assert answer.json["detail"].startswith(f"body: more than {MAX_SMALL_MARKS} values")


def test_the_largest_honest_metadata_fit_however_they_are_written(gallery: Gallery) -> None:
    text = (MAX_METADATA_BYTES - 2) * "x"
    escaped = text.replace("x", "\\u0078").encode()
    body = b'{"name": "n", "metadata": "%b"}' % escaped
    answer = client_of(gallery).post("/persons", data=body, content_type="application/json")
    assert answer.json is not None
    assert (answer.status_code, answer.json["metadata"]) == (200, text)
    many = [[] for _ in range(MAX_METADATA_BYTES // 3)]  # `[],`
    assert client_of(gallery).post("/persons", json={"name": "n", "metadata": many}).status_code == 200


def test_what_stands_in_strings_does_not_count() -> None:
    rng = random.Random(5)
    strings = ["".join(rng.choices('\\",:[{', k=rng.randrange(30))) for _ in range(150_000)]
    text = json.dumps(strings).encode()
    assert sum(text.count(mark) for mark in b",:[{") > MAX_MARKS
    check_size(text)
    many = ["".join(rng.choices('\\",', k=rng.randrange(3))) for _ in range(MAX_MARKS + 1)]
    with pytest.raises(InvalidRequest):
        check_size(json.dumps(many).encode())


@pytest.mark.parametrize(
    "text", [b"", b"\\", b'"', b'"\\', b"\\" * 5_000_001, b'"' * 5_000_001 + b"," * 2_000_000]
)
def test_what_is_no_json_is_left_to_the_parser(text: bytes) -> None:
    check_size(text)


def test_the_largest_honest_request_is_far_from_the_bound() -> None:
    sample = {
        "id": "an id, with a comma",
        "name": "A Name",
        "image": "data:image/jpeg;base64,AAAA",
        "metadata": {f"field {n}": [n, {"x": n}] for n in range(8)},
        "action": "open",
        "expires_at": "2036-12-31T23:59:59Z",
    }
    check_size(json.dumps([sample] * 10_000).encode())


# --- forms


def form(headers: bytes, content: bytes = b"x") -> dict[str, Any]:
    disposition = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n'
    data = disposition + headers + b"\r\n" + content + b"\r\n--b--\r\n"
    return {"data": data, "content_type": "multipart/form-data; boundary=b"}


def test_headers_of_a_part_are_few_and_short(gallery: Gallery) -> None:
    client = client_of(gallery)
    for headers, status, reason in (
        (b"a:b\r\n" * MAX_PART_HEADERS, 400, "more than 16 headers"),
        (b"a:b\r\n" * (MAX_PART_BYTES // 5), 413, ""),
        (b"a: " + b"x" * MAX_PART_BYTES + b"\r\n", 413, ""),
        (b"a:b\r\n" * (MAX_PART_HEADERS - 1), 400, "The picture cannot be read"),
    ):
        answer = client.post("/face-recognition", **form(headers))
        assert answer.json is not None
        assert (answer.status_code, reason in answer.json["detail"]) == (status, True)


def test_a_form_has_few_parts(gallery: Gallery) -> None:
    client = client_of(gallery)
    field = b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nn\r\n'
    for number, status in ((MAX_PARTS - 1, 200), (MAX_PARTS, 413)):
        sent = files_of_a_form(number, 1, b"x")
        sent["data"] = field + sent["data"]
        answer = client.post("/samples", **sent)
        assert answer.status_code == status
        assert answer.json is not None
        assert status == 413 or len(answer.json["fail"]) == number


def test_a_body_has_ten_thousand_samples_at_most(gallery: Gallery) -> None:
    sample = {"name": "n", "image": ""}
    for number, status in ((MAX_SAMPLES, 200), (MAX_SAMPLES + 1, 400)):
        answer = client_of(gallery).post(
            "/update-samples", json=[{"id": str(n), **sample} for n in range(number)]
        )
        assert answer.status_code == status
        assert answer.json is not None
        assert status == 400 or len(answer.json["fail"]) == number


def test_a_field_has_the_same_bounds(gallery: Gallery) -> None:
    client = client_of(gallery)
    field = b'--b\r\nContent-Disposition: form-data; name="limit"\r\n%b\r\n%b\r\n--b--\r\n'
    for sent, status in (
        (field % (b"a:b\r\n" * 20, b"1"), 400),
        (field % (b"", b"1" * (MAX_PART_BYTES + 1)), 413),
    ):
        answer = client.post("/face-recognition", data=sent, content_type="multipart/form-data; boundary=b")
        assert answer.status_code == status
        assert answer.json is not None
        assert "headers" in answer.json["detail"] or status == 413


def test_a_file_may_be_larger_than_a_field_and_have_any_bytes(gallery: Gallery) -> None:
    picture = a_picture() + b"\r\n--c\r\n" * 500_000
    answer = client_of(gallery).post("/detect", **form(b"", picture))
    assert (answer.status_code, answer.json) == (200, [])


def files_of_a_form(number: int, size: int, file: bytes = b"") -> dict[str, Any]:
    """Files of a picture, and bytes behind it."""
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n%b\r\n'
    data = number * (part % (file or a_picture()).ljust(size, b"\0"))
    return {"data": data + b"--b--\r\n", "content_type": "multipart/form-data; boundary=b"}


def temporary_files() -> int:
    """How many this process has open that have no name."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            links.append(str(each.readlink()))
    return sum(link.startswith(tempfile.gettempdir()) and link.endswith("(deleted)") for link in links)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pictures_of_a_form_touch_no_disk(gallery: Gallery) -> None:
    seen: list[int] = []

    def decode(_: bytes) -> Picture:
        seen.append(temporary_files())
        return Picture(np.zeros(PIXELS, np.uint8))

    before = temporary_files()
    client = client_of(gallery, decode=decode, detector=lambda _: faces(1))
    answer = client.post("/samples", **files_of_a_form(100, LARGE_FILE))
    assert answer.status_code == 400  # of nobody; but all of it was read
    assert answer.json is not None
    assert "name, person" in answer.json["detail"]
    assert client.post("/detect", **files_of_a_form(1, LARGE_FILE)).status_code == 200
    assert seen == [before]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_files_of_an_import_take_one_open_file(gallery: Gallery) -> None:
    """Hundreds of them, each too large for memory, would be more than a process may have open."""
    most = [before := temporary_files()]

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            most.append(temporary_files())
            return super().read(size)

    form = files_of_a_form(20, LARGE_FILE)
    environ = {"wsgi.input": Watched(form["data"]), "wsgi.input_terminated": True}
    environ |= {"CONTENT_TYPE": form["content_type"], "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = client_of(gallery).post("/import", environ_overrides=environ)
    assert answer.json is not None
    assert (answer.status_code, answer.json["detail"]) == (400, "file: sent several times")
    assert max(most) == before + 1


# --- clients that have gone


def test_work_ends_for_a_client_that_has_hung_up(gallery: Gallery) -> None:
    embedder, searched = Embedder(), []
    ours, theirs = socket.socketpair()

    def detector(_: np.ndarray) -> list[Face]:
        searched.append(1)
        theirs.close()
        return faces(1)

    client = client_of(gallery, embedder, detector=detector)
    with ours:
        connected = {"gunicorn.socket": ours}
        enrolled = client.post("/update-samples", json=samples(100), environ_overrides=connected)
        assert (enrolled.status_code, enrolled.json and enrolled.json["code"]) == (499, "client_gone")
        assert len(searched) < 10
        assert gallery.count() == embedder.crops == 0
        image = samples(1)[0]["image"]
        gone = client.post("/face-recognition", json={"image": image}, environ_overrides=connected)
        assert gone.status_code == 499
    assert client.post("/face-recognition", json={"image": image}).status_code == 200


def test_a_client_that_has_sent_its_next_request_has_not_gone(gallery: Gallery) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"GET /health HTTP/1.1\r\n")
        answer = client_of(gallery, detector=lambda _: faces(1)).post(
            "/update-samples", json=samples(3), environ_overrides={"gunicorn.socket": ours}
        )
    assert answer.json is not None
    assert answer.json["success"] == ["0", "1", "2"]
