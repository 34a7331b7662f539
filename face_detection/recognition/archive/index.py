"""The index of an archive: a SQLite file with pictures, and the boxes and vectors of the faces in them.

Vectors are encrypted where there is a key, as in a gallery. What is removed is overwritten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout

from recognition.archive.entries import NO_PICTURE, File, IndexUnavailable, Outcome, Refused, Seen
from recognition.archive.rows import (
    NEVER,
    Groups,
    below,
    face_row,
    file_of,
    groups_of,
    is_current,
    outcomes_of,
    picture_row,
)
from recognition.archive.tables import faces, open_tables, pictures
from recognition.gallery.database import empty_log, portions, transaction

ROWS_AT_ONCE = 1000
PICTURES_AT_ONCE = 500  # whose faces are read together

# Put together once: that takes longer than to execute it.
_STATES = sa.select(
    pictures.c.path, pictures.c.size, pictures.c.modified_ns, pictures.c.code, pictures.c.fingerprint
).where(pictures.c.path.in_(sa.bindparam("paths", expanding=True)))


@dataclass(frozen=True, slots=True)
class Summary:
    """How much is in an index, or in a part of it.

    pictures: that were seen; faces: in them; others: files of other kinds; refused: by code and detail.
    outdated: pictures that were seen with another model.
    """

    pictures: int
    faces: int
    others: int
    refused: Counter[tuple[str, str]]
    outdated: int


class Index:
    """What was seen in the pictures of folders. Folders and files are absolute paths, bytes."""

    def __init__(self, engine: sa.Engine, file: Path) -> None:
        self._engine = engine
        self.file = file

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Begin a transaction that sees one state of the index."""
        return transaction(self._engine)

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """Begin a transaction that writes.

        Raises:
            GalleryUnavailable: the file is locked, or its disk is full.
        """
        return transaction(self._engine, write=True)

    def close(self) -> None:
        """Close all connections to the file."""
        self._engine.dispose()

    @contextmanager
    def writing_alone(self) -> Iterator[None]:
        """Keep other processes from indexing at the same time, which would do the same work twice.

        Raises:
            IndexUnavailable: another process is at it.
        """
        try:
            with FileLock(f"{self.file}.writing", timeout=0, mode=0o600):
                yield
        except Timeout as e:
            raise IndexUnavailable(f"Another process is writing to the index {self.file}.") from e

    def unchanged(self, files: Sequence[File], fingerprint: str) -> set[bytes]:
        """Return the paths of those files that are as they were when they were seen, or refused.

        fingerprint: of the model of which vectors are wanted.
        """
        found: set[bytes] = set()
        with transaction(self._engine) as connection:
            for some in portions(files):
                states = {each.path: each for each in some}
                found.update(
                    row.path
                    for row in connection.execute(_STATES, {"paths": list(states)})
                    if is_current(row, states[row.path], fingerprint)
                )
        return found

    def store(self, outcomes: Sequence[Outcome], fingerprint: str) -> None:
        """Put what was seen of files in the place of what was known of them, all or nothing.

        Faces where others were before, in a file of the same size, are in the groups of these.

        fingerprint: of the model of the vectors.

        Raises:
            GalleryUnavailable: the file is locked, or its disk is full.
        """
        with transaction(self._engine, write=True) as connection:
            known = groups_of(connection, [each for each in outcomes if isinstance(each, Seen)])
            self._remove(connection, [outcome.file.path for outcome in outcomes])
            for outcome in outcomes:
                row = pictures.insert().values(**picture_row(outcome, fingerprint))
                key = connection.execute(row).inserted_primary_key[0]  # type: ignore[index]
                if isinstance(outcome, Seen) and outcome.faces:
                    cipher = connection.info["cipher"]
                    groups = known.get(outcome.file.path, Groups())
                    rows = [
                        face_row(cipher, key, number, face, fingerprint, groups.of(face.box))
                        for number, face in enumerate(outcome.faces)
                    ]
                    connection.execute(faces.insert(), rows)

    def known(
        self, files: Sequence[File], fingerprint: str, dimension: int | None = None
    ) -> dict[bytes, Outcome]:
        """Return what was seen in those files that are as they were then, by their paths.

        fingerprint, dimension: of the model.

        Raises:
            IndexUnavailable: a vector is damaged.
        """
        states = {each.path: each for each in files}
        query = sa.select(pictures).where(pictures.c.path.in_(sa.bindparam("paths", expanding=True)))
        found: dict[bytes, Outcome] = {}
        with transaction(self._engine) as connection:
            for some in portions(list(states)):
                rows = [
                    row
                    for row in connection.execute(query, {"paths": some})
                    if is_current(row, states[row.path], fingerprint)
                ]
                found.update((each.file.path, each) for each in outcomes_of(connection, rows, dimension))
        return found

    def seen(
        self, fingerprint: str, root: bytes | None = None, dimension: int | None = None
    ) -> Iterator[list[Seen]]:
        """Yield the pictures with faces whose vectors are of a model, some at a time.

        fingerprint, dimension: of the model; root: only those in this folder.

        Raises:
            IndexUnavailable: a vector is damaged.
        """
        after = 0
        query = sa.select(pictures).where(
            pictures.c.fingerprint == fingerprint,
            sa.exists().where(faces.c.picture == pictures.c.key),
            *([] if root is None else [below(root)]),
        )
        while True:
            with transaction(self._engine) as connection:
                some = query.where(pictures.c.key > after).order_by(pictures.c.key).limit(PICTURES_AT_ONCE)
                rows = connection.execute(some).all()
                found = [each for each in outcomes_of(connection, rows, dimension) if isinstance(each, Seen)]
            if not rows:
                return
            after = rows[-1].key
            yield found

    def refusals(self, roots: Collection[bytes]) -> Iterator[Refused]:
        """Yield the files in folders in which nothing could be seen, but for those of other kinds."""
        after = b""
        query = sa.select(pictures).where(pictures.c.code != NO_PICTURE, sa.or_(False, *map(below, roots)))
        while True:
            some = query.where(pictures.c.path > after).order_by(pictures.c.path).limit(ROWS_AT_ONCE)
            with transaction(self._engine) as connection:
                rows = connection.execute(some).all()
            if not rows:
                return
            after = rows[-1].path
            for row in rows:
                yield Refused(file_of(row), row.code, row.detail)

    def every(self, fingerprint: str, roots: Collection[bytes], dimension: int) -> Iterator[list[Outcome]]:
        """Yield what was seen in the pictures of folders, with or without faces, and refused, some at a time.

        fingerprint, dimension: of the model; what was seen with another one is passed over.

        Raises:
            IndexUnavailable: a vector is damaged.
        """
        after = 0
        query = sa.select(pictures).where(
            sa.or_(pictures.c.fingerprint == fingerprint, pictures.c.code != NO_PICTURE),
            sa.or_(False, *map(below, roots)),
        )
        while True:
            with transaction(self._engine) as connection:
                some = query.where(pictures.c.key > after).order_by(pictures.c.key).limit(PICTURES_AT_ONCE)
                rows = connection.execute(some).all()
                found = list(outcomes_of(connection, rows, dimension))
            if not rows:
                return
            after = rows[-1].key
            yield found

    def count(self, root: bytes) -> int:
        """Count the files of a folder that the index knows, whatever was seen in them."""
        with transaction(self._engine) as connection:
            return _count(connection, sa.select(sa.func.count()).select_from(pictures).where(below(root)))

    def paths(self, root: bytes) -> Iterator[list[bytes]]:
        """Yield the files of a folder that the index knows, some at a time, in the order of their paths."""
        after = b""
        query = sa.select(pictures.c.path).where(below(root)).order_by(pictures.c.path).limit(ROWS_AT_ONCE)
        while True:
            with transaction(self._engine) as connection:
                some = connection.execute(query.where(pictures.c.path > after)).scalars().all()
            if not some:
                return
            after = some[-1]
            yield list(some)

    def remove(self, paths: Collection[bytes]) -> None:
        """Remove what is known of files."""
        with transaction(self._engine, write=True) as connection:
            self._remove(connection, list(paths))

    def remove_passing(self, root: bytes) -> None:
        """Remove the refusals of a folder whose reasons may be gone."""
        passing = below(root), pictures.c.modified_ns == NEVER
        with transaction(self._engine) as connection:
            if connection.execute(sa.select(pictures.c.key).where(*passing).limit(1)).first() is None:
                return
        with transaction(self._engine, write=True) as connection:
            connection.execute(pictures.delete().where(*passing))

    def forget(self, root: bytes) -> int:
        """Remove all that is known of the files of a folder, and overwrite it. Returns how many files."""
        number = 0
        for some in self.paths(root):
            self.remove(some)
            number += len(some)
        self.empty_log()
        return number

    def empty_log(self) -> None:
        """Leave nothing of what was removed in SQLite's log."""
        empty_log(self._engine)

    def summary(self, fingerprint: str | None, roots: Collection[bytes] | None = None) -> Summary:
        """Tell how much is in the index, or in folders.

        fingerprint: pictures of other models are outdated; None: of whichever they are.
        """
        inside = sa.true() if roots is None else sa.or_(False, *map(below, roots))
        seen = inside, pictures.c.code.is_(None)
        number = sa.select(sa.func.count()).select_from(pictures)
        kinds = sa.select(pictures.c.code, pictures.c.detail, sa.func.count()).where(
            inside, pictures.c.code.is_not(None)
        )
        with transaction(self._engine) as connection:
            refused = Counter[tuple[str, str]]()
            others = 0
            for code, detail, some in connection.execute(kinds.group_by(pictures.c.code, pictures.c.detail)):
                if code == NO_PICTURE:
                    others += some
                else:
                    refused[code, detail] = some
            joined = sa.select(sa.func.count()).select_from(faces.join(pictures)).where(inside)
            outdated = 0
            if fingerprint is not None:
                outdated = _count(connection, number.where(*seen, pictures.c.fingerprint != fingerprint))
            return Summary(
                _count(connection, number.where(*seen)), _count(connection, joined), others, refused, outdated
            )

    def _remove(self, connection: sa.Connection, paths: Sequence[bytes]) -> None:
        for some in portions(paths):
            connection.execute(pictures.delete().where(pictures.c.path.in_(some)))


def open_index(file: Path, *, create: bool, key: bytes | None = None) -> Index:
    """Open an index; a new file can be read by its owner only.

    Raises:
        IndexUnavailable, OSError: as `open_tables` does.
    """
    return Index(open_tables(file, create=create, key=key), file)


def _count(connection: sa.Connection, query: sa.Select[Any]) -> int:
    number: int = connection.execute(query).scalar_one()
    return number
