"""A gallery leaves as a portable file, and comes in from one; and what must always hold of a database."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from recognition.errors import AmbiguousName, DamagedGallery, GalleryModelMismatch, GalleryUnavailable
from recognition.faces import KeptFace, Person
from recognition.gallery import event_rows, face_rows, models, people, portable
from recognition.gallery.atrest import dimension_of, picture_of, vector_of
from recognition.gallery.galleries import names
from recognition.gallery.persons import has_samples, of_person, row_of
from recognition.gallery.persons import inside as inside_people
from recognition.gallery.persons import number as number_of_people
from recognition.gallery.rows import count, inside, unexpired
from recognition.gallery.store import Gallery
from recognition.gallery.tables import SAMPLES, events, faces, persons, sample_of, samples, tombstones
from recognition.gallery.vector_rows import Vectors, joined, other, searched
from recognition.names import unnamed
from serving.errors import NotFound

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 1000
NOTHING = portable.Header(None, None)  # of people without samples

# Opens the progress bar of one part of the work: its name, and how many samples it has, None if not known.
Progress = Callable[[str, int | None], AbstractContextManager[portable.Advance]]


class Imported(NamedTuple):
    """How many samples of a file were stored, how many were there already, and how many have no name.

    Of these the name could not be seen; they are called `unnamed (ID)`.
    """

    imported: int
    unchanged: int
    unnamed: int


def unseen(part: str, total: int | None) -> AbstractContextManager[portable.Advance]:
    """Show no progress."""
    return nullcontext(lambda samples: None)


def export(gallery: Gallery, *, faces: bool = False) -> Iterator[bytes]:
    """Render a gallery as a portable file, piece by piece, in the memory that a thousand samples take.

    It begins at once, and ends, for the audit log too, with the last piece or when it is closed.

    faces: with what is kept of them.

    Raises:
        NotFound: it is empty; at once.
        AuditUnavailable: the audit log cannot be written; at once.
        GalleryUnavailable: the database cannot be reached or is locked; at once, or between two pieces.
    """
    return _begun(_pieces(gallery, replace(header(gallery), faces=faces), None))


def export_person(gallery: Gallery, person_id: str) -> Iterator[bytes]:
    """Render all that is stored of one person in the same way, kept faces included.

    Raises:
        NotFound: there is no such person; at once.
        GalleryModelMismatch: samples of the person wait for a vector, and would be missing; at once.
        AuditUnavailable, GalleryUnavailable: as for `export`.
    """
    with gallery.reading() as (connection, current):
        row_of(connection, person_id, current.expired_by)
    if waiting := models.lacking_searched(gallery, person_id):
        raise GalleryModelMismatch(
            f"{waiting} samples of this person wait for a vector of the gallery's model, and would be "
            "missing: enrol them anew, delete them, or take the change of the model back."
        )
    return _begun(_pieces(gallery, replace(_header(gallery) or NOTHING, faces=True), person_id))


def _pieces(gallery: Gallery, of: portable.Header, person: str | None) -> Iterator[bytes]:
    _tell_of_waiting(gallery)
    with gallery.audit.outcomes() as begin:
        begin("export", gallery.count(person=person), **({} if person is None else {"person": person}))
        yield b""  # taken by _begun: only a generator that has started notices that it is closed
        page = partial(entries, gallery, of, expired_by=gallery.moment(), person=person)
        yield from (piece for piece, _ in portable.pieces(of, page))


def _tell_of_waiting(gallery: Gallery) -> None:
    """Let the log say where samples are left out, since they wait for a vector of the gallery's model."""
    if gallery.model_name is not None and (number := models.lacking_searched(gallery)):
        log.warning("%d samples are not exported: they have no vector of %s", number, gallery.model_name)


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    next(pieces)
    return pieces


