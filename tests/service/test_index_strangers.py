"""Unknown people of an index: faces that are nobody's, in groups that stay. What is seen is made up."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recognition.archive import strangers
from recognition.archive.entries import File, IndexUnavailable, Seen, SeenFace
from recognition.archive.index import Index, open_index
from recognition.archive.strangers import Faces, Group
from recognition.faces import Box
from recognition.matching.people import directions

PRINT = "a fingerprint"
DIMENSION = 16
MIN_QUALITY = 0.25
LEAST = 0.6
PEOPLE = directions(np.random.default_rng(1).normal(size=(20, DIMENSION)))
KEY = bytes(range(32))


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def index(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Index]:
    with closing(open_index(tmp_path / "archive.sqlite3", create=True, key=request.param)) as index:
        yield index


def face_of(person: int, number: int = 0, quality: float = 0.9, x: float = 10) -> SeenFace:
    random = np.random.default_rng([person, number])
    vector = directions(PEOPLE[person] + random.normal(scale=0.08, size=DIMENSION))
    return SeenFace(Box(x, 20, 30, 40), 0.99, quality, (10 * vector).astype(np.float32))


def seen(index: Index, name: str, *faces: SeenFace, size: int = 1, fingerprint: str = PRINT) -> None:
    file = File(f"/pictures/{name}".encode(), size, 1)
    index.store([Seen(file, 640, 480, 1, tuple(faces))], fingerprint)


def everybody_unknown(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.ones(len(vectors), bool)


def grouped(
    index: Index, known: Collection[int] = (), fingerprint: str = PRINT
) -> tuple[Faces, dict[str, int]]:
    """Group, where some people are known; return the groups' keys by picture and place, if not the first."""

    def nobodys(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
        whose = (directions(vectors) @ PEOPLE.T).argmax(axis=1)
        return ~np.isin(whose, list(known))

    before = strangers.nobodys_faces(index, fingerprint, DIMENSION, MIN_QUALITY, nobodys)
    settled = [key for key, group in strangers.groups_of(index).items() if group.settled]
    after = strangers.store(index, before, strangers.regrouped(before, settled, None, LEAST))
    shown = strangers.shown(index, after, range(len(after.groups)))
    names = {
        place: each.file.path.decode().removeprefix("/pictures/") + f"/{each.number}" * (each.number > 1)
        for place, each in shown.items()
    }
    return after, {names[place]: int(group) for place, group in enumerate(after.groups)}


def test_faces_are_grouped_and_groups_keep_their_keys(index: Index) -> None:
    for number in range(3):
        seen(index, f"a{number}", face_of(0, number))
    seen(index, "b", face_of(1), face_of(0, 7))
    _, groups = grouped(index)
    assert groups["a0"] == groups["a1"] == groups["a2"] == groups["b/2"] != groups["b"]
    assert grouped(index)[1] == groups
    seen(index, "c", face_of(2))
    seen(index, "b2", face_of(1, 1))
    _, later = grouped(index)
    assert {name: later[name] for name in groups} == groups
    assert later["b2"] == groups["b"]
    assert later["c"] not in groups.values()


def test_an_empty_index_and_one_of_known_people_have_none(index: Index) -> None:
    assert grouped(index)[1] == {}
    seen(index, "a", face_of(0))
    assert grouped(index, known=[0])[1] == {}


def test_poor_faces_and_those_of_another_model_are_in_no_group(index: Index) -> None:
    seen(index, "poor", face_of(0, quality=0.2))
    seen(index, "other", face_of(1), fingerprint="another")
    seen(index, "good", face_of(0))
    assert set(grouped(index)[1]) == {"good"}


def test_who_is_enrolled_leaves_and_comes_back_when_removed(index: Index) -> None:
    seen(index, "a", face_of(0))
    seen(index, "b", face_of(1))
    _, groups = grouped(index)
    assert grouped(index, known=[0])[1] == {"b": groups["b"]}
    seen(index, "a2", face_of(0, 1))
    assert grouped(index)[1] == {**groups, "a2": groups["a"]}


def test_a_key_is_never_given_twice(index: Index) -> None:
    seen(index, "a", face_of(0))
    (first,) = grouped(index)[1].values()
    index.remove([b"/pictures/a"])
    seen(index, "b", face_of(1))
    (second,) = grouped(index)[1].values()
    assert second > first
    assert set(strangers.groups_of(index)) == {second}


def test_a_picture_that_is_looked_at_again_keeps_its_groups(index: Index) -> None:
    seen(index, "a", face_of(0), face_of(1, x=300))
    _, groups = grouped(index)
    strangers.settle(index, {groups["a"]: Group(groups["a"], ignored=True, person=None)})
    moved = replace(face_of(1, x=300), box=Box(303, 22, 30, 40))
    seen(index, "a", moved, face_of(0), fingerprint="another")
    faces, again = grouped(index, fingerprint="another")
    assert again == {"a": groups["a/2"], "a/2": groups["a"]}
    assert strangers.groups_of(index)[groups["a"]].ignored
    seen(index, "a", face_of(2), size=2, fingerprint="another")  # another picture
    assert grouped(index, fingerprint="another")[1]["a"] not in groups.values()
    assert len(faces.groups) == 2


def test_merged_groups_are_one_for_good(index: Index) -> None:
    seen(index, "a", face_of(0))
    seen(index, "b", face_of(1))
    _, groups = grouped(index)
    strangers.merge(index, groups["a"], groups["b"])
    assert set(grouped(index)[1].values()) == {groups["b"]}
    assert set(strangers.groups_of(index)) == {groups["b"]}


def test_who_is_ignored_stays_so_with_all_who_join(index: Index) -> None:
    seen(index, "a", face_of(0))
    _, groups = grouped(index)
    strangers.settle(index, {groups["a"]: Group(groups["a"], ignored=True, person=None)})
    for number in range(1, 5):
        seen(index, f"a{number}", face_of(0, number))
    assert set(grouped(index)[1].values()) == {groups["a"]}
    assert strangers.groups_of(index)[groups["a"]].ignored


def test_two_that_are_settled_are_never_joined(index: Index) -> None:
    seen(index, "a", face_of(0))
    seen(index, "b", face_of(1))
    _, groups = grouped(index)
    settled = [Group(groups["a"], ignored=True, person=None), Group(groups["b"], ignored=False, person="ann")]
    strangers.settle(index, {group.key: group for group in settled})
    for number in range(9):
        middle = directions(PEOPLE[0] + PEOPLE[1] + 0.01 * number)
        seen(index, f"c{number}", replace(face_of(0), vector=(10 * middle).astype(np.float32)))
    _, later = grouped(index)
    assert (later["a"], later["b"]) == (groups["a"], groups["b"])
    assert strangers.groups_of(index)[groups["b"]].person == "ann"


def test_what_is_forgotten_is_overwritten_and_those_who_are_known_stay(index: Index) -> None:
    seen(index, "a", face_of(0, 1), face_of(2))
    seen(index, "b", face_of(0, 2), face_of(1, x=300))
    _, groups = grouped(index)
    strangers.merge(index, groups["b/2"], groups["a"])
    faces, _ = grouped(index, known=[1])
    written = face_of(0, 1).vector.tobytes()
    plain = written in index.file.read_bytes() + index.file.with_name("archive.sqlite3-wal").read_bytes()
    assert strangers.forget(index, faces, [groups["a"]]) == 2
    content = index.file.read_bytes() + index.file.with_name("archive.sqlite3-wal").read_bytes()
    assert plain == (connection_is_plain(index))
    assert written not in content
    assert grouped(index)[1].keys() == {"a/2", "b/2"}
    assert index.unchanged([File(b"/pictures/a", 1, 1)], PRINT) == {b"/pictures/a"}


def connection_is_plain(index: Index) -> bool:
    with closing(sqlite3.connect(index.file)) as connection:
        return connection.execute("SELECT key_check FROM about").fetchone() == (None,)


def test_somebody_else_may_group_at_the_same_time(index: Index) -> None:
    seen(index, "a", face_of(0))
    before = strangers.nobodys_faces(index, PRINT, DIMENSION, MIN_QUALITY, everybody_unknown)
    _, groups = grouped(index)
    strangers.store(index, before, strangers.regrouped(before, [], None, LEAST))
    assert grouped(index)[1] == groups
    index.remove([b"/pictures/a"])
    strangers.store(index, before, strangers.regrouped(before, [], None, LEAST))
    assert grouped(index)[1] == {}
    assert strangers.groups_of(index) == {}


def test_thousands_of_faces_are_read_in_parts(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "FACES_AT_ONCE", 3)
    pictures: Sequence[str] = [f"{number}" for number in range(10)]
    for number, name in enumerate(pictures):
        seen(index, name, face_of(number % 3, number), face_of(5, number, x=300))
    _, groups = grouped(index)
    assert len(groups) == 20
    assert len(set(groups.values())) == 4


def test_a_damaged_vector_is_named(index: Index) -> None:
    seen(index, "a", face_of(0))
    with closing(sqlite3.connect(index.file)) as connection:
        connection.execute("UPDATE faces SET vector = x'00'")
        connection.commit()
    with pytest.raises(IndexUnavailable, match="/pictures/a is damaged"):
        grouped(index)
