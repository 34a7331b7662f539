"""Subjects of the gallery: people told by their names alone, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from galleries import MODEL, a_sample, nearest_ids, vectors_of
from recognition.errors import GalleryModelMismatch, PersonExists
from recognition.gallery import Gallery, galleries, people, subjects
from recognition.results import Example
from serving.errors import NotFound


def enrol(gallery: Gallery, **names: str) -> None:
    """Store a sample of each id with its name."""
    new = [a_sample(sample_id, name=name) for sample_id, name in names.items()]
    assert not gallery.upsert(new, vectors_of(*range(len(new))), MODEL).failed


def all_of(gallery: Gallery) -> list[Example]:
    return subjects.page(gallery, offset=0, limit=100)[0]


def namesakes(gallery: Gallery) -> None:
    """Two people of one name, p1 the older, with one sample each."""
    for number, person_id in enumerate(("p1", "p2")):
        people.make(gallery, "Robin" if number else "ROBIN", person_id=person_id)
        gallery.upsert([a_sample(f"s{number}", person=person_id)], vectors_of(number), MODEL)


def test_names_are_listed_once_each_in_their_order(gallery: Gallery) -> None:
    assert subjects.names(gallery) == []
    enrol(gallery, a="Zoë", b="adam", c="ZOË")
    namesakes(gallery)
    assert subjects.names(gallery) == ["adam", "ROBIN", "Zoë"]


def test_who_is_there_is_not_made_again(gallery: Gallery) -> None:
    subjects.make(gallery, "Ann", kept_for=None)
    for name in ("Ann", "ANN"):
        with pytest.raises(PersonExists):
            subjects.make(gallery, name, kept_for=None)
    assert subjects.names(gallery) == ["Ann"]


def test_of_several_who_make_one_at_once_one_does(gallery: Gallery, other: Gallery) -> None:
    def make(number: int) -> bool:
        with suppress(PersonExists):
            subjects.make((gallery, other)[number % 2], "Ann", kept_for=None)
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(8))) == 1


def test_a_name_is_changed_and_ids_stay(gallery: Gallery) -> None:
    enrol(gallery, a="Ann", b="ANN", c="Bob")
    with pytest.raises(NotFound):
        subjects.rename(gallery, "Nobody", "Eve")
    assert subjects.rename(gallery, "Nobody", "Nobody") is False
    assert subjects.rename(gallery, "ann", "Eve")
    assert all_of(gallery) == [Example("a", "Eve"), Example("b", "Eve"), Example("c", "Bob")]
    assert subjects.rename(gallery, "eve", "EVE")
    assert subjects.names(gallery) == ["Bob", "EVE"]
    assert [gallery.get("b").name] == ["EVE"]  # type: ignore[union-attr]


def test_a_name_that_somebody_has_gives_them_the_samples(gallery: Gallery, other: Gallery) -> None:
    enrol(gallery, a="Ann", b="Ann", c="Bob")
    assert nearest_ids(other, 0) == ["a"]
    assert subjects.rename(gallery, "Ann", "bob")
    assert subjects.names(other) == ["Bob"]
    assert all_of(other) == [Example("a", "Bob"), Example("b", "Bob"), Example("c", "Bob")]
    ((match,),) = other.nearest(vectors_of(0), 1, MODEL)
    assert match.sample.name == "Bob"


def test_namesakes_are_renamed_and_removed_together(gallery: Gallery) -> None:
    namesakes(gallery)
    assert subjects.rename(gallery, "Robin", "Ann")
    assert people.get(gallery, "p1").name == people.get(gallery, "p2").name == "Ann"
    enrol(gallery, x="Bob")
    assert subjects.rename(gallery, "Ann", "Bob")
    assert subjects.names(gallery) == ["Bob"] and len(all_of(gallery)) == 3
    assert subjects.remove(gallery, "BOB") == ("Bob", 3)
    assert subjects.remove(gallery, "BOB") == (None, 0)
    assert subjects.names(gallery) == []


def test_everybody_is_removed(gallery: Gallery) -> None:
    enrol(gallery, a="Ann", b="Bob")
    namesakes(gallery)
    subjects.make(gallery, "Eve", kept_for=None)
    assert subjects.clear(gallery) == (4, 4)
    assert subjects.clear(gallery) == (0, 0)


def test_pages_are_in_the_order_of_enrolment(gallery: Gallery) -> None:
    enrol(gallery, c="Ann", a="Bob", b="ann")
    assert subjects.page(gallery, offset=1, limit=1) == ([Example("a", "Bob")], 3)
    assert subjects.page(gallery, offset=3, limit=5) == ([], 3)
    assert subjects.page(gallery, offset=1, limit=5, name="Ann") == ([Example("b", "Ann")], 2)
    assert subjects.page(gallery, offset=0, limit=5, name="ann") == ([], 0)


def test_people_stay_without_their_last_example_but_only_then(gallery: Gallery) -> None:
    enrol(gallery, a="Ann", b="Ann", c="Bob")
    removed = subjects.remove_examples(gallery, ["c", "unknown", "a", "a"])
    assert removed == [Example("c", "Bob"), Example("a", "Ann")]
    assert subjects.names(gallery) == ["Ann", "Bob"]
    gallery.delete("b")  # as the native service does, after which those go who were not made by hand
    assert subjects.names(gallery) == ["Bob"]
    assert subjects.remove_examples(gallery, []) == []


def test_very_many_examples_are_removed_at_once(gallery: Gallery) -> None:
    enrol(gallery, **{f"s{number}": f"name {number % 7}" for number in range(1200)})
    ids = [f"s{number}" for number in range(1200)]
    assert len(subjects.remove_examples(gallery, ids)) == 1200
    assert gallery.count() == 0 and len(subjects.names(gallery)) == 7


def test_an_example_has_its_vector(gallery: Gallery) -> None:
    enrol(gallery, a="Ann", b="Bob")
    found, vector = subjects.example(gallery, "b", MODEL)
    assert found == Example("b", "Bob")
    np.testing.assert_array_equal(vector, vectors_of(1)[0])
    with pytest.raises(NotFound):
        subjects.example(gallery, "c", MODEL)
    with pytest.raises(GalleryModelMismatch):
        subjects.example(gallery, "a", "another model")


def test_other_galleries_are_left_alone(gallery: Gallery) -> None:
    galleries.make(gallery, "b")
    enrol(gallery, a="Ann")
    beside = gallery.of("b")
    assert subjects.names(beside) == [] == all_of(beside)
    assert subjects.remove(beside, "Ann") == (None, 0)
    assert subjects.remove_examples(beside, ["a"]) == []
    assert subjects.clear(beside) == (0, 0)
    with pytest.raises(NotFound):
        subjects.rename(beside, "Ann", "Bob")
    with pytest.raises(NotFound):
        subjects.example(beside, "a", MODEL)
    subjects.make(beside, "Ann", kept_for=None)
    assert all_of(gallery) == [Example("a", "Ann")]
