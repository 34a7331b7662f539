"""People whom nobody has named: listed, shown, named, merged, ignored and forgotten.

Each function is one transaction, so that what it has checked still holds when it changes something.
"""

from __future__ import annotations

import base64
import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from recognition.audit import Begin
from recognition.bounds import Id
from recognition.errors import DamagedGallery
from recognition.faces import KeptFace, Match, Sample, moment_of
from recognition.gallery import event_rows
from recognition.gallery import unknown_rows as rows
from recognition.gallery.database import empty_log, portions
from recognition.gallery.store import Gallery
from recognition.gallery.tables import unknown_faces, unknowns
from recognition.matching.varied import varied
from recognition.results import Scale
from recognition.strangers import Deed, Named, Unknown, UnknownFace, UnknownPage
from serving.errors import InvalidRequest, NotFound

log = logging.getLogger(__name__)

MAX_SAMPLES = 10  # that the faces of somebody who is named become
NO_UNKNOWN = "There is no unknown person with this id."

# How many faces the last one of a page has, and the id.
Cursor = tuple[Annotated[int, Field(ge=0, lt=2**31)], Id]
CURSOR: TypeAdapter[Cursor] = TypeAdapter(Cursor)


def page(
    gallery: Gallery, scale: Scale, *, limit: int, after: str | None = None, ignored: bool = False
) -> UnknownPage:
    """Return the first unknown people, those with the most faces first.

    Args:
        gallery: where they were seen.
        scale: of the model that the gallery has now; those of another one are not there.
        limit: how many at most.
        after: `next` of the page before; those who have gone or changed meanwhile do not matter.
        ignored: only those who are ignored, in place of the others.

    Raises:
        InvalidRequest: `after` is not from a page.
        GalleryModelMismatch: the gallery holds vectors of another model.
        NotFound, GalleryUnavailable.
        AuditUnavailable: the audit log, which is to have what is shown, cannot be written.
    """
    query = sa.select(unknowns).order_by(unknowns.c.size.desc(), unknowns.c.unknown_id).limit(limit + 1)
    if after is not None:
        size, unknown_id = _cursor(after)
        alike = sa.and_(unknowns.c.size == size, unknowns.c.unknown_id > unknown_id)
        query = query.where(sa.or_(unknowns.c.size < size, alike))
    with gallery.reading() as (connection, current):
        hidden_by = current.trust.hides_by(gallery.moment())
        own = unknowns.c.fingerprint == scale.fingerprint, unknowns.c.ignored.is_(ignored)
        which = rows.inside(connection), rows.there(hidden_by), *own
        found = connection.execute(query.where(*which)).all()
        every = sa.select(sa.func.count()).select_from(unknowns).where(*which)
        total = connection.execute(every).scalar_one()
        listed, sums = _read(connection, found[:limit], hidden_by)
    listed = _likened(gallery, scale, listed, sums)
    gallery.audit.read("list", [], unknowns=[each.id for each in listed])
    last = found[limit - 1] if len(found) > limit else None
    return UnknownPage(listed, total, None if last is None else _opaque(last.size, last.unknown_id))


def get(gallery: Gallery, scale: Scale, unknown_id: str) -> Unknown:
    """Return one unknown person.

    Raises:
        NotFound: there is none with this id.
        GalleryModelMismatch, GalleryUnavailable, AuditUnavailable: as `page` does.
    """
    with gallery.reading() as (connection, current):
        hidden_by = current.trust.hides_by(gallery.moment())
        row = _row(connection, unknown_id, hidden_by)
        if row.fingerprint != scale.fingerprint:
            raise NotFound(NO_UNKNOWN)
        listed, sums = _read(connection, [row], hidden_by)
    (unknown,) = _likened(gallery, scale, listed, sums)
    gallery.audit.read("show", [], unknowns=[unknown_id])
    return unknown


def picture(gallery: Gallery, unknown_id: str, face_id: str) -> KeptFace:
    """Return the picture that is kept of a face of an unknown person.

    Raises:
        NotFound: there is no such face, or no picture of it, or that is damaged; the log says so.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log, which is to have what is shown, cannot be written.
    """
    columns = unknown_faces.c.face_id, unknown_faces.c.face
    query = sa.select(*columns).join_from(unknown_faces, unknowns)
    with gallery.reading() as (connection, current):
        hidden_by = current.trust.hides_by(gallery.moment())
        which = rows.of_id(connection, unknown_id), unknown_faces.c.face_id == face_id
        row = connection.execute(query.where(*which, unknown_faces.c.expires_at > hidden_by)).first()
        try:
            kept = None if row is None else rows.picture_of(connection, row)
        except DamagedGallery as e:
            log.error("unknown face %r: %s", face_id, e.detail)
            raise NotFound("The picture that was kept of this face is damaged.") from e
    if kept is None:
        raise NotFound("No picture is kept of such a face.")
    gallery.audit.read("show", [], unknowns=[unknown_id])
    return kept


