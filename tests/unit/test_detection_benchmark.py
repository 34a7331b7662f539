"""The arithmetic of benchmarks/detection.py on cases small enough to work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detection import BANDS_PX, HIT, IGNORED, MISS, average_precision, evaluate, match, overlaps, read_truth

ANY = (0.0, math.inf)
NONE = np.zeros(2, bool)
FACES = np.array([[0.0, 0, 10, 10], [50, 50, 40, 40]])


def test_truth_is_read() -> None:
    two = ["a/b.jpg", "2", "1 2 3 4 0 0 0 0 0 0 ", "5 6 7 8 0 0 0 1 0 0"]
    truth = read_truth([*two, "c.jpg", "0", "0 0 0 0 0 0 0 0 0 0", ""])
    assert list(truth) == ["a/b.jpg", "c.jpg"]
    boxes, invalid = truth["a/b.jpg"]
    assert boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]] and invalid.tolist() == [False, True]
    assert truth["c.jpg"][0].shape == (0, 4)


@pytest.mark.parametrize("rest", [[], ["x"], ["1", "1 2 3"], ["2", "1 2 3 4 0 0 0 0 0 0"]])
def test_what_is_not_truth_is_refused(rest: list[str]) -> None:
    with pytest.raises(ValueError, match=r"a\.jpg"):
        read_truth(["a.jpg", *rest])


def test_overlaps() -> None:
    a = np.array([[0.0, 0, 10, 10]])
    b = np.array([[0.0, 0, 10, 10], [5, 0, 10, 10], [20, 20, 5, 5], [0, 0, 0, 0]])
    np.testing.assert_allclose(overlaps(a, b), [[1, 1 / 3, 0, 0]])
    assert overlaps(np.empty((0, 4)), b).shape == (0, 4)


def test_the_second_detection_of_a_face_is_a_miss() -> None:
    found = np.array([[0.0, 0, 10, 10], [1, 0, 10, 10], [50, 50, 40, 41], [200, 200, 10, 10]])
    assert match(found, FACES, NONE, ANY).tolist() == [HIT, MISS, HIT, MISS]
    assert match(found, np.empty((0, 4)), np.empty(0, bool), ANY).tolist() == [MISS] * 4


def test_detections_of_ignored_faces_do_not_count() -> None:
    found = np.array([[50.0, 50, 40, 40], [51, 50, 40, 40], [0, 0, 10, 10]])
    assert match(found, FACES, np.array([False, True]), ANY).tolist() == [IGNORED, IGNORED, HIT]


def test_a_false_positive_counts_in_the_band_of_its_height() -> None:
    found = np.array([[200.0, 200, 10, 10], [300, 300, 30, 30]])
    assert match(found, FACES, NONE, (20.0, 40.0)).tolist() == [IGNORED, MISS]


def test_average_precision_is_the_area_under_the_envelope() -> None:
    outcomes = np.array([HIT, MISS, IGNORED, HIT, MISS], np.int8)
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert average_precision(scores, outcomes, 4) == pytest.approx((1 + 2 / 3) / 4)
    shuffled = np.array([3, 0, 4, 2, 1])
    assert average_precision(scores[shuffled], outcomes[shuffled], 4) == pytest.approx((1 + 2 / 3) / 4)
    assert average_precision(np.empty(0), np.empty(0, np.int8), 4) == 0
    assert average_precision(np.empty(0), np.empty(0, np.int8), 0) is None
    # a later, better precision lifts the earlier recalls
    late = np.array([MISS, HIT, HIT, HIT], np.int8)
    assert average_precision(np.arange(4, 0, -1.0), late, 3) == pytest.approx(3 / 4)


def test_bands_see_only_their_faces() -> None:
    truth = {"a": (np.array([[0.0, 0, 30, 30], [100, 100, 90, 100]]), np.zeros(2, bool))}
    found = np.array([[100.0, 100, 90, 100], [0, 0, 30, 30], [300, 0, 50, 50]])
    detections = {"a": (found, np.array([0.9, 0.8, 0.7]))}
    rows = {row.band: row for row in evaluate("x", detections, truth)}
    assert list(rows) == list(BANDS_PX)
    assert (rows["20-40"].faces, rows["20-40"].recall, rows["20-40"].precision) == (1, 1, 1)
    assert (rows["40-80"].faces, rows["40-80"].recall, rows["40-80"].precision) == (0, None, 0)
    assert rows["80-160"].average_precision == 1
    assert rows["all >= 20"].recall == 1 and rows["all >= 20"].precision == pytest.approx(2 / 3)
