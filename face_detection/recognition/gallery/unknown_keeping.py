"""Faces like no sample's, kept and put into groups of which each is probably one person.

In the request that sees them, a face joins the group that it is nearest to, or begins one. The upkeep puts
groups together that turn out to be one person's, and removes what has expired.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition import backgrounds
from recognition.audit import Begin
from recognition.gallery import rows as rows_of_samples
from recognition.gallery import unknown_groups
from recognition.gallery import unknown_rows as rows
from recognition.gallery.database import empty_log, portions
from recognition.gallery.store import Gallery
from recognition.gallery.tables import State, gallery_of, naive_utc, unknown_faces, unknowns
from recognition.gallery.unknown_groups import Known
from recognition.matching.grouping import alone, joined, least_likeness
from recognition.strangers import Seen
from serving.errors import Failure
from serving.model import Model

log = logging.getLogger(__name__)

# Put together once, as in unknown_rows.py.
_THERE = (
    sa.select(unknown_faces.c.mark, unknowns.c.unknown_id)
    .join_from(unknown_faces, unknowns)
    .where(
        unknown_faces.c.gallery == sa.bindparam("gallery_key"),
        unknown_faces.c.mark.in_(sa.bindparam("marks", expanding=True)),
    )
)

AT_ONCE = 200  # unknown people in a transaction of the upkeep
PATIENCE_MS = (
    250  # others that write are waited for so long: an answer must not wait for what it can do without
)


def keep(
    gallery: Gallery,
    seen: Sequence[Seen],
    vectors: NDArray[np.float32],
    fingerprint: str,
    model: Model,
    *,
    kept_for: timedelta,
) -> list[str | None]:
    """Keep faces of people whom nobody has named, and tell whose each is.

    A face that is kept already, by its mark, is not kept again. Where there is no room, or the database or
    the audit log cannot be written now, nothing is kept, and the log says so: recognition goes on without.

    Args:
        gallery: where they were seen.
        seen: n faces, good enough to tell people apart.
        vectors: float32 (n, d), row i for face i.
        fingerprint: of the model that made the vectors, and of its crops.
        model: the same.
        kept_for: how long they are kept.

    Returns:
        The id of each one's group; None of somebody who is ignored, and of all where nothing can be kept.
    """
    if not seen:
        return []
    try:
        gallery.check_room()
        return _kept(gallery, seen, vectors, fingerprint, model, kept_for)
    except Failure as e:
        log.warning("%s: unknown faces are not kept: %s", e.code, e.detail)
    except Exception:  # whatever it is, who is known must be told
        log.exception("unknown faces are not kept")
    return [None] * len(seen)


def _kept(
    gallery: Gallery,
    seen: Sequence[Seen],
    vectors: NDArray[np.float32],
    fingerprint: str,
    model: Model,
    kept_for: timedelta,
) -> list[str | None]:
    now = gallery.now()
    moment, until = naive_utc(now), naive_utc(now + kept_for)
    with gallery.writing(PATIENCE_MS) as (connection, begin):
        marks = [rows.marked(connection, each.mark) for each in seen]
        ids: dict[bytes, str | None] = dict(_there(connection, marks))
        new = {
            mark: rows.NewFace(mark, vector, each.quality, each.face, each.camera, moment, until)
            for mark, each, vector in zip(marks, seen, vectors, strict=True)
            if mark not in ids
        }
        if new:
            known = gallery.unknowns.get(gallery.name)
            known = unknown_groups.current(known, connection, fingerprint, vectors.shape[1])
            known.least = least_likeness(model, backgrounds.shipped(fingerprint))
            gallery.unknowns[gallery.name] = known
            ids |= _join(connection, begin, known, list(new.values()))
    return [ids[mark] for mark in marks]


def _there(connection: sa.Connection, marks: Sequence[bytes]) -> list[tuple[bytes, str]]:
    """Return the marks of those faces that are kept already, and the ids of their groups."""
    here = gallery_of(connection)
    found = [connection.execute(_THERE, {"gallery_key": here, "marks": some}) for some in portions(marks)]
    return [(mark, unknown_id) for some in found for mark, unknown_id in some]


def _join(
    connection: sa.Connection, begin: Begin, known: Known, new: Sequence[rows.NewFace]
) -> dict[bytes, str | None]:
    """Put faces into groups, some of which they may join. Returns the groups' ids by the faces' marks."""
    rows.remove(connection, known.foreign)
    vectors = np.stack([face.vector for face in new])
    faces = alone(vectors, backgrounds.shipped(known.fingerprint))
    near = known.near(faces)
    ignored = np.array([known.ignored[place] for place in near] + [False] * len(new))
    groups = unknown_groups.beside(known.groups(near), faces)
    owners = joined(groups, known.least, known=len(near), settled=ignored).tolist()
    moved = {place: owner for place, owner in enumerate(owners[: len(near)]) if owner != place}
    theirs: dict[int, list[rows.NewFace]] = {}
    for face, owner in zip(new, owners[len(near) :], strict=True):
        theirs.setdefault(owner, []).append(face)
    ids: dict[bytes, str | None] = {}
    if moved or not ignored[list(theirs)].all():
        revision = rows.next_revision(connection)
        _move(connection, known, {near[one]: near[other] for one, other in moved.items()}, revision)
    for owner, some in theirs.items():
        unknown_id = None
        if not ignored[owner]:
            if owner < len(near):
                key, unknown_id = known.keys[near[owner]], known.ids[near[owner]]
            else:
                key, unknown_id = rows.make(connection, known.fingerprint, some[0])
            rows.settle(connection, key, revision, some)
        ids |= {face.mark: unknown_id for face in some}
    if len(known.keys) + len(theirs) - sum(known.ignored) > rows.MAX_GROUPS:
        _make_room(connection)
    if kept := sorted({unknown_id for unknown_id in ids.values() if unknown_id is not None}):
        begin("keep_unknown", [], unknowns=kept)
    return ids


def _move(connection: sa.Connection, known: Known, moved: Mapping[int, int], revision: int) -> None:
    """Give the faces of groups to those that they are part of now; of somebody ignored none are kept."""
    for place, owner in moved.items():
        if known.ignored[owner]:
            rows.remove(connection, [known.keys[place]])
        else:
            rows.move(connection, known.keys[place], known.keys[owner], revision)


def _make_room(connection: sa.Connection) -> None:
    """Remove those with the fewest faces who have not been seen for the longest time."""
    order = unknowns.c.size, unknowns.c.until, unknowns.c.key
    least = sa.select(unknowns.c.key).where(rows.inside(connection), unknowns.c.ignored.is_(False))
    keys = connection.execute(least.order_by(*order).limit(rows.GROUPS_AT_ONCE)).scalars().all()
    rows.remove(connection, keys)


def look_after(gallery: Gallery) -> None:
    """Remove what has expired, or is of another model, and put groups together that are one person's.

    Raises:
        NotFound, GalleryUnavailable, AuditUnavailable. The steps before are done.
    """
    while _tidied(gallery):
        empty_log(gallery.engine)
    known = gallery.unknowns.get(gallery.name)
    if known is not None and _put_together(gallery, known):
        empty_log(gallery.engine)


def _tidied(gallery: Gallery) -> bool:
    """Remove some of what is not to be there any more. Returns whether there was anything."""
    moment = gallery.moment()
    with gallery.reading() as (connection, current):
        if not _over(connection, current, moment):
            return False
    with gallery.writing() as (connection, begin):
        current = rows_of_samples.enter(connection, gallery.name)
        keys = _over(connection, current, moment)
        if not keys:
            return False
        ids = rows.ids_of(connection, keys)
        revision = rows.next_revision(connection)
        rows.remove(connection, _foreign(connection, current))
        erased_by = _erased_by(current, moment)
        for some in portions(keys):
            gone = unknown_faces.c.expires_at <= erased_by
            connection.execute(unknown_faces.delete().where(unknown_faces.c.unknown.in_(some), gone))
        for key in keys:
            rows.settle(connection, key, revision)
        begin("expire", [], unknowns=ids)
    return True


def _over(connection: sa.Connection, current: State, moment: datetime) -> list[int]:
    """Return the keys of some who have faces that have expired, or vectors that fit no more."""
    gone = (
        unknown_faces.c.gallery == current.gallery,
        unknown_faces.c.expires_at <= _erased_by(current, moment),
    )
    some = sa.select(unknown_faces.c.unknown).distinct().where(*gone).limit(AT_ONCE)
    return [*connection.execute(some).scalars(), *_foreign(connection, current)]


def _foreign(connection: sa.Connection, current: State) -> list[int]:
    """Return the keys of some whose vectors are not of the model that the gallery has."""
    if current.fingerprint is None:  # of a gallery in which nobody is enrolled
        return []
    other = sa.select(unknowns.c.key).where(rows.inside(connection))
    other = other.where(unknowns.c.fingerprint != current.fingerprint).limit(AT_ONCE)
    return list(connection.execute(other).scalars())


def _erased_by(current: State, moment: datetime) -> datetime:
    """Return the moment by which what has expired may be erased, by a clock that is to be believed."""
    return current.trust.judged(moment, timedelta(0)).erases_by(moment)


def _put_together(gallery: Gallery, known: Known) -> bool:
    """Put groups together that are one person's, as far as can be told now. Returns whether any were."""
    with gallery.reading() as (connection, _):
        if rows.state_of(connection)[0] == known.settled:
            return False
    with gallery.writing() as (connection, begin):
        least = known.least
        known = unknown_groups.current(known, connection, known.fingerprint, known.dimension)
        known.least, known.settled = least, known.revision
        gallery.unknowns[gallery.name] = known
        owners = joined(known.groups(range(len(known.keys))), least, settled=np.array(known.ignored, bool))
        moved = {place: owner for place, owner in enumerate(owners.tolist()) if owner != place}
        if moved:
            _move(connection, known, moved, rows.next_revision(connection))
            begin("merge_unknowns", [], unknowns=[known.ids[place] for place in moved])
    return bool(moved)
