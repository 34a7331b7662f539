"""YuNet beside OpenCV's FaceDetectorYN, with networks of its form that are made here.

Where the prepared models have the published network, it is tested on photographs, too.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest

import yunets
from preparation import yunet
from preparation.source import Pip
from recognition import config
from recognition.app import load_detector, ready_picture
from recognition.detector import load_mtcnn, load_yunet
from recognition.detector.networks import load_network
from recognition.detector.yunet import (
    LEAST_SCORE,
    MOST,
    OVERLAP,
    confidences,
    padded,
    read,
    suppressed,
)
from recognition.faces import Face

BLUE = (0, 0, 255)
OPENCVS_PX = 1e-3  # float32 in another order


own = partial(load_yunet, onet=None)  # whose landmarks are those of the network


@pytest.fixture(scope="session")
def blue(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """A folder with a yunet.onnx that finds blue squares."""
    folder = tmp_path_factory.mktemp("blue")
    (folder / "onet.onnx").symlink_to(models_dir / "onet.onnx")
    yunet.make(folder, yunets.finding_blue(folder / "published.onnx"), Pip())
    return folder


@pytest.fixture(scope="session")
def real(models_dir: Path) -> Path:
    """The prepared models, if they have YuNet."""
    if not (models_dir / "yunet.onnx").is_file():
        pytest.skip("DETECTOR=yunet was not prepared")
    return models_dir


def a_picture(height: int, width: int, *cells: tuple[int, int], level: int = 255) -> np.ndarray:
    """Black, with blue cells: row and column, in cells of 16 px."""
    picture = np.zeros((height, width, 3), np.uint8)
    for row, column in cells:
        picture[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16, 2] = level
    return picture


def read_file(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def as_numbers(faces: list[Face]) -> np.ndarray:
    rows = [[f.box.x, f.box.y, f.box.w, f.box.h, *f.landmarks.ravel(), f.confidence] for f in faces]
    return np.array(rows).reshape(-1, 15)


@pytest.mark.parametrize("size", [(31, 33), (97, 130), (160, 96), (240, 321)])
@pytest.mark.parametrize("seed", [1, 2])
def test_faces_are_those_of_opencv(tmp_path: Path, seed: int, size: tuple[int, int]) -> None:
    published = yunets.random(tmp_path / "published.onnx", seed)
    yunet.make(tmp_path, published, Pip())
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    theirs = opencvs(published, picture)
    np.testing.assert_allclose(ours(tmp_path / "yunet.onnx", picture), theirs, atol=OPENCVS_PX)
    assert len(theirs) or size[0] < 97


def ours(path: Path, picture: np.ndarray) -> np.ndarray:
    """Rows of x, y, w, h, landmarks, score, as OpenCV has them."""
    values = load_network(path)(padded(picture)[None])[0]
    boxes, scores, landmarks = read(values, *picture.shape[:2])
    kept = suppressed(boxes, scores)
    return np.hstack([boxes, landmarks.reshape(-1, 10), scores[:, None]])[kept]


def opencvs(path: Path, picture: np.ndarray) -> np.ndarray:
    size = picture.shape[1], picture.shape[0]
    detector = cv2.FaceDetectorYN.create(str(path), "", size, LEAST_SCORE, OVERLAP, MOST)
    faces = detector.detect(np.ascontiguousarray(picture[..., ::-1]))[1]
    return np.empty((0, 15)) if faces is None else np.asarray(faces)


def test_surer_boxes_suppress_others() -> None:
    boxes = np.array([[0, 0, 20, 20], [2, 2, 20, 20], [0.9, 0.9, 20.9, 20.9], [60, 60, 9, 9]], float)
    assert suppressed(boxes, np.array([0.8, 0.75, 0.9, 0.7])).tolist() == [2, 3]
    assert suppressed(np.empty((0, 4)), np.empty(0)).tolist() == []


def test_confidences_mean_what_those_of_mtcnn_mean() -> None:
    assert confidences(np.array([LEAST_SCORE, 0.9165, 1.0])) == pytest.approx([0.8, 0.99, 1], abs=2e-3)
    rising = confidences(np.linspace(0.01, 1, 100))
    assert (np.diff(rising) > 0).all() and rising.min() > 0 and rising.max() <= 1


def test_a_face_is_in_pixels_of_the_picture(blue: Path) -> None:
    faces = own(blue)(a_picture(201, 301, (4, 6)) + a_picture(201, 301, (7, 13), level=140))
    expected = [[(6.5 * 16) - 24, (4.5 * 16) - 40, 48, 80], [(13.5 * 16) - 24, (7.5 * 16) - 40, 48, 80]]
    np.testing.assert_allclose(as_numbers(faces)[:, :4], expected, atol=1e-3)
    np.testing.assert_allclose(faces[0].landmarks, yunets.LANDMARKS_PX + np.array([6, 4]) * 16, atol=1e-3)
    assert faces[0].landmarks.dtype == np.float32
    assert 0.9 < faces[1].confidence < faces[0].confidence <= 1


def test_boxes_are_clipped_and_landmarks_are_not(blue: Path) -> None:
    (face,) = own(blue)(a_picture(60, 90, (0, 0)))
    assert as_numbers([face])[0, :4] == pytest.approx([0, 0, 32, 48], abs=1e-3)
    assert face.landmarks[0].tolist() == [0, -16]
    (face,) = own(blue)(a_picture(60, 90, (3, 5)))
    assert as_numbers([face])[0, :4] == pytest.approx([64, 16, 25, 43], abs=1e-3)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_bounded_picture_gives_coordinates_of_the_given_one(blue: Path, times: int) -> None:
    picture = a_picture(160, 320, (4, 9), (6, 2))
    large = picture.repeat(times, 0).repeat(times, 1)
    faces = as_numbers(own(blue, max_side_px=320)(large))[:, :14]
    np.testing.assert_allclose(faces, times * as_numbers(own(blue)(picture))[:, :14], rtol=1e-5)
    assert len(faces) == 2


@pytest.mark.parametrize(("height_px", "heights"), [(80, [80, 320]), (60, [60])])
def test_large_faces_are_seen_in_a_smaller_copy_where_small_ones_do_not_count(
    tmp_path: Path, height_px: int, heights: list[int]
) -> None:
    """A picture of 1,024 px is looked at again at 256 px."""
    yunet.make(tmp_path, yunets.finding_blue(tmp_path / "published.onnx", (48, height_px)), Pip())
    picture = a_picture(1024, 1024, (20, 40))
    faces = sorted(own(tmp_path)(picture), key=lambda face: face.box.h)
    assert [face.box.h for face in faces] == pytest.approx(heights, rel=1e-5)
    for face, size in zip(faces, (16, 64), strict=False):
        row, column = 20 * 16 // size, 40 * 16 // size
        centre = face.box.x + face.box.w / 2, face.box.y + face.box.h / 2
        assert centre == pytest.approx(((column + 0.5) * size, (row + 0.5) * size))
    assert len(own(tmp_path)(picture[:384, 300:684])) == 1


@pytest.mark.parametrize(("min_face_px", "found"), [(12, 1), (80, 1), (160, 1), (161, 0)])
def test_faces_much_smaller_than_asked_for_are_left_out(blue: Path, min_face_px: int, found: int) -> None:
    assert len(own(blue, min_face_px=min_face_px)(a_picture(150, 150, (4, 4)))) == found


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 5000), (5000, 1), (12, 12), (33, 47), (30, 40000), (3000, 4000)]
)
def test_pictures_of_any_size_are_taken(blue: Path, size: tuple[int, int]) -> None:
    for max_side_px, min_face_px in product((0, 1024), (12, 60)):
        detect = own(blue, max_side_px=max_side_px, min_face_px=min_face_px)
        assert detect(np.zeros((*size, 3), np.uint8)) == []


def test_an_unbounded_picture_is_searched_in_tiles(blue: Path) -> None:
    picture = a_picture(3008, 4000, (4, 6), (128, 128), (180, 240))
    boxes = as_numbers(own(blue, max_side_px=0)(picture))[:, :4]
    assert len(boxes) == 3
    centres = {(round(x + w / 2), round(y + h / 2)) for x, y, w, h in boxes}
    for column, row in ((6, 4), (128, 128), (240, 180)):
        at = 16 * column + 8, 16 * row + 8
        assert (
            min(abs(at[0] - x) + abs(at[1] - y) for x, y in centres) <= 32
        )  # px: a picture shrunk to 2,048 px shows it as well


def test_many_callers_at_once_get_the_same_faces(blue: Path) -> None:
    detect = own(blue, threads=2)
    cells = np.random.default_rng(3).integers(0, 12, (24, 3, 2)).tolist()
    pictures = [a_picture(200 + 7 * k, 230 - 5 * k, *map(tuple, at)) for k, at in enumerate(cells)]
    alone = [as_numbers(detect(picture)) for picture in pictures]
    with ThreadPoolExecutor(4) as callers:
        together = [as_numbers(faces) for faces in callers.map(detect, pictures)]
    assert sum(map(len, alone)) >= 24
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_views_of_an_array_are_pictures_too_and_left_as_they_were(blue: Path) -> None:
    picture = a_picture(96, 128, (2, 3))
    wide = np.zeros((192, 140, 3), np.uint8)
    wide[::2, 3:-9] = picture
    before = wide.copy()
    wanted = as_numbers(own(blue)(picture))
    assert len(wanted) == 1
    np.testing.assert_array_equal(as_numbers(own(blue)(wide[::2, 3:-9])), wanted)
    np.testing.assert_array_equal(
        as_numbers(own(blue)(np.ascontiguousarray(picture[..., ::-1])[..., ::-1])), wanted
    )
    np.testing.assert_array_equal(wide, before)


def test_settings_and_files_are_checked(blue: Path, tmp_path: Path) -> None:
    for wrong in ({"min_face_px": 11}, {"max_side_px": -1}, {"threads": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            own(blue, **wrong)
    with pytest.raises(
        FileNotFoundError, match=r"yunet\.onnx is missing; `recognition models prepare` makes it"
    ):
        own(tmp_path)
    (tmp_path / "yunet.onnx").write_bytes((blue / "published.onnx").read_bytes())
    with pytest.raises(ValueError, match="`recognition models prepare` makes it anew"):
        own(tmp_path)


def test_the_setting_takes_it(blue: Path) -> None:
    settings = config.read({"DETECTOR": "yunet", "MODELS_DIR": str(blue), "MIN_FACE_PX": "161"})
    assert load_detector(settings)(a_picture(150, 150, (4, 4))) == []
    settings = config.read({"DETECTOR": "yunet", "MODELS_DIR": str(blue), "DETECTION_MAX_SIDE_PX": "75"})
    (face,) = load_detector(settings)(a_picture(150, 150, (4, 4)))
    assert face.box.w == pytest.approx(2 * yunets.BOX_PX[0])


def test_a_start_without_it_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_detector(config.read({"DETECTOR": "yunet", "MODELS_DIR": str(tmp_path)}))
    said = f"face_detection cannot start: {tmp_path / 'yunet.onnx'} is missing; "
    assert capsys.readouterr().err.startswith(said)


# The published network


@pytest.mark.parametrize("min_face_px", [12, 20, 200, 201, 400, 600])
def test_the_bundled_face_is_found_whatever_size_is_looked_for(real: Path, min_face_px: int) -> None:
    (face,) = load_yunet(real, min_face_px=min_face_px)(ready_picture(min_face_px))
    assert face.confidence > 0.99


def test_faces_are_where_mtcnn_finds_them(real: Path, demo: Path) -> None:
    """Landmarks are in the same order, and within 0.05 of a face of MTCNN's."""
    mine, other = load_yunet(real), load_mtcnn(real)
    pairs = 0
    for path in sorted(demo.glob("val/*/*.jpg")):
        picture = read_file(path)
        faces = mine(picture)
        scores = [face.confidence for face in faces]
        assert scores == sorted(scores, reverse=True)
        assert all(0.8 <= score <= 1 for score in scores)
        theirs = max(other(picture), key=lambda face: face.box.area)
        face = max(faces, key=lambda face: face.box.area)
        apart = np.abs(face.landmarks - theirs.landmarks).max() / max(theirs.box.w, theirs.box.h)
        assert apart < 0.05, path
        pairs += 1
    assert pairs >= 20


@pytest.mark.parametrize("side", [64, 256, 600, 1024, 3000])
def test_portraits_are_found_at_any_size(real: Path, side: int) -> None:
    picture = cv2.resize(ready_picture(20), (side, side), interpolation=cv2.INTER_LINEAR)
    for max_side_px in (0, 1024):
        (face,) = load_yunet(real, max_side_px=max_side_px)(picture)
        assert face.box.h == pytest.approx(0.43 * side, rel=0.1)
