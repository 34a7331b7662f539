"""What CompreFace's dialect answers about pictures, by fakes whose distances are known."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anything import multipart
from recognition.gallery import open_gallery
from serving.attributes import AgeRange, Attributes, Gender
from squares import (
    DETECTION,
    KEYS,
    MODEL,
    ONE,
    VERIFICATION,
    Caller,
    Square,
    app_of_squares,
    distance,
    encoded,
    picture,
    png,
    unit,
    uploaded,
)

FACES, SUBJECTS = "/recognition/faces", "/recognition/subjects"
RECOGNISE, DETECT, VERIFY = "/recognition/recognize", "/detection/detect", "/verification/verify"
BOX = {"probability", "x_max", "y_max", "x_min", "y_min"}
SEVERAL = (Square(160, 30), Square(50, 70), Square(200, 50))  # neither sorted by size nor by place


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Iterator[Caller]:
    file = tmp_path_factory.mktemp("pictures") / "gallery.sqlite3"
    file.write_bytes(empty_sqlite.read_bytes())
    with closing(open_gallery(f"sqlite:///{file}", lock_timeout_s=5)) as gallery:
        yield Caller(app_of_squares(gallery).test_client())


@pytest.fixture
def caller(shared: Caller) -> Caller:
    """A service without subjects."""
    shared.ok("DELETE", SUBJECTS)
    return shared


@pytest.fixture
def detection(shared: Caller) -> Caller:
    return replace(shared, key=DETECTION)


@pytest.fixture
def verification(shared: Caller) -> Caller:
    return replace(shared, key=VERIFICATION)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def strict(value: Any) -> None:
    """What a client with strict types reads: nothing is null, and what is counted in pixels is an integer."""
    assert value is not None
    if isinstance(value, dict):
        for name, inside in value.items():
            strict(inside)
            if name in ("x_min", "y_min", "x_max", "y_max", "low", "high"):
                assert type(inside) is int, name
            if name in ("similarity", "probability"):
                assert isinstance(inside, float | int) and 0 <= inside <= 1
            if name == "landmarks" and isinstance(inside, list):  # it takes time, too
                assert [type(number) for point in inside for number in point] == 10 * [int]
    elif isinstance(value, list):
        for inside in value:
            strict(inside)


# --- recognise


def recognised(caller: Caller, *squares: Square, **options: Any) -> list[dict[str, Any]]:
    answer = caller.ok("POST", RECOGNISE, file=png(*squares), query_string=options)
    strict(answer)
    assert set(answer) == {"result"}
    return answer["result"]  # type: ignore[no-any-return]


def names(face: dict[str, Any]) -> list[str]:
    return [found["subject"] for found in face["subjects"]]


def test_a_known_face_has_its_subject_and_nothing_but_box_and_subjects(caller: Caller) -> None:
    caller.add("Ann", Square(50))
    (face,) = recognised(caller, Square(52))
    assert set(face) == {"box", "subjects"}
    assert set(face["box"]) == BOX
    assert face["box"] == {"probability": 0.99, "x_min": 20, "y_min": 20, "x_max": 80, "y_max": 80}
    ((found,),) = [face["subjects"]]
    assert set(found) == {"subject", "similarity"}
    assert found["subject"] == "Ann" and found["similarity"] > 0.9


def test_without_examples_a_face_has_no_subjects_but_the_empty_list(caller: Caller) -> None:
    for subject in ((), ("Ann",)):  # a subject without examples is none to be found
        for name in subject:
            caller.ok("POST", SUBJECTS, 201, json={"subject": name})
        (face,) = recognised(caller, Square())
        assert face["subjects"] == []


def test_a_stranger_has_the_nearest_subject_with_a_low_similarity(caller: Caller) -> None:
    caller.add("Ann", Square(0))
    caller.add("Bob", Square(20))
    (face,) = recognised(caller, Square(254))
    (found,) = face["subjects"]
    assert found["subject"] == "Bob"
    assert 0 <= found["similarity"] < 0.5


def test_prediction_count_counts_examples_so_names_repeat(caller: Caller) -> None:
    for name, red in (("Ann", 50), ("Ann", 60), ("Bob", 70), ("Cid", 255)):
        caller.add(name, Square(red))
    expected = ["Ann", "Ann", "Bob", "Cid"]
    for count in (1, 2, 3, 4, 100):
        (face,) = recognised(caller, Square(50), prediction_count=count)
        assert names(face) == expected[:count]
        similarities = [found["similarity"] for found in face["subjects"]]
        assert similarities == sorted(similarities, reverse=True)
    (face,) = recognised(caller, Square(50))
    assert names(face) == ["Ann"]


def test_faces_come_largest_first_and_limit_takes_the_largest(caller: Caller) -> None:
    caller.add("Ann", Square(50))
    sides = [70, 50, 30]
    for limit, kept in (({}, 3), ({"limit": 0}, 3), ({"limit": 2}, 2), ({"limit": 1}, 1), ({"limit": 9}, 3)):
        faces = recognised(caller, *SEVERAL, **limit)
        assert [face["box"]["x_max"] - face["box"]["x_min"] for face in faces] == sides[:kept]


def test_the_threshold_is_085_and_a_face_must_be_surer(caller: Caller) -> None:
    def found(confidence: float, **options: Any) -> bool:
        answer = caller.ask("POST", RECOGNISE, file=png(Square(confidence=confidence)), query_string=options)
        assert answer.status_code == 200 or answer.json["code"] == 28  # type: ignore[index]
        return answer.status_code == 200

    assert found(0.86) and not found(0.85) and not found(0.5)
    assert found(0.5, det_prob_threshold=0.4) and not found(0.5, det_prob_threshold=0.5)
    assert found(0.5, det_prob_threshold=0)
    assert found(0.86, det_prob_threshold="") and not found(0.5, det_prob_threshold="")
    assert not found(1.0, det_prob_threshold=1.0)


def test_less_sure_faces_are_left_out_one_by_one(caller: Caller) -> None:
    faces = recognised(caller, Square(confidence=0.5), Square(side=40), det_prob_threshold="0.6")
    assert [face["box"]["x_min"] for face in faces] == [100]


@pytest.mark.parametrize("times", [1, 2])
def test_a_file_and_base64_have_the_same_answer(caller: Caller, times: int) -> None:
    caller.add("Ann", Square(50))
    by_file = caller.ok("POST", RECOGNISE, file=png(*SEVERAL), query_string={"prediction_count": times})
    text = b64(png(*SEVERAL))
    for body in (text, "\n".join(text[place : place + 76] for place in range(0, len(text), 76))):
        by_json = caller.ok("POST", RECOGNISE, json={"file": body}, query_string={"prediction_count": times})
        assert by_json == by_file


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
    ],
)
def test_json_may_name_a_charset(caller: Caller, kind: str) -> None:
    body = f'{{"file": "{b64(ONE)}", "unknown": 1}}'
    assert caller.ok("POST", RECOGNISE, data=body, content_type=kind)["result"]


def test_options_may_be_fields_of_the_form_and_the_query_comes_first(caller: Caller) -> None:
    caller.add("Ann", Square(50))
    form = {"limit": "1", "det_prob_threshold": "0.5", "face_plugins": "landmarks", "status": "true"}
    by_form = caller.ok("POST", RECOGNISE, file=png(*SEVERAL), form=form)
    by_query = caller.ok("POST", RECOGNISE, file=png(*SEVERAL), query_string=form)
    for answer in (by_form, by_query):
        assert [set(face) for face in answer["result"]] == [
            {"box", "subjects", "landmarks", "execution_time"}
        ]
    both = caller.ok("POST", RECOGNISE, file=png(*SEVERAL), form={"limit": "1"}, query_string={"limit": "2"})
    assert len(both["result"]) == 2


def test_empty_and_unknown_options_are_as_if_absent(caller: Caller) -> None:
    caller.add("Ann", Square(50))
    plain = caller.ok("POST", RECOGNISE, file=png(*SEVERAL))
    options = (
        "limit",
        "det_prob_threshold",
        "prediction_count",
        "face_plugins",
        "status",
        "detect_faces",
        "threshold",
    )
    empty = dict.fromkeys(options, "")
    assert caller.ok("POST", RECOGNISE, file=png(*SEVERAL), query_string=empty) == plain
    assert caller.ok("POST", RECOGNISE, file=png(*SEVERAL), form=empty) == plain
    assert caller.ok("POST", RECOGNISE, file=png(*SEVERAL), query_string={"x": "y", "limt": "1"}) == plain


@pytest.mark.parametrize(
    "plugins", ["undefined", "", "null", "mask", "age,gender,mask", "x,,y", " , ", "Landmarks"]
)
def test_plugins_that_are_not_there_are_passed_over(caller: Caller, plugins: str) -> None:
    (face,) = recognised(caller, Square(), face_plugins=plugins)
    assert set(face) == {"box", "subjects"}


@pytest.mark.parametrize(
    "plugins",
    [
        "landmarks,calculator,pose",
        "landmarks calculator pose",
        " pose, calculator ,landmarks ,age",
        "pose,\tcalculator landmarks",
    ],
)
def test_plugins_are_separated_by_commas_or_spaces(caller: Caller, plugins: str) -> None:
    (face,) = recognised(caller, Square(30, 100), face_plugins=plugins)
    assert set(face) == {"box", "subjects", "landmarks", "embedding", "pose"}
    # The eyes, the nose, the mouth, by where squares have them.
    assert face["landmarks"] == [[50, 60], [90, 60], [70, 80], [55, 100], [85, 100]]
    assert face["embedding"] == pytest.approx(unit(30), abs=1e-5)
    assert math.hypot(*face["embedding"]) == pytest.approx(1, abs=1e-5)
    assert set(face["pose"]) == {"pitch", "roll", "yaw"}
    assert all(isinstance(angle, int | float) and abs(angle) < 90 for angle in face["pose"].values())
    assert abs(face["pose"]["yaw"]) < 5 and abs(face["pose"]["roll"]) < 5  # it looks straight ahead


def test_age_and_gender_are_told_where_they_are_guessed(tmp_path: Path, empty_sqlite: Path) -> None:
    file = tmp_path / "gallery.sqlite3"
    file.write_bytes(empty_sqlite.read_bytes())
    guess = Attributes(31.4, AgeRange(28, 35, 0.625), Gender("female", 0.875))
    with closing(open_gallery(f"sqlite:///{file}", lock_timeout_s=5)) as gallery:
        caller = Caller(app_of_squares(gallery, guess).test_client())
        told = {
            "age": {"low": 28, "high": 35, "probability": 0.625},
            "gender": {"value": "female", "probability": 0.875},
        }
        for plugins in ("age", "gender", "age,gender", "mask gender age"):
            (face,) = recognised(caller, Square(), face_plugins=plugins)
            asked = {name: value for name, value in told.items() if name in plugins}
            assert face == {"box": face["box"], "subjects": [], **asked}
        (face,) = recognised(caller, Square())
        assert set(face) == {"box", "subjects"}
        options = {"face_plugins": "age,mask", "status": "true"}
        answer = caller.ok("POST", RECOGNISE, file=ONE, query_string=options)
        assert set(answer["plugins_versions"]) == {"detector", "calculator", "age"}
        assert set(answer["result"][0]["execution_time"]) == {"detector", "calculator", "age"}


TRUE, FALSE = ("true", "True", "TRUE", "1", "on", "yes"), ("false", "False", "0", "off", "no", "")


@pytest.mark.parametrize("status", TRUE)
def test_status_adds_times_and_versions(caller: Caller, status: str) -> None:
    answer = caller.ok("POST", RECOGNISE, file=png(*SEVERAL), query_string={"status": status})
    strict(answer)
    assert set(answer) == {"result", "plugins_versions"}
    assert set(answer["plugins_versions"]) == {"detector", "calculator"}
    assert all(isinstance(version, str) and version for version in answer["plugins_versions"].values())
    for face in answer["result"]:
        assert set(face) == {"box", "subjects", "execution_time"}
        assert set(face["execution_time"]) == {"detector", "calculator"}
        assert all(isinstance(ms, int | float) and ms >= 0 for ms in face["execution_time"].values())


@pytest.mark.parametrize("status", FALSE)
def test_without_status_there_is_neither(caller: Caller, status: str) -> None:
    answer = caller.ok("POST", RECOGNISE, file=ONE, query_string={"status": status})
    assert set(answer) == {"result"}
    assert [set(face) for face in answer["result"]] == [{"box", "subjects"}]


@pytest.mark.parametrize("wanted", FALSE[:-1])
def test_without_detection_the_whole_picture_is_the_face(caller: Caller, wanted: str) -> None:
    caller.add("Ann", Square(50))
    whole = np.full((80, 100, 3), (50, 0, 198), np.uint8)
    answer = caller.ok("POST", RECOGNISE, file=encoded(whole), query_string={"detect_faces": wanted})
    (face,) = answer["result"]
    strict(face)
    assert face["box"] == {"probability": 1.0, "x_min": 0, "y_min": 0, "x_max": 100, "y_max": 80}
    assert names(face) == ["Ann"]
    assert face["subjects"][0]["similarity"] > 0.95


# --- similarity


def test_similarity_is_the_formula_with_its_middle_at_the_threshold(
    caller: Caller, verification: Caller
) -> None:
    caller.add("Ann", Square(0))
    reds = (0, 40, 80, 120, 140, 151, 165, 200, 255)
    found = {}
    for red in reds:
        (face,) = recognised(caller, Square(red))
        found[red] = face["subjects"][0]["similarity"]
        assert found[red] == round(found[red], 5)
    middle = MODEL.threshold / 10
    slopes = [math.atanh(2 * found[red] - 1) / (middle - distance(0, red) / 10) for red in (120, 140, 165)]
    slope = sum(slopes) / len(slopes)
    assert slope > 1
    for red in reds:
        expected = (math.tanh((middle - distance(0, red) / 10) * slope) + 1) / 2
        assert found[red] == pytest.approx(expected, abs=0.002), red
    assert sorted(found.values(), reverse=True) == list(found.values())
    # and it is the same however two faces come to be compared
    source, target = png(Square(0)), png(Square(120))
    sent = {"source_image": uploaded(source), "target_image": uploaded(target)}
    (compared,) = verification.ok("POST", VERIFY, form=sent)["result"]
    assert compared["face_matches"][0]["similarity"] == pytest.approx(found[120], abs=1e-4)
    targets = {"source": unit(0), "targets": [unit(120)]}
    (by_vector,) = verification.ok("POST", "/verification/embeddings/verify", json=targets)["result"]
    assert by_vector["similarity"] == pytest.approx(found[120], abs=1e-4)


# --- detect


def test_detection_finds_boxes_and_nothing_else_unasked(detection: Caller) -> None:
    answer = detection.ok("POST", DETECT, file=png(*SEVERAL))
    strict(answer)
    assert set(answer) == {"result"}
    assert [set(face) for face in answer["result"]] == 3 * [{"box"}]
    assert [face["box"]["y_max"] - face["box"]["y_min"] for face in answer["result"]] == [70, 50, 30]
    (largest,) = detection.ok("POST", DETECT, json={"file": b64(png(*SEVERAL))}, query_string={"limit": 1})[
        "result"
    ]
    assert largest == answer["result"][0]


def test_detection_has_plugins_and_status(detection: Caller) -> None:
    options = {"face_plugins": "landmarks,calculator,pose,age,undefined", "status": "true"}
    answer = detection.ok("POST", DETECT, file=ONE, query_string=options)
    strict(answer)
    (face,) = answer["result"]
    assert set(face) == {"box", "landmarks", "embedding", "pose", "execution_time"}
    assert set(face["execution_time"]) == {"detector", "calculator", "pose"}  # as of no other plugin
    assert {"detector", "calculator"} <= set(answer["plugins_versions"])
    plain = detection.ok("POST", DETECT, file=ONE, query_string={"status": "true"})
    assert set(plain["plugins_versions"]) == set(plain["result"][0]["execution_time"]) == {"detector"}


# --- verify two pictures


def verified(caller: Caller, source: bytes, target: bytes, **options: Any) -> dict[str, Any]:
    sent = {"source_image": uploaded(source), "target_image": uploaded(target)}
    answer = caller.ok("POST", VERIFY, form=sent, query_string=options)
    strict(answer)
    assert set(answer) == {"result"}
    (result,) = answer["result"]
    by_json = {"source_image": b64(source), "target_image": b64(target)}
    if "status" not in options:
        assert caller.ok("POST", VERIFY, json=by_json, query_string=options) == answer
    return result  # type: ignore[no-any-return]


def test_verification_compares_the_source_with_each_face_of_the_target(verification: Caller) -> None:
    result = verified(verification, png(Square(50)), png(*SEVERAL))
    assert set(result) == {"source_image_face", "face_matches"}
    assert set(result["source_image_face"]) == {"box"}
    assert [set(face) for face in result["face_matches"]] == 3 * [{"box", "similarity"}]
    # as in the rest of the dialect, the largest face comes first
    sides = [face["box"]["x_max"] - face["box"]["x_min"] for face in result["face_matches"]]
    assert sides == [70, 50, 30]
    assert (
        result["face_matches"][0]["similarity"]
        > result["face_matches"][2]["similarity"]
        > result["face_matches"][1]["similarity"]
    )


def test_limit_holds_for_the_source_too(verification: Caller) -> None:
    result = verified(verification, png(*SEVERAL), png(*SEVERAL), limit=1)
    (match,) = result["face_matches"]
    assert match["box"] == result["source_image_face"]["box"]
    assert match["similarity"] > 0.95


def test_verification_has_versions_inside_its_result(verification: Caller) -> None:
    options = {"status": "true", "face_plugins": "calculator landmarks"}
    result = verified(verification, ONE, png(Square(60)), **options)
    assert set(result) == {"source_image_face", "face_matches", "plugins_versions"}
    fields = {"box", "embedding", "landmarks", "execution_time"}
    assert set(result["source_image_face"]) == fields
    assert set(result["face_matches"][0]) == fields | {"similarity"}


# --- verify an example


def test_an_example_is_compared_with_each_face(caller: Caller) -> None:
    image_id = caller.add("Ann", Square(50))
    caller.add("Bob", Square(100))
    path = f"{FACES}/{image_id}/verify"
    answer = caller.ok("POST", path, file=png(*SEVERAL))
    strict(answer)
    assert set(answer) == {"result"}
    assert [set(face) for face in answer["result"]] == 3 * [{"box", "subject", "similarity"}]
    assert [face["subject"] for face in answer["result"]] == 3 * ["Ann"]
    first, second, third = (face["similarity"] for face in answer["result"])
    assert first > 0.99 and first > third > second
    assert caller.ok("POST", path, json={"file": b64(png(*SEVERAL))}) == answer
    assert caller.ok("POST", f"{FACES}/{image_id.upper()}/verify", file=png(*SEVERAL)) == answer
    options = {"limit": 1, "status": "1", "face_plugins": "landmarks"}
    more = caller.ok("POST", path, file=png(*SEVERAL), query_string=options)
    assert set(more) == {"result", "plugins_versions"}
    assert [set(face) for face in more["result"]] == [
        {"box", "subject", "similarity", "landmarks", "execution_time"}
    ]


# --- embeddings


def test_matches_of_a_request_are_bounded_together(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    for red in (50, 60, 200):
        caller.add("Ann", Square(red))
    monkeypatch.setattr("recognition.probing.MOST_MATCHES", 4)
    path, asked = "/recognition/embeddings/recognize", {"prediction_count": 3}
    for number, most in ((1, 3), (2, 2), (5, 1)):
        sent = {"embeddings": [unit(55)] * number}
        result = caller.ok("POST", path, json=sent, query_string=asked)["result"]
        assert [len(each["similarities"]) for each in result] == [most] * number
    (face,) = recognised(caller, Square(55), **asked)
    assert len(face["subjects"]) == 3


def test_embeddings_are_recognised_like_their_faces(caller: Caller) -> None:
    for name, red in (("Ann", 50), ("Ann", 60), ("Bob", 200)):
        caller.add(name, Square(red))
    (face,) = recognised(caller, Square(55), face_plugins="calculator", prediction_count=3)
    path = "/recognition/embeddings/recognize"
    longer = [3 * value for value in unit(200)]  # its direction counts, not its length
    sent = {"embeddings": [face["embedding"], longer]}
    answer = caller.ok("POST", path, json=sent, query_string={"prediction_count": 3})
    strict(answer)
    assert set(answer) == {"result"}
    first, second = answer["result"]
    assert set(first) == {"embedding", "similarities"}
    assert first["embedding"] == pytest.approx(face["embedding"])
    assert second["embedding"] == pytest.approx(longer)
    assert [each["subject"] for each in first["similarities"]] == names(face)
    for ours, theirs in zip(first["similarities"], face["subjects"], strict=True):
        assert set(ours) == {"subject", "similarity"}
        assert ours["similarity"] == pytest.approx(theirs["similarity"], abs=1e-4)
    assert second["similarities"][0]["subject"] == "Bob" and second["similarities"][0]["similarity"] > 0.95
    (one,) = caller.ok("POST", path, json={"embeddings": [unit(0)]})["result"]
    assert len(one["similarities"]) == 1


def test_embeddings_are_compared_with_an_example_the_most_similar_first(caller: Caller) -> None:
    image_id = caller.add("Ann", Square(50))
    sent = {"embeddings": [unit(255), unit(50), unit(90)]}
    result = caller.ok("POST", f"/recognition/embeddings/faces/{image_id}/verify", json=sent)["result"]
    assert [set(each) for each in result] == 3 * [{"embedding", "similarity"}]
    assert [each["embedding"] for each in result] == [pytest.approx(unit(red)) for red in (50, 90, 255)]
    similarities = [each["similarity"] for each in result]
    assert similarities == sorted(similarities, reverse=True)


def test_embeddings_are_compared_with_each_other_the_most_similar_first(verification: Caller) -> None:
    sent = {"source": unit(50), "targets": [unit(255), unit(50), unit(90)]}
    result = verification.ok("POST", "/verification/embeddings/verify", json=sent)["result"]
    assert [set(each) for each in result] == 3 * [{"embedding", "similarity"}]
    assert [each["embedding"] for each in result] == [pytest.approx(unit(red)) for red in (50, 90, 255)]


def test_embeddings_find_no_one_where_there_is_no_one(caller: Caller) -> None:
    (one,) = caller.ok("POST", "/recognition/embeddings/recognize", json={"embeddings": [unit(0)]})["result"]
    assert one["similarities"] == []


# --- pictures of all kinds

FORMATS = [
    ("JPEG", {"quality": 98, "subsampling": 0}),
    ("PNG", {}),
    ("ICO", {"sizes": [(100, 120)]}),
    ("ICO", {"sizes": [(100, 120)], "bitmap_format": "bmp"}),
    ("BMP", {}),
    ("GIF", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("WEBP", {"lossless": True}),
]


@pytest.mark.parametrize(("form", "options"), FORMATS, ids=str)
def test_every_format_is_told_by_its_bytes(
    caller: Caller, detection: Caller, form: str, options: dict[str, Any]
) -> None:
    data = encoded(picture(Square(50)), form, **options)
    added = caller.ok("POST", FACES, 201, file=data, query_string={"subject": "Ann"})
    assert added["subject"] == "Ann"
    for sent in ({"file": data}, {"file": data, "name": "x.gif"}, {"json": {"file": b64(data)}}):
        (face,) = detection.ok("POST", DETECT, **sent)["result"]
        assert face["box"]["x_min"] == 20 and face["box"]["y_max"] == 80


EXTENSIONS = ("jpg", "jpeg", "png", "ico", "bmp", "gif", "tif", "tiff", "webp", "JPG", "Png")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_extension_is_taken_whatever_the_bytes_are(detection: Caller, extension: str) -> None:
    for stem in ("x", "my photo.1", "Bild ä", "/tmp/somewhere/x", "C:\\x", "x.txt", ""):
        assert detection.ok("POST", DETECT, file=ONE, name=f"{stem}.{extension}")["result"]


def test_pictures_of_5_mb_are_taken(caller: Caller, detection: Caller) -> None:
    config = replace(caller, key=None).ok("GET", "/config")
    assert set(config) == {"clientMaxFileSize", "clientMaxBodySize"}
    assert all(type(size) is int and size >= 5 * 2**20 for size in config.values())
    large = ONE + bytes(5 * 2**20 - len(ONE))
    form = multipart({}, [("file", large, "image.jpg")])
    assert detection.ok("POST", DETECT, data=form, content_type="multipart/form-data; boundary=limit")[
        "result"
    ]
    assert detection.ok("POST", DETECT, json={"file": b64(large)})["result"]


# --- how requests may come


@pytest.mark.parametrize(
    "path", ["/detection/detect/", "//detection/detect", "/detection//detect", "//detection//detect//"]
)
@pytest.mark.parametrize("start", ["/api/v1", "//api/v1", "/api//v1"])
def test_slashes_may_be_doubled_and_trail(detection: Caller, start: str, path: str) -> None:
    answer = detection.ask(
        "POST", "", file=ONE, environ_overrides={"PATH_INFO": start + path, "RAW_URI": start + path}
    )
    assert answer.status_code == 200, answer.data
    assert answer.json["result"]  # type: ignore[index]


def test_a_chunked_upload_is_taken(detection: Caller) -> None:
    boundary = "limit"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'.encode()
    body = head + ONE + f"\r\n--{boundary}--\r\n".encode()
    answer = detection.ask(
        "POST",
        DETECT,
        input_stream=io.BytesIO(body),
        content_type=f"multipart/form-data; boundary={boundary}",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == 200, answer.data


@pytest.mark.parametrize("path", [RECOGNISE, FACES, f"{SUBJECTS}/Ann", DETECT, VERIFY, "/config"])
@pytest.mark.parametrize("origin", ["https://door.example", "null"])
def test_pages_of_any_origin_may_call_it(caller: Caller, path: str, origin: str) -> None:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "content-type,x-api-key",
    }
    preflight = replace(caller, key=None).ask("OPTIONS", path, headers=asked)
    assert preflight.status_code in (200, 204)
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    assert "x-api-key" in allowed and "content-type" in allowed
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert method in preflight.headers["Access-Control-Allow-Methods"]


def test_a_page_of_another_origin_reads_answers_and_errors(caller: Caller) -> None:
    for key in (*KEYS.values(), None):
        answer = replace(caller, key=key).ask(
            "GET", SUBJECTS, headers={"Origin": "https://door.example", "Sec-Fetch-Site": "cross-site"}
        )
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
    for method, path, sent in (("DELETE", FACES, {}), ("POST", SUBJECTS, {"json": {"subject": "Zoe"}})):
        answer = caller.ask(
            method, path, headers={"Origin": "https://door.example", "Sec-Fetch-Site": "cross-site"}, **sent
        )
        assert answer.status_code in (200, 201), answer.data