def export_to(gallery: Gallery, file: Path, progress: Progress = unseen, *, faces: bool = False) -> int:
    """Write a gallery as a portable file; a broken-off export of the same kind goes on where it stopped.

    Args:
        gallery: whose samples are written.
        file: is there when all is written; until then it has `.part` behind its name.
        progress: shows it.
        faces: with what is kept of them.

    Returns:
        The number of samples in the file.

    Raises:
        NotFound: the gallery is empty.
        AuditUnavailable: the audit log cannot be written.
        GalleryUnavailable: the database cannot be reached or is locked.
        DamagedGallery: the broken-off export is of another model, or one of them is with faces.
        OSError: the file cannot be written.
    """
    of, total = replace(header(gallery), faces=faces), gallery.count()
    _tell_of_waiting(gallery)
    with gallery.audit.outcomes() as begin, progress("exporting", total) as advance:
        begin("export", total)
        page = partial(entries, gallery, of, expired_by=gallery.moment())
        return portable.write(file, of, page, advance)


def import_file(
    gallery: Gallery,
    file: IO[bytes],
    check_comparable: Callable[[str, int], None] = lambda fingerprint, dimension: None,
    progress: Progress = unseen,
    *,
    keep_faces: bool = True,
) -> Imported:
    """Store what is in a portable file, once all of it is checked, a thousand lines in one transaction.

    A sample or a person that is there in the same or a newer state stays as it is, so what was broken off can
    simply be started again. One that is replaced has the face that the file has of it, or none. People are
    told by their ids; samples of files that have none go to the one person of their name.

    Args:
        gallery: empty, or of the same model.
        file: that can be read from its beginning.
        check_comparable: raises where vectors of this fingerprint and dimension cannot be used here.
        progress: shows it.
        keep_faces: whether the faces that the file has are stored, too.

    Raises:
        DamagedGallery: the file is not whole, or was changed; nothing is stored.
        GalleryModelMismatch: the gallery holds vectors of another model; nothing is stored.
        AmbiguousName: several people have the name of a sample without a person's id. The steps before are
            stored.
        AuditUnavailable: the audit log cannot be written. The steps before are stored.
        GalleryUnavailable: the database cannot be reached or is locked. The steps before are stored.
        OSError: the file cannot be read.
        And what `check_comparable` raises; nothing is stored.
    """
    with progress("checking", None) as advance:
        of, count = portable.check(file, advance)
    if of.fingerprint is not None and of.dimension is not None:
        check_comparable(of.fingerprint, of.dimension)
    at_once = _at_once(of)
    if _header(gallery) not in (None, replace(of, faces=False)) and of.fingerprint is not None:
        raise GalleryModelMismatch("The gallery was made with another embedding model than the file.")
    imported = without_name = 0
    with gallery.audit.outcomes() as begin, progress("importing", count) as advance:
        begin("import", count)  # each step has its own lines of what is stored
        checked = portable.read(file)
        while some := list(islice(checked, at_once)):
            records = [entry for entry in some if isinstance(entry, tuple)]
            if not keep_faces:
                records = [(replace(sample, face=None), vector) for sample, vector in records]
            without_name += sum(sample.name == unnamed(sample.id) for sample, _ in records)
            imported += _store(gallery, records, str(of.fingerprint))
            people.restore(gallery, [entry for entry in some if isinstance(entry, Person)])
            advance(len(records))
    return Imported(imported, count - imported, without_name)


def _store(gallery: Gallery, records: Sequence[portable.Record], fingerprint: str) -> int:
    """Store the samples of one step. Returns how many were not there in the same or a newer state."""
    if not records:
        return 0
    new, vectors = [sample for sample, _ in records], np.stack([vector for _, vector in records])
    stored = gallery.upsert(new, vectors, fingerprint, only_newer=True, make=True)
    for sample_id, failure in stored.failed.items():
        raise AmbiguousName(f"sample {sample_id!r}: {failure.detail}")
    return len(stored.people)


