"""Faces that stand otherwise: turned, dark, flat and back-lit pictures, and small faces in large ones."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image

from recognition.app import READY_PICTURE
from recognition.client import Client
from running import ROOT, Pair, running_pair

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
TIMEOUT_S = 120
PEOPLE = ["ben_afflek", "elton_john", "jerry_seinfeld", "madonna", "mindy_kaling"]


def read(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


def encoded(pixels: Pixels, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def post(pair: Pair, path: str, picture: bytes, **fields: str) -> requests.Response:
    answer = requests.post(pair.url + path, files={"file": picture}, data=fields, timeout=TIMEOUT_S)
    assert answer.status_code == 200, answer.text
    return answer


def warnings(answer: requests.Response) -> list[str]:
    return answer.headers.get("X-Picture-Warnings", "").split(", ")


def box_of(face: dict[str, Any]) -> Box:
    x, y, w, h = map(int, face["bbox"].split(", "))
    return x, y, w, h


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    shared = 1.0
    for low, size, other_low, other_size in ((a[0], a[2], b[0], b[2]), (a[1], a[3], b[1], b[3])):
        shared *= max(0, min(low + size, other_low + other_size) - max(low, other_low))
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def turned(box: Box, quarters: int, height: int, width: int) -> Box:
    """Where a box of a (height, width) picture lies once that is turned counterclockwise."""
    x, y, w, h = box
    for _ in range(quarters):
        x, y, w, h = y, width - x - w, h, w
        height, width = width, height
    return x, y, w, h


def enrol(pair: Pair, samples: dict[str, bytes], **more: Any) -> dict[str, Any]:
    body = [
        {"id": name, "name": name, "image": base64.b64encode(picture).decode(), **more}
        for name, picture in samples.items()
    ]
    answer = requests.post(f"{pair.url}/update-samples", json=body, timeout=TIMEOUT_S)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


@pytest.fixture(scope="session")
def portraits(photographs: dict[str, list[Path]]) -> dict[str, Pixels]:
    """The bundled portrait, and one of each person."""
    return {"portrait": read(READY_PICTURE)} | {name: read(photographs[name][0]) for name in PEOPLE}


# --- turned


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_pictures_are_found_where_they_are(
    pair: Pair, portraits: dict[str, Pixels], quarters: int
) -> None:
    for name, picture in portraits.items():
        upright = post(pair, "/detect", encoded(picture))
        answer = post(pair, "/detect", encoded(np.rot90(picture, quarters)))
        (expected, *_), (face, *_) = upright.json(), answer.json()
        place = turned(box_of(expected), quarters, *picture.shape[:2])
        assert overlap(box_of(face), place) > 0.8, name
        assert (warnings(upright), warnings(answer)) == ([""], ["turned"])
        marks = np.array(list(face["landmarks"].values()))
        upright_marks = np.array(list(expected["landmarks"].values()))
        for _ in range(quarters):  # the same five places of the face, in the same order
            upright_marks = np.stack([upright_marks[:, 1], -upright_marks[:, 0]], axis=1)
        shift = (marks - upright_marks).mean(axis=0)
        np.testing.assert_allclose(marks - shift, upright_marks, atol=0.1 * place[3])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_pictures_are_recognised_and_enrolled(
    pair: Pair, portraits: dict[str, Pixels], quarters: int
) -> None:
    people = {name: portraits[name] for name in PEOPLE}
    report = enrol(pair, {name: encoded(np.rot90(picture, quarters)) for name, picture in people.items()})
    assert report["fail"] == []
    for name in PEOPLE:
        assert [each["code"] for each in report["samples"][name]["warnings"]] == ["turned"]
        assert report["samples"][name]["warnings"][0]["clockwise_degrees"] == 90 * quarters
        for picture in (portraits[name], np.rot90(portraits[name], quarters + 1)):
            (face, *_) = post(pair, "/face-recognition", encoded(picture)).json()
            assert face["name"] == name
            assert face["distance"] < 4  # the same picture, its pixels interpolated otherwise


def test_a_comparison_turns_both(pair: Pair, portraits: dict[str, Pixels]) -> None:
    files = {
        "image1": encoded(np.rot90(portraits["madonna"], 1)),
        "image2": encoded(np.rot90(portraits["madonna"], 2)),
    }
    answer = requests.post(f"{pair.url}/verify", files=files, timeout=TIMEOUT_S)
    assert answer.json()["verified"] is True
    assert answer.headers["X-Picture-Warnings"] == "turned"


def test_a_drawn_picture_stays_as_it_was_sent(pair: Pair, portraits: dict[str, Pixels]) -> None:
    picture = np.rot90(portraits["madonna"], 1)
    answer = post(pair, "/draw", encoded(picture), include_unknown="1")
    drawn = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert drawn.shape == picture.shape
    assert np.median(np.abs(drawn.astype(int) - picture)) < 8
    assert warnings(answer) == ["turned"]


def test_no_face_is_none_however_it_is_turned(pair: Pair) -> None:
    rng = np.random.default_rng(5)
    clouds = cv2.resize(rng.integers(0, 256, (9, 13, 3), np.uint8), (800, 600), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(0, 256, (600, 800, 3), np.uint8)
    for picture in (clouds, noise, clouds // 20, np.zeros_like(clouds), np.full_like(clouds, 90)):
        answer = post(pair, "/detect", encoded(picture))
        assert (answer.json(), warnings(answer)) == ([], [""])


# --- dark, flat and back-lit


def back_lit(picture: Pixels, box: Box) -> Pixels:
    """The person before a bright window: the head and what is below it dark, the rest overexposed."""
    x, y, w, h = box
    person = np.zeros(picture.shape[:2], np.float32)
    cv2.ellipse(person, (x + w // 2, y + h // 2), (int(0.8 * w), int(0.75 * h)), 0, 0, 360, 1, -1)
    cv2.rectangle(person, (int(x - 0.6 * w), int(y + 1.15 * h)), (int(x + 1.6 * w), picture.shape[0]), 1, -1)
    person = cv2.GaussianBlur(person, (0, 0), 0.1 * w)[..., None]
    lit = 0.1 * picture * person + (140 + 0.5 * picture) * (1 - person)
    return np.clip(lit, 0, 255).astype(np.uint8)


DAMAGE: dict[str, Callable[[Pixels, Box], Pixels]] = {
    "dark": lambda picture, _: (picture * 0.05).astype(np.uint8),
    "flat": lambda picture, _: (128 + 0.06 * (picture.astype(float) - 128)).astype(np.uint8),
    "flat and bright": lambda picture, _: (230 + 0.06 * (picture.astype(float) - 128)).astype(np.uint8),
    "back-lit": back_lit,
    "dark, on its side": lambda picture, _: np.rot90((picture * 0.05).astype(np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_faces_are_found_where_a_person_sees_them(
    pair: Pair, portraits: dict[str, Pixels], damage: str
) -> None:
    enrol(pair, {name: encoded(picture) for name, picture in portraits.items()})
    for name, picture in portraits.items():
        expected = box_of(post(pair, "/detect", encoded(picture)).json()[0])
        damaged = encoded(DAMAGE[damage](picture, expected))
        answer = post(pair, "/detect", damaged)
        if name == "madonna" and damage == "dark, on its side":  # too unsure for a picture with both faults
            continue
        (face, *_) = answer.json()
        place = turned(expected, 1, *picture.shape[:2]) if "side" in damage else expected
        assert overlap(box_of(face), place) > 0.5, name
        if damage != "back-lit":
            assert "contrast_raised" in warnings(answer)
            assert post(pair, "/face-recognition", damaged).json()[0]["name"] == name


# --- small faces


def crowd(portraits: dict[str, Pixels], boxes: dict[str, Box], shape: tuple[int, int], face_px: int) -> Any:
    """Forty faces of so many pixels on a textured wall: the picture, and their boxes."""
    rng = np.random.default_rng(1)
    rough = rng.integers(90, 170, (shape[0] // 40, shape[1] // 40, 3), np.uint8)
    wall = cv2.resize(rough, shape[::-1], interpolation=cv2.INTER_CUBIC)
    places = []
    columns, rows = 10, 4
    for number in range(columns * rows):
        name = list(portraits)[number % len(portraits)]
        x, y, w, h = boxes[name]
        margin = h // 3
        top, left = max(0, y - margin), max(0, x - margin)
        cut = portraits[name][top : y + h + margin, left : x + w + margin]
        scale = face_px / h
        small = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = small.shape[:2]
        cell_w, cell_h = shape[1] // columns, shape[0] // rows
        at_x = number % columns * cell_w + int(rng.integers(0, cell_w - width))
        at_y = number // columns * cell_h + int(rng.integers(0, cell_h - height))
        wall[at_y : at_y + height, at_x : at_x + width] = small
        places.append(
            (round(at_x + (x - left) * scale), round(at_y + (y - top) * scale), round(w * scale), face_px)
        )
    return wall, places


@pytest.fixture(scope="session")
def crowds(session_pair: Pair, portraits: dict[str, Pixels]) -> dict[str, tuple[bytes, list[Box]]]:
    boxes = {
        name: box_of(post(session_pair, "/detect", encoded(picture)).json()[0])
        for name, picture in portraits.items()
    }
    shapes = {"12 megapixels": (3000, 4000), "panorama": (1200, 6000)}
    made = {}
    for name, shape in shapes.items():
        picture, places = crowd(portraits, boxes, shape, 48)
        made[name] = encoded(picture, "JPEG", quality=92), places
    return made


def found_of(faces: list[dict[str, Any]], places: list[Box]) -> int:
    return sum(any(overlap(box_of(face), place) > 0.4 for face in faces) for place in places)


@pytest.mark.parametrize("name", ["12 megapixels", "panorama"])
def test_small_faces_are_found_on_request(
    pair: Pair, crowds: dict[str, tuple[bytes, list[Box]]], name: str
) -> None:
    picture, places = crowds[name]
    usual = post(pair, "/detect", picture)
    assert found_of(usual.json(), places) < 40
    assert warnings(usual) == ["searched_shrunk"]
    answer = post(pair, "/detect", picture, small_faces="true")
    assert found_of(answer.json(), places) == 40
    assert len(answer.json()) <= 42
    assert warnings(answer) == [""]
    body = {"image": base64.b64encode(picture).decode(), "small_faces": True, "include_unknown": True}
    recognised = requests.post(f"{pair.url}/face-recognition", json=body, timeout=TIMEOUT_S)
    assert [face["bbox"] for face in recognised.json()] == [face["bbox"] for face in answer.json()]


def test_a_picture_that_is_not_shrunk_has_the_same_answer(pair: Pair, portraits: dict[str, Pixels]) -> None:
    picture = encoded(portraits["madonna"])
    usual = post(pair, "/detect", picture)
    assert usual.json() == post(pair, "/detect", picture, small_faces="1").json()
    assert warnings(usual) == [""]


def test_one_small_face_is_enrolled_on_request(pair: Pair, portraits: dict[str, Pixels]) -> None:
    face = cv2.resize(portraits["madonna"], (90, 120), interpolation=cv2.INTER_AREA)
    picture = np.full((3000, 4000, 3), 120, np.uint8)
    picture[1400:1520, 2000:2090] = face
    refused = enrol(pair, {"small": encoded(picture)})
    assert refused["errors"]["small"]["code"] == "no_face"
    assert "small_faces" in refused["errors"]["small"]["detail"]
    assert enrol(pair, {"small": encoded(picture)}, small_faces=True)["success"] == ["small"]
    answer = post(pair, "/face-recognition", encoded(portraits["madonna"]))
    assert answer.json()[0]["name"] == "small"


@pytest.mark.parametrize("path", ["/detect", "/face-recognition", "/draw"])
def test_what_small_faces_may_be(pair: Pair, portraits: dict[str, Pixels], path: str) -> None:
    picture = encoded(portraits["portrait"])
    image = base64.b64encode(picture).decode()
    for value in (True, False, None):
        body = {"image": image, "small_faces": value}
        assert requests.post(pair.url + path, json=body, timeout=TIMEOUT_S).ok
    for wrong in ("yes", 1, [True]):
        body = {"image": image, "small_faces": wrong}
        answer = requests.post(pair.url + path, json=body, timeout=TIMEOUT_S)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert "small_faces" in answer.json()["detail"]


def test_the_setting_is_what_callers_who_say_nothing_get(
    tmp_path: Path, models_dir: Path, crowds: dict[str, tuple[bytes, list[Box]]]
) -> None:
    picture, places = crowds["panorama"]
    with running_pair(tmp_path, models_dir, SMALL_FACES="1", WORKERS="1") as pair:
        answer = post(pair, "/detect", picture)
        assert (found_of(answer.json(), places), warnings(answer)) == (40, [""])
        assert warnings(post(pair, "/detect", picture, small_faces="false")) == ["searched_shrunk"]


def test_the_client_and_the_command_line(
    pair: Pair, crowds: dict[str, tuple[bytes, list[Box]]], portraits: dict[str, Pixels], tmp_path: Path
) -> None:
    picture, places = crowds["panorama"]
    with Client(pair.url) as client:
        codes: list[str] = []
        assert found_of(client.detect(picture, warnings=codes), places) < 40
        assert codes == ["searched_shrunk"]
        assert found_of(client.detect(picture, small_faces=True), places) == 40
        assert len(client.recognise(picture, small_faces=True, include_unknown=True)) >= 40
    (tmp_path / "crowd.jpg").write_bytes(picture)
    (tmp_path / "side.png").write_bytes(encoded(np.rot90(portraits["madonna"])))

    def detect(*arguments: str) -> list[Any]:
        command = [sys.executable, "-m", "recognition", "detect", "--host", pair.url, "--json", *arguments]
        outcome = subprocess.run(command, cwd=ROOT / "face_detection", capture_output=True, text=True)
        assert outcome.returncode == 0, outcome.stderr
        return [json.loads(line) for line in outcome.stdout.splitlines()]

    usual, side = detect(str(tmp_path / "crowd.jpg"), str(tmp_path / "side.png"))
    assert usual["warnings"] == ["searched_shrunk"]
    assert (len(side["faces"]), side["warnings"]) == (1, ["turned"])
    (thorough,) = detect("--small-faces", str(tmp_path / "crowd.jpg"))
    assert found_of(thorough["faces"], places) == 40
    assert "warnings" not in thorough
