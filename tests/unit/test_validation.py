"""What comes several times is refused: one of the values would be taken, and nobody knows which was meant."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from embedding.app import create_app as create_embedding
from embedding.config import read as read_embedding
from embedding.network import Network
from recognition.app import create_app
from recognition.config import read
from recognition.gallery import Gallery, open_gallery
from serving.errors import InvalidRequest
from serving.model import Model
from serving.validation import NAME_SHOWN, check_once


def test_a_name_that_comes_again_is_named() -> None:
    check_once([])
    check_once([("a", 1), ("b", 1), ("A", 1)])
    with pytest.raises(InvalidRequest, match=r"^b: sent several times$"):
        check_once([("a", 1), ("b", 1), ("b", 1)])
    with pytest.raises(InvalidRequest) as refused:
        check_once(2 * [(1000 * "x", 1)])
    assert refused.value.detail == f"{NAME_SHOWN * 'x'}: sent several times"


@pytest.fixture
def gallery(sqlite_url: str) -> Iterator[Gallery]:
    gallery = open_gallery(sqlite_url, lock_timeout_s=5)
    yield gallery
    gallery.close()


@pytest.fixture
def recognition(gallery: Gallery) -> FlaskClient:
    return create_app(read({}), detector=lambda _: [], embedder=None, gallery=gallery).test_client()  # type: ignore[arg-type]


def assert_refused(answer: object, name: str) -> None:
    assert answer.status_code == 400  # type: ignore[attr-defined]
    assert answer.json["detail"] == f"{name}: sent several times"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("DELETE", "/samples?name=a&name=b", "name"),
        ("GET", "/samples?limit=1&limit=1", "limit"),
        ("GET", "/samples/count?name=a&name=a", "name"),
        ("POST", "/face-recognition?draw=1&draw=0", "draw"),
    ],
)
def test_a_parameter_that_comes_twice_is_refused(
    recognition: FlaskClient, method: str, path: str, name: str
) -> None:
    assert_refused(recognition.open(path, method=method), name)


def file() -> tuple[io.BytesIO, str]:
    return io.BytesIO(b"x"), "x"


@pytest.mark.parametrize(
    ("path", "form", "name"),
    [
        ("/face-recognition", {"file": [file, file]}, "file"),
        ("/face-recognition", {"file": file, "limit": ["1", "2"]}, "limit"),
        ("/detect", {"file": [file, file]}, "file"),
        ("/verify", {"image1": [file, file], "image2": file}, "image1"),
        ("/verify", {"image1": file, "image2": file, "min_distance": ["1", "1"]}, "min_distance"),
        ("/import", {"file": [file, file]}, "file"),
    ],
)
def test_a_field_of_a_form_that_comes_twice_is_refused(
    recognition: FlaskClient, path: str, form: dict[str, object], name: str
) -> None:
    def sent(value: object) -> object:
        if isinstance(value, list):
            return [sent(each) for each in value]
        return value() if callable(value) else value

    data = {field: sent(value) for field, value in form.items()}
    assert_refused(recognition.post(path, data=data, content_type="multipart/form-data"), name)


def test_several_pictures_may_come_to_feature_extraction_and_one_list_of_their_ids() -> None:
    network = Network(Model("a model", 4, 8, 1.0, (0.0, 2.0), "fingerprint"), lambda crops: crops)  # type: ignore[arg-type, return-value]
    client = create_embedding(read_embedding({}), network=network).test_client()
    ids = '[{"id": 1}, {"id": 2}]'
    answer = client.post("/", data={"face_data": [ids, ids], "image": [file(), file()]})
    assert_refused(answer, "face_data")
    assert client.post("/", data={"face_data": ids, "image": [file(), file()]}).status_code == 200