def act(
    gallery: Gallery,
    unknown_id: str,
    deed: Deed,
    *,
    keep_faces: bool = True,
    kept_for: timedelta | None = None,
) -> Named | None:
    """Do something with an unknown person.

    keep_faces, kept_for: of the samples that faces become, as `name` takes them.

    Returns:
        Who that is now, if they were named.

    Raises:
        what `name`, `merge`, `ignore` and `forget` raise.
    """
    if deed.action == "name":
        return name(gallery, unknown_id, deed.name, deed.person, keep_faces=keep_faces, kept_for=kept_for)
    if deed.action == "merge":
        merge(gallery, unknown_id, deed.into or "")
    elif deed.action == "ignore":
        ignore(gallery, unknown_id)
    else:
        forget(gallery, unknown_id)
    return None


def name(
    gallery: Gallery,
    unknown_id: str,
    name: str | None = None,
    person: str | None = None,
    *,
    keep_faces: bool = True,
    kept_for: timedelta | None = None,
) -> Named:
    """Say who an unknown person is: the best and most varied faces become samples, the others are removed.

    Args:
        gallery: where they were seen.
        unknown_id: who is meant.
        name: the samples are of the one person of this name, who is made if need be.
        person: or of the person with this id.
        keep_faces: whether the samples have the pictures.
        kept_for: how long the samples are kept; None: for ever.

    Raises:
        NotFound: there is no such unknown person, or no such person.
        InvalidRequest: they are ignored, so there is no face.
        AmbiguousName: several people have the name.
        GalleryModelMismatch: the gallery holds vectors of another model.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    now = gallery.now()

    def work(connection: sa.Connection, begin: Begin) -> Named:
        row = _row(connection, unknown_id, gallery.moment())
        faces = rows.faces_of(connection, row)
        if not faces:
            raise InvalidRequest("No face is kept of this unknown person, who is ignored.")
        faces = [face for face in faces if face.pictured] or faces  # with pictures, another model can follow
        vectors = np.stack([face.vector for face in faces])
        best = varied(vectors, np.array([face.quality for face in faces]), MAX_SAMPLES)
        pictures = _pictures(connection, [faces[place].key for place in best]) if keep_faces else {}
        new = [
            Sample(
                str(uuid.uuid4()),
                name or "",
                None,
                None,
                now,
                now,
                moment_of(None, now, kept_for),
                person=person,
                quality=faces[place].quality,
                face=pictures.get(faces[place].key),
            )
            for place in best
        ]
        stored, _ = gallery.put(connection, begin, new, vectors[best], row.fingerprint)
        for failure in stored.failed.values():
            raise failure
        rows.remove(connection, [row.key])
        rows.next_revision(connection)
        ids = [sample.id for sample in new]
        owner = stored.people[ids[0]]
        event_rows.name(connection, unknown_id, owner)
        begin("name_unknown", ids, person=owner, unknowns=[unknown_id])
        return Named(owner, ids)

    named = gallery.written(work)
    empty_log(gallery.engine)
    return named


def merge(gallery: Gallery, unknown_id: str, into: str) -> None:
    """Give all faces of one unknown person to another, whose id stays.

    Raises:
        InvalidRequest: the two are the same, or one of them is ignored.
        NotFound: one of them is not there.
        GalleryUnavailable, AuditUnavailable.
    """
    if unknown_id == into:
        raise InvalidRequest("into: nobody can be merged into themselves.")
    with gallery.writing() as (connection, begin):
        emptied, kept = (_row(connection, each, gallery.moment()) for each in (unknown_id, into))
        if emptied.ignored or kept.ignored:
            raise InvalidRequest("into: of somebody who is ignored no faces are kept.")
        if emptied.fingerprint != kept.fingerprint:
            raise NotFound(NO_UNKNOWN)
        rows.move(connection, emptied.key, kept.key, rows.next_revision(connection))
        begin("merge_unknowns", [], unknowns=[unknown_id], into=into)
    empty_log(gallery.engine)


def ignore(gallery: Gallery, unknown_id: str) -> None:
    """Remove all faces of an unknown person, and keep none of them again.

    What is left is the sum of their vectors, by which they are known until they are forgotten.

    Raises:
        NotFound: there is no such unknown person.
        GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, begin):
        key = _row(connection, unknown_id, gallery.moment()).key
        connection.execute(unknown_faces.delete().where(unknown_faces.c.unknown == key))
        values = {"ignored": True, "expires_at": None, "revision": rows.next_revision(connection)}
        connection.execute(unknowns.update().where(unknowns.c.key == key).values(**values))
        begin("ignore_unknown", [], unknowns=[unknown_id])
    empty_log(gallery.engine)


