"""The detector beside the `mtcnn` package, and on pictures that the package cannot take."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from preparation import convert
from preparation.convert import NETWORKS
from recognition.app import ready_picture
from recognition.detector import load_mtcnn
from recognition.detector.mtcnn import P_SURE, adjusted, logit, propose, sharing, sigmoid, squared, strips
from recognition.detector.networks import load_network
from recognition.detector.patches import patches, points
from recognition.detector.pyramid import bounded, levels, scales
from recognition.detector.suppression import best_first, suppress
from recognition.faces import Face

Picture = NDArray[np.uint8]
Detector = Callable[[Picture], list[Face]]


def read(path: Path) -> Picture:
    return np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])


def corners(face: Face) -> NDArray[np.float64]:
    return np.array([face.box.x, face.box.y, face.box.x + face.box.w, face.box.y + face.box.h])


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    shared = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


def as_numbers(faces: list[Face]) -> NDArray[np.float64]:
    return np.array([[*corners(f), f.confidence, *f.landmarks.ravel()] for f in faces]).reshape(-1, 15)


@pytest.fixture(scope="module")
def detect(models_dir: Path) -> Detector:
    return load_mtcnn(models_dir, max_side_px=0)


@pytest.fixture(scope="module")
def demo(models_dir: Path) -> list[Path]:
    paths = sorted((models_dir / "demo").glob("*/*/*.jpg"))
    assert len(paths) > 100
    return paths


@pytest.fixture(scope="module")
def package() -> Callable[[Picture], NDArray[np.float64]]:
    """The package as a function to rows of image, x1, y1, x2, y2, confidence, x of 5 landmarks, y of them."""
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mtcnn import MTCNN

        detector = MTCNN()

    def run(picture: Picture) -> NDArray[np.float64]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(detector.detect_faces(picture, output_type="numpy", box_format="xyxy"))

    return run


@pytest.mark.parametrize("threads", [1, 2])
def test_finds_what_the_package_finds(
    models_dir: Path, demo: list[Path], package: Callable[[Picture], NDArray[np.float64]], threads: int
) -> None:
    """On twelve photographs of several sizes, and on their collage, enlarged."""
    detect = load_mtcnn(models_dir, max_side_px=0, threads=threads)
    chosen = [read(path) for path in demo[:: len(demo) // 12][:12]]
    tiles = [cv2.resize(picture, (180, 240)) for picture in chosen]
    collage = np.vstack([np.hstack(tiles[k : k + 4]) for k in (0, 4, 8)])
    overlaps, distances = [], []
    for picture in [*chosen, cv2.resize(collage, (900, 900))]:
        wanted, faces = package(picture), detect(picture)
        assert len(faces) == len(wanted)
        for row in wanted:
            overlap, nearest = max((iou(row[1:5], corners(face)), k) for k, face in enumerate(faces))
            overlaps.append(overlap)
            distances.append(np.abs(row[6:].reshape(2, 5).T - faces[nearest].landmarks).max())
            assert faces[nearest].confidence == pytest.approx(row[5], abs=1e-3)
    assert len(overlaps) >= 20
    assert min(overlaps) >= 0.99
    assert max(distances) <= 0.5


def test_what_a_face_is(detect: Detector, demo: list[Path]) -> None:
    """Landmarks are named by their side of the picture; boxes lie inside; the surest face comes first."""
    seen = 0
    for path in demo[:20]:
        picture = read(path)
        faces = detect(picture)
        scores = [f.confidence for f in faces]
        assert scores == sorted(scores, reverse=True)
        for face in faces:
            x1, y1, x2, y2 = corners(face)
            assert 0 <= x1 < x2 <= picture.shape[1] - 1 and 0 <= y1 < y2 <= picture.shape[0] - 1
            assert 0.8 < face.confidence <= 1
            assert face.landmarks.shape == (5, 2) and face.landmarks.dtype == np.float32
            left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
            assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
            assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
            seen += 1
    assert seen >= 15


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (12, 12), (20, 20), (33, 47), (30, 40000)])
def test_small_and_narrow_pictures_are_taken(models_dir: Path, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    for max_side_px, min_face_px in product((0, 1024), (12, 20, 60)):
        detect = load_mtcnn(models_dir, max_side_px=max_side_px, min_face_px=min_face_px)
        assert len(detect(noise)) < 5
        assert detect(np.zeros_like(noise)) == []


def test_a_large_picture_of_noise_is_taken(models_dir: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
    assert len(load_mtcnn(models_dir, threads=2)(noise)) < 5


def test_a_larger_picture_gives_larger_coordinates(models_dir: Path, demo: list[Path]) -> None:
    """A bound leaves boxes in pixels of the given picture, near those of the picture it shrinks to."""
    picture = read(next(p for p in demo if min(read(p).shape[:2]) > 250))
    small = load_mtcnn(models_dir, max_side_px=max(picture.shape))(picture)
    large = load_mtcnn(models_dir, max_side_px=max(picture.shape))(picture.repeat(3, 0).repeat(3, 1))
    assert len(small) == len(large) >= 1
    np.testing.assert_allclose(as_numbers(large)[:, :4], 3 * as_numbers(small)[:, :4], atol=1e-6)
    np.testing.assert_allclose(as_numbers(large)[:, 5:], 3 * as_numbers(small)[:, 5:], rtol=1e-6)


def test_faces_smaller_than_asked_for_are_left_out(models_dir: Path, demo: list[Path]) -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    portrait = read(demo[0])
    picture[:90, :90] = cv2.resize(portrait, (90, 90), interpolation=cv2.INTER_AREA)
    face = load_mtcnn(models_dir, min_face_px=20)(picture)[0]
    assert face.box.h < 80
    assert load_mtcnn(models_dir, min_face_px=120)(picture) == []


def test_many_callers_at_once_get_the_same_faces(models_dir: Path, demo: list[Path]) -> None:
    detect = load_mtcnn(models_dir, threads=2)
    pictures = [read(path) for path in demo[::12]] * 3
    alone = [as_numbers(detect(picture)) for picture in pictures]
    with ThreadPoolExecutor(4) as callers:
        together = [as_numbers(faces) for faces in callers.map(detect, pictures)]
    assert sum(map(len, alone)) >= 24
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_views_of_an_array_are_pictures_too(detect: Detector, demo: list[Path]) -> None:
    picture = read(demo[0])
    blue_first = np.ascontiguousarray(picture[:, :, ::-1])
    padded = np.zeros((picture.shape[0] * 2, picture.shape[1] + 7, 3), np.uint8)
    padded[::2, 3:-4] = picture
    wanted = as_numbers(detect(picture))
    assert len(wanted)
    np.testing.assert_array_equal(as_numbers(detect(blue_first[:, :, ::-1])), wanted)
    np.testing.assert_array_equal(as_numbers(detect(padded[::2, 3:-4])), wanted)


def test_a_picture_is_left_as_it_was(detect: Detector, demo: list[Path]) -> None:
    picture = read(demo[0])
    before = picture.copy()
    detect(picture)
    np.testing.assert_array_equal(picture, before)


def test_settings_and_files_are_checked(models_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="min_face_px=11"):
        load_mtcnn(models_dir, min_face_px=11)
    with pytest.raises(ValueError, match="max_side_px=-1"):
        load_mtcnn(models_dir, max_side_px=-1)
    with pytest.raises(ValueError, match="threads=0"):
        load_mtcnn(models_dir, threads=0)
    with pytest.raises(FileNotFoundError):
        load_mtcnn(tmp_path)


@pytest.mark.parametrize("network", NETWORKS[1:], ids=lambda network: network.name)
def test_networks_compute_what_the_packages_do(models_dir: Path, network: convert.Network) -> None:
    """Within 1e-5 of a probability, or of an offset in box sizes: float32 in another order."""
    model, _ = convert.load(network, models_dir, {})
    assert convert.compare(network, models_dir / f"{network.name}.onnx", model) < 1e-5


def test_a_network_in_the_form_of_an_older_version_is_refused(tmp_path: Path) -> None:
    """There preparation left the graphs as they came, and the service rearranged them at every start."""
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 24, 24, 3])
        for name in ("patches", "probability")
    ]
    node = onnx.helper.make_node("Identity", ["patches"], ["probability"])
    graph = onnx.helper.make_graph([node], "rnet", values[:1], values[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "rnet.onnx")
    with pytest.raises(ValueError, match=r"rnet\.onnx is from an older version; .*models prepare"):
        load_network(tmp_path / "rnet.onnx")


@pytest.mark.parametrize("size", [(12, 12), (13, 700), (700, 13), (611, 90), (300, 2000)])
def test_strips_have_the_cells_of_the_whole_level(models_dir: Path, size: tuple[int, int]) -> None:
    pnet = load_network(models_dir / "pnet.onnx")
    level = np.random.default_rng(3).uniform(0, 255, (*size, 3)).astype(np.float32)
    whole = pnet(level[None])[0]
    parts = [(top, pnet(strip[None])[0]) for top, strip in strips(level)]
    assert [top for top, _ in parts] == list(np.cumsum([0, *(p.shape[1] for _, p in parts)])[:-1])
    np.testing.assert_allclose(np.concatenate([p for _, p in parts], axis=1), whole, atol=1e-4)


def test_scales_are_the_packages() -> None:
    for height, width in product((1, 12, 29, 30, 50, 203, 480, 1325), (11, 40, 640, 5000)):
        shorter = min(height, width)
        count = max(0, round(-(np.log(shorter / 12) / np.log(0.709) + 1)))  # mtcnn 1.0.0, build_scale_pyramid
        np.testing.assert_allclose(scales(height, width, 20), 0.6 * 0.709 ** np.arange(count))
        for min_face_px in (12, 20, 45, 300):
            assert all(int(shorter * s) >= 12 for s in scales(height, width, min_face_px))


@pytest.mark.parametrize("factor", [0.6, 0.3, 0.15, 0.07])
def test_levels_are_area_averages(factor: float) -> None:
    picture = np.random.default_rng(4).integers(0, 256, (397, 311, 3), dtype=np.uint8)
    (level,) = levels(picture, picture.astype(np.float32), [factor], map)
    height, width = int(397 * factor), int(311 * factor)
    assert level.shape == (height, width, 3) and level.dtype == np.float32
    down, across = coverage(397, height), coverage(311, width)
    wanted = np.tensordot(np.tensordot(down, picture, 1), across, (1, 1)).transpose(0, 2, 1)
    np.testing.assert_allclose(level, wanted, atol=1e-2)


def coverage(size: int, count: int) -> NDArray[np.float64]:
    """How much of each of count equal parts each of size pixels makes up: (count, size)."""
    edges = np.arange(count + 1) * size / count
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size)
    return np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None) * count / size


def test_bounded_shrinks_the_longer_side_only_where_it_must() -> None:
    picture = np.full((40, 100, 3), 7, np.uint8)
    assert bounded(picture, 100)[0] is picture
    for bound, size in ((99, (40, 99)), (50, (20, 50)), (17, (7, 17)), (1, (1, 1))):
        small, seen = bounded(picture, bound)
        assert small.shape == (*size, 3) and (small == 7).all()
        assert 40 - 100 // bound < seen[0] <= 40 and 100 - 100 // bound < seen[1] <= 100
    assert bounded(picture[:1], 10)[0].shape == (1, 10, 3)


@pytest.mark.parametrize("bound", [50, 300, 333, 640, 999])
def test_what_is_bounded_stays_in_its_place(bound: int) -> None:
    """A ramp from left to right, and from the top down, is one still: each pixel shows its own part."""
    down, across = np.mgrid[0:1000, 0:801]
    ramp = np.stack([down * 255 / 999, across * 255 / 800, 0 * down], axis=2).round().astype(np.uint8)
    small, seen = bounded(ramp, bound)
    for axis, length in ((0, 1000), (1, 801)):
        centre = (np.arange(small.shape[axis]) + 0.5) * seen[axis] / small.shape[axis] - 0.5
        shown = small[..., axis].mean(axis=1 - axis)
        np.testing.assert_allclose(shown, centre * 255 / (length - 1), atol=1)  # both are rounded


def test_patches_sample_like_crop_and_resize() -> None:
    """Against the formula, written out: bilinear between pixels, grey where the point is off the picture."""
    picture = np.random.default_rng(5).uniform(0, 255, (31, 47, 3)).astype(np.float32)
    inside, across, off = [3.2, 4.7, 20.1, 21.6], [-5, -6, 9, 8], [100, 100, 110, 110]
    boxes = np.array([inside, across, [40, 20, 60, 40], [0, 0, 47, 31], off])
    sampled = patches(picture, points(boxes, 31, 47, 8))
    assert sampled.shape == (5, 8, 8, 3) and sampled.dtype == np.float32
    for n, i, j in product(range(5), range(8), range(8)):
        x = (boxes[n, 0] + (boxes[n, 2] - boxes[n, 0]) * j / 7) / 47 * 46
        y = (boxes[n, 1] + (boxes[n, 3] - boxes[n, 1]) * i / 7) / 31 * 30
        if 0 <= x <= 46 and 0 <= y <= 30:
            a, b = int(y), int(x)
            c, d = min(a + 1, 30), min(b + 1, 46)
            upper = picture[a, b] * (b + 1 - x) + picture[a, d] * (x - b)
            lower = picture[c, b] * (b + 1 - x) + picture[c, d] * (x - b)
            np.testing.assert_allclose(sampled[n, i, j], upper * (a + 1 - y) + lower * (y - a), atol=1e-2)
        else:
            assert (sampled[n, i, j] == 127.5).all()


@pytest.mark.parametrize("relative_to", ["union", "smaller"])
@pytest.mark.parametrize("count", [0, 1, 2, 40, 1500])
def test_suppress_is_the_rule_in_words(count: int, relative_to: str) -> None:
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 300, (count, 2))
    boxes = np.hstack([corner, corner + rng.uniform(1, 60, (count, 2))])
    scores = rng.permutation(count) / max(count, 1)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = area[:, None] + area - shared
    whole = union if relative_to == "union" else np.minimum(area[:, None], area)
    beaten = ((shared / whole > 0.5) & (scores[None] > scores[:, None])).any(axis=1)
    order = best_first(scores)
    kept = order[suppress(boxes[order], 0.5, relative_to)]  # type: ignore[arg-type]
    assert kept.tolist() == [k for k in np.argsort(-scores) if not beaten[k]]


def test_suppress_is_not_greedy() -> None:
    """The middle box goes for the left one's sake, and still takes the right one with it."""
    chain = np.array([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
    assert suppress(chain, 0.5).tolist() == [0]
    assert suppress(chain[[0, 2]], 0.5).tolist() == [0, 1]


def test_suppress_of_a_great_many_boxes_on_one_spot_stays_small() -> None:
    """Ten thousand boxes would be 10^8 pairs, 800 MB a matrix; numpy's own count of bytes is watched."""
    import tracemalloc

    boxes = np.random.default_rng(6).uniform([0, 0, 30, 30], [1, 1, 31, 31], (10_000, 4))
    tracemalloc.start()
    kept = suppress(boxes, 0.7)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept.tolist() == [0]
    assert peak < 32 << 20


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_shared_work_keeps_its_order_and_its_errors(threads: int) -> None:
    apply = sharing(threads)
    done: list[int] = []
    assert apply(lambda n: done.append(n) or n * n, range(50)) == [n * n for n in range(50)]
    assert sorted(done) == [*range(50)]
    assert apply(str, []) == []
    with pytest.raises(ZeroDivisionError):
        apply(lambda n: 1 / (n - 30), range(50))
    assert apply(str, iter("ab")) == ["a", "b"]


def test_small_arithmetic() -> None:
    assert squared(np.array([[0.0, 10, 20, 14]])).tolist() == [[0, 2, 20, 22]]
    moved = adjusted(np.array([[0.0, 0, 9, 19]]), np.array([[0.1, 0.1, -0.1, 0.5]], np.float32))
    np.testing.assert_allclose(moved, [[1, 2, 8, 29]], atol=1e-6)
    np.testing.assert_allclose(sigmoid(np.array([logit(P_SURE)], np.float32)), [P_SURE], atol=1e-6)


def test_propose_gives_squares(models_dir: Path, demo: list[Path]) -> None:
    picture = read(demo[0])
    boxes = propose(load_network(models_dir / "pnet.onnx"), picture, picture.astype(np.float32), 20, map)
    assert len(boxes) > 5
    size = boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_allclose(size[:, 0], size[:, 1])


@pytest.mark.parametrize("min_face_px", [12, 20, 200, 201, 400, 600])
def test_the_bundled_face_is_found_whatever_size_is_looked_for(models_dir: Path, min_face_px: int) -> None:
    (face,) = load_mtcnn(models_dir, min_face_px=min_face_px)(ready_picture(min_face_px))
    assert face.confidence > 0.9
