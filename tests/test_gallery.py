"""The gallery on a real SQLite file: what is stored, found, replaced, removed, and seen by others."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognition.errors import GalleryModelMismatch, GalleryUnavailable
from recognition.faces import Match, Sample
from recognition.gallery import Gallery, open_gallery

MODEL = "model-a"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def a_sample(sample_id: str, **changes: object) -> Sample:
    fields = {
        "name": f"name of {sample_id}",
        "metadata": None,
        "action": None,
        "created": NOW,
        "modified": NOW,
    }
    return Sample(sample_id, **(fields | changes))  # type: ignore[arg-type]


def vectors_of(*seeds: int) -> np.ndarray:
    raw = np.stack([np.random.default_rng(seed).normal(size=128) for seed in seeds])
    return (10 * raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def enrol(gallery: Gallery, ids: Sequence[str], seeds: Sequence[int], fingerprint: str = MODEL) -> None:
    gallery.upsert([a_sample(sample_id) for sample_id in ids], vectors_of(*seeds), fingerprint)


def nearest_ids(gallery: Gallery, seed: int, k: int = 1) -> list[str]:
    (matches,) = gallery.nearest(vectors_of(seed), k, MODEL)
    return [match.sample.id for match in matches]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'new folder' / 'gallery.sqlite3'}"


@pytest.fixture
def gallery(url: str) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5)
    yield gallery
    gallery.close()


@pytest.fixture
def other(url: str, gallery: Gallery) -> Iterator[Gallery]:
    """The same gallery as another worker has it."""
    other = open_gallery(url, lock_timeout_s=5)
    yield other
    other.close()


def test_an_empty_gallery_finds_nothing(gallery: Gallery) -> None:
    assert gallery.nearest(vectors_of(1, 2), 3, MODEL) == [[], []]
    assert gallery.nearest(np.empty((0, 128), np.float32), 3, MODEL) == []
    assert gallery.count() == 0


def test_a_sample_comes_back_whole(gallery: Gallery) -> None:
    metadata = {"door": [1, 2.5, None, True], "q": "'; DROP TABLE samples; --", "ü": "𝄞"}
    sample = a_sample('i\'d "q" 名 \\ %', name="O'Brien 名", metadata=metadata, action="open")
    gallery.upsert([sample], vectors_of(1), MODEL)
    ((match,),) = gallery.nearest(vectors_of(1), 1, MODEL)
    assert match.sample == sample
    assert match.distance == 0
    assert gallery.get(sample.id) == sample


def test_an_id_of_ten_thousand_characters(gallery: Gallery) -> None:
    enrol(gallery, ["x" * 10_000, "x" * 9_999], [1, 2])
    assert nearest_ids(gallery, 1) == ["x" * 10_000]


def test_nearest_first_and_no_more_than_k(gallery: Gallery) -> None:
    enrol(gallery, list("abcdef"), range(6))
    (matches,) = gallery.nearest(vectors_of(2), 4, MODEL)
    assert len(matches) == 4
    assert matches[0].sample.id == "c"
    distances = [match.distance for match in matches]
    assert distances == sorted(distances)


def test_sending_an_id_again_replaces_it_and_keeps_created(gallery: Gallery) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    later = NOW + timedelta(days=1)
    gallery.upsert([a_sample("a", name="new", created=later, modified=later)], vectors_of(3), MODEL)
    assert gallery.count() == 2
    assert nearest_ids(gallery, 3) == ["a"]
    assert gallery.nearest(vectors_of(1), 2, MODEL)[0][0].distance > 1
    stored = gallery.get("a")
    assert stored is not None
    assert (stored.name, stored.created, stored.modified) == ("new", NOW, later)


def test_delete_and_clear(gallery: Gallery) -> None:
    enrol(gallery, list("abc"), range(3))
    assert nearest_ids(gallery, 1) == ["b"]
    assert gallery.delete("b")
    assert not gallery.delete("b")
    assert gallery.get("b") is None
    assert "b" not in nearest_ids(gallery, 1, k=3)
    gallery.clear()
    assert nearest_ids(gallery, 0) == []
    assert gallery.count() == 0
    enrol(gallery, ["d"], [4])
    assert nearest_ids(gallery, 1) == ["d"]


IDS_BY_CODE_POINT = [" ", "'; --", "A", "B", "a", "aa", "b", "é", "名", "\uffff", "\U0001f600"]


def test_pages_run_through_all_ids_in_code_point_order(gallery: Gallery) -> None:
    enrol(gallery, IDS_BY_CODE_POINT[::-1], range(len(IDS_BY_CODE_POINT)))
    seen: list[str] = []
    while page := gallery.page(limit=3, after=seen[-1] if seen else None):
        seen += [sample.id for sample in page]
    assert seen == IDS_BY_CODE_POINT
    assert gallery.page(limit=1, after="")[0] == gallery.get(" ")


def test_paging_misses_nothing_when_samples_go(gallery: Gallery) -> None:
    enrol(gallery, list("abcdef"), range(6))
    assert [sample.id for sample in gallery.page(limit=2)] == ["a", "b"]
    gallery.delete("b")
    gallery.delete("d")
    assert [sample.id for sample in gallery.page(limit=9, after="b")] == ["c", "e", "f"]


def test_samples_of_one_name_are_counted_paged_and_removed(gallery: Gallery, other: Gallery) -> None:
    named = {"a": "x", "b": "y", "c": "x", "d": "X", "e": "x"}
    new = [a_sample(sample_id, name=name) for sample_id, name in named.items()]
    gallery.upsert(new, vectors_of(*range(5)), MODEL)
    assert nearest_ids(other, 0) == ["a"]
    assert (gallery.count(), gallery.count("x"), gallery.count("nobody")) == (5, 3, 0)
    assert [sample.id for sample in gallery.page(limit=2, name="x")] == ["a", "c"]
    assert [sample.id for sample in gallery.page(limit=2, name="x", after="c")] == ["e"]
    assert gallery.delete_named("nobody") == 0
    assert gallery.delete_named("x") == 3
    assert [sample.id for sample in gallery.page(limit=9)] == ["b", "d"]
    assert set(nearest_ids(other, 0, k=9)) == {"b", "d"}


def test_only_the_nearest_may_lie_beyond_the_largest_distance(gallery: Gallery) -> None:
    enrol(gallery, list("abcd"), range(4))
    (everything,) = gallery.nearest(vectors_of(1), 4, MODEL)
    bound = everything[2].distance  # exclusive
    for per_name in (False, True):
        (near,) = gallery.nearest(vectors_of(1), 4, MODEL, max_distance=bound, per_name=per_name)
        assert near == everything[:2]
        (nearest,) = gallery.nearest(vectors_of(99), 4, MODEL, max_distance=1e-9, per_name=per_name)
        assert nearest == gallery.nearest(vectors_of(99), 1, MODEL)[0]


def test_per_name_of_an_empty_gallery(gallery: Gallery) -> None:
    assert gallery.nearest(vectors_of(1, 2), 3, MODEL, per_name=True) == [[], []]
    assert gallery.nearest(np.empty((0, 128), np.float32), 3, MODEL, per_name=True) == []


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.sampled_from("aaaaaaaabc"), max_size=120),
    k=st.integers(1, 5),
    bound=st.sampled_from([math.inf, 12.0, 14.0]),
)
def test_per_name_is_the_best_sample_of_each_name(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], k: int, bound: float
) -> None:
    gallery = open_gallery(f"sqlite:///{tmp_path_factory.mktemp('names') / 'g.sqlite3'}", lock_timeout_s=5)
    new = [a_sample(f"{number:03}", name=name) for number, name in enumerate(names)]
    if names:
        gallery.upsert(new, vectors_of(*range(len(names))), MODEL)
    probes = vectors_of(1000, 1001)
    for probe in probes:
        (ranked,) = gallery.nearest(probe[np.newaxis], 120, MODEL)
        best: dict[str, Match] = {}
        for match in ranked:
            best.setdefault(match.sample.name, match)
        expected = list(best.values())[:k]
        expected = expected[:1] + [match for match in expected[1:] if match.distance < bound]
        assert gallery.nearest(probe[np.newaxis], k, MODEL, max_distance=bound, per_name=True) == [expected]
    gallery.close()


def test_changes_of_another_worker_are_seen_at_once(gallery: Gallery, other: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    assert nearest_ids(other, 1) == ["a"]
    enrol(other, ["b"], [2])
    assert nearest_ids(gallery, 2) == ["b"]
    enrol(other, ["a"], [5])
    assert nearest_ids(gallery, 5) == ["a"]
    gallery.delete("b")
    assert nearest_ids(other, 2, k=9) == ["a"]
    other.clear()
    enrol(other, ["c"], [7])
    assert nearest_ids(gallery, 1, k=9) == ["c"]


def test_one_change_does_not_read_the_others_again(url: str, gallery: Gallery, other: Gallery) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    assert nearest_ids(other, 1) == ["a"]
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE samples SET vector = zeroblob(512) WHERE sample_id = 'a'")
    connection.close()
    enrol(gallery, ["c"], [3])
    gallery.delete("b")
    assert nearest_ids(other, 3) == ["c"]
    ((match, _),) = other.nearest(vectors_of(1), 2, MODEL)
    assert (match.sample.id, match.distance) == ("a", 0)


def test_vectors_are_read_when_the_gallery_is_opened(url: str, gallery: Gallery) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    opened = open_gallery(url, lock_timeout_s=5)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE samples SET vector = zeroblob(512)")
    connection.close()
    assert opened.nearest(vectors_of(2), 1, MODEL)[0][0].distance == 0
    opened.close()


def test_another_models_vectors_are_refused(gallery: Gallery, other: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    with pytest.raises(GalleryModelMismatch):
        enrol(gallery, ["b"], [2], fingerprint="model-b")
    with pytest.raises(GalleryModelMismatch):
        other.nearest(vectors_of(1), 1, "model-b")
    assert gallery.count() == 1
    gallery.clear()
    enrol(gallery, ["b"], [2], fingerprint="model-b")
    assert gallery.nearest(vectors_of(2), 1, "model-b")[0][0].sample.id == "b"


def test_an_emptied_gallery_takes_a_model_of_another_dimension(gallery: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    assert nearest_ids(gallery, 1) == ["a"]
    gallery.delete("a")
    wide = np.ones((1, 512), np.float32)
    assert gallery.nearest(wide, 1, "model-b") == [[]]
    gallery.upsert([a_sample("b")], wide, "model-b")
    assert gallery.nearest(wide, 1, "model-b")[0][0].sample.id == "b"


def test_a_failed_batch_stores_nothing(gallery: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    with pytest.raises(ValueError, match="zip"):
        gallery.upsert([a_sample("b"), a_sample("c")], vectors_of(2), MODEL)
    assert gallery.count() == 1
    assert nearest_ids(gallery, 2, k=9) == ["a"]


def test_a_locked_database_is_unavailable_and_then_well_again(url: str, gallery: Gallery) -> None:
    impatient = open_gallery(url, lock_timeout_s=0.05)
    blocker = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(GalleryUnavailable):
        enrol(impatient, ["a"], [1])
    assert nearest_ids(impatient, 1) == []  # reading goes on
    blocker.execute("ROLLBACK")
    blocker.close()
    enrol(impatient, ["a"], [1])
    assert nearest_ids(gallery, 1) == ["a"]
    impatient.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "gallery.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(GalleryUnavailable):
        open_gallery(f"sqlite:///{tmp_path / 'gallery.sqlite3'}", lock_timeout_s=1)


def test_vectors_lie_as_little_endian_float32(url: str, gallery: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        ((blob, fingerprint),) = connection.execute("SELECT vector, fingerprint FROM samples").fetchall()
    connection.close()
    assert np.frombuffer(blob, "<f4").tolist() == vectors_of(1)[0].tolist()
    assert fingerprint == MODEL


def test_threads_may_enrol_and_search_at_once(gallery: Gallery) -> None:
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(10):
                seed = 100 * number + step
                enrol(gallery, [f"{number}-{step}"], [seed])
                assert nearest_ids(gallery, seed) == [f"{number}-{step}"]
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert gallery.count() == 40


def test_many_workers_may_open_a_new_gallery_at_once(tmp_path: Path) -> None:
    """Each round makes a new file; switching it to write-ahead logging is where they would collide."""

    def open_and_close(url: str, barrier: threading.Barrier) -> int:
        barrier.wait()
        gallery = open_gallery(url, lock_timeout_s=10)
        count = gallery.count()
        gallery.close()
        return count

    with ThreadPoolExecutor(6) as pool:
        for number in range(20):
            url, barrier = f"sqlite:///{tmp_path / str(number)}.sqlite3", threading.Barrier(6)
            opened = [pool.submit(open_and_close, url, barrier) for _ in range(6)]
            assert [future.result() for future in opened] == [0] * 6


ids = st.sampled_from("abcdefgh")
kinds = st.sampled_from(["put", "put", "put", "delete", "clear"])
steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "delete", "clear"]), ids, st.integers(0, 30), st.booleans()
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(steps=steps)
def test_any_history_leaves_what_a_dictionary_would_hold(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int, bool]]
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('history') / 'g.sqlite3'}"
    workers = [open_gallery(url, lock_timeout_s=5) for _ in range(2)]
    expected: dict[str, int] = {}
    for what, sample_id, seed, second in steps:
        worker, reader = workers[second], workers[not second]
        if what == "put":
            enrol(worker, [sample_id], [seed])
            expected[sample_id] = seed
        elif what == "delete":
            assert worker.delete(sample_id) == (expected.pop(sample_id, None) is not None)
        else:
            worker.clear()
            expected.clear()
        (matches,) = reader.nearest(vectors_of(seed), 20, MODEL)
        found = {match.sample.id: match.distance for match in matches}
        distances = {
            key: float(np.linalg.norm(vectors_of(value)[0].astype(float) - vectors_of(seed)[0].astype(float)))
            for key, value in expected.items()
        }
        assert found == pytest.approx(distances, abs=1e-9)
    for worker in workers:
        worker.close()
