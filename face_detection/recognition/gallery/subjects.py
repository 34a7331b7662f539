"""People as clients of CompreFace know them: by their names alone. All who share a name are one subject.

Where several people do, as they may here, what is new goes to the oldest of them. Each function is one
transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from unicodedata import normalize

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.errors import DamagedGallery, GalleryModelMismatch, PersonExists
from recognition.faces import Person, moment_of
from recognition.gallery import event_rows, rows
from recognition.gallery import persons as rows_of_people
from recognition.gallery.atrest import vector_of
from recognition.gallery.database import empty_log, portions
from recognition.gallery.persons import named
from recognition.gallery.store import Gallery
from recognition.gallery.tables import naive_utc, persons, samples
from recognition.gallery.vector_rows import searched, with_them
from recognition.names import key_of
from recognition.results import Example
from serving.errors import NotFound


def names(gallery: Gallery) -> list[str]:
    """Return the names of all people in the order of their names, each once, as its oldest person spells it.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log, which is to have what is shown, cannot be written.
    """
    with gallery.reading() as (connection, current):
        query = sa.select(persons.c.name, persons.c.name_key, persons.c.person_id)
        query = query.where(rows_of_people.inside(connection)).order_by(persons.c.search_key, persons.c.key)
        found = connection.execute(rows_of_people.unexpired(connection, query, current.expired_by)).all()
    gallery.audit.read("list", [], persons=[row.person_id for row in found])
    first: dict[str, str] = {}
    for row in found:
        first.setdefault(row.name_key, row.name)
    return list(first.values())


def make(gallery: Gallery, name: str, *, kept_for: timedelta | None) -> None:
    """Make a person of a name that nobody has yet, without samples.

    kept_for: how long they are kept; None: for ever.

    Raises:
        PersonExists: somebody has the name, in whatever case.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    now = gallery.now()
    person = Person(str(uuid.uuid4()), name, None, now, now, moment_of(None, now, kept_for))
    with gallery.writing() as (connection, begin):
        if _of_name(connection, name):
            raise PersonExists("There is a person of this name already.")
        rows_of_people.add(connection, [person])
        begin("make", [], person=person.id)


def rename(gallery: Gallery, old: str, new: str) -> bool:
    """Give all people of a name another one; where somebody has that, they get all samples.

    They get the events, too. Samples keep their ids, and people who are emptied so go. A name that is the
    same but for case is spelt anew. Returns False where both are the same, and nobody is looked for.

    Raises:
        NotFound: nobody has the old name.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    if old == new:
        return False
    now = naive_utc(gallery.now())
    with gallery.writing() as (connection, begin):
        theirs, others = _of_name(connection, old), _of_name(connection, new)
        if not theirs:
            raise NotFound("There is nobody of this name.")
        keys = [row.key for row in theirs]
        own = samples.c.person.in_(keys)
        if not others or others[0].key in keys:
            connection.execute(
                samples.update().where(own, samples.c.spelling.is_not(None)).values(spelling=None)
            )
            rows.next_revision(connection)  # as in people.py
            values = {**named(new), "modified": now}
            connection.execute(persons.update().where(persons.c.key.in_(keys)).values(values))
            begin("change", [], persons=[row.person_id for row in theirs])
        else:
            columns = samples.c.person, samples.c.sample_id
            found = connection.execute(sa.select(*columns).where(own).order_by(samples.c.key))
            moved: dict[int, list[str]] = {key: [] for key in keys}
            for key, sample_id in found:
                moved[key].append(sample_id)
            revision = rows.next_revision(connection)
            values = {"person": others[0].key, "spelling": None, "modified": now, "revision": revision}
            connection.execute(samples.update().where(own).values(values))
            for key in keys:
                event_rows.merge(connection, key, others[0].key)
            connection.execute(persons.update().where(persons.c.key == others[0].key).values(modified=now))
            rows_of_people.remove(connection, persons.c.key.in_(keys))
            for row in theirs:  # a line of each, as of other merges: what replays erasures goes by them
                begin("merge", moved[row.key], person=row.person_id, into=others[0].person_id)
    empty_log(gallery.engine)  # the name of before stands in it
    return True


def remove(gallery: Gallery, name: str) -> tuple[str | None, int]:
    """Remove all people of a name with their samples.

    Returns how the oldest spelt it, None if nobody has it; and how many samples there were.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    with gallery.writing() as (connection, begin):
        theirs = _of_name(connection, name)
        keys = [row.key for row in theirs]
        ids = rows.remove(connection, samples.c.person.in_(keys))
        rows_of_people.remove(connection, persons.c.key.in_(keys))  # those made by hand are there still
        if theirs:
            begin("delete", ids, persons=[row.person_id for row in theirs])
    empty_log(gallery.engine)
    return (theirs[0].name if theirs else None), len(ids)