def forget(gallery: Gallery, unknown_id: str) -> None:
    """Remove an unknown person and all that is kept of them, also of somebody who is ignored.

    Raises:
        NotFound: there is no such unknown person.
        GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, begin):
        rows.remove(connection, [_row(connection, unknown_id, gallery.moment()).key])
        rows.next_revision(connection)
        begin("forget_unknowns", [], unknowns=[unknown_id])
    empty_log(gallery.engine)


def forget_all(gallery: Gallery, *, keep_ignored: bool = False) -> int:
    """Remove all unknown people. Returns how many there were.

    keep_ignored: but for those who are ignored.

    Raises:
        NotFound, GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, begin):
        ids = rows.clear(connection, keep_ignored=keep_ignored)
        rows.next_revision(connection)
        begin("forget_unknowns", [], unknowns=ids)
    empty_log(gallery.engine)
    return len(ids)


def _row(connection: sa.Connection, unknown_id: str, hidden_by: datetime) -> Any:
    query = sa.select(unknowns).where(rows.of_id(connection, unknown_id), rows.there(hidden_by))
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(NO_UNKNOWN)
    return row


def _read(
    connection: sa.Connection, some: Sequence[Any], hidden_by: datetime
) -> tuple[list[Unknown], list[NDArray[np.float32]]]:
    """Turn rows into unknown people, and return the sums of their directions, float32 (d,) each, too."""
    columns = (
        unknown_faces.c.unknown,
        unknown_faces.c.face_id,
        unknown_faces.c.quality,
        unknown_faces.c.seen,
        unknown_faces.c.camera,
        unknown_faces.c.face.is_not(None),
    )
    query = sa.select(*columns).where(unknown_faces.c.expires_at > hidden_by)
    query = query.order_by(unknown_faces.c.quality.desc(), unknown_faces.c.key)
    faces: dict[int, list[UnknownFace]] = {row.key: [] for row in some}
    for keys in portions(list(faces)):
        for unknown, face_id, quality, seen, *rest in connection.execute(
            query.where(unknown_faces.c.unknown.in_(keys))
        ):
            faces[unknown].append(UnknownFace(face_id, quality, seen.replace(tzinfo=UTC), *rest))
    read = [
        Unknown(
            row.unknown_id,
            row.ignored,
            row.since.replace(tzinfo=UTC),
            row.until.replace(tzinfo=UTC),
            row.expires_at and row.expires_at.replace(tzinfo=UTC),
            tuple(sorted(faces[row.key], key=lambda face: not face.picture)),
        )
        for row in some
    ]
    return read, [rows.opened(connection, row.sums, row.unknown_id, row.fingerprint) for row in some]


def _likened(
    gallery: Gallery, scale: Scale, some: Sequence[Unknown], sums: Sequence[NDArray[np.float32]]
) -> list[Unknown]:
    """Tell who of those who are enrolled they probably are: somebody may have been enrolled since."""
    asked = [place for place, each in enumerate(sums) if len(each) == scale.dimension and each.any()]
    likes: dict[int, Match] = {}
    if asked:
        probes = np.stack([sums[place] for place in asked])
        probes *= scale.length / np.linalg.norm(probes, axis=1, keepdims=True)
        found = gallery.nearest(probes, 1, scale.fingerprint, near=scale.threshold)
        likes = {
            place: match
            for place, matches in zip(asked, found, strict=True)
            for match in matches
            if match.distance < scale.threshold
        }
    return [replace(each, like=likes.get(place)) for place, each in enumerate(some)]


def _pictures(connection: sa.Connection, keys: Sequence[int]) -> dict[int, KeptFace]:
    """Read the pictures of faces, by their keys; such as are damaged are left out."""
    columns = unknown_faces.c.key, unknown_faces.c.face_id, unknown_faces.c.face
    pictures: dict[int, KeptFace] = {}
    for row in connection.execute(sa.select(*columns).where(unknown_faces.c.key.in_(keys))):
        try:
            if (kept := rows.picture_of(connection, row)) is not None:
                pictures[row.key] = kept
        except DamagedGallery as e:
            log.error("unknown face %r: %s", row.face_id, e.detail)
    return pictures


def _opaque(size: int, unknown_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps((size, unknown_id)).encode()).decode("ascii")


def _cursor(after: str) -> Cursor:
    try:
        return CURSOR.validate_json(base64.urlsafe_b64decode(after))
    except ValueError as e:
        raise InvalidRequest("after: send `next` of the page before.") from e
