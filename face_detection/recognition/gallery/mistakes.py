"""Samples that somebody's face was taken for, put right; the caller gives the transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from recognition.audit import Begin
from recognition.errors import ChangedMeanwhile
from recognition.faces import Mistaken
from recognition.gallery import event_rows, rows
from recognition.gallery import persons as rows_of_people
from recognition.gallery.tables import naive_utc, persons, samples
from serving.errors import NotFound


def put_right(connection: sa.Connection, begin: Begin, mistaken: Mistaken, owner: Any, now: datetime) -> None:
    """Move or remove such a sample.

    owner: the row of the person whose face it was.

    Raises:
        NotFound: there is no such sample.
        ChangedMeanwhile: it is not whose the caller takes it to be.
    """
    whose = sa.select(samples.c.key, samples.c.person, persons.c.person_id)
    joined = whose.join_from(samples, persons, samples.c.person == persons.c.key)
    row = connection.execute(joined.where(rows.of_id(connection, mistaken.sample))).first()
    if row is None:
        raise NotFound("wrong_sample: there is no sample with this id.")
    if mistaken.then == "move" and row.person == owner.key:
        return
    if mistaken.person not in (None, row.person_id):
        raise ChangedMeanwhile("wrong_sample: it is another person's by now.")
    if mistaken.then == "remove":
        rows.remove(connection, samples.c.key == row.key)
        begin("delete", [mistaken.sample])
        return
    values = {"person": owner.key, "spelling": None, "modified": naive_utc(now)}
    values["revision"] = rows.next_revision(connection)
    connection.execute(samples.update().where(samples.c.key == row.key).values(**values))
    event_rows.follow(connection, [row.key], owner.key)
    rows_of_people.remove_emptied(connection, [row.person])
    begin("move", [mistaken.sample], person=owner.person_id)