def clear(gallery: Gallery) -> tuple[int, int]:
    """Remove everybody. Returns how many names there were, and how many samples.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    with gallery.writing(alone=True) as (connection, begin):
        different = sa.select(sa.func.count(persons.c.name_key.distinct()))
        number: int = connection.execute(different.where(rows_of_people.inside(connection))).scalar_one()
        count = gallery.emptied(connection)
        begin("clear", count)
    empty_log(gallery.engine)
    return number, count


def page(gallery: Gallery, *, offset: int, limit: int, name: str | None = None) -> tuple[list[Example], int]:
    """Return some samples in the order of enrolment, and how many there are on all pages.

    name: only samples of people of exactly this name.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log, which is to have what is shown, cannot be written.
    """
    query = sa.select(samples.c.sample_id, persons.c.name).select_from(samples.join(persons))
    if name is not None and "\0" in name:  # nobody has such a name, and PostgreSQL does not even look for it
        return [], 0
    with gallery.reading() as (connection, current):
        which = [rows.inside(connection)]
        if name is None:
            total = rows.count(connection, expired_by=current.expired_by)
        else:
            # The first condition has an index.
            which += [persons.c.name_key == key_of(name), persons.c.name == normalize("NFC", name)]
            every = sa.select(sa.func.count()).select_from(samples.join(persons)).where(*which)
            every = rows.unexpired(connection, every, current.expired_by)
            total = connection.execute(every).scalar_one()
        some = query.where(*which).order_by(samples.c.key).offset(offset).limit(limit)
        found = connection.execute(rows.unexpired(connection, some, current.expired_by)).all()
    gallery.audit.read("list", [row.sample_id for row in found])
    return [Example(*row) for row in found], total


def remove_examples(gallery: Gallery, ids: Collection[str]) -> list[Example]:
    """Remove samples; people stay, also without their last one. Returns those that were there, in this order.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    ids = list(dict.fromkeys(ids))
    with gallery.writing() as (connection, begin):
        query = sa.select(samples.c.sample_id, persons.c.name, persons.c.key, persons.c.by_hand)
        query = query.select_from(samples.join(persons)).where(rows.inside(connection))
        found = {
            row.sample_id: row
            for some in portions(ids)
            for row in connection.execute(query.where(samples.c.sample_id.in_(some)))
        }
        keys = sorted({row.key for row in found.values() if not row.by_hand})
        _let_stay(connection, keys, True)
        for few in portions(list(found)):
            rows.remove(connection, samples.c.sample_id.in_(few))
        _let_stay(connection, keys, ~rows_of_people.has_samples())  # the others go with their last one, still
        if found:
            begin("delete", list(found))
    empty_log(gallery.engine)
    return [Example(each, found[each].name) for each in ids if each in found]


def example(gallery: Gallery, sample_id: str, fingerprint: str) -> tuple[Example, NDArray[np.float32]]:
    """Return a sample and its vector, float32 (d,).

    fingerprint: of the model that the vector is to be of.

    Raises:
        NotFound: there is no such sample.
        GalleryModelMismatch: its vector is of another model.
        DamagedGallery: its vector cannot be used.
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with gallery.reading() as (connection, current):
        vectors = searched(connection)
        query = sa.select(samples.c.sample_id, persons.c.name, vectors.vector, vectors.fingerprint)
        query = with_them(query.join_from(samples, persons), vectors, outer=True)
        query = query.where(rows.of_id(connection, sample_id))
        row = connection.execute(rows.unexpired(connection, query, current.expired_by)).first()
        if row is None:
            raise NotFound("There is no sample with this id.")
        if row.fingerprint != fingerprint:
            raise GalleryModelMismatch("The vector of this sample was made with another embedding model.")
        read = vector_of(connection, row)
    if not (read.size and np.isfinite(read).all()):
        raise DamagedGallery("The vector of this sample is damaged; enrol it again or delete it.")
    return Example(row.sample_id, row.name), read


def _of_name(connection: sa.Connection, name: str) -> list[Any]:
    """Return the rows of those who have a name, the oldest first."""
    return rows_of_people.known(connection, persons.c.name_key, [key_of(name)])


def _let_stay(connection: sa.Connection, keys: Sequence[int], stay: Any) -> None:
    """Say of some people whether they stay without samples."""
    for some in portions(keys):
        connection.execute(persons.update().where(persons.c.key.in_(some)).values(by_hand=stay))
