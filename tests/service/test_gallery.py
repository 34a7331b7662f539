"""The gallery on SQLite and PostgreSQL alike: what is stored, found, replaced and removed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from galleries import (
    MODEL,
    NOW,
    a_sample,
    also_in_milvus,
    as_sent,
    database_url,
    enrol,
    nearest_ids,
    vectors_of,
)
from recognition.errors import GalleryModelMismatch, GalleryUnavailable
from recognition.faces import Match
from recognition.gallery import Gallery, open_gallery
from recognition.gallery.database import transaction
from recognition.gallery.rows import DELETIONS_KEPT
from recognition.gallery.tables import VERSION, galleries, tombstones


def test_an_empty_gallery_finds_nothing(gallery: Gallery) -> None:
    assert gallery.nearest(vectors_of(1, 2), 3, MODEL) == [[], []]
    assert gallery.nearest(np.empty((0, 128), np.float32), 3, MODEL) == []
    assert gallery.count() == 0


def test_a_sample_comes_back_whole(gallery: Gallery) -> None:
    metadata = {"door": [1, 2.5, None, True], "q": "'; DROP TABLE samples; --", "ü": "𝄞"}
    sample = a_sample('i\'d "q" 名 \\ %', name="O'Brien 名", metadata=metadata, action="open")
    gallery.upsert([sample], vectors_of(1), MODEL)
    ((match,),) = gallery.nearest(vectors_of(1), 1, MODEL)
    assert as_sent(match.sample) == sample
    assert match.distance == 0
    assert as_sent(gallery.get(sample.id)) == sample


def test_ids_and_names_may_be_long(gallery: Gallery) -> None:
    longest = "\U0001f600" * 500  # 2,000 bytes; a b-tree of PostgreSQL takes 2,704
    new = [a_sample(longest, name="名" * 100_000), a_sample(longest[1:])]
    gallery.upsert(new, vectors_of(1, 2), MODEL)
    assert nearest_ids(gallery, 1) == [longest]
    assert gallery.count("名" * 100_000) == 1
    assert as_sent(gallery.get(longest)) == new[0]


def test_nearest_first_and_no_more_than_k(gallery: Gallery) -> None:
    enrol(gallery, list("abcdef"), range(6))
    (matches,) = gallery.nearest(vectors_of(2), 4, MODEL)
    assert len(matches) == 4
    assert matches[0].sample.id == "c"
    distances = [match.distance for match in matches]
    assert distances == sorted(distances)


@also_in_milvus
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
    named = {"a": "x", "b": "y", "c": "x", "d": "z", "e": "x"}
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
    for per_person in (False, True):
        (near,) = gallery.nearest(vectors_of(1), 4, MODEL, max_distance=bound, per_person=per_person)
        assert near == everything[:2]
        (nearest,) = gallery.nearest(vectors_of(99), 4, MODEL, max_distance=1e-9, per_person=per_person)
        assert nearest == gallery.nearest(vectors_of(99), 1, MODEL)[0]


def test_per_person_of_an_empty_gallery(gallery: Gallery) -> None:
    assert gallery.nearest(vectors_of(1, 2), 3, MODEL, per_person=True) == [[], []]
    assert gallery.nearest(np.empty((0, 128), np.float32), 3, MODEL, per_person=True) == []


@pytest.fixture(scope="module")
def shared(
    backend: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Gallery]:
    """One gallery for all examples of a property."""
    with database_url(backend, tmp_path_factory.mktemp("shared"), request) as url:
        gallery = open_gallery(url, lock_timeout_s=5)
        yield gallery
        gallery.close()


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.sampled_from("aaaaaaaabc"), max_size=120),
    k=st.integers(1, 5),
    bound=st.sampled_from([math.inf, 12.0, 14.0]),
)
def test_per_person_is_the_best_sample_of_each_name(
    shared: Gallery, names: list[str], k: int, bound: float
) -> None:
    shared.clear()
    new = [a_sample(f"{number:03}", name=name) for number, name in enumerate(names)]
    if names:
        shared.upsert(new, vectors_of(*range(len(names))), MODEL)
    for probe in vectors_of(1000, 1001):
        (ranked,) = shared.nearest(probe[np.newaxis], 120, MODEL)
        assert len(ranked) == len(names)
        best: dict[str, Match] = {}
        for match in ranked:
            best.setdefault(match.sample.name, match)
        expected = list(best.values())[:k]
        expected = expected[:1] + [match for match in expected[1:] if match.distance < bound]
        assert shared.nearest(probe[np.newaxis], k, MODEL, max_distance=bound, per_person=True) == [expected]


@also_in_milvus
def test_old_deletions_are_forgotten_and_mislead_no_worker(gallery: Gallery, other: Gallery) -> None:
    enrol(gallery, list("abcd"), range(4))
    assert nearest_ids(other, 0) == ["a"]
    gallery.delete("a")
    with transaction(gallery.engine, write=True) as connection:  # many changes pass
        connection.execute(galleries.update().values(revision=galleries.c.revision + DELETIONS_KEPT))
    gallery.delete("b")
    with transaction(gallery.engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tombstones)).scalar_one() == 1
    assert nearest_ids(gallery, 0, k=9) == nearest_ids(other, 0, k=9)
    assert set(nearest_ids(other, 0, k=9)) == {"c", "d"}


@also_in_milvus
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


def test_tables_that_a_newer_version_has_changed_are_neither_read_nor_written(gallery: Gallery) -> None:
    enrol(gallery, ["a"], [1])

    def set_version(number: str) -> None:
        with gallery.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{number}'")

    set_version("9999")
    for use in (
        lambda: enrol(gallery, ["b"], [2]),
        lambda: gallery.delete("a"),
        gallery.clear,
        gallery.count,
        lambda: nearest_ids(gallery, 1),
    ):
        with pytest.raises(GalleryUnavailable, match="Another version of this program"):
            use()
    set_version(VERSION)
    assert nearest_ids(gallery, 1) == ["a"]


@also_in_milvus
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


@also_in_milvus
def test_equally_near_samples_come_in_the_order_of_enrolment(gallery: Gallery) -> None:
    order = [f"{number * 37 % 40:02}" for number in range(40)]
    for sample_id in order:
        enrol(gallery, [sample_id], [1])
    enrol(gallery, order[:5], [1] * 5)  # replaced, they keep their places
    for k in (1, 2, 30, 99):
        assert nearest_ids(gallery, 1, k) == order[:k]


def test_distances_are_those_of_float64(gallery: Gallery) -> None:
    enrol(gallery, [str(seed) for seed in range(50)], range(50))
    (matches,) = gallery.nearest(vectors_of(99), 50, MODEL)
    probe, stored = vectors_of(99)[0].astype(float), vectors_of(*range(50)).astype(float)
    expected = np.sort(np.linalg.norm(stored - probe, axis=1))
    assert [match.distance for match in matches] == pytest.approx(expected.tolist(), abs=1e-9)


@also_in_milvus
def test_distances_that_are_equal_in_float32_are_told_apart(gallery: Gallery) -> None:
    random = np.random.default_rng(3)
    stored = (vectors_of(1) + random.uniform(-1e-7, 1e-7, (8, 128))).astype(np.float32)
    gallery.upsert([a_sample(str(number)) for number in range(8)], stored, MODEL)
    probes = vectors_of(*range(10, 40))
    exact = np.linalg.norm(stored.astype(float) - probes[:, np.newaxis].astype(float), axis=2)
    found = [match.sample.id for (match,) in gallery.nearest(probes, 1, MODEL)]
    assert found == [str(nearest) for nearest in exact.argmin(axis=1)]
