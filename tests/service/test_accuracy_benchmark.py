"""The accuracy benchmark: its arithmetic by hand and by brute force, and one run on the demo photographs."""

from __future__ import annotations

import json
import math
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import accuracy
import accuracy_rates as rates
from recognition.faces import Box

NAN = math.nan


# Pair lists


def test_view_2_has_its_folds() -> None:
    text = "2\t2\nA\t1\t2\nB\t1\t3\nA\t1\tB\t2\nA\t4\tC\t1\nC\t1\t2\nC\t2\t3\nC\t1\tD\t2\nD\t1\tC\t2\n"
    pairs = rates.parse_pairs(text)
    assert [pair.fold for pair in pairs] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [pair.genuine for pair in pairs] == [True, True, False, False] * 2
    assert pairs[1] == rates.Pair(("B", 1), ("B", 3), True, 0)
    assert pairs[7] == rates.Pair(("D", 1), ("C", 2), False, 1)


def test_view_1_is_dealt_into_ten_folds_with_equal_numbers_of_both() -> None:
    lines = ["30", *(f"A {i + 1} {i + 2}" for i in range(30)), *(f"A {i + 1} B {i + 1}" for i in range(30))]
    pairs = rates.parse_pairs("\n".join(lines))
    assert [pair.fold for pair in pairs[:12]] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    for fold in range(10):
        assert [pair.genuine for pair in pairs if pair.fold == fold] == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    "text",
    ["", "A 1 2\n", "1 2 3\n", "2\nA 1 2\nA 1 B 2\n", "1\nA 1 B 2\nA 1 2\n", "1\nA 1 2\nA 1 2\n"],
)
def test_what_is_no_pair_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="pair"):
        rates.parse_pairs(text)


# Distances


def test_the_metrics_by_hand() -> None:
    left, right = np.array([[3.0, 0.0], [NAN, NAN]]), np.array([[0.0, 4.0], [1.0, 1.0]])
    for metric, expected in (("euclidean", 5.0), ("euclidean_l2", math.sqrt(2)), ("cosine", 1.0)):
        distances = rates.listed_distances(left, right, metric)  # type: ignore[arg-type]
        assert distances[0] == pytest.approx(expected, abs=1e-12)
        assert np.isnan(distances[1])


# Accuracy


def test_best_threshold_lies_in_the_middle_of_the_gap() -> None:
    distances = np.array([1.0, 2.0, 5.0, 9.0])
    assert rates.best_threshold(distances, np.array([True, True, False, False])) == 3.5


def test_best_threshold_when_nothing_or_everything_should_match() -> None:
    distances = np.array([1.0, 2.0])
    assert not (distances < rates.best_threshold(distances, np.array([False, False]))).any()
    assert (distances < rates.best_threshold(distances, np.array([True, True]))).all()


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=20))
def test_best_threshold_is_as_good_as_any(pairs: list[tuple[int, bool]]) -> None:
    distances = np.array([distance for distance, _ in pairs], dtype=float)
    genuine = np.array([same for _, same in pairs], dtype=bool)
    found = rates.right_answers(distances, genuine, rates.best_threshold(distances, genuine)).sum()
    tried = [rates.right_answers(distances, genuine, t + 0.5).sum() for t in range(-1, 9)]
    assert found == max(tried)


def test_each_fold_is_scored_at_the_others_threshold() -> None:
    # fold 0 alone would choose 2.5 and fold 1 alone 6.5; at each other's two pairs and one are wrong
    distances = np.array([1.0, 4.0, 4.0, 8.0, 5.0, 2.0, 8.0, 9.0])
    genuine = np.array([True, False, False, False, True, True, False, False])
    folds = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    accuracies, thresholds = rates.fold_accuracies(distances, genuine, folds)
    assert thresholds.tolist() == [6.5, 2.5]
    assert accuracies.tolist() == [0.5, 0.75]
    assert rates.standard_error(accuracies) == pytest.approx(0.125)


