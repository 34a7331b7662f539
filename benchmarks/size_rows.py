"""Made-up people for size.py, and the two ways in which they go into a gallery: by import, and by COPY.

Row n is the same in each run, whatever is loaded at once: ten samples of each person, ids that are UUIDs,
names, metadata, quality and the digest of a picture as an enrolment through the API leaves them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gallery as made_up  # which also finds the packages of the services
from gallery import DIMENSION, NOW, SAMPLES_EACH, Vectors
from recognition.faces import Person, Sample
from recognition.gallery import Gallery, portable, rows, transfer
from recognition.gallery.tables import galleries, gallery_of

CHUNK = 20_000  # samples that are made up at once, and loaded in one transaction
FINGERPRINT = "5" * 64 + "-similarity-1"  # as long as that of a model
METADATA = {"door": 1}
QUALITY = 0.9
ID_LENGTH = 36
DIGITS = [place for place in range(ID_LENGTH) if place not in (8, 13, 18, 23)]  # of a UUID
POSTGRESQL_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples, n of them, and their people, n / 10.

    ids, people, names: bytes; centres: of the people, float32 (n / 10, 128); vectors: float32 (n, 128).
    """

    ids: NDArray[np.bytes_]
    people: NDArray[np.bytes_]
    names: NDArray[np.bytes_]
    centres: Vectors
    vectors: Vectors
    pictures: NDArray[np.uint8]

    def part(self, begin: int, end: int) -> Rows:
        """Cut out the samples from `begin` to `end`, which whole people have."""
        some = slice(begin // SAMPLES_EACH, end // SAMPLES_EACH)
        return Rows(
            self.ids[begin:end],
            self.people[some],
            self.names[some],
            self.centres[some],
            self.vectors[begin:end],
            self.pictures[begin:end],
        )


def chunk(number: int) -> Rows:
    """Make up the samples from `number` * CHUNK on."""
    random = np.random.default_rng([number])
    count = CHUNK // SAMPLES_EACH
    centres = made_up.people(count, random)
    vectors = made_up.pictures(np.repeat(centres, SAMPLES_EACH, axis=0), random)
    names = [f"Person {number * count + place:010d}".encode() for place in range(count)]
    ids, people = _uuids(CHUNK, random), _uuids(count, random)
    pictures = random.integers(0, 256, (CHUNK, 32), np.uint8)
    return Rows(ids, people, np.array(names), centres, vectors, pictures)


def between(begin: int, end: int) -> Iterator[Rows]:
    """Make up the samples from `begin` to `end`, which whole people have, a chunk or less at a time."""
    for number in range(begin // CHUNK, -(-end // CHUNK)):
        first = number * CHUNK
        yield chunk(number).part(max(0, begin - first), min(CHUNK, end - first))


def probes(size: int, count: int, random: np.random.Generator) -> tuple[Vectors, list[str]]:
    """Make up new pictures of people who are among the first `size` samples, and say which is the nearest.

    Those of one person are compared with the picture in float64. No other person's come as near: at 5 to 8.2,
    the distances of a person's own, there is nobody else among a billion random vectors.

    Returns:
        float32 (count, 128), and ids.
    """
    chunks = -(-size // CHUNK)
    chosen = random.choice(chunks, min(8, chunks), replace=False).tolist()  # made up once each
    vectors, nearest = [], []
    for number in chosen:
        (some,) = between(number * CHUNK, min(size, (number + 1) * CHUNK))
        for person in random.integers(0, len(some.people), -(-count // len(chosen))).tolist():
            theirs = slice(person * SAMPLES_EACH, (person + 1) * SAMPLES_EACH)
            (probe,) = made_up.pictures(some.centres[person : person + 1], random)
            distances = np.linalg.norm(some.vectors[theirs].astype(np.float64) - probe, axis=1)
            vectors.append(probe)
            nearest.append(some.ids[theirs][distances.argmin()].decode())
    order = random.permutation(len(vectors))[:count]
    return np.array(vectors)[order], [nearest[place] for place in order]


def copied(gallery: Gallery, some: Rows) -> None:
    """Let PostgreSQL's COPY store samples and new people, in one transaction of the gallery."""
    count, people = len(some.ids), len(some.people)
    with gallery.writing() as (connection, begin):
        sequence = "pg_get_serial_sequence('persons', 'key')"
        last = connection.exec_driver_sql(
            f"SELECT setval({sequence}, nextval({sequence}) + {people - 1})"
        ).scalar_one()
        revision, own = rows.next_revision(connection), gallery_of(connection)
        keys = np.arange(last - people + 1, last + 1)
        moment = round((NOW - POSTGRESQL_EPOCH).total_seconds() * 1_000_000)
        times = {"created": _same(moment, count), "modified": _same(moment, count)}
        begin("enrol", count)
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor:
            for table, columns in (
                (
                    "persons",
                    {
                        "key": keys.astype(">i8"),
                        "gallery": _same(own, people),
                        "person_id": some.people,
                        "name": some.names,
                        "name_key": np.char.lower(some.names),
                        "search_key": np.char.lower(some.names),
                        "by_hand": np.zeros(people, np.uint8),
                        **{name: values[:people] for name, values in times.items()},
                        "metadata": np.full(people, b"null"),
                    },
                ),
                (
                    "samples",
                    {
                        "gallery": _same(own, count),
                        "sample_id": some.ids,
                        "person": np.repeat(keys, SAMPLES_EACH).astype(">i8"),
                        "metadata": np.full(count, b'{"door": 1}'),
                        "vector": _packed(some.vectors),
                        "fingerprint": np.full(count, FINGERPRINT.encode()),
                        **times,
                        "revision": _same(revision, count),
                        "quality": np.full(count, QUALITY, ">f8"),
                        "picture": some.pictures,
                    },
                ),
            ):
                statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
                with cursor.copy(statement) as copy:
                    copy.write(binary(columns))
        more = {"samples": galleries.c.samples + count, "people": galleries.c.people + people}
        connection.execute(rows.this_gallery(connection).values(more))


def binary(columns: dict[str, NDArray[Any]]) -> bytes:
    """Render n rows for PostgreSQL's COPY; the bytes of each row of each column are its value."""
    fields: list[tuple[Any, ...]] = [("fields", ">i2")]
    for name, values in columns.items():
        fields += [(f"length of {name}", ">i4"), (name, values.dtype, values.shape[1:])]
    table = np.empty(len(next(iter(columns.values()))), np.dtype(fields))
    table["fields"] = len(columns)
    for name, values in columns.items():
        table[f"length of {name}"] = table.dtype[name].itemsize
        table[name] = values
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + table.tobytes() + b"\xff\xff"


def file_of(some: Rows, path: Path) -> None:
    """Write samples and their people as the portable file that `recognition gallery export` makes of them."""
    people = [
        Person(person.decode(), name.decode(), None, NOW, NOW, by_hand=False)
        for person, name in zip(some.people, some.names, strict=True)
    ]
    entries: list[portable.Entry] = [
        (_sample(some, place, people[place // SAMPLES_EACH]), some.vectors[place])
        for place in np.argsort(some.ids).tolist()
    ]
    people.sort(key=lambda person: person.id)
    left = iter([*_pages(entries), *_pages(people)])
    header = portable.Header(FINGERPRINT, DIMENSION)
    portable.write(path, header, lambda after: next(left, ()), lambda samples: None)


def imported(gallery: Gallery, path: Path) -> None:
    """Store what a portable file has, as `recognition gallery import` does."""
    with path.open("rb") as file:
        transfer.import_file(gallery, file)


def _pages(entries: Sequence[portable.Entry]) -> list[Sequence[portable.Entry]]:
    at_once = transfer.ROWS_AT_ONCE
    return [entries[start : start + at_once] for start in range(0, len(entries), at_once)]


def _sample(some: Rows, place: int, person: Person) -> Sample:
    return Sample(
        some.ids[place].decode(),
        person.name,
        METADATA,
        None,
        NOW,
        NOW,
        person=person.id,
        quality=QUALITY,
        picture=some.pictures[place].tobytes(),
    )


def _uuids(count: int, random: np.random.Generator) -> NDArray[np.bytes_]:
    """Make up ids, random ones: each has a page of an index of its own, as in life."""
    text = np.full((count, ID_LENGTH), b"-", "S1")
    text[:, DIGITS] = np.frombuffer(random.bytes(16 * count).hex().encode(), "S1").reshape(count, -1)
    return text.view(f"S{ID_LENGTH}").ravel()


def _same(value: int, count: int) -> NDArray[Any]:
    return np.full(count, value, ">i8")


def _packed(vectors: Vectors) -> NDArray[Any]:
    """Render vectors as pgvector sends them."""
    packed = np.zeros(len(vectors), np.dtype([("count", ">i4"), ("values", ">f4", vectors.shape[1:])]))
    packed["count"] = vectors.shape[1] << 16  # an int16, and two bytes without a meaning
    packed["values"] = vectors
    return packed
