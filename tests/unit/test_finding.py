"""How a picture is searched, with detectors that see marks: when it is turned, toned, cut into tiles."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from recognition.detector import finding
from recognition.detector.finding import SURE
from recognition.detector.views import Detector
from recognition.faces import Box, Face

NONE = np.full((5, 2), np.nan, np.float32)
find = partial(finding.find, small_faces=False, max_side_px=1024, min_face_px=20)


def a_picture(height: int = 60, width: int = 80, level: int = 200) -> np.ndarray:
    """A picture whose upper edge is bright, as `edges` looks for it."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:15] = level
    return picture


def edges(scores: dict[str, float], least: int = 100) -> tuple[list[tuple[int, ...]], Detector]:
    """A detector that finds a face, 5 x 5 px, at each bright edge, as sure as the scores say.

    Returns what it was given, too: height and width.
    """
    seen: list[tuple[int, ...]] = []

    def detect(picture: np.ndarray) -> list[Face]:
        height, width = picture.shape[:2]
        seen.append((height, width))
        middle = {"upper": (0, width // 2), "lower": (-1, width // 2), "side": (height // 2, 0)}
        if picture[height // 2, 0, 0] < picture[height // 2, -1, 0]:
            middle["side"] = (height // 2, -1)
        at = {"upper": (40, 0), "lower": (40, height - 5), "side": (0, 20)}
        return [
            Face(Box(*at[edge], 5, 5), scores[edge], NONE)
            for edge, place in middle.items()
            if scores.get(edge) and picture[place][0] >= least
        ]

    return seen, detect


def test_a_sure_face_ends_the_search() -> None:
    seen, detect = edges({"upper": SURE, "lower": 1.0})
    found = find(detect, a_picture())
    assert [face.confidence for face in found.faces] == [SURE]
    assert (found.remarks, found.shrunk) == ((), None)
    assert seen == [(60, 80)]


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("as_sent", [0.0, 0.95])
def test_the_surest_direction_is_taken(quarters: int, as_sent: float) -> None:
    _, detect = edges({"upper": 0.985, "lower": as_sent, "side": as_sent})
    found = find(detect, np.rot90(a_picture(), -quarters))
    (face,) = found.faces
    assert (face.confidence, face.quarters) == (0.985, quarters)
    (remark,) = found.remarks
    assert (remark.code, remark.values) == ("turned", {"clockwise_degrees": 360 - 90 * quarters})


def test_a_direction_in_which_faces_are_surer_only_at_first_sight_is_not_taken() -> None:
    """In the mirror it is seldom so."""
    sizes = iter(range(1000))

    def detect(picture: np.ndarray) -> list[Face]:
        sure = {0: 0.9, 1: 0.98}.get(next(sizes), 0.9 if picture[0, 0, 0] and picture[0, -1, 0] else 0.0)
        return [Face(Box(0, 0, 5, 5), sure, NONE)] if sure else []

    assert find(detect, a_picture()).faces[0].quarters == 0


def test_unsure_faces_stay_where_no_direction_is_better() -> None:
    _, detect = edges({"upper": 0.85, "lower": 0.84, "side": 0.8})
    found = find(detect, a_picture())
    assert [(face.confidence, face.quarters) for face in found.faces] == [(0.85, 0)]
    assert found.remarks == ()


def test_equally_sure_in_every_direction_is_upright() -> None:
    def same(_: np.ndarray) -> list[Face]:
        return [Face(Box(0, 0, 5, 5), 0.95, NONE)]

    assert find(same, a_picture()).faces[0].quarters == 0


def test_little_is_not_enough_to_turn_a_picture() -> None:
    _, detect = edges({"lower": 0.85})
    found = find(detect, a_picture())
    assert (found.faces, found.remarks) == ([], ())


def test_a_sure_face_that_lies_does_not_end_the_search() -> None:
    """Its landmarks say that it lies; turned, they say that it stands."""

    def detect(picture: np.ndarray) -> list[Face]:
        eyes, mouth = ([40, 20], [40, 40]) if picture[0, 0, 0] and picture[0, -1, 0] else ([20, 40], [40, 40])
        landmarks = np.array([eyes, eyes, eyes, mouth, mouth], np.float32)
        return [Face(Box(10, 10, 40, 40), 0.995, landmarks)]

    assert find(detect, a_picture()).faces[0].quarters == 0
    assert find(detect, np.rot90(a_picture(), -1)).faces[0].quarters == 1


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_contrast_is_raised_where_nothing_is_found_at_all(quarters: int) -> None:
    _, detect = edges({"upper": 0.95})
    (face,) = (found := find(detect, np.rot90(a_picture(level=12), -quarters))).faces
    assert face.quarters == quarters
    assert [remark.code for remark in found.remarks] == ["turned"] * bool(quarters) + ["contrast_raised"]


def test_contrast_stays_where_an_unsure_face_is_found() -> None:
    seen, detect = edges({"upper": 0.9})
    assert len(find(detect, a_picture()).faces) == 1
    assert len(seen) == 4


@pytest.mark.parametrize("level", [0, 2, 255])
def test_a_blank_picture_is_given_up(level: int) -> None:
    seen, detect = edges({})
    assert find(detect, np.full((50, 50, 3), level, np.uint8)).faces == []
    assert len(seen) == 4


def test_a_picture_without_faces_takes_less_than_three_searches() -> None:
    seen, detect = edges({})
    noise = np.random.default_rng(0).integers(0, 256, (1000, 900, 3), np.uint8)
    assert find(detect, noise).faces == []
    assert sum(height * width for height, width in seen) < 3 * 1000 * 900
    assert len(seen) == 8


def test_the_answer_says_how_much_a_picture_was_shrunk() -> None:
    _, detect = edges({"upper": 1.0})
    shrunk = find(detect, a_picture(300, 4000)).shrunk
    assert shrunk is not None
    assert (shrunk.code, shrunk.values) == ("searched_shrunk", {"searched_px": 1024, "smallest_face_px": 79})
    assert "79 px" in shrunk.detail
    assert find(detect, a_picture(300, 1024)).shrunk is None
    assert find(detect, a_picture(300, 4000), max_side_px=0).shrunk is None
    assert find(detect, a_picture(300, 4000), small_faces=True).shrunk is None


def test_small_faces_are_searched_for_in_tiles() -> None:
    seen, detect = edges({"upper": 1.0})
    assert find(detect, a_picture(1500, 2000), small_faces=True).faces
    assert len(seen) > 4 and max(map(max, seen)) <= 1024


@pytest.mark.parametrize(
    ("shape", "max_side_px"), [((600, 1024), 1024), ((1500, 2000), 0), ((10, 2000), 1024)]
)
def test_small_faces_cost_nothing_where_the_picture_is_not_shrunk_or_too_narrow(
    shape: tuple[int, int], max_side_px: int
) -> None:
    seen, detect = edges({"upper": 1.0})
    assert find(detect, a_picture(*shape), small_faces=True, max_side_px=max_side_px).faces
    assert seen == [shape]


def test_a_turned_picture_is_searched_in_tiles_once_its_direction_is_known() -> None:
    seen, detect = edges({"lower": 0.999})
    assert {face.quarters for face in find(detect, a_picture(1500, 2000), small_faces=True).faces} == {2}
    assert max(map(max, seen)) <= 1024
