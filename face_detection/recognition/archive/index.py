"""The index of an archive: a SQLite file with pictures, and the boxes and vectors of the faces in them.

Vectors are encrypted where there is a key, as in a gallery. What is removed is overwritten.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from recognition.archive.entries import NO_PICTURE, File, IndexUnavailable, Outcome, Refused, Seen, SeenFace
from recognition.errors import GalleryUnavailable
from recognition.faces import Box
from recognition.gallery.database import empty_log, open_sqlite, portions, transaction

if TYPE_CHECKING:
    from recognition.gallery.cipher import Cipher

VERSION = 1
ROWS_AT_ONCE = 1000
PICTURES_AT_ONCE = 500  # whose faces are read together
LOCK_TIMEOUT_S = 30.0
NEVER = -1  # as the time of a change: the file is looked at again whatever its own is
FLOAT32 = np.dtype("<f4")

metadata = sa.MetaData()
# One row. key_check: an empty text, encrypted with the index's key; null: nothing is encrypted.
about = sa.Table(
    "about",
    metadata,
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("key_check", sa.LargeBinary),
)
# Keys are never used again: encrypted vectors are bound to them. code and detail: why nothing was seen.
pictures = sa.Table(
    "pictures",
    metadata,
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("path", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("modified_ns", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("orientation", sa.Integer),
    sa.Column("fingerprint", sa.Text),
    sqlite_autoincrement=True,
)
faces = sa.Table(
    "faces",
    metadata,
    sa.Column("picture", sa.ForeignKey("pictures.key", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),  # the largest first, from 0
    sa.Column("x", sa.Float, nullable=False),
    sa.Column("y", sa.Float, nullable=False),
    sa.Column("w", sa.Float, nullable=False),
    sa.Column("h", sa.Float, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("quality", sa.Float, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)
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
                    if _is_current(row, states[row.path], fingerprint)
                )
        return found

    def store(self, outcomes: Sequence[Outcome], fingerprint: str) -> None:
        """Put what was seen of files in the place of what was known of them, all or nothing.

        fingerprint: of the model of the vectors.

        Raises:
            GalleryUnavailable: the file is locked, or its disk is full.
        """
        with transaction(self._engine, write=True) as connection:
            self._remove(connection, [outcome.file.path for outcome in outcomes])
            for outcome in outcomes:
                row = pictures.insert().values(**_picture_row(outcome, fingerprint))
                key = connection.execute(row).inserted_primary_key[0]  # type: ignore[index]
                if isinstance(outcome, Seen) and outcome.faces:
                    cipher = connection.info["cipher"]
                    rows = [
                        _face_row(cipher, key, number, face, fingerprint)
                        for number, face in enumerate(outcome.faces)
                    ]
                    connection.execute(faces.insert(), rows)

    def known(self, files: Sequence[File], fingerprint: str) -> dict[bytes, Outcome]:
        """Return what was seen in those files that are as they were then, by their paths."""
        states = {each.path: each for each in files}
        query = sa.select(pictures).where(pictures.c.path.in_(sa.bindparam("paths", expanding=True)))
        found: dict[bytes, Outcome] = {}
        with transaction(self._engine) as connection:
            for some in portions(list(states)):
                rows = [
                    row
                    for row in connection.execute(query, {"paths": some})
                    if _is_current(row, states[row.path], fingerprint)
                ]
                found.update((each.file.path, each) for each in _outcomes(connection, rows))
        return found

    def seen(self, fingerprint: str, root: bytes | None = None) -> Iterator[list[Seen]]:
        """Yield the pictures with faces whose vectors are of a model, some at a time.

        root: only those in this folder.
        """
        after = 0
        query = sa.select(pictures).where(
            pictures.c.fingerprint == fingerprint,
            sa.exists().where(faces.c.picture == pictures.c.key),
            *([] if root is None else [_below(root)]),
        )
        while True:
            with transaction(self._engine) as connection:
                some = query.where(pictures.c.key > after).order_by(pictures.c.key).limit(PICTURES_AT_ONCE)
                rows = connection.execute(some).all()
                found = [each for each in _outcomes(connection, rows) if isinstance(each, Seen)]
            if not rows:
                return
            after = rows[-1].key
            yield found

    def refusals(self, roots: Collection[bytes]) -> Iterator[Refused]:
        """Yield the files in folders in which nothing could be seen, but for those of other kinds."""
        after = b""
        query = sa.select(pictures).where(pictures.c.code != NO_PICTURE, sa.or_(False, *map(_below, roots)))
        while True:
            some = query.where(pictures.c.path > after).order_by(pictures.c.path).limit(ROWS_AT_ONCE)
            with transaction(self._engine) as connection:
                rows = connection.execute(some).all()
            if not rows:
                return
            after = rows[-1].path
            for row in rows:
                yield Refused(_file(row), row.code, row.detail)

    def count(self, root: bytes) -> int:
        """Count the files of a folder that the index knows, whatever was seen in them."""
        with transaction(self._engine) as connection:
            return _count(connection, sa.select(sa.func.count()).select_from(pictures).where(_below(root)))

    def paths(self, root: bytes) -> Iterator[list[bytes]]:
        """Yield the files of a folder that the index knows, some at a time, in the order of their paths."""
        after = b""
        query = sa.select(pictures.c.path).where(_below(root)).order_by(pictures.c.path).limit(ROWS_AT_ONCE)
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
        passing = _below(root), pictures.c.modified_ns == NEVER
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
        inside = sa.true() if roots is None else sa.or_(False, *map(_below, roots))
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

    Args:
        file: where it lies.
        create: make one where there is none.
        key: 32 bytes that vectors are encrypted with; a new index keeps to it.

    Raises:
        IndexUnavailable: there is none, or the file is something else, of a newer version, or encrypted with
            another key or none; or it is locked.
        OSError: it cannot be made.
    """
    if not create and not file.exists():
        raise IndexUnavailable(f"There is no index {file}; `recognition index DIR` makes one.")
    if file.exists() and file.stat().st_size and not _is_ours(file):
        raise IndexUnavailable(f"{file} is no index of an archive.")
    cipher = None
    if key is not None:
        from recognition.gallery.cipher import Cipher  # a library that few need

        cipher = Cipher(key)
    try:
        engine = open_sqlite(file, LOCK_TIMEOUT_S, cipher)
        index = Index(engine, file)
        with transaction(engine, write=True) as connection:
            _begin(connection, file, cipher)
    except GalleryUnavailable as e:
        raise IndexUnavailable(f"The index {file} cannot be used: {e.detail}") from e
    return index


