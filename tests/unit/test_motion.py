"""Motion in small grey pictures: of somebody, of light, of noise."""

from __future__ import annotations

import numpy as np
import pytest

from recognition.cameras.motion import HEIGHT, WIDTH, Motion, Small, small

RATE = 5


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(1)


def room(random: np.random.Generator) -> np.ndarray:
    return random.uniform(30, 200, (HEIGHT, WIDTH))


def taken(scene: np.ndarray, random: np.random.Generator, noise: float = 1.0) -> Small:
    return np.clip(np.rint(scene + random.normal(0, noise, scene.shape)), 0, 255).astype(np.uint8)


def share(motion: Motion, pictures: list[Small], start_s: float = 0.0) -> float:
    return float(np.mean([motion.moves(one, start_s + n / RATE) for n, one in enumerate(pictures)]))


def test_the_first_picture_moves_and_the_same_again_does_not(random: np.random.Generator) -> None:
    scene = taken(room(random), random)
    motion = Motion()
    assert motion.moves(scene, 0)
    assert not motion.moves(scene, 0.2)
    assert not motion.moves(scene, 0.2)  # of the same time


@pytest.mark.parametrize("noise", [0.5, 2.0, 6.0])
def test_noise_is_no_motion(random: np.random.Generator, noise: float) -> None:
    scene = room(random)
    motion = Motion()
    share(motion, [taken(scene, random, noise) for _ in range(50)])
    assert share(motion, [taken(scene, random, noise) for _ in range(500)], 10.0) <= 0.01


def test_light_that_changes_slowly_is_no_motion(random: np.random.Generator) -> None:
    scene = room(random)
    dusk = [taken(scene * (1 - 0.7 * n / 3000), random) for n in range(3000)]  # ten minutes
    assert share(Motion(), dusk) < 0.02


def test_an_exposure_that_is_set_anew_is_none(random: np.random.Generator) -> None:
    scene = 60 + room(random) / 4
    motion = Motion()
    share(motion, [taken(scene, random) for _ in range(50)])
    assert not motion.moves(taken(scene + 40, random), 10.0)


def test_lamps_that_go_on_are_part_of_the_room_soon(random: np.random.Generator) -> None:
    scene = room(random)
    motion = Motion()
    share(motion, [taken(scene, random) for _ in range(50)])
    lit = scene.copy()
    lit[:, :30] += 50
    assert motion.moves(taken(lit, random), 10.0)
    share(motion, [taken(lit, random) for _ in range(300 * RATE)], 10.2)
    assert share(motion, [taken(lit, random) for _ in range(100)], 310.4) < 0.02


def test_whoever_has_stopped_for_a_while_leaves_nothing_behind(random: np.random.Generator) -> None:
    scene = room(random)
    motion = Motion()
    share(motion, [taken(scene, random) for _ in range(50)])
    there = scene.copy()
    there[12:28, 20:34] = 128
    share(motion, [taken(there, random) for _ in range(5 * RATE)], 10.0)
    assert share(motion, [taken(scene, random) for _ in range(50)], 18.0) < 0.1


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_somebody_who_walks_is_seen(random: np.random.Generator, noise: float) -> None:
    scene = room(random)
    motion = Motion()
    share(motion, [taken(scene, random, noise) for _ in range(50)])
    walk = []
    for n in range(30):
        there = scene.copy()
        there[15:25, 2 * n : 2 * n + 5] = 128
        walk.append(taken(there, random, noise))
    assert share(motion, walk, 10.0) > 0.95


def test_a_frame_of_any_size_becomes_small() -> None:
    for shape in ((36, 64, 3), (2160, 3840, 3), (1, 1, 3)):
        assert small(np.zeros(shape, np.uint8)).shape == (HEIGHT, WIDTH)
