"""The tables, the same in SQLite and in PostgreSQL; migrations/ makes them and changes older ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR

from recognition.faces import Sample
from recognition.gallery.clock import Trust

VERSION = "0016"  # of the tables below: the newest revision in migrations/versions

# SQLite compares texts by their UTF-8 bytes, which is the order of code points; so does PostgreSQL's "C".
Id = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers rows itself in INTEGER columns only


class PackedVector(VECTOR):
    """pgvector's type without a dimension, since models differ in it; read as float32 (d,).

    It is asked for in PostgreSQL's binary form: 4 bytes that count the values, then big-endian float32. Its
    text, which pgvector's own type reads, takes 70 times as long to parse. pgvector's reader of the binary
    form is as fast, but has to ask each new connection for the type, and wants cursors of its own.
    """

    cache_ok = True

    def column_expression(self, column: Any) -> Any:
        """Read the binary form."""
        return sa.func.vector_send(column, type_=self)

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        """Turn it into float32 (d,), and leave what is null."""
        return lambda packed: (
            None if packed is None else np.frombuffer(packed, dtype=">f4", offset=4).astype(np.float32)
        )


# In SQLite little-endian float32, maybe encrypted.
Vector = sa.LargeBinary().with_variant(PackedVector(), "postgresql")

metadata = sa.MetaData()

galleries = sa.Table(
    "galleries",
    metadata,
    sa.Column("key", Key, primary_key=True, autoincrement=True),
    sa.Column("name", Id, nullable=False, unique=True),
    sa.Column("created", sa.DateTime, nullable=False),  # UTC
    sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
    # Rows and tombstones tell every change since this revision; an index that is older starts anew.
    sa.Column("complete_since", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("fingerprint", sa.Text),  # of the vectors that are searched
    # Values of the vectors in PostgreSQL's index of them; null: none; 0: none before somebody asks for one.
    sa.Column("indexed", sa.Integer),
    # The name of their model; null: whatever the embedding service has for its own.
    sa.Column("model", sa.Text),
    # Those that are searched are the second ones of its samples; see vector_rows.py.
    sa.Column("second", sa.Boolean, nullable=False, server_default=sa.false()),
    # The same of the other vectors, of another model, if there are any.
    sa.Column("other_model", sa.Text),
    sa.Column("other_fingerprint", sa.Text),
    sa.Column("other_indexed", sa.Integer),
    # Whether these two indexes hold 16-bit floats.
    sa.Column("half", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("other_half", sa.Boolean, nullable=False, server_default=sa.false()),
    # Of its unknown people; their changes raise no other revision, so nothing else need look at them.
    sa.Column("unknowns_revision", sa.BigInteger, nullable=False, server_default="0"),
    # How many it has, changed along with them: to count them takes time in proportion.
    sa.Column("samples", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("people", sa.BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,  # a key is never given twice
)
DEFAULT_NAME, DEFAULT_KEY = "default", 1  # the gallery that is there from the start

persons = sa.Table(
    "persons",
    metadata,
    sa.Column("key", Key, primary_key=True, autoincrement=True),
    sa.Column("gallery", Key, sa.ForeignKey(galleries.c.key), nullable=False),
    sa.Column("person_id", Id, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", sa.Text, nullable=False),  # of `key_of`: two names with the same one are the same
    sa.Column("search_key", Id, nullable=False),  # of `search_key_of`, whose length has a bound
    sa.Column("by_hand", sa.Boolean, nullable=False),  # stays without samples; others go with their last one
    sa.Column("created", sa.DateTime, nullable=False),  # UTC
    sa.Column("modified", sa.DateTime, nullable=False),  # UTC
    sa.Column("expires_at", sa.DateTime),  # UTC; null: never. All samples are gone by then.
    sa.Column("metadata", sa.Text, nullable=False),  # JSON
    sa.Index("persons_by_id", "gallery", "person_id", unique=True),
    # In PostgreSQL a hash: an entry of a b-tree has at most 2,704 bytes there, and a name has no limit.
    sa.Index("persons_by_name", "name_key", postgresql_using="hash"),
    sa.Index("persons_by_search", "gallery", "search_key", "key"),
    sqlite_autoincrement=True,
)

samples = sa.Table(
    "samples",
    metadata,
    # AUTOINCREMENT: a key is never given twice, and a newer sample has a larger key.
    sa.Column("key", Key, primary_key=True, autoincrement=True),
    sa.Column("gallery", Key, sa.ForeignKey(galleries.c.key), nullable=False),
    sa.Column("sample_id", Id, nullable=False),
    sa.Column("person", Key, sa.ForeignKey(persons.c.key), nullable=False, index=True),
    sa.Column("spelling", sa.Text),  # of the name that it came with; null: as the person's
    sa.Column("metadata", sa.Text, nullable=False),  # JSON
    sa.Column("action", sa.Text),
    # Its first vector; where it has only a second one, this says nothing, and the fingerprint is empty.
    sa.Column("vector", Vector, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("created", sa.DateTime, nullable=False),  # UTC
    sa.Column("modified", sa.DateTime, nullable=False),  # UTC
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.DateTime),  # UTC; null: never
    sa.Column("quality", sa.Double),  # of the face, in [0, 1]; null: not known
    sa.Column("picture", sa.LargeBinary),  # its digest, maybe encrypted; null: not known
    sa.Index("samples_by_id", "gallery", "sample_id", unique=True),
    sa.Index("samples_by_revision", "gallery", "revision"),
    sqlite_autoincrement=True,
)

EXPIRES = samples.c.expires_at.is_not(None)
sa.Index(
    "samples_by_expiry",
    samples.c.gallery,
    samples.c.expires_at,
    sqlite_where=EXPIRES,
    postgresql_where=EXPIRES,
)
PERSON_EXPIRES = persons.c.expires_at.is_not(None)
sa.Index(
    "persons_by_expiry",
    persons.c.gallery,
    persons.c.expires_at,
    sqlite_where=PERSON_EXPIRES,
    postgresql_where=PERSON_EXPIRES,
)

# A migration that copies the samples must copy these along: they go with the table that is dropped.
faces = sa.Table(
    "faces",
    metadata,
    sa.Column(
        "sample", Key, sa.ForeignKey(samples.c.key, ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    sa.Column("face", sa.LargeBinary, nullable=False),  # see kept.py; maybe encrypted
)

# Vectors of another model than the first ones; they go with their samples, as the faces do. In a table of
# their own, since each row of `samples` that is rewritten would take its place in PostgreSQL's index anew.
second_vectors = sa.Table(
    "second_vectors",
    metadata,
    sa.Column(
        "sample", Key, sa.ForeignKey(samples.c.key, ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    sa.Column("gallery", Key, nullable=False),
    sa.Column("vector", Vector, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Index("second_vectors_by_gallery", "gallery"),
)

# People whom nobody has named; see unknowns.py. Their columns of bytes may be encrypted, in both databases.
unknowns = sa.Table(
    "unknowns",
    metadata,
    sa.Column("key", Key, primary_key=True, autoincrement=True),
    sa.Column("gallery", Key, sa.ForeignKey(galleries.c.key), nullable=False),
    sa.Column("unknown_id", Id, nullable=False),
    sa.Column("ignored", sa.Boolean, nullable=False),
    # What joins faces to them, see matching/grouping.py: how many faces, and sums of what each of these has.
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("sums", sa.LargeBinary, nullable=False),  # of directions, little-endian float32
    sa.Column("typicality", sa.Double, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),  # of the vectors
    sa.Column("since", sa.DateTime, nullable=False),  # UTC
    sa.Column("until", sa.DateTime, nullable=False),  # UTC
    sa.Column("expires_at", sa.DateTime),  # UTC; of the face that goes last; null: never
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Index("unknowns_by_id", "gallery", "unknown_id", unique=True),
    sa.Index("unknowns_by_size", "gallery", "size"),
    sa.Index("unknowns_by_revision", "gallery", "revision"),
    sqlite_autoincrement=True,
)

unknown_faces = sa.Table(
    "unknown_faces",
    metadata,
    sa.Column("key", Key, primary_key=True, autoincrement=True),
    sa.Column("gallery", Key, nullable=False),
    sa.Column("unknown", Key, sa.ForeignKey(unknowns.c.key, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("face_id", Id, nullable=False),
    sa.Column("mark", sa.LargeBinary, nullable=False),  # what tells that the same picture comes again
    sa.Column("vector", sa.LargeBinary, nullable=False),  # little-endian float32
    sa.Column("quality", sa.Double, nullable=False),  # in [0, 1]
    sa.Column("face", sa.LargeBinary),  # see kept.py; null: none is kept
    sa.Column("camera", sa.Text),  # null: not known
    sa.Column("seen", sa.DateTime, nullable=False),  # UTC
    sa.Column("expires_at", sa.DateTime, nullable=False),  # UTC
    sa.Index("unknown_faces_by_mark", "gallery", "mark"),
    sa.Index("unknown_faces_by_expiry", "gallery", "expires_at"),
    sqlite_autoincrement=True,
)

# The changes of galleries to another model that are under way, or wait for somebody; see changing.py.
changes = sa.Table(
    "changes",
    metadata,
    sa.Column(
        "gallery",
        Key,
        sa.ForeignKey(galleries.c.key, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("model", sa.Text, nullable=False),  # to which it changes
    sa.Column("fingerprint", sa.Text, nullable=False),  # of that model's vectors
    sa.Column("without_face", sa.Text, nullable=False),  # what becomes of samples without a face
    sa.Column("worker", sa.Text),  # who is at it; null: nobody is to be, before somebody asks anew
    sa.Column("unattended", sa.Boolean, nullable=False),  # any service may go on with it
    sa.Column("beat", sa.DateTime, nullable=False),  # when the worker last said that it is alive; UTC
    sa.Column("trouble", sa.Text),  # the code of what stopped or holds it up; null: nothing
)

# Visits that cameras saw, and who it was. They go with their person, and stay when their sample goes.
events = sa.Table(
    "events",
    metadata,
    sa.Column("key", Key, primary_key=True, autoincrement=True),
    sa.Column("gallery", Key, sa.ForeignKey(galleries.c.key), nullable=False),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("camera", Id, nullable=False),
    sa.Column("since", sa.DateTime, nullable=False),  # UTC, by the camera's clock
    sa.Column("until", sa.DateTime),  # likewise; null: still there
    sa.Column("frames", sa.Integer, nullable=False),
    sa.Column("person", Key, sa.ForeignKey(persons.c.key, ondelete="CASCADE")),  # null: somebody unknown
    sa.Column("sample", Key, sa.ForeignKey(samples.c.key, ondelete="SET NULL")),  # the nearest one
    sa.Column("unknown", Id),  # the id of the group of unknown faces that it is in; null: in none
    sa.Column("distance", sa.Double),
    sa.Column("false_match", sa.Double),
    sa.Column("box", sa.Text, nullable=False),  # as `bbox` renders it
    sa.Column("quality", sa.Double, nullable=False),
    sa.Column("picture", sa.LargeBinary),  # a JPEG, maybe encrypted; null: none is kept
    sa.Column("recorded", sa.DateTime, nullable=False),  # UTC, when it was sent last, by this clock
    sa.Index("events_by_id", "gallery", "event_id", unique=True),
    sa.Index("events_by_time", "gallery", "since", "event_id"),
    sa.Index("events_by_camera", "gallery", "camera", "since", "event_id"),
    sa.Index("events_by_person", "person", "since", "event_id"),
    sa.Index("events_by_sample", "sample"),
    sa.Index("events_by_age", "gallery", "recorded"),
    sqlite_autoincrement=True,
)

# What keys of CompreFace's clients open, and who may make such keys by its admin calls. Only digests are kept
# of keys, passwords and sessions.
applications = sa.Table(
    "applications",
    metadata,
    sa.Column("key", Key, primary_key=True, autoincrement=True),
    sa.Column("app_id", Id, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created", sa.DateTime, nullable=False),  # UTC
    sqlite_autoincrement=True,
)

services = sa.Table(
    "services",
    metadata,
    sa.Column("key", Key, primary_key=True, autoincrement=True),
    sa.Column("service_id", Id, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),  # SHA-256 of its key
    sa.Column("guessable", sa.Boolean, nullable=False),  # whether others can guess that
    sa.Column("gallery", Key, sa.ForeignKey(galleries.c.key), index=True),
    sa.Column("take_all", sa.Boolean, nullable=False),
    sa.Column("application", Key, sa.ForeignKey(applications.c.key), index=True),  # null: none
    sa.Column("created", sa.DateTime, nullable=False),  # UTC
    sa.CheckConstraint("(kind = 'recognition') = (gallery IS NOT NULL)", name="services_gallery"),
    sqlite_autoincrement=True,
)

administrators = sa.Table(
    "administrators",
    metadata,
    sa.Column("key", Key, primary_key=True, autoincrement=True),
    sa.Column("user_id", Id, nullable=False, unique=True),
    sa.Column("email", Id, nullable=False, unique=True),
    sa.Column("first_name", sa.Text, nullable=False),
    sa.Column("last_name", sa.Text, nullable=False),
    sa.Column("password", sa.Text, nullable=False),  # its scrypt, with salt and costs
    sa.Column("created", sa.DateTime, nullable=False),  # UTC
    sqlite_autoincrement=True,
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),  # SHA-256 of what the client has
    # Who has logged in: this administrator, or whoever has the key of API_KEYS with this SHA-256.
    sa.Column("administrator", Key, sa.ForeignKey(administrators.c.key), index=True),
    sa.Column("api_key", sa.LargeBinary),
    sa.Column("expires_at", sa.DateTime, nullable=False),  # UTC
    sa.CheckConstraint("(administrator IS NULL) <> (api_key IS NULL)", name="sessions_whose"),
)

tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("gallery", Key, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Index("tombstones_by_revision", "gallery", "revision"),
)

state = sa.Table(
    "gallery_state",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key_check", sa.LargeBinary),  # see atrest.py
    # See clock.py; the moments are in UTC.
    sa.Column("clock_seen", sa.DateTime),
    sa.Column("clock_claimed", sa.DateTime),
    sa.Column("clock_held_s", sa.Double, nullable=False, server_default="0"),
)


class State(NamedTuple):
    """What is known of a gallery and of its database, and when its next sample and next person expire.

    gallery: its key.
    version: of the tables; another than VERSION where a newer program has changed them under this one.
    fingerprint: of the vectors that are searched; other_fingerprint: of the others.
    second: whether those that are searched are the second ones.
    model: the name of their model; None: the embedding service's own.
    half: whether PostgreSQL's index of them holds 16-bit floats.
    """

    gallery: int
    version: str
    revision: int
    complete_since: int
    fingerprint: str | None
    indexed: int | None
    key_check: bytes | None
    second: bool
    model: str | None
    other_fingerprint: str | None
    half: bool
    trust: Trust
    next_expiry: datetime | None  # of a sample: UTC, naive; None: none expires
    next_persons_expiry: datetime | None
    expired_by: datetime | None = None  # what has expired by then is there, and counts as gone

    def due(self, moment: datetime) -> bool:
        """Tell whether anything has expired by a moment, naive UTC."""
        return any(
            each is not None and each <= moment for each in (self.next_expiry, self.next_persons_expiry)
        )


def _next_expiry(table: sa.Table, which: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    theirs = table.c.gallery == galleries.c.key
    return sa.select(sa.func.min(table.c.expires_at)).where(theirs, which).scalar_subquery()


# One row, of the gallery called `name`; the moments are read from the indexes above alone.
STATE = (
    sa.select(
        galleries.c.key,
        sa.select(sa.column("version_num"))
        .select_from(sa.table("alembic_version"))
        .scalar_subquery()
        .label("version"),
        galleries.c.revision,
        galleries.c.complete_since,
        galleries.c.fingerprint,
        galleries.c.indexed,
        state.c.key_check,
        galleries.c.second,
        galleries.c.model,
        galleries.c.other_fingerprint,
        galleries.c.half,
        state.c.clock_seen,
        state.c.clock_claimed,
        state.c.clock_held_s,
        _next_expiry(samples, EXPIRES).label("next_expiry"),
        _next_expiry(persons, PERSON_EXPIRES).label("next_person"),
    )
    .join_from(galleries, state, sa.true())
    .where(galleries.c.name == sa.bindparam("name"))
)

# Samples with the name of their person.
SAMPLES = sa.select(
    samples.c.key,
    samples.c.sample_id,
    persons.c.name,
    samples.c.metadata,
    samples.c.action,
    samples.c.created,
    samples.c.modified,
    samples.c.expires_at,
    persons.c.person_id,
    samples.c.spelling,
    samples.c.quality,
).join_from(samples, persons, samples.c.person == persons.c.key)


def gallery_of(connection: sa.Connection) -> int:
    """Return the key of the gallery that a transaction is in, as `rows.enter` has noted it.

    Raises:
        KeyError: it is in none; what it does would concern all galleries.
    """
    key: int = connection.get_execution_options()["gallery"]
    return key


def expired(
    gallery: int | sa.BindParameter[int] | None, by: datetime | sa.BindParameter[datetime]
) -> sa.ColumnElement[bool]:
    """Tell the samples of a gallery, or of all, that have expired by a moment, or whose people have."""
    own = sa.and_(EXPIRES, samples.c.expires_at <= by)
    people = sa.select(persons.c.key).where(PERSON_EXPIRES, persons.c.expires_at <= by)
    if gallery is not None:
        own = sa.and_(samples.c.gallery == gallery, own)
        people = people.where(persons.c.gallery == gallery)
    return sa.or_(own, samples.c.person.in_(people))


def number_expired(gallery: int | None, by: datetime) -> sa.Select[Any]:
    """Count the same, from the indexes of both: what `expired` tells PostgreSQL looks for in every row."""
    own = sa.select(samples.c.key).where(EXPIRES, samples.c.expires_at <= by)
    theirs = sa.select(samples.c.key).join(persons).where(PERSON_EXPIRES, persons.c.expires_at <= by)
    if gallery is not None:
        own, theirs = own.where(samples.c.gallery == gallery), theirs.where(persons.c.gallery == gallery)
    return sa.select(sa.func.count()).select_from(own.union(theirs).subquery())


def sample_of(row: Any) -> Sample:
    """Turn a row of SAMPLES, or one that begins as they do, into a sample."""
    # By place: a search may match thousands, and a name takes as long to look up as a value to be read.
    _, sample_id, name, metadata, action, created, modified, expires_at, person, spelling, quality = row[:11]
    return Sample(
        sample_id,
        name,
        json.loads(metadata),
        action,
        created.replace(tzinfo=UTC),
        modified.replace(tzinfo=UTC),
        expires_at and expires_at.replace(tzinfo=UTC),
        person,
        spelling,
        quality,
    )


def state_of(row: Any) -> State:
    """Turn the row of STATE into a state."""
    trust = Trust(row.clock_seen, row.clock_claimed, timedelta(seconds=row.clock_held_s))
    # By place, as in `sample_of`: every transaction begins with it.
    return State._make((*row[:11], trust, row.next_expiry, row.next_person, None))


def naive_utc(moment: datetime) -> datetime:
    """Turn a time into what the columns of times hold."""
    return moment.astimezone(UTC).replace(tzinfo=None)