def _is_ours(file: Path) -> bool:
    """Look without a trace whether a file has our tables; one that cannot be read for now may have them."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'about'")
            return tables.fetchone() is not None
    except sqlite3.OperationalError:
        return True
    except sqlite3.Error:
        return False


def _begin(connection: sa.Connection, file: Path, cipher: Cipher | None) -> None:
    """Make the tables of a new index, and see to it that another one is opened with its own key."""
    metadata.create_all(connection)
    row = connection.execute(sa.select(about)).first()
    if row is None:
        check = None if cipher is None else cipher.seal(b"", "", "")
        connection.execute(about.insert().values(version=VERSION, key_check=check))
        return
    if row.version != VERSION:
        raise IndexUnavailable(f"The index {file} was made by another version of this program.")
    if cipher is None:
        if row.key_check is not None:
            raise IndexUnavailable(f"The index {file} is encrypted, and GALLERY_KEY is not set.")
        return
    if row.key_check is None:
        raise IndexUnavailable(
            f"GALLERY_KEY is set, but the index {file} is not encrypted; delete it, and index anew."
        )
    try:
        cipher.open(row.key_check, "", "")
    except GalleryUnavailable as e:
        raise IndexUnavailable(f"GALLERY_KEY is not the key of the index {file}.") from e


def _is_current(row: Any, file: File, fingerprint: str) -> bool:
    """Tell whether a file is as it was when it was refused, or seen with the model of a fingerprint."""
    same = (row.size, row.modified_ns) == (file.size, file.modified_ns)
    return same and (row.code is not None or row.fingerprint == fingerprint)


def _below(root: bytes) -> sa.ColumnElement[bool]:
    """Tell the files of a folder, or the one file: what begins with its path and a slash lies in between."""
    parent = root.rstrip(b"/")
    return sa.or_(
        pictures.c.path == root,
        sa.and_(pictures.c.path >= parent + b"/", pictures.c.path < parent + b"0"),  # `0` is next to `/`
    )


def _count(connection: sa.Connection, query: sa.Select[Any]) -> int:
    number: int = connection.execute(query).scalar_one()
    return number


def _picture_row(outcome: Outcome, fingerprint: str) -> dict[str, Any]:
    file = outcome.file
    row: dict[str, Any] = {"path": file.path, "size": file.size, "modified_ns": file.modified_ns}
    if isinstance(outcome, Refused):
        row |= {"code": outcome.code, "detail": outcome.detail}
        return row | ({"modified_ns": NEVER} if outcome.passing else {})
    sides = {"width": outcome.width, "height": outcome.height, "orientation": outcome.orientation}
    return row | sides | {"fingerprint": fingerprint}


def _face_row(
    cipher: Cipher | None, picture: int, number: int, face: SeenFace, fingerprint: str
) -> dict[str, Any]:
    plain = face.vector.astype(FLOAT32).tobytes()
    box = face.box
    return {
        "picture": picture,
        "number": number,
        **{"x": box.x, "y": box.y, "w": box.w, "h": box.h},
        "confidence": face.confidence,
        "quality": face.quality,
        "vector": plain if cipher is None else cipher.seal(plain, _bound_to(picture, number), fingerprint),
    }


def _bound_to(picture: int, number: int) -> str:
    return f"{picture}/{number}"


def _outcomes(connection: sa.Connection, rows: Sequence[Any]) -> Iterator[Outcome]:
    """Read what rows of `pictures` are about, with the faces."""
    of: dict[int, list[SeenFace]] = {row.key: [] for row in rows}
    fingerprints = {row.key: row.fingerprint for row in rows}
    cipher = connection.info["cipher"]
    for some in portions(list(of)):
        query = sa.select(faces).where(faces.c.picture.in_(some)).order_by(faces.c.picture, faces.c.number)
        for row in connection.execute(query):
            vector = _vector(cipher, row, fingerprints[row.picture])
            of[row.picture].append(
                SeenFace(Box(row.x, row.y, row.w, row.h), row.confidence, row.quality, vector)
            )
    for row in rows:
        if row.code is not None:
            yield Refused(_file(row), row.code, row.detail)
        else:
            yield Seen(_file(row), row.width, row.height, row.orientation, tuple(of[row.key]))


def _vector(cipher: Cipher | None, row: Any, fingerprint: str) -> NDArray[np.float32]:
    stored = row.vector
    if cipher is not None:
        stored = cipher.open(stored, _bound_to(row.picture, row.number), fingerprint)
    return np.frombuffer(stored, FLOAT32)


def _file(row: Any) -> File:
    return File(row.path, row.size, row.modified_ns)
