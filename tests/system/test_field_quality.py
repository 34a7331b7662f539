"""Pictures as people have them: faces too poor to be told apart, and several faces in one picture."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
from click.testing import CliRunner
from numpy.typing import NDArray

from recognition.__main__ import cli
from recognition.app import READY_PICTURE
from running import Pair

TIMEOUT_S = 60
Pixels = NDArray[np.uint8]
Photographs = dict[str, list[Path]]


def pixels_of(path: Path) -> Pixels:
    return np.asarray(cv2.imread(str(path)), dtype=np.uint8)  # BGR, as imencode wants it


def encoded(pixels: Pixels) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def as_text(pixels: Pixels) -> str:
    return base64.b64encode(encoded(pixels)).decode("ascii")


def enrol(pair: Pair, pixels: Pixels, sample_id: str = "1", name: str = "Somebody", **more: Any) -> Any:
    body = [{"id": sample_id, "name": name, "image": as_text(pixels), **more}]
    answer = requests.post(f"{pair.url}/update-samples", json=body, timeout=TIMEOUT_S)
    assert answer.status_code == 200, answer.text
    return answer.json()


def recognise(pair: Pair, pixels: Pixels, **more: Any) -> Any:
    body = {"image": as_text(pixels), "include_unknown": True, **more}
    return requests.post(f"{pair.url}/face-recognition", json=body, timeout=TIMEOUT_S).json()


def detect(pair: Pair, data: bytes) -> Any:
    return requests.post(f"{pair.url}/detect", files={"file": data}, timeout=TIMEOUT_S).json()


def corners(face: dict[str, Any]) -> tuple[int, int, int, int]:
    x, y, w, h = map(int, face["bbox"].split(", "))
    return x, y, x + w, y + h


# --- what is done to a portrait


def blurred(portrait: Pixels, face: dict[str, Any]) -> Pixels:
    x0, _, x1, _ = corners(face)
    return np.asarray(cv2.GaussianBlur(portrait, (0, 0), (x1 - x0) / 14), dtype=np.uint8)


def shaken(portrait: Pixels, face: dict[str, Any]) -> Pixels:
    x0, _, x1, _ = corners(face)
    length = round((x1 - x0) / 4) | 1
    kernel = np.full((1, length), 1 / length, np.float32)
    return np.asarray(cv2.filter2D(portrait, -1, kernel), dtype=np.uint8)


def barred(portrait: Pixels, face: dict[str, Any], upper: bool, colour: int) -> Pixels:
    x0, y0, x1, y1 = corners(face)
    (_, nose_y) = face["landmarks"]["nose"]
    done, wide = portrait.copy(), (x1 - x0) // 8
    top, bottom = (y0 - wide, round(nose_y)) if upper else (round(nose_y - wide / 2), y1 + wide)
    done[max(top, 0) : bottom, max(x0 - wide, 0) : x1 + wide] = colour
    return done


def black_below(portrait: Pixels, face: dict[str, Any]) -> Pixels:
    return barred(portrait, face, upper=False, colour=0)


def white_below(portrait: Pixels, face: dict[str, Any]) -> Pixels:
    return barred(portrait, face, upper=False, colour=255)


def black_above(portrait: Pixels, face: dict[str, Any]) -> Pixels:
    return barred(portrait, face, upper=True, colour=0)


DAMAGES = [(blurred, "blurred"), (shaken, "blurred"), (black_below, "covered"), (white_below, "covered")]
Damage = Callable[[Pixels, dict[str, Any]], Pixels]


@pytest.fixture
def portrait() -> Pixels:
    return pixels_of(READY_PICTURE)


@pytest.fixture
def pose(pair: Pair, portrait: Pixels) -> dict[str, Any]:
    (face,) = detect(pair, encoded(portrait))
    return dict(face)


def test_a_good_face_has_nothing_wrong_with_it(pair: Pair, portrait: Pixels) -> None:
    (seen,) = detect(pair, encoded(portrait))
    assert 0.5 < seen["quality"] <= 1
    assert seen["reasons"] == []
    answer = enrol(pair, portrait)
    (stored,) = answer["samples"].values()
    assert stored == {
        "person": stored["person"],
        "faces": 1,
        "bbox": seen["bbox"],
        "quality": seen["quality"],
        "reasons": [],
        "warnings": [],
    }
    (face,) = recognise(pair, portrait)
    assert (face["name"], face["quality"], face["reasons"]) == ("Somebody", seen["quality"], [])


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_face_too_poor_is_not_enrolled_unless_that_is_accepted(
    pair: Pair, portrait: Pixels, pose: dict[str, Any], damage: Damage, reason: str
) -> None:
    enrol(pair, portrait, metadata="as it was")
    poor = damage(portrait, pose)
    answer = enrol(pair, poor)
    assert (answer["success"], answer["fail"], answer["samples"]) == ([], ["1"], {})
    error = answer["errors"]["1"]
    assert error["code"] == "low_quality"
    assert reason.replace("_", " ") in error["detail"]
    assert reason in [each["code"] for each in error["reasons"]]
    assert error["quality"] < 0.25
    assert requests.get(f"{pair.url}/samples/1", timeout=TIMEOUT_S).json()["metadata"] == "as it was"

    accepted = enrol(pair, poor, accept_low_quality=True)
    assert accepted["success"] == ["1"]
    assert [warning["code"] for warning in accepted["samples"]["1"]["warnings"]] == ["low_quality"]
    assert accepted["samples"]["1"]["quality"] == error["quality"]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_face_too_poor_is_given_no_name(
    pair: Pair, portrait: Pixels, pose: dict[str, Any], damage: Damage, reason: str
) -> None:
    poor = damage(portrait, pose)
    enrol(pair, poor, accept_low_quality=True)
    (face,) = recognise(pair, poor, top_k=3)
    assert (face["id"], face["name"], face["metadata"], face["candidates"]) == ("", "", "", [])
    assert face["distance"] < 0.1  # it is the very picture
    assert reason in [each["code"] for each in face["reasons"]]
    ordinary = requests.post(f"{pair.url}/face-recognition", json={"image": as_text(poor)}, timeout=TIMEOUT_S)
    assert ordinary.json() == []
    files = {"image1": encoded(poor), "image2": encoded(poor)}
    compared = requests.post(f"{pair.url}/verify", files=files, timeout=TIMEOUT_S).json()
    assert compared["verified"] is False
    assert compared["distance"] < compared["threshold"]
    assert compared["quality1"] == compared["quality2"] == face["quality"]
    assert compared["reasons1"] == compared["reasons2"] == face["reasons"]


def test_the_upper_half_may_not_be_covered_either(pair: Pair, portrait: Pixels, pose: dict[str, Any]) -> None:
    for face in detect(pair, encoded(black_above(portrait, pose))):  # usually none is found
        assert face["quality"] < 0.25


def test_all_demo_photographs_are_good_enough(pair: Pair, photographs: Photographs) -> None:
    seen = [detect(pair, path.read_bytes())[:1] for paths in photographs.values() for path in paths]
    good = [face for faces in seen for face in faces if face["quality"] >= 0.25]
    assert (len(seen), len(good)) in (
        (93, 92),
        (93, 93),
    )  # of one photograph it is not sure that it shows a face


@pytest.mark.parametrize(
    "face",
    ["first", 1, True, [], {}, {"x": 1}, {"x": 1, "y": 2, "z": 3}, {"x": "1", "y": 2}, {"x": -1, "y": 2}],
)
def test_other_ways_to_name_a_face_are_refused(pair: Pair, face: Any) -> None:
    body = [{"id": "1", "name": "Somebody", "image": "", "face": face}]
    answer = requests.post(f"{pair.url}/update-samples", json=body, timeout=TIMEOUT_S)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "[0].face" in answer.json()["detail"]


# --- several faces


@pytest.fixture
def two(photographs: Photographs) -> Pixels:
    """Two portraits side by side, the left one of a larger face."""
    tiles = [
        cv2.resize(pixels_of(photographs[person][0]), None, fx=scale, fy=scale)
        for person, scale in (("madonna", 1.2), ("ben_afflek", 0.8))
    ]
    height = max(len(tile) for tile in tiles)
    padded = [cv2.copyMakeBorder(t, 0, height - len(t), 0, 0, cv2.BORDER_CONSTANT) for t in tiles]
    return np.ascontiguousarray(np.hstack(padded), dtype=np.uint8)


def test_of_several_faces_the_largest_is_taken_and_that_is_said(pair: Pair, two: Pixels) -> None:
    faces = detect(pair, encoded(two))
    assert len(faces) == 2
    for more in ({}, {"face": "largest"}, {"face": None}):
        seen = enrol(pair, two, **more)["samples"]["1"]
        assert (seen["faces"], seen["bbox"]) == (2, faces[0]["bbox"])
        (warning,) = seen["warnings"]
        assert (warning["code"], warning["faces"]) == ("several_faces", 2)
        assert "2 faces" in warning["detail"]


def test_a_picture_with_several_faces_is_refused_where_there_may_be_one(
    pair: Pair, two: Pixels, portrait: Pixels
) -> None:
    answer = enrol(pair, two, face="only")
    assert (answer["fail"], answer["errors"]["1"]["code"]) == (["1"], "several_faces")
    assert "2 faces" in answer["errors"]["1"]["detail"]
    assert enrol(pair, portrait, face="only")["success"] == ["1"]


def test_the_face_at_a_point_is_taken(pair: Pair, two: Pixels) -> None:
    for face in detect(pair, encoded(two)):
        x0, y0, x1, y1 = corners(face)
        seen = enrol(pair, two, face={"x": (x0 + x1) / 2, "y": (y0 + y1) // 2})["samples"]["1"]
        assert (seen["faces"], seen["bbox"], seen["warnings"]) == (2, face["bbox"], [])
        nearest = min(recognise(pair, two), key=lambda each: each["distance"])
        assert nearest["bbox"] == face["bbox"]
    nowhere = enrol(pair, two, face={"x": 0, "y": 0})
    assert nowhere["errors"]["1"]["code"] == "no_face"
    assert "0, 0" in nowhere["errors"]["1"]["detail"]


# --- on the command line


def test_the_command_line_says_why_a_face_is_not_enrolled(
    pair: Pair, portrait: Pixels, pose: dict[str, Any], two: Pixels, tmp_path: Path
) -> None:
    poor = tmp_path / "people" / "poor.png"
    poor.parent.mkdir()
    poor.write_bytes(encoded(blurred(portrait, pose)))
    (poor.parent / "two.png").write_bytes(encoded(two))

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli, [*arguments, "--host", pair.url])

    result = run("enrol", str(poor.parent), "--one-face")
    assert result.exit_code == 1
    assert "poor.png: " in result.output
    assert "blurred" in result.output
    assert "two.png: The picture has 2 faces" in result.output

    result = run("enrol", str(poor.parent), "--accept-low-quality", "--json")
    assert result.exit_code == 0
    report = json.loads(result.output)
    assert sorted(report["enrolled"]) == ["poor.png", "two.png"]
    codes = {path: [warning["code"] for warning in told] for path, told in report["warnings"].items()}
    assert codes == {"poor.png": ["low_quality"], "two.png": ["several_faces"]}

    result = run("recognise", str(poor))
    assert "unknown" in result.output
    assert "blurred" in result.output
    result = run("verify", str(poor), str(poor))
    assert result.exit_code == 1
    assert "too poor" in result.output
    assert "blurred" in run("detect", str(poor)).output
