"""Galleries of 1.0.0 get people: the samples of one name are one person's, and nothing is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from galleries import NOW, a_sample, vectors_of
from older_galleries import RELEASED, make_older
from recognition.gallery import Gallery, open_gallery, people
from recognition.gallery.database import transaction
from recognition.gallery.tables import galleries, samples
from recognition.gallery.transfer import faults

SPELLINGS = ["José", "Jose\u0301", "José ", " JOSÉ", "jose\u0301", "Jo\u200bsé", "José\n", "\ufeffJosé"]
BLANK = ["   ", "\u200b", "\u3164\ufe0f"]
OTHERS = ["Jose", "Ann  Lee", "ann lee", "می\u200cخواهم", "'; DROP TABLE persons; --"]


@pytest.fixture
def url(bare_url: str) -> str:
    """What is there is made by older versions."""
    return bare_url


def migrated(url: str, names: list[str]) -> Gallery:
    make_older(url, RELEASED, [(f"{number:05}", name) for number, name in enumerate(names)], dimension=8)
    return open_gallery(url, lock_timeout_s=5)


def everybody(gallery: Gallery) -> list[tuple[str, int]]:
    page = people.page(gallery, limit=20_000)
    return [(person.name, person.samples) for person in page.persons]


@pytest.mark.parametrize("names", [[], ["Ann"]], ids=["no sample", "one sample"])
def test_small_galleries(url: str, names: list[str]) -> None:
    gallery = migrated(url, names)
    assert everybody(gallery) == [(name, 1) for name in names]
    assert list(faults(gallery)) == []
    with transaction(gallery.engine) as connection:
        assert connection.execute(sa.select(galleries.c.key, galleries.c.name)).all() == [(1, "default")]
    assert gallery.upsert([a_sample("new", name="ANN")], vectors_of(9, dimension=8), "model-a").failed == {}
    assert len(everybody(gallery)) == 1
    gallery.close()


def test_names_that_differ_in_case_accents_and_blanks_are_one_person_each(url: str) -> None:
    names = [*SPELLINGS, *BLANK, *OTHERS]
    gallery = migrated(url, names)
    assert sorted(everybody(gallery)) == sorted(
        [
            ("José", 8),
            *((f"unnamed ({number:05})", 1) for number in (8, 9, 10)),
            ("Jose", 1),
            ("Ann Lee", 2),
            ("می\u200cخواهم", 1),
            ("'; DROP TABLE persons; --", 1),
        ]
    )
    stored = gallery.page(limit=99)
    assert [sample.id for sample in stored] == [f"{number:05}" for number in range(len(names))]
    assert [sample.spelling for sample in stored[:8]] == [*3 * [None], "JOSÉ", "josé", *3 * [None]]
    assert {(sample.created, sample.modified, str(sample.metadata)) for sample in stored} == {
        (NOW, NOW, "{'a': [1]}")
    }
    assert len({sample.person for sample in stored[:8]}) == 1
    assert gallery.count("josÉ") == 8
    assert list(faults(gallery)) == []
    assert gallery.delete_named("JOSE\u0301") == 8
    gallery.close()


def test_ten_thousand_samples_keep_their_places(url: str) -> None:
    names = [f"Person {number % 3001}" for number in range(10_000)]
    gallery = migrated(url, names)
    found = everybody(gallery)
    assert len(found) == 3001 and sum(count for _, count in found) == 10_000
    assert [sample.name for sample in gallery.page(limit=10_000)] == names
    (matches,) = gallery.nearest(vectors_of(7777, dimension=8), 1, "model-a")
    assert (matches[0].sample.id, matches[0].sample.name) == ("07777", names[7777])
    assert list(faults(gallery)) == []
    gallery.close()


def test_a_key_of_before_is_not_given_again(url: str) -> None:
    """Else a worker would take a new sample for the one that it knows."""
    gallery = migrated(url, ["Ann", "Ben"])
    with transaction(gallery.engine) as connection:
        before = connection.execute(sa.select(sa.func.max(samples.c.key))).scalar_one()
    gallery.delete("00001")
    gallery.upsert([a_sample("new")], vectors_of(5, dimension=8), "model-a")
    with transaction(gallery.engine) as connection:
        assert connection.execute(sa.select(sa.func.max(samples.c.key))).scalar_one() > before
    assert nearest_ids_of(gallery, 5) == ["new"]
    gallery.close()


def nearest_ids_of(gallery: Gallery, seed: int) -> list[str]:
    (matches,) = gallery.nearest(vectors_of(seed, dimension=8), 1, "model-a")
    return [match.sample.id for match in matches]


def test_no_name_of_before_stays_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gallery.sqlite3"
    gallery = migrated(f"sqlite:///{file}", ["Rumpelstiltskin", "RUMPELSTILTSKIN"])
    gallery.delete_named("rumpelstiltskin")
    gallery.close()
    for path in tmp_path.iterdir():
        assert b"rumpelstiltskin" not in path.read_bytes().lower(), path
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM persons").fetchone() == (0,)
