"""The vectors in memory: what is put, replaced and removed, past the room that was there at first."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recognition.gallery.index import LEAST, VectorIndex


def keys_of(*keys: int) -> np.ndarray:
    return np.array(keys, dtype=np.int64)


def corners(n: int) -> np.ndarray:
    """Return n different float32 vectors of whole numbers."""
    numbers = np.arange(n, dtype=np.int64)
    return np.stack([numbers // 1000, numbers % 1000], axis=1).astype(np.float32)


def test_an_empty_index_finds_nothing() -> None:
    index = VectorIndex(2)
    ((keys, distances),) = index.nearest(np.zeros((1, 2), np.float32), 5)
    assert (keys.tolist(), distances.tolist()) == ([], [])
    assert index.nearest(np.empty((0, 2), np.float32), 5) == []
    index.remove(keys_of(1, 2))
    index.put(keys_of(), np.empty((0, 2), np.float32))
    assert index.nearest(np.zeros((1, 2), np.float32), 1)[0][0].tolist() == []


def test_it_grows_past_its_room_and_keeps_everything() -> None:
    vectors = corners(LEAST + 10_000)
    index = VectorIndex(2)
    index.put(np.arange(LEAST - 1, dtype=np.int64), vectors[: LEAST - 1])
    for key in range(LEAST - 1, LEAST + 10):  # over the edge one by one
        index.put(keys_of(key), vectors[key : key + 1])
    index.put(np.arange(LEAST + 10, len(vectors), dtype=np.int64), vectors[LEAST + 10 :])
    asked = [0, 1, LEAST - 2, LEAST - 1, LEAST, LEAST + 9, LEAST + 10, len(vectors) - 1]
    found = index.nearest(vectors[asked], 1)
    assert [(keys.tolist(), distances.tolist()) for keys, distances in found] == [
        ([key], [0.0]) for key in asked
    ]


def test_it_shrinks_when_many_are_removed_and_grows_again() -> None:
    n = 50_000
    vectors = corners(n)
    index = VectorIndex(2, expected=n)
    index.put(np.arange(n, dtype=np.int64), vectors)
    gone = np.flatnonzero(np.arange(n) % 3 > 0)
    for some in np.array_split(gone, 7):
        index.remove(some)
    left = np.arange(0, n, 3)
    found = index.nearest(vectors[left[::1000]], 1)
    assert [keys.tolist() for keys, _ in found] == [[key] for key in left[::1000].tolist()]
    found = index.nearest(vectors[gone[::1000]], 1)
    assert all(distances[0] > 0 for _, distances in found)
    index.put(np.arange(n, 2 * n, dtype=np.int64), vectors)
    found = index.nearest(vectors[[1, 3]], 2)
    assert [keys.tolist()[0] for keys, _ in found] == [n + 1, 3]
    assert found[1][0].tolist() == [3, n + 3]


changes = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "replace", "remove"]),
        st.lists(st.integers(0, 400), max_size=30),
        st.integers(0, 9),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(changes=changes)
def test_any_history_leaves_what_a_dictionary_would_hold(changes: list[tuple[str, list[int], int]]) -> None:
    """Keys never come twice: new ones are larger than all before, as the database gives them."""
    index, expected, newest = VectorIndex(3), dict[int, list[float]](), 0
    for what, numbers, seed in changes:
        if what == "remove":
            keys = numbers  # known and unknown ones, in any order
            index.remove(keys_of(*set(keys)))
            for key in keys:
                expected.pop(key, None)
        else:
            if what == "add":
                keys = [newest + 1 + i for i in range(len(numbers))]
                newest += len(numbers)
            else:
                keys = sorted(set(numbers) & expected.keys())
            vectors = np.random.default_rng(seed).integers(0, 3, size=(len(keys), 3)).astype(np.float32)
            index.put(keys_of(*keys), vectors)
            expected |= zip(keys, vectors.tolist(), strict=True)
        probe = np.array([[1.0, seed % 3, 0.0]], np.float32)
        ((found, distances),) = index.nearest(probe, 500)
        near = sorted((float(np.linalg.norm(np.subtract(expected[key], probe[0]))), key) for key in expected)
        assert found.tolist() == [key for _, key in near]
        assert distances.tolist() == [distance for distance, _ in near]