def header(gallery: Gallery) -> portable.Header:
    """Tell what the gallery's vectors are.

    Raises:
        NotFound: it has neither samples nor people.
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    if (of := _header(gallery)) is not None:
        return of
    with gallery.reading() as (connection, _):
        anybody = sa.select(persons.c.key).where(inside_people(connection)).limit(1)
        if connection.execute(anybody).first() is None:
            raise NotFound("The gallery is empty.")
    return NOTHING


def entries(
    gallery: Gallery,
    of: portable.Header,
    after: portable.Place | None,
    *,
    expired_by: datetime | None = None,
    person: str | None = None,
) -> Sequence[portable.Entry]:
    """Return what comes next in a file: samples, with their vectors, people, and one person's events.

    Args:
        gallery, of, expired_by: as for `records`.
        after: the place of what came before; None: the first ones.
        person: the id of the one whose they are; None: everybody's.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    kind, last = after or (portable.SAMPLES, None)
    found: Sequence[portable.Entry] = ()
    if kind == portable.SAMPLES:
        found = records(gallery, of, last, expired_by=expired_by, person=person)
    if not found and kind <= portable.PEOPLE:
        known = last if kind == portable.PEOPLE else None
        found = people.next_by_id(gallery, known, ROWS_AT_ONCE, expired_by, person)
    if not found and person is not None:
        found = _seen(gallery, person, last if kind == portable.EVENTS else None)
    return found


def _seen(gallery: Gallery, person: str, after: str | None) -> list[portable.Seen]:
    """Return the next events of a person by id, after this id."""
    with gallery.reading() as (connection, current):
        query = event_rows.with_people(connection, current.expired_by).add_columns(events.c.picture)
        query = query.where(event_rows.of_person(connection, person)).order_by(events.c.event_id)
        query = query.limit(face_rows.ROWS_AT_ONCE)
        if after is not None:
            query = query.where(events.c.event_id > after)
        return [
            portable.Seen(event_rows.event_of(row), _picture_of(connection, row))
            for row in connection.execute(query)
        ]


def _picture_of(connection: sa.Connection, row: Any) -> bytes | None:
    try:
        return event_rows.picture_of(connection, row)
    except DamagedGallery as e:
        log.error("event %s is exported without its picture: %s", row.event_id, e.detail)
        return None


def records(
    gallery: Gallery,
    of: portable.Header,
    after: str | None,
    *,
    expired_by: datetime | None = None,
    person: str | None = None,
) -> list[portable.Record]:
    """Return the next samples by id, after this id, with their vectors, float32 (d,).

    Args:
        gallery: whose samples they are.
        of: only vectors of this model, even if the gallery has become another model's meanwhile; with kept
            faces if it says so. What is damaged is left out, and named in the log.
        after: an id; None: the first ones.
        expired_by: a moment, naive UTC; what has expired by then is left out.
        person: the id of the one whose they are; None: everybody's.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    query = SAMPLES.add_columns(samples.c.picture)
    if of.faces:
        query = query.add_columns(faces.c.face).outerjoin(faces, faces.c.sample == samples.c.key)
    query = query.order_by(samples.c.sample_id).limit(_at_once(of))
    page: list[portable.Record] = []
    with gallery.reading() as (connection, current):
        # The gallery may have changed its model since the file was begun.
        vectors = (searched if current.fingerprint == of.fingerprint else other)(connection)
        query = joined(query, vectors).where(vectors.fingerprint == of.fingerprint)
        query = unexpired(connection, query.where(inside(connection)), expired_by)
        if person is not None:
            query = query.where(of_person(connection, person))
        while not page:  # an empty page is the last one
            rows = connection.execute(
                query if after is None else query.where(samples.c.sample_id > after)
            ).all()
            if not rows:
                break
            for row in rows:
                after = row.sample_id
                if fault := _fault_of(connection, row, of.dimension or 0):
                    log.error("sample %r is not exported: its vector %s", row.sample_id, fault)
                else:
                    sample = replace(sample_of(row), picture=picture_of(connection, row))
                    if of.faces:
                        sample = replace(sample, face=_face_of(connection, row))
                    page.append((sample, vector_of(connection, row)))
    return page


def _at_once(of: portable.Header) -> int:
    """Tell how many samples are read or stored at once: with faces they take 20 times the memory."""
    return face_rows.ROWS_AT_ONCE if of.faces else ROWS_AT_ONCE


def _face_of(connection: sa.Connection, row: Any) -> KeptFace | None:
    try:
        return face_rows.face_of(connection, row)
    except DamagedGallery as e:
        log.error("sample %r is exported without its face: %s", row.sample_id, e.detail)
        return None


def faults(gallery: Gallery) -> Iterator[str]:
    """Check a database, with all galleries, against what must always hold of it: one sentence for each fault.

    gallery: one of the database.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with gallery.reading() as (connection, _):
        if connection.dialect.name == "sqlite":
            results = connection.exec_driver_sql("PRAGMA integrity_check").scalars()
            yield from (f"SQLite: {result}" for result in results if result != "ok")
        strays = sa.select(samples.c.sample_id).join(persons, samples.c.person == persons.c.key)
        for sample_id in connection.execute(strays.where(samples.c.gallery != persons.c.gallery)).scalars():
            yield f"sample {sample_id!r}: its person is of another gallery"
    for name in names(gallery):
        with suppress(NotFound):  # deleted meanwhile
            yield from _faults_of(gallery.of(name))