def test_undetected_faces_are_errors_whatever_the_threshold() -> None:
    distances, genuine = np.array([NAN, NAN, 1.0, 9.0]), np.array([True, False, True, False])
    for threshold in (0.0, 5.0, 99.0):
        assert rates.right_answers(distances, genuine, threshold)[:2].tolist() == [False, False]
    assert rates.best_threshold(distances, genuine) == 5.0
    assert rates.listed_rates(distances, genuine, 5.0) == (0.0, 0.5)
    assert rates.listed_rates(distances, genuine, 99.0) == (1.0, 0.5)


# All pairs


def crowd(people: int, seed: int = 0, undetected: int = 3) -> tuple[np.ndarray, list[str]]:
    """Vectors on a coarse grid, so that many distances are equal, of people with one to six pictures."""
    random = np.random.default_rng(seed)
    names = [f"P{i:03d}" for i in range(people) for _ in range(1 + i % 6)]
    centres = {name: random.integers(-6, 7, 4) for name in names}
    vectors = np.array([centres[name] + random.integers(-2, 3, 4) for name in names], dtype=np.float32) + 0.5
    vectors[random.choice(len(names), undetected, replace=False)] = NAN
    return vectors, names


def brute(vectors: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
    """Genuine and impostor distances, and the number of genuine pairs without one."""
    genuine, impostor, missed = [], [], 0
    for i, j in combinations(range(len(names)), 2):
        distance = float(np.sqrt(((vectors[i].astype(float) - vectors[j]) ** 2).sum()))
        if math.isnan(distance):
            missed += names[i] == names[j]
        else:
            (genuine if names[i] == names[j] else impostor).append(distance)
    return np.sort(genuine), np.sort(impostor), missed


@pytest.mark.parametrize("block", [7, 64, 512])
def test_all_pairs_are_those_of_brute_force(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "BLOCK", block)
    vectors, names = crowd(60)
    genuine, impostor, missed = brute(vectors, names)
    found = rates.all_pairs(vectors, names, "euclidean")
    assert found.impostors == len(impostor) == found.impostor_counts.sum()
    assert found.genuine_pairs - len(found.genuine) == missed > 0
    assert found.genuine.tolist() == genuine.tolist()
    assert found.tail.tolist() == impostor[: len(found.tail)].tolist()
    assert 0.02 * len(impostor) <= len(found.tail) < 0.03 * len(impostor)
    assert found.impostor_counts.tolist() == np.histogram(impostor, found.edges)[0].tolist()

    for threshold in (0.0, found.tail[3], 2.0, float(found.tail[-1])):
        assert rates.fmr(found, threshold) == (impostor < threshold).mean()
        unmatched = (genuine >= threshold).sum() + missed
        assert rates.fnmr(found, threshold) == pytest.approx(unmatched / (len(genuine) + missed), abs=1e-12)
    assert rates.fmr(found, 8.0) == pytest.approx((impostor < 8.0).mean(), abs=0.01)
    assert rates.fmr(found, 1000.0) == 1


def test_the_threshold_at_an_fmr_is_the_largest_that_keeps_it() -> None:
    vectors, names = crowd(60)
    _, impostor, _ = brute(vectors, names)
    found = rates.all_pairs(vectors, names, "euclidean")
    candidates = np.unique(impostor)  # FMR only changes just above one of these
    for target in (1e-2, 5e-3, 1e-3, 1e-4, 1e-5):
        expected = max(t for t in candidates if (impostor < t).mean() <= target)
        assert rates.threshold_at(found, target) == expected
        assert (impostor <= expected).mean() > target
        assert rates.tmr_at(found, target) == pytest.approx(1 - rates.fnmr(found, expected))


def pairs_of(genuine: list[float], impostor: list[float]) -> rates.AllPairs:
    counts, edges = np.histogram(impostor, 400, (0, 20))
    return rates.AllPairs(
        pictures=np.array([2] * len(genuine)),
        detected=np.array([2] * len(genuine)),
        genuine=np.array(genuine),
        genuine_person=np.arange(len(genuine)),
        tail=np.array(impostor),
        tail_people=np.zeros((len(impostor), 2), np.int64),
        impostors=len(impostor),
        edges=edges,
        impostor_counts=counts,
    )


@pytest.mark.parametrize(
    ("target", "threshold", "tmr"),
    [
        (0.0, 3.0, 0.5),
        (0.29, 4.0, 0.5),
        (0.5, 6.0, 0.75),
        (0.75, 7.0, 1.0),
        (0.9, 7.0, 1.0),
        (1.0, math.inf, 1.0),
    ],
)
def test_the_threshold_at_an_fmr_by_hand(target: float, threshold: float, tmr: float) -> None:
    found = pairs_of([1.0, 2.0, 4.0, 6.0], [3.0, 4.0, 6.0, 7.0])
    assert rates.threshold_at(found, target) == threshold
    assert rates.tmr_at(found, target) == tmr


def test_equal_distances_go_together() -> None:
    found = pairs_of([1.0, 2.0, 4.0, 6.0], [4.0, 4.0, 4.0, 7.0])
    assert rates.threshold_at(found, 0.5) == 4.0  # the next one up would match three of four
    assert rates.tmr_at(found, 0.5) == 0.5


def test_a_share_that_floating_point_misses_is_still_allowed() -> None:
    found = pairs_of([1.0], [float(i) for i in range(100)])
    assert 0.29 * 100 < 29
    assert rates.threshold_at(found, 0.29) == 29.0


def test_the_det_curve_falls() -> None:
    vectors, names = crowd(60)
    false_matches, misses = rates.det(rates.all_pairs(vectors, names, "euclidean"))
    assert (np.diff(false_matches) >= 0).all()
    assert (np.diff(misses) <= 0).all()
    assert false_matches[-1] == 1


def test_the_bootstrap_counts_people_and_not_pairs() -> None:
    """With the threshold fixed by a lone impostor distance, TMR is a mean over people with a known error."""
    random = np.random.default_rng(3)
    people = 400
    matched = random.random(people) < 0.8
    found = pairs_of(sorted(np.where(matched, 1.0, 9.0).tolist()), [5.0])
    share = matched.mean()
    (error,) = rates.tmr_errors(found, [1e-4], replicates=400)
    assert error == pytest.approx(math.sqrt(share * (1 - share) / people), rel=0.2)


def test_one_person_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="two people"):
        rates.all_pairs(np.ones((3, 4), np.float32), ["A", "A", "A"], "euclidean")
    with pytest.raises(ValueError, match="two faces"):
        rates.all_pairs(np.ones((2, 4), np.float32), ["A", "B"], "euclidean")


