"""A merge of two people taken back."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from recognition.errors import ChangedMeanwhile
from recognition.faces import Person
from recognition.gallery import event_rows, rows
from recognition.gallery import persons as rows_of_people
from recognition.gallery.database import empty_log
from recognition.gallery.store import Gallery
from recognition.gallery.tables import naive_utc, samples
from recognition.results import Unmerged
from serving.errors import InvalidRequest


def unmerge(gallery: Gallery, into: str, emptied: Person, revision: int) -> Unmerged:
    """Bring back the person who went with a merge, with the samples that are as the merge has left them.

    What somebody has changed, moved or enrolled anew meanwhile stays as and where it is: it has another
    revision by now. Events go back with their samples; of those that have lost theirs nothing tells whose
    they were before the merge, and they stay, too.

    Args:
        gallery: whose people they are.
        into: the id of the person who got the samples.
        emptied, revision: what `people.merge` has returned.

    Raises:
        NotFound: who got the samples is gone, too.
        PersonExists: somebody else has the id of the emptied one by now.
        ChangedMeanwhile: none of the samples is as the merge has left it.
        InvalidRequest: the emptied one would have expired by now.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    now = gallery.now()
    if emptied.expires_at is not None and emptied.expires_at <= now:
        raise InvalidRequest("expires_at is in the past.")
    with gallery.writing() as (connection, begin):
        kept = rows_of_people.row_of(connection, into)
        rows_of_people.check_new(connection, emptied.id)
        moved = sa.and_(samples.c.person == kept.key, samples.c.revision == revision)
        columns = samples.c.key, samples.c.sample_id
        found = connection.execute(sa.select(*columns).where(moved).order_by(samples.c.key)).all()
        ids = [sample.sample_id for sample in found]
        if not ids and not emptied.by_hand:
            raise ChangedMeanwhile("None of the samples is as the merge has left it.")
        (row,) = rows_of_people.add(connection, [replace(emptied, modified=now)])
        values = {
            "person": row.key,
            "modified": naive_utc(now),
            "revision": rows.next_revision(connection),
        }
        connection.execute(samples.update().where(moved).values(**values))
        event_rows.follow(connection, [sample.key for sample in found], row.key)
        rows_of_people.remove_emptied(connection, [kept.key])
        begin("unmerge", ids, person=emptied.id, into=into)
    empty_log(gallery.engine)
    person = replace(rows_of_people.person_of(row, len(ids)), sample=ids[0] if ids else None)
    return Unmerged(person, max(0, emptied.samples - len(ids)))
