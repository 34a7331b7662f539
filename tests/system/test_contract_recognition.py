"""The contract of face_detection: bytes in, JSON out, over real sockets, with both real services."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from pictures import png_that_claims
from running import Pair, wait_until
from serving.version import VERSION

TIMEOUT_S = 60
UUID_HEX = re.compile(r"[0-9a-f]{32}")

Photographs = dict[str, list[Path]]
AsBase64 = Callable[[Path], str]


@pytest.fixture(scope="session")
def faceless() -> str:
    stream = io.BytesIO()
    Image.fromarray(np.full((120, 160, 3), 127, np.uint8)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def post(pair: Pair, path: str, body: Any = None, **options: Any) -> requests.Response:
    if body is not None:
        options["json"] = body
    return requests.post(pair.url + path, timeout=TIMEOUT_S, **options)


def sample(sample_id: str, name: str, image: str, **more: Any) -> dict[str, Any]:
    return {"id": sample_id, "name": name, "image": image, **more}


def assert_error(answer: requests.Response, status: int, code: str) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    body: dict[str, str] = answer.json()
    assert set(body) == {"error", "code", "detail", "request_id"}
    assert all(isinstance(value, str) and value for value in body.values())
    assert body["code"] == code
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert (body["error"] == "Invalid request.") == (status == 400)
    assert ("Retry-After" in answer.headers) == (status in (429, 503))
    assert not re.search(r"Traceback|File \"|/[a-z]+/[a-z_]+/|\.py\b|SELECT|sqlite", answer.text)
    return body


# --- what is running


@pytest.mark.parametrize("path", ["/update-samples", "/face-recognition", "//face-recognition"])
def test_get_says_that_it_runs(pair: Pair, path: str) -> None:
    answer = requests.get(pair.url + path, timeout=TIMEOUT_S)
    assert (answer.status_code, answer.text) == (200, "Face detection server is running.")


def test_health(pair: Pair) -> None:
    assert requests.get(f"{pair.url}/health", timeout=TIMEOUT_S).json() == {
        "status": "ok",
        "version": VERSION,
    }


def test_ready_tells_the_model_and_the_number_of_samples(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    for samples in (0, 1):
        answer = requests.get(f"{pair.url}/ready", timeout=TIMEOUT_S)
        assert answer.status_code == 200
        told = answer.json()
        assert set(told.pop("decisions")) == {"max_false_match", "people", "wishes", "least"}
        assert told == {
            "status": "ready",
            "version": VERSION,
            "model": "Facenet",
            "threshold": 9.0,
            "distance_range": [0.0, 20.0],
            "gallery": {"samples": samples, "damaged": 0},
            "authentication": False,
            "warnings": [],
        }
        post(pair, "/update-samples", [sample("m", "madonna", as_base64(photographs["madonna"][0]))])


# --- enrol and recognise


def test_enrolled_people_are_recognised(pair: Pair, photographs: Photographs, as_base64: AsBase64) -> None:
    metadata = {"born": 1958, "tags": ["singer", None, "é"]}
    body = [
        sample(f"{person}/0", person, as_base64(paths[0]), metadata=metadata, action="greet")
        for person, paths in photographs.items()
    ]
    answer = post(pair, "/update-samples", body)
    assert answer.status_code == 200
    ids = [entry["id"] for entry in body]
    report = answer.json()
    assert (report["success"], report["fail"], report["errors"]) == (ids, [], {})
    assert list(report["samples"]) == sorted(ids)
    for seen in report["samples"].values():
        assert set(seen) == {"person", "faces", "bbox", "quality", "reasons", "warnings"}
        assert seen["quality"] >= 0.25
    assert len({seen["person"] for seen in report["samples"].values()}) == len(photographs)
    for person, paths in photographs.items():
        (face,) = post(pair, "/face-recognition", {"image": as_base64(paths[0])}).json()
        assert (face["id"], face["name"], face["metadata"]) == (f"{person}/0", person, metadata)
        assert face["distance"] == pytest.approx(0, abs=0.1)
        assert face["similarity"] == pytest.approx(1, abs=0.01)
        assert 0.8 < face["confidence"] <= 1
        x, y, w, h = map(int, re.fullmatch(r"(\d+), (\d+), (\d+), (\d+)", face["bbox"]).groups())  # type: ignore[union-attr]
        with Image.open(paths[0]) as picture:
            assert 0 <= x < x + w <= picture.width
            assert 0 <= y < y + h <= picture.height
        assert "candidates" not in face


def test_every_form_of_the_picture_gives_the_same_answer(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    path = photographs["madonna"][0]
    text = as_base64(path)
    post(pair, "/update-samples", [sample("m", "madonna", text)])
    lines = base64.encodebytes(path.read_bytes()).decode("ascii")
    answers = [
        post(pair, "/face-recognition", {"image": text, "min_distance": 9}),
        post(pair, "//face-recognition", {"image": text}),
        post(pair, "/face-recognition", {"image": f"data:image/jpeg;base64,{text}"}),
        post(pair, "/face-recognition", {"image": f"data:image/jpeg;base64,{lines}"}),
        post(pair, "/face-recognition", files={"file": path.read_bytes()}),
        post(pair, "/face-recognition", files={"file": path.read_bytes()}, data={"min_distance": "9"}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert answers[0].json()[0]["id"] == "m"


def test_min_distance_is_exclusive_and_unknown_faces_come_on_request(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    post(pair, "/update-samples", [sample("m", "madonna", as_base64(photographs["madonna"][0]))])
    probe = as_base64(photographs["madonna"][1])
    (face,) = post(
        pair, "/face-recognition", {"image": probe, "min_distance": 0.001, "include_unknown": True}
    ).json()
    assert (face["id"], face["name"], face["metadata"]) == ("", "", "")
    distance = face["distance"]
    assert 0 < distance < 20
    for limit, known in ((distance, False), (distance * 1.0001, True), (1e300, True)):
        answer = post(pair, "/face-recognition", {"image": probe, "min_distance": limit}).json()
        assert [found["id"] for found in answer] == (["m"] if known else [])


def test_an_empty_gallery_is_an_ordinary_answer(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    probe = as_base64(photographs["elton_john"][0])
    assert post(pair, "/face-recognition", {"image": probe}).json() == []
    (face,) = post(pair, "/face-recognition", {"image": probe, "include_unknown": True, "top_k": 3}).json()
    assert (face["id"], face["distance"], face["similarity"], face["candidates"]) == ("", None, None, [])


def test_a_picture_without_faces_is_an_ordinary_answer(pair: Pair, faceless: str) -> None:
    assert post(pair, "/face-recognition", {"image": faceless, "include_unknown": True}).json() == []


def test_candidates_and_limit(pair: Pair, photographs: Photographs, as_base64: AsBase64) -> None:
    body = [
        sample(f"{person}/{number}", person, as_base64(path))
        for person, paths in photographs.items()
        for number, path in enumerate(paths[:2])
    ]
    post(pair, "/update-samples", body)
    probe = {"image": as_base64(photographs["madonna"][0]), "top_k": 4, "min_distance": 20}
    (face,) = post(pair, "/face-recognition", probe).json()
    assert len(face["candidates"]) == 4
    assert face["candidates"][0]["id"] == face["id"] == "madonna/0"
    distances = [candidate["distance"] for candidate in face["candidates"]]
    assert distances == sorted(distances)
    assert set(face["candidates"][0]) == {
        *("id", "name", "person", "metadata", "distance", "similarity", "false_match")
    }


def test_candidates_are_different_people_unless_samples_are_asked_for(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    body = [
        sample(f"{person}/{number}", person, as_base64(path))
        for person, paths in photographs.items()
        for number, path in enumerate(paths[:3])
    ]
    post(pair, "/update-samples", body)

    def candidates(**options: Any) -> list[dict[str, Any]]:
        probe = {"image": as_base64(photographs["madonna"][0]), "top_k": 100, "min_distance": 20}
        (face,) = post(pair, "/face-recognition", probe | options).json()
        found: list[dict[str, Any]] = face["candidates"]
        return found

    everything = candidates(per="sample")
    assert len(everything) == len(body)
    assert [entry["name"] for entry in everything[:2]] == ["madonna", "madonna"]
    best: dict[str, dict[str, Any]] = {}
    for entry in everything:
        best.setdefault(entry["name"], entry)
    assert candidates() == candidates(per="name") == list(best.values())
    assert candidates(top_k=2) == list(best.values())[:2]
    assert candidates(top_k=2, per="sample") == everything[:2]
    bound = everything[-1]["distance"]
    assert candidates(per="sample", min_distance=bound) == everything[:-1]
    files = {"file": photographs["madonna"][0].read_bytes()}
    form = {"top_k": "2", "per": "sample", "min_distance": "20"}
    (face,) = post(pair, "/face-recognition", files=files, data=form).json()
    assert face["candidates"] == everything[:2]
    bad = post(pair, "/face-recognition", files=files, data=form | {"per": "person"})
    assert_error(bad, 400, "invalid_request")


@pytest.fixture(scope="session")
def group(photographs: Photographs) -> Image.Image:
    """Three people of different sizes side by side."""
    group = Image.new("RGB", (1200, 300))
    for column, (person, height) in enumerate({"madonna": 150, "elton_john": 300, "ben_afflek": 220}.items()):
        picture = Image.open(photographs[person][0]).convert("RGB")
        picture.thumbnail((400, height))
        group.paste(picture, (400 * column, 0))
    return group


def test_faces_come_largest_first_and_limit_keeps_the_largest(pair: Pair, group: Image.Image) -> None:
    stream = io.BytesIO()
    group.save(stream, "PNG")
    image = base64.b64encode(stream.getvalue()).decode("ascii")
    faces = post(pair, "/face-recognition", {"image": image, "include_unknown": True}).json()
    areas = [int(face["bbox"].split(", ")[2]) * int(face["bbox"].split(", ")[3]) for face in faces]
    assert len(areas) == 3
    assert areas == sorted(areas, reverse=True)
    limited = post(pair, "/face-recognition", {"image": image, "include_unknown": True, "limit": 2}).json()
    assert [face["bbox"] for face in limited] == [face["bbox"] for face in faces[:2]]


def test_a_batch_with_bad_pictures_keeps_the_good_ones(
    pair: Pair, photographs: Photographs, as_base64: AsBase64, faceless: str
) -> None:
    good = as_base64(photographs["madonna"][0])
    text = base64.b64encode(b"this is a text file").decode("ascii")
    post(pair, "/update-samples", [sample("kept", "before", good)])
    body = [
        sample("one", "x", good),
        sample("kept", "after", faceless),
        sample("text", "x", text),
        sample("two", "x", good),
        sample("not base64", "x", "***"),
        sample("empty", "x", ""),
        sample("huge", "x", as_base64_of(png_that_claims(64250, 64250))),
    ]
    answer = post(pair, "/update-samples", body).json()
    assert answer["success"] == ["one", "two"]
    assert answer["fail"] == ["kept", "text", "not base64", "empty", "huge"]
    assert {key: error["code"] for key, error in answer["errors"].items()} == {
        "kept": "no_face",
        "text": "invalid_image",
        "not base64": "invalid_image",
        "empty": "invalid_image",
        "huge": "image_too_large",
    }
    assert all(error["detail"] for error in answer["errors"].values())
    assert requests.get(f"{pair.url}/samples/kept", timeout=TIMEOUT_S).json()["name"] == "before"


def test_the_last_of_equal_ids_wins_and_is_reported_once(
    pair: Pair, photographs: Photographs, as_base64: AsBase64, faceless: str
) -> None:
    first, second = (as_base64(photographs[person][0]) for person in ("madonna", "elton_john"))
    answer = post(pair, "/update-samples", [sample("x", "first", first), sample("x", "second", second)])
    assert (answer.json()["success"], answer.json()["fail"]) == (["x"], [])
    assert post(pair, "/face-recognition", {"image": first}).json() == []
    assert post(pair, "/face-recognition", {"image": second}).json()[0]["name"] == "second"
    answer = post(pair, "/update-samples", [sample("x", "third", second), sample("x", "fourth", faceless)])
    assert (answer.json()["success"], answer.json()["fail"]) == ([], ["x"])
    assert post(pair, "/face-recognition", {"image": second}).json()[0]["name"] == "second"


@pytest.mark.parametrize(
    "sample_id", ['it\'s "quoted"; DROP TABLE samples; --', "名前 \U0001f600 %_\\", "\U0001f600" * 500, " "]
)
def test_ids_are_taken_as_they_are(
    pair: Pair, photographs: Photographs, as_base64: AsBase64, sample_id: str
) -> None:
    image = as_base64(photographs["madonna"][0])
    name = f"name of {sample_id}".strip()
    assert post(pair, "/update-samples", [sample(sample_id, name, image)]).json()["success"] == [sample_id]
    (face,) = post(pair, "/face-recognition", {"image": image}).json()
    assert (face["id"], face["name"]) == (sample_id, name)


def test_an_empty_array_is_an_empty_success(pair: Pair) -> None:
    empty = {"success": [], "fail": [], "errors": {}, "samples": {}}
    assert post(pair, "/update-samples", []).json() == empty


def test_a_sample_is_found_by_whichever_worker_answers(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    image = as_base64(min(photographs["madonna"], key=lambda path: path.stat().st_size))
    for number in range(50):
        # A new connection each time, so that the kernel hands them to both workers.
        assert post(pair, "/update-samples", [sample("x", str(number), image)]).ok
        (face,) = post(pair, "/face-recognition", {"image": image}).json()
        assert face["name"] == str(number)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/clear-samples"), ("POST", "/clear-samples"), ("DELETE", "/samples")]
)
def test_clearing(pair: Pair, photographs: Photographs, as_base64: AsBase64, method: str, path: str) -> None:
    image = as_base64(photographs["madonna"][0])
    post(pair, "/update-samples", [sample("x", "x", image)])
    answer = requests.request(method, pair.url + path, timeout=TIMEOUT_S)
    assert answer.status_code == 200
    assert answer.json() == {"success": "Samples have been removed successfully"}
    assert post(pair, "/face-recognition", {"image": image}).json() == []


SHOWN = {
    *("id", "name", "person", "metadata", "action", "created", "modified", "expires_at"),
    "quality",
}


def test_one_sample_is_shown_and_deleted(pair: Pair, photographs: Photographs, as_base64: AsBase64) -> None:
    image = as_base64(photographs["madonna"][0])
    post(pair, "/update-samples", [sample("a/b c", "n", image, metadata=[1], action="go")])
    address = f"{pair.url}/samples/a%2Fb%20c"
    shown = requests.get(address, timeout=TIMEOUT_S).json()
    assert set(shown) == SHOWN
    assert (shown["id"], shown["name"], shown["metadata"], shown["action"]) == ("a/b c", "n", [1], "go")
    assert shown["created"].endswith("+00:00")
    assert requests.delete(address, timeout=TIMEOUT_S).json() == {"success": ["a/b c"]}
    assert_error(requests.get(address, timeout=TIMEOUT_S), 404, "not_found")
    assert_error(requests.delete(address, timeout=TIMEOUT_S), 404, "not_found")
    assert post(pair, "/face-recognition", {"image": image}).json() == []


def some_samples(pair: Pair, image: str) -> list[str]:
    """Enrol five samples of two names; returns their ids as the list is ordered."""
    named = {"c": "x", "a/1": "x", "count": "y", "\U0001f600": "x", "B": "x"}
    body = [sample(sample_id, name, image) for sample_id, name in named.items()]
    assert post(pair, "/update-samples", body).json()["fail"] == []
    return ["B", "a/1", "c", "count", "\U0001f600"]


def listed(pair: Pair, path: str = "/samples", **query: Any) -> requests.Response:
    return requests.get(pair.url + path, params=query, timeout=TIMEOUT_S)


def test_samples_are_listed_page_by_page(pair: Pair, photographs: Photographs, as_base64: AsBase64) -> None:
    assert listed(pair).json() == {"samples": [], "total": 0, "next": None}
    ids = some_samples(pair, as_base64(photographs["madonna"][0]))
    whole = listed(pair).json()
    assert [shown["id"] for shown in whole["samples"]] == ids
    assert (whole["total"], whole["next"]) == (5, None)
    assert set(whole["samples"][0]) == SHOWN
    seen: list[str] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        page = listed(pair, limit=2, after=page["next"]).json()
        assert page["total"] == 5
        seen += [shown["id"] for shown in page["samples"]]
        requests.delete(f"{pair.url}/samples/B", timeout=TIMEOUT_S)
        post(pair, "/update-samples", [sample("B", "x", as_base64(photographs["madonna"][0]))])
    assert seen == ids
    assert listed(pair, limit=5).json()["next"] is None


def test_samples_are_listed_and_counted_by_name(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    some_samples(pair, as_base64(photographs["madonna"][0]))
    first = listed(pair, name="x", limit=3).json()
    assert [shown["id"] for shown in first["samples"]] == ["B", "a/1", "c"]
    assert (first["total"], first["next"]) == (4, "c")
    rest = listed(pair, name="x", limit=3, after="c").json()
    assert ([shown["id"] for shown in rest["samples"]], rest["next"]) == (["\U0001f600"], None)
    assert listed(pair, name="nobody").json() == {"samples": [], "total": 0, "next": None}
    assert listed(pair, "/samples/count").json() == {"count": 5}
    assert listed(pair, "/samples/count", name="x").json() == {"count": 4}
    assert listed(pair, "/samples/count", name="nobody").json() == {"count": 0}
    assert requests.delete(f"{pair.url}/samples/count", timeout=TIMEOUT_S).json() == {"success": ["count"]}
    assert listed(pair, name="y").json()["total"] == 0


def test_the_samples_of_one_name_are_removed(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    image = as_base64(photographs["madonna"][0])
    some_samples(pair, image)
    for removed in (4, 0):
        answer = requests.delete(f"{pair.url}/samples", params={"name": "x"}, timeout=TIMEOUT_S)
        assert answer.json() == {
            "success": "Samples have been removed successfully",
            "deleted": removed,
        }
    assert post(pair, "/face-recognition", {"image": image}).json()[0]["id"] == "count"
    for query in ({"name": ""}, {"nmae": "y"}, {"name": "y", "x": ""}, {"name": "y" * 1001}):
        answer = requests.delete(f"{pair.url}/samples", params=query, timeout=TIMEOUT_S)
        assert_error(answer, 400, "invalid_request")
    assert listed(pair, "/samples/count").json() == {"count": 1}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1.5",
        "limit=ten",
        "limit=",
        "limit=99999999999999999999",
        "name=",
        "name=%00",
        "name=" + "x" * 1001,
        "after=%00",
        "after=" + "x" * 501,
        "page=2",
    ],
)
def test_bad_queries_are_refused(pair: Pair, query: str) -> None:
    assert_error(requests.get(f"{pair.url}/samples?{query}", timeout=TIMEOUT_S), 400, "invalid_request")
    if not query.startswith("after"):
        answer = requests.get(f"{pair.url}/samples/count?{query}", timeout=TIMEOUT_S)
        assert_error(answer, 400, "invalid_request")


# --- detect and verify


def test_detect_tells_of_every_face_largest_first(pair: Pair, group: Image.Image) -> None:
    stream = io.BytesIO()
    group.save(stream, "PNG")
    answer = post(pair, "/detect", {"image": as_base64_of(stream.getvalue())})
    assert answer.status_code == 200
    faces = answer.json()
    assert post(pair, "/detect", files={"file": stream.getvalue()}).json() == faces
    assert len(faces) == 3
    boxes = [[int(value) for value in face["bbox"].split(", ")] for face in faces]
    assert [w * h for _, _, w, h in boxes] == sorted((w * h for _, _, w, h in boxes), reverse=True)
    for face, (x, y, w, h) in zip(faces, boxes, strict=True):
        assert set(face) == {"bbox", "confidence", "landmarks", "quality", "reasons"}
        assert 0.8 < face["confidence"] <= 1
        marks = face["landmarks"]
        assert set(marks) == {"left_eye", "right_eye", "nose", "mouth_left", "mouth_right"}
        assert all(x < across < x + w and y < down < y + h for across, down in marks.values())
        assert marks["left_eye"][0] < marks["right_eye"][0]
        assert marks["left_eye"][1] < marks["nose"][1] < marks["mouth_left"][1]


def test_detect_without_faces_and_with_bad_requests(pair: Pair, faceless: str) -> None:
    assert post(pair, "/detect", {"image": faceless}).json() == []
    for body in ({}, [], {"image": None}, {"image": 5}):
        assert_error(post(pair, "/detect", body), 400, "invalid_request")
    deep = b'{"image": ' + b"[" * 100_000
    answer = post(pair, "/detect", data=deep, headers={"Content-Type": "application/json"})
    assert_error(answer, 400, "invalid_request")
    assert_error(post(pair, "/detect", {"image": "***"}), 400, "invalid_image")
    assert_error(post(pair, "/detect", files={"file": b"text"}), 400, "invalid_image")
    assert_error(post(pair, "/detect", files={"image": b"text"}), 400, "invalid_request")
    huge = as_base64_of(png_that_claims(64250, 64250))
    assert_error(post(pair, "/detect", {"image": huge}), 413, "image_too_large")
    assert_error(post(pair, "/detect", data=b"x"), 415, "unsupported_media_type")
    assert_error(requests.get(f"{pair.url}/detect", timeout=TIMEOUT_S), 405, "method_not_allowed")


def test_verify_tells_one_person_from_another(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    first, second = photographs["madonna"][:2]
    same = post(pair, "/verify", {"image1": as_base64(first), "image2": as_base64(second)}).json()
    of_each = {f"{name}{side}" for name in ("bbox", "quality", "reasons") for side in (1, 2)}
    assert set(same) == {"verified", "distance", "threshold", "similarity", *of_each}
    assert (same["verified"], same["threshold"]) == (True, 9)
    assert 0 < same["distance"] < 9
    assert same["similarity"] == pytest.approx(1 - same["distance"] / 20)
    files = {"image1": first.read_bytes(), "image2": second.read_bytes()}
    assert post(pair, "/verify", files=files).json() == same
    for box, path in ((same["bbox1"], first), (same["bbox2"], second)):
        assert box == post(pair, "/detect", {"image": as_base64(path)}).json()[0]["bbox"]
    post(pair, "/update-samples", [sample("m", "madonna", as_base64(first))])
    (face,) = post(pair, "/face-recognition", {"image": as_base64(second)}).json()
    # In batches of one and two the network's sums are rounded differently, on bfloat16 to three digits.
    assert face["distance"] == pytest.approx(same["distance"], abs=0.1)
    other = as_base64(photographs["elton_john"][0])
    different = post(pair, "/verify", {"image1": as_base64(first), "image2": other}).json()
    assert different["verified"] is False
    assert different["distance"] > 9


def test_the_threshold_of_verify_is_exclusive(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    first, second = photographs["madonna"][:2]
    body = {"image1": as_base64(first), "image2": as_base64(second)}
    distance = post(pair, "/verify", body).json()["distance"]
    for bound, verified in ((distance, False), (distance * 1.0001, True)):
        answer = post(pair, "/verify", body | {"min_distance": bound}).json()
        assert (answer["threshold"], answer["verified"]) == (bound, verified)
    files = {"image1": first.read_bytes(), "image2": second.read_bytes()}
    answer = post(pair, "/verify", files=files, data={"min_distance": "0.5"}).json()
    assert (answer["threshold"], answer["verified"]) == (0.5, False)


def test_verify_says_which_picture_is_at_fault(
    pair: Pair, photographs: Photographs, as_base64: AsBase64, faceless: str
) -> None:
    good, path = as_base64(photographs["madonna"][0]), photographs["madonna"][0]
    for bad, status, code in (
        (faceless, 400, "no_face"),
        ("***", 400, "invalid_image"),
        (as_base64_of(b"text"), 400, "invalid_image"),
        (as_base64_of(png_that_claims(64250, 64250)), 413, "image_too_large"),
    ):
        for body, name in (
            ({"image1": bad, "image2": good}, "image1"),
            ({"image1": good, "image2": bad}, "image2"),
        ):
            detail = assert_error(post(pair, "/verify", body), status, code)["detail"]
            assert detail.startswith(f"{name}: ")
    detail = assert_error(post(pair, "/verify", files={"image1": path.read_bytes()}), 400, "invalid_request")[
        "detail"
    ]
    assert detail == "image2: Field required"


BAD_VERIFICATIONS = {
    "nothing": b"",
    "an array": [],
    "one picture": {"image1": "aGk="},
    "historical name": {"image": "aGk=", "image2": "aGk="},
    "null": {"image1": "aGk=", "image2": None},
    "distance zero": {"image1": "aGk=", "image2": "aGk=", "min_distance": 0},
    "distance as text": {"image1": "aGk=", "image2": "aGk=", "min_distance": "9"},
    "distance infinite": b'{"image1": "aGk=", "image2": "aGk=", "min_distance": 1e999}',
    "deep": b'{"image1": ' + b"[" * 100_000,
}


@pytest.mark.parametrize("body", BAD_VERIFICATIONS.values(), ids=BAD_VERIFICATIONS)
def test_malformed_verifications_are_refused(pair: Pair, body: Any) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body)
    answer = post(pair, "/verify", data=data, headers={"Content-Type": "application/json"})
    assert_error(answer, 400, "invalid_request")


# --- what is refused


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


GOOD = {"id": "a", "name": "b", "image": "aGk="}

BAD_ENROLMENTS = {
    "not JSON": b"{",
    "nothing": b"",
    "not UTF-8": b'["\xff"]',
    "an object": GOOD,
    "a number": 7,
    "null": b"null",
    "strings": ["a"],
    "nested arrays": [[GOOD]],
    "no id": [{"name": "b", "image": "aGk="}],
    "no name": [{"id": "a", "image": "aGk="}],
    "no image": [{"id": "a", "name": "b"}],
    "id null": [GOOD | {"id": None}],
    "id a number": [GOOD | {"id": 1}],
    "id empty": [GOOD | {"id": ""}],
    "id with NUL": [GOOD | {"id": "a\0b"}],
    "name empty": [GOOD | {"name": ""}],
    "name an array": [GOOD | {"name": ["b"]}],
    "image null": [GOOD | {"image": None}],
    "image a number": [GOOD | {"image": 5}],
    "action a number": [GOOD | {"action": 5}],
    "id too long": [GOOD | {"id": "x" * 501}],
    "name too long": [GOOD | {"name": "x" * 1001}],
    "action too long": [GOOD | {"action": "x" * 1001}],
    "name with NUL": [GOOD | {"name": "a\0b"}],
    "action with NUL": [GOOD | {"action": "a\0b"}],
    "metadata too large": [GOOD | {"metadata": "é" * (32 * 1024)}],
    "metadata too deep": [GOOD | {"metadata": nested(33)}],
    "metadata too deep in objects": [GOOD | {"metadata": {"a": [{"b": nested(30)}]}}],
    "too many": [GOOD] * 10_001,
    "metadata NaN": b'[{"id": "a", "name": "b", "image": "aGk=", "metadata": {"x": NaN}}]',
    "metadata infinite": b'[{"id": "a", "name": "b", "image": "aGk=", "metadata": 1e999}]',
    "half a surrogate": b'[{"id": "\\ud800", "name": "b", "image": "aGk="}]',
    "deep": b'[{"id": "a", "name": "b", "image": "aGk=", "metadata": '
    + b"[" * 10_000
    + b"]" * 10_000
    + b"}]",
    "deeper": b"[" * 1_000_000,
    "deep in an unknown field": b'[{"x": ' + b'{"x":' * 10_000 + b"1" + b"}" * 10_000 + b"}]",
    "one bad among good": [GOOD, {}],
}


@pytest.mark.parametrize("body", BAD_ENROLMENTS.values(), ids=BAD_ENROLMENTS)
def test_malformed_enrolments_are_refused_and_store_nothing(pair: Pair, body: Any) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body)
    answer = post(pair, "/update-samples", data=data, headers={"Content-Type": "application/json"})
    assert_error(answer, 400, "invalid_request")
    assert_error(requests.get(f"{pair.url}/samples/a", timeout=TIMEOUT_S), 404, "not_found")


def test_the_largest_values_are_taken(pair: Pair, photographs: Photographs, as_base64: AsBase64) -> None:
    size = 64 * 1024 - len(json.dumps(["", nested(31)], separators=(",", ":")))
    metadata = ["é" * (size // 2) + "e" * (size % 2), nested(31)]
    longest = sample(
        "\U0001f600" * 500,
        "\U0001f600" * 1000,
        as_base64(photographs["madonna"][0]),
        metadata=metadata,
        action="\U0001f600" * 1000,
    )
    assert post(pair, "/update-samples", [longest]).json()["success"] == [longest["id"]]
    (shown,) = requests.get(
        f"{pair.url}/samples", params={"name": longest["name"]}, timeout=TIMEOUT_S
    ).json()["samples"]
    assert all(shown[key] == longest[key] for key in ("id", "name", "metadata", "action"))


def test_the_fault_is_named_with_its_place(pair: Pair) -> None:
    body = assert_error(post(pair, "/update-samples", [GOOD, GOOD | {"name": 5}]), 400, "invalid_request")
    assert "[1].name" in body["detail"]


BAD_RECOGNITIONS = {
    "not JSON": b"{",
    "nothing": b"",
    "an array": [{"image": "aGk="}],
    "no image": {},
    "image null": {"image": None},
    "image a number": {"image": 1},
    "distance as text": {"image": "aGk=", "min_distance": "9"},
    "distance true": {"image": "aGk=", "min_distance": True},
    "distance zero": {"image": "aGk=", "min_distance": 0},
    "distance negative": {"image": "aGk=", "min_distance": -1},
    "distance NaN": b'{"image": "aGk=", "min_distance": NaN}',
    "distance infinite": b'{"image": "aGk=", "min_distance": Infinity}',
    "distance 1e999": b'{"image": "aGk=", "min_distance": 1e999}',
    "top_k zero": {"image": "aGk=", "top_k": 0},
    "top_k as text": {"image": "aGk=", "top_k": "3"},
    "limit negative": {"image": "aGk=", "limit": -1},
    "limit a fraction": {"image": "aGk=", "limit": 1.5},
    "include_unknown as text": {"image": "aGk=", "include_unknown": "false"},
    "top_k over the limit": {"image": "aGk=", "top_k": 101},
    "per something else": {"image": "aGk=", "top_k": 3, "per": "person"},
    "per null": {"image": "aGk=", "top_k": 3, "per": None},
    "deep": b'{"image": "aGk=", "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
}


@pytest.mark.parametrize("body", BAD_RECOGNITIONS.values(), ids=BAD_RECOGNITIONS)
def test_malformed_recognitions_are_refused(pair: Pair, body: Any) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body)
    answer = post(pair, "/face-recognition", data=data, headers={"Content-Type": "application/json"})
    assert_error(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    "image", ["", "***", "aGk", "data:text/plain;base64,aGk=", "/etc/passwd", "http://127.0.0.1/a.jpg"]
)
def test_what_is_no_picture_is_refused(pair: Pair, image: str) -> None:
    assert_error(post(pair, "/face-recognition", {"image": image}), 400, "invalid_image")


def test_a_text_file_called_a_picture_is_refused(pair: Pair) -> None:
    image = "data:image/jpeg;base64," + base64.b64encode(b"text " * 100).decode("ascii")
    assert_error(post(pair, "/face-recognition", {"image": image}), 400, "invalid_image")
    assert_error(post(pair, "/face-recognition", files={"file": b"text"}), 400, "invalid_image")


def test_bad_forms_are_refused(pair: Pair) -> None:
    assert_error(post(pair, "/face-recognition", files={"other": b"x"}), 400, "invalid_request")
    bad = {"min_distance": "nan", "include_unknown": "perhaps"}
    assert_error(post(pair, "/face-recognition", files={"file": b"x"}, data=bad), 400, "invalid_request")


def test_a_picture_too_large_is_refused_by_its_header(pair: Pair) -> None:
    image = as_base64_of(png_that_claims(64250, 64250))
    assert_error(post(pair, "/face-recognition", {"image": image}), 413, "image_too_large")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_while_it_streams_in(pair: Pair, chunked: bool) -> None:
    size, piece = 65 * 2**20, bytes(2**20)
    body = (piece for _ in range(size // len(piece))) if chunked else bytes(size)
    for url in (f"{pair.url}/face-recognition", f"{pair.extraction.url}/embeddings"):
        kind = "application/json" if url.startswith(pair.url) else "application/x-npy"
        answer = requests.post(url, data=body, headers={"Content-Type": kind}, timeout=TIMEOUT_S)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        body = (piece for _ in range(size // len(piece))) if chunked else body


def test_other_content_types_paths_and_methods_are_refused(pair: Pair) -> None:
    for headers in ({"Content-Type": "text/plain"}, {}):
        assert_error(
            post(pair, "/face-recognition", data=b"{}", headers=headers), 415, "unsupported_media_type"
        )
        assert_error(
            post(pair, "/update-samples", data=b"[]", headers=headers), 415, "unsupported_media_type"
        )
    assert_error(post(pair, "/nowhere", {}), 404, "not_found")
    assert_error(requests.get(f"{pair.url}/nowhere", timeout=TIMEOUT_S), 404, "not_found")
    refused = requests.put(f"{pair.url}/face-recognition", timeout=TIMEOUT_S)
    assert_error(refused, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(refused.headers["Allow"].split(", "))
    assert_error(requests.delete(f"{pair.url}/clear-samples", timeout=TIMEOUT_S), 405, "method_not_allowed")


def test_the_request_id_is_the_callers_if_it_is_sane(pair: Pair) -> None:
    sent = {"X-Request-Id": "door-7.2026:11_x"}
    assert (
        requests.get(f"{pair.url}/health", headers=sent, timeout=TIMEOUT_S).headers["X-Request-Id"]
        == "door-7.2026:11_x"
    )
    for odd in ("", "a b", "x" * 129, "<script>"):
        answer = requests.get(f"{pair.url}/nowhere", headers={"X-Request-Id": odd}, timeout=TIMEOUT_S)
        assert UUID_HEX.fullmatch(answer.headers["X-Request-Id"])


def test_the_request_id_travels_to_the_embedding_services_log(
    pair: Pair, photographs: Photographs, as_base64: AsBase64
) -> None:
    body = {"image": as_base64(photographs["madonna"][0])}
    post(pair, "/face-recognition", body, headers={"X-Request-Id": "travels-far"})
    for service in (pair.extraction, pair.detection):  # a line is written after its answer is sent
        wait_until(lambda log=service.log: "travels-far" in log.read_text(), service.process, service.log)  # type: ignore[misc]


def as_base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