# Pictures


def test_the_central_face_and_the_largest() -> None:
    boxes = [Box(0, 0, 90, 90), Box(140, 90, 20, 20), Box(150, 0, 90, 90)]
    assert accuracy.chosen(boxes, (200, 300, 3), "central") == 1
    assert accuracy.chosen(boxes, (200, 300, 3), "largest") == 0


def test_only_pictures_named_after_their_folder_are_found(tmp_path: Path) -> None:
    for name in ("A_B/A_B_0002.jpg", "A_B/A_B_0001.JPG", "A_B/C_0001.jpg", "A_B/A_B_1.jpg", "A_B/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(accuracy.find_pictures(tmp_path)) == [("A_B", 1), ("A_B", 2)]


def test_an_interrupted_run_goes_on_from_its_cache(tmp_path: Path) -> None:
    paths = []
    for shade in (10, 20, 30):
        paths.append(tmp_path / f"{shade}.png")
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(paths[-1])
    seen: list[int] = []

    def represent(picture: np.ndarray) -> np.ndarray | None:
        shade = int(picture[0, 0, 0])
        if shade == 30 and 30 not in seen:
            seen.append(30)
            raise KeyboardInterrupt
        seen.append(shade)
        return None if shade == 20 else np.array([shade, 1], np.float32)

    system = accuracy.System("fake", represent, {"euclidean": 9.0}, {"version": "1"})
    with pytest.raises(KeyboardInterrupt):
        accuracy.vectors_of(paths, system, tmp_path / "cache")
    vectors = accuracy.vectors_of(paths, system, tmp_path / "cache")
    assert seen == [10, 20, 30, 30]
    np.testing.assert_array_equal(vectors, [[10, 1], [NAN, NAN], [30, 1]])

    other = accuracy.System("fake", represent, {"euclidean": 9.0}, {"version": "2"})
    accuracy.vectors_of(paths, other, tmp_path / "cache")
    assert seen[4:] == [10, 20, 30]


@pytest.fixture(scope="module")
def folder(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four demo photographs of each of five people as LFW would have them, and one without a face."""
    root = tmp_path_factory.mktemp("lfw")
    names = []
    for person in sorted((demo / "val").iterdir()):
        names.append(person.name.title())
        (root / names[-1]).mkdir()
        for number, path in enumerate(sorted(person.glob("*.jpg"))[:4], start=1):
            shutil.copy(path, root / names[-1] / f"{names[-1]}_{number:04d}.jpg")
    Image.new("RGB", (100, 80), "grey").save(root / names[0] / f"{names[0]}_0005.jpg")
    genuine = [f"{name}\t{i}\t{i + 1}" for name in names for i in (1, 3)]
    genuine[0] = f"{names[0]}\t1\t5"
    impostor = [
        f"{a}\t{i}\t{b}\t{i}" for i in (1, 2) for a, b in zip(names, names[1:] + names[:1], strict=True)
    ]
    (root / "pairs.txt").write_text("\n".join(["10", *genuine, *impostor]) + "\n")
    return root


def test_a_run_on_photographs(folder: Path, models_dir: Path, tmp_path: Path, capsys: Any) -> None:
    written, plots = tmp_path / "out" / "report.json", tmp_path / "plots"
    files = ["--images", str(folder), "--pairs", str(folder / "pairs.txt"), "--models-dir", str(models_dir)]
    report = accuracy.main([*files, "--json", str(written), "--plots", str(plots), "--threads", "2"])
    assert json.loads(written.read_text()) == report
    assert (report["data"]["pictures"], report["data"]["people"], report["data"]["folds"]) == (21, 5, 10)
    (ours,) = report["results"]
    assert ours["undetected_pictures"] == 1
    # Of 20 pairs the one with the grey picture is wrong; everything else is told apart.
    listed, every = ours["listed_pairs"], ours["all_pairs"]
    assert (listed["undetected"], listed["accuracy"]) == (1, pytest.approx(0.95))
    assert listed["fmr"] == 0
    assert 0.1 <= listed["fnmr"] <= 0.5
    assert (every["genuine"], every["genuine_undetected"]) == (5 * 6 + 4, 4)
    assert every["impostor_detected"] == 20 * 19 // 2 - 5 * 6
    assert every["tmr"][0]["tmr"] == pytest.approx(30 / 34, abs=1.01 / 34)
    printed = capsys.readouterr().out
    assert "21 pictures of 5 people, the central face of each" in printed
    assert f"{listed['accuracy']:.4f} +- {listed['accuracy_standard_error']:.4f}" in printed
    for name in ("distances.png", "det.png"):
        with Image.open(plots / name) as image:
            assert min(image.size) > 400


def test_a_missing_picture_and_missing_models_are_told(
    folder: Path, models_dir: Path, tmp_path: Path
) -> None:
    lists = tmp_path / "pairs.txt"
    lists.write_text("1\nNobody 1 2\nNobody 1 Noone 1\n")
    arguments = ["--images", str(folder), "--pairs", str(lists), "--models-dir"]
    with pytest.raises(accuracy.BenchmarkError, match=r"3 listed pictures .* Nobody_0001"):
        accuracy.main([*arguments, str(models_dir)])
    with pytest.raises(accuracy.BenchmarkError, match=r"prepare_models\.py"):
        accuracy.main([*arguments, str(tmp_path)])