def _faults_of(gallery: Gallery) -> Iterator[str]:
    """Check one gallery of the database."""
    with gallery.reading() as (connection, current):
        for what, noted, here in (
            ("samples", count(connection), inside(connection)),
            ("people", number_of_people(connection), inside_people(connection)),
        ):
            there = connection.execute(sa.select(sa.func.count()).where(here)).scalar_one()
            if there != noted:
                yield f"gallery {gallery.name!r}: it is said to have {noted} {what}, and there are {there}"
        buried = sa.select(sa.func.count()).select_from(
            tombstones.join(samples, tombstones.c.key == samples.c.key)
        )
        buried = buried.where(inside(connection))
        if connection.execute(buried).scalar_one():
            yield "a deleted sample is still there"
        alone = sa.select(persons.c.person_id).where(inside_people(connection), persons.c.by_hand.is_(False))
        for person_id in connection.execute(alone.where(~has_samples())).scalars():
            yield f"person {person_id!r}: enrolled, and without a sample"
        every = sa.select(samples.c.sample_id, samples.c.revision, samples.c.metadata)
        every = every.where(inside(connection)).order_by(samples.c.sample_id)
        for row in connection.execute(every.execution_options(yield_per=ROWS_AT_ONCE)):
            for wrong, what in (
                (row.revision > current.revision, "it is newer than the gallery"),
                (not _is_json(row.metadata), "its metadata is not JSON"),
            ):
                if wrong:
                    yield f"sample {row.sample_id!r}: {what}"
        yield from _faults_of_vectors(connection, searched(connection), current.fingerprint)
        yield from _faults_of_vectors(connection, other(connection), current.other_fingerprint)
        for sample_id, damage in face_rows.faults(connection):
            yield f"sample {sample_id!r}: {damage}"
        for event_id, damage in event_rows.faults(connection):
            yield f"event {event_id}: {damage}"


def _faults_of_vectors(connection: sa.Connection, vectors: Vectors, fingerprint: str | None) -> Iterator[str]:
    """Check those of one model, and whether they belong to it."""
    which = "" if vectors is searched(connection) else "other "
    query = joined(sa.select(samples.c.sample_id), vectors).where(inside(connection))
    dimension = dimension_of(connection, vectors) or 0
    for row in connection.execute(
        query.order_by(samples.c.sample_id).execution_options(yield_per=ROWS_AT_ONCE)
    ):
        if fault := _fault_of(connection, row, dimension):
            yield f"sample {row.sample_id!r}: its {which}vector {fault}"
        if row.fingerprint != fingerprint:
            yield f"sample {row.sample_id!r}: its {which}vector is of another model than the gallery"


def _header(gallery: Gallery) -> portable.Header | None:
    with gallery.reading() as (connection, current):
        dimension = dimension_of(connection)
        return None if dimension is None else portable.Header(str(current.fingerprint), dimension)


def _fault_of(connection: sa.Connection, row: Any, dimension: int) -> str | None:
    """Say what is wrong with a vector; None: nothing is. The row is what `vector_of` takes."""
    try:
        vector = vector_of(connection, row)
    except GalleryUnavailable:
        return "cannot be decrypted"
    if len(vector) != dimension:
        return "has another length than the others"
    if not (np.abs(vector) < portable.LARGEST).all():
        return "has a value that is not finite"
    return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
