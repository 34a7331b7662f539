"""What is asked of Milvus, by its client pymilvus, in the words of search_milvus.py.

A collection has the vectors of one model, of all galleries of a database. A row is one state of a sample: it
is put there once and never changed, so that nothing depends on the order in which processes put rows, and one
that was stopped half-way can do no harm when it goes on. Beside the samples stand marks: what is there of a
gallery.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from recognition.errors import GalleryUnavailable

MOST = 16_384  # rows that Milvus returns, at most (quotaAndLimits of its configuration)
ROWS_PER_INSERT = 2_000  # 1 MB at 128 values, of the 64 MB that a message may have
KEYS_PER_FILTER = 500
# How often it is asked whether a connection still lives. gRPC's servers by default end one where it is asked
# oftener while no data flows; milvus-lite's is such a one.
PING_EACH_MS = 300_000
# The parameters of the index, HNSW, as search_database.py has chosen them.
INDEX = {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 16, "efConstruction": 200}}
MARKS = 0  # stands where the rows of samples have their fill
# A row's id has the key of its sample and the lowest bits of the revision that it is of. A sample would have
# to come again after 8,388,608 changes, to the number, for two of its rows to have the same one.
REVISION_BITS = 23
# Codes of Milvus: the collection is not there, not loaded, or not to be searched yet; and in the numbering of
# 2.2, which milvus-lite has, too, that it is not there.
LOST, LOST_BEFORE = (100, 101, 106), 4
NEEDS = "GALLERY_INDEX needs the extra `milvus`: pip install 'face-recognition-service[milvus]'."
AWAY = "The index of the gallery (GALLERY_INDEX) cannot be used right now."
IN_USE = "The file of GALLERY_INDEX cannot be opened: another process has it, or it is no such file."


class Lost(Exception):
    """The collection is not there any more, or was not loaded."""


@dataclass(frozen=True, slots=True)
class Witness:
    """The newest change of a gallery at a revision, by which another history of it is told.

    trace: of the sample; empty: it was deleted.
    """

    key: int
    revision: int
    trace: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Says that the rows of a fill are all samples of a gallery up to a revision, but for damaged ones.

    fill: a number that no other fill has, of nanoseconds since 1970, when it began.
    revision: -1: it is under way.
    since: the revision of which the fill was made; of older ones it has not all rows.
    swept: up to this revision, no rows are left of what was replaced or removed.
    damaged: keys of samples whose vectors cannot be compared, the first ones of many.
    """

    gallery: int
    fill: int
    revision: int
    since: int
    swept: int
    witness: Witness | None = None
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """States of n samples: int64 (n,) keys and revisions, and vectors, float32 (n, d)."""

    keys: NDArray[np.int64]
    revisions: NDArray[np.int64]
    vectors: NDArray[np.float32]


class Milvus:
    """A connection, made when it is first needed; several threads and galleries share it.

    Every method raises GalleryUnavailable where Milvus cannot be reached, and those that need a collection
    raise Lost where it is not there.
    """

    def __init__(self, address: str, token: str | None, timeout_s: float) -> None:
        """Take note of where it is.

        address: a URL, maybe with user and password, and with the name of a database as its path; or the path
            of a file of milvus-lite, which ends with `.db`.
        token: `user:password` or a key; what stands in the address is of no effect beside it.
        timeout_s: how long each call is waited for, in seconds.

        Raises:
            GalleryUnavailable: the client is not installed.
        """
        self.file = None if "://" in address else Path(address)
        if find_spec("pymilvus") is None or (self.file and find_spec("milvus_lite") is None):
            raise GalleryUnavailable(NEEDS)
        self._address, user = _without_user(address)
        self._token = token or user
        self._timeout_s = timeout_s
        self._client: Any = None
        self._opening = threading.Lock()

    def prepare(self) -> None:
        """Import the client, which takes a second or more, and connect to nothing."""
        import pymilvus  # noqa: F401

    def close(self) -> None:
        """Disconnect; a file is free then."""
        with self._opening:
            client, self._client = self._client, None
        if client is None:
            return
        client.close()
        if self.file is not None:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(str(self.file))

    def names(self, prefix: str) -> list[str]:
        """Return the names of the collections that begin with a prefix."""
        with self._asking() as client:
            listed = client.list_collections(timeout=self._timeout_s)
        return sorted(name for name in listed if name.startswith(prefix))

    def open(self, name: str, dimension: int) -> None:
        """Make a collection if it is not there, and load it."""
        from pymilvus import DataType

        with self._asking() as client:
            if not client.has_collection(name, timeout=self._timeout_s):
                schema = client.create_schema(auto_id=False)
                schema.add_field("id", DataType.INT64, is_primary=True)
                # Milvus keeps rows of the same one together, and searches no others.
                schema.add_field("fill", DataType.INT64, is_partition_key=True)
                schema.add_field("sample", DataType.INT64)
                schema.add_field("revision", DataType.INT64)
                schema.add_field("note", DataType.VARCHAR, max_length=65_535)
                schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
                index = client.prepare_index_params()
                index.add_index("vector", **INDEX)
                client.create_collection(
                    name,
                    schema=schema,
                    index_params=index,
                    consistency_level="Strong",
                    timeout=self._timeout_s,
                )
        self.load(name)

    def load(self, name: str) -> None:
        """Let a collection that is there be searched."""
        with self._asking() as client:
            client.load_collection(name, timeout=self._timeout_s)

    def drop(self, name: str) -> None:
        """Remove a collection with all that is in it."""
        with self._asking() as client:
            client.drop_collection(name, timeout=self._timeout_s)

    def catch_up(self, name: str) -> None:
        """Let what this process asks from now on see everything that was acknowledged to any process.

        By a write of its own, which deletes nothing: reads of the consistency level *Session* see what was
        written before it. *Strong* would say the same for each read anew, and lets each wait for the next
        tick of Milvus's clock, up to 200 ms.
        """
        with self._asking() as client:
            client.delete(name, ids=[_id_of_mark()], timeout=self._timeout_s)

    def marks(self, name: str, gallery: int | None = None) -> list[tuple[int, Mark]]:
        """Return the ids and marks of a gallery, or of all, the best one first."""
        which = f"fill == {MARKS}" + ("" if gallery is None else f" and sample == {gallery:d}")
        with self._asking() as client:
            found = client.query(
                name,
                filter=which,
                output_fields=["id", "note"],
                consistency_level="Session",
                limit=MOST,
                timeout=self._timeout_s,
            )
        read = [(int(row["id"]), _mark(row["note"])) for row in found]
        return sorted(read, key=lambda each: (each[1].revision, each[1].fill), reverse=True)

    def put_mark(self, name: str, mark: Mark, dimension: int, instead_of: Collection[int] = ()) -> int:
        """Put a mark, and only then take others away, by their ids. Returns its own id."""
        mark_id = _id_of_mark()
        row = {
            "id": mark_id,
            "fill": MARKS,
            "sample": mark.gallery,
            "revision": mark.revision,
            "note": json.dumps(asdict(mark)),
            "vector": np.zeros(dimension, np.float32),
        }
        with self._asking() as client:
            client.insert(name, [row], timeout=self._timeout_s)
            if instead_of:
                client.delete(name, ids=list(instead_of), timeout=self._timeout_s)
        return mark_id

    def put(self, name: str, fill: int, rows: Rows, *, anew: bool) -> None:
        """Put rows of samples.

        anew: some of them may be there already. They are deleted before, which is more than an upsert: in
            Milvus 2.3 that loses rows of collections with a partition key.
        """
        for start in range(0, len(rows.keys), ROWS_PER_INSERT):
            some = slice(start, start + ROWS_PER_INSERT)
            keys, revisions = rows.keys[some].tolist(), rows.revisions[some].tolist()
            values = [
                {"id": _id_of(*each), "fill": fill, "sample": each[0], "revision": each[1], "note": ""}
                for each in zip(keys, revisions, strict=True)
            ]
            with self._asking() as client:
                if anew:
                    client.delete(name, ids=[row["id"] for row in values], timeout=self._timeout_s)
                for row, vector in zip(values, rows.vectors[some], strict=True):
                    row["vector"] = vector
                client.insert(name, values, timeout=self._timeout_s)

    def nearest(
        self, name: str, fill: int, probes: NDArray[np.float32], limit: int, ef: int
    ) -> list[list[tuple[int, int]]]:
        """Return keys and revisions of the rows that are nearest to each probe, float32 (n, d)."""
        with self._asking() as client:
            found = client.search(
                name,
                data=list(probes),
                anns_field="vector",
                limit=limit,
                filter=f"fill == {fill:d}",
                output_fields=["sample", "revision"],
                search_params={"metric_type": "L2", "params": {"ef": max(ef, limit)}},
                consistency_level="Session",
                timeout=self._timeout_s,
            )
        return [
            [(int(hit["entity"]["sample"]), int(hit["entity"]["revision"])) for hit in hits] for hits in found
        ]

    def forget(self, name: str, fill: int) -> None:
        """Remove all rows of a fill."""
        self._delete(name, f"fill == {fill:d}")

    def forget_marks(self, name: str, ids: Collection[int]) -> None:
        """Remove marks by their ids."""
        with self._asking() as client:
            client.delete(name, ids=list(ids), timeout=self._timeout_s)

    def sweep(
        self, name: str, fill: int, kept: Sequence[tuple[int, int]], gone: Sequence[int], until: int
    ) -> None:
        """Remove what is left of samples, of revisions up to `until`.

        kept: keys and revisions of samples of which the row of this revision stays.
        gone: keys of those of which none stays.
        """
        for start in range(0, len(gone), KEYS_PER_FILTER):
            some = list(gone[start : start + KEYS_PER_FILTER])
            self._delete(name, f"fill == {fill:d} and sample in {some}")
        for start in range(0, len(kept), KEYS_PER_FILTER):
            rows = kept[start : start + KEYS_PER_FILTER]
            keys, ids = [key for key, _ in rows], [_id_of(*each) for each in rows]
            older = f"fill == {fill:d} and sample in {keys} and revision <= {until:d} and id not in {ids}"
            self._delete(name, older)

    def seal(self, name: str) -> None:
        """Let Milvus close the segments that grow, so that they get their index."""
        with self._asking() as client:
            client.flush(name, timeout=self._timeout_s)

    def compact(self, name: str) -> None:
        """Let Milvus write its segments anew, without what was removed from them."""
        self.seal(name)
        with self._asking() as client:
            client.compact(name, timeout=self._timeout_s)

    def _delete(self, name: str, which: str) -> None:
        with self._asking() as client:
            client.delete(name, filter=which, timeout=self._timeout_s)

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        """Give the client, and say in our words what it raises. After a failure it connects anew."""
        client = self._opened()
        from pymilvus.exceptions import ConnectionNotExistException, MilvusException

        try:
            yield client
        except MilvusException as e:
            if isinstance(e, ConnectionNotExistException):
                self._drop(client)
            elif e.code in LOST or e.compatible_code == LOST_BEFORE:
                raise Lost from e
            elif e.code in (1, 2):  # it cannot be reached, or says no more than that it failed
                self._drop(client)
            raise GalleryUnavailable(AWAY) from e
        except Exception as e:  # of gRPC, and of a client that another thread has closed meanwhile
            if isinstance(e, GalleryUnavailable | Lost):
                raise
            self._drop(client)
            raise GalleryUnavailable(AWAY) from e

    def _opened(self) -> Any:
        with self._opening:
            if self._client is None:
                self._client = self._connected()
            return self._client

    def _connected(self) -> Any:
        from pymilvus import MilvusClient

        # It logs addresses and tracebacks; what it logs it raises, too.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        parts = urlsplit(self._address)
        options: dict[str, Any] = {
            "token": self._token or "",
            "timeout": self._timeout_s,
            "grpc_options": {"grpc.keepalive_time_ms": PING_EACH_MS},
        }
        if self.file is None:
            options["db_name"] = unquote(parts.path.strip("/"))
        try:
            if self.file is None:
                return MilvusClient(urlunsplit(parts._replace(path="")), dedicated=True, **options)
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            logging.getLogger("milvus_lite").setLevel(logging.CRITICAL)
            client = MilvusClient(str(self.file), dedicated=True, **options)
            self.file.chmod(0o700)  # a folder, in fact
            return client
        except Exception as e:
            raise GalleryUnavailable(AWAY if self.file is None else IN_USE) from e

    def _drop(self, client: Any) -> None:
        """Have a new client next time, unless that of a file, whose server goes on in this process."""
        with self._opening:
            if self.file is None and self._client is client:
                self._client = None
                client.close()


def collection_of(identity: str, fingerprint: str) -> str:
    """Return the name of the collection of a database's vectors of one model, but for their dimension."""
    return f"{prefix_of(identity)}{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}_"


def prefix_of(identity: str) -> str:
    """Return how the names of all collections of a database begin."""
    return f"faces_{hashlib.sha256(identity.encode()).hexdigest()[:16]}_"


def _id_of(key: int, revision: int) -> int:
    return key << REVISION_BITS | revision & ((1 << REVISION_BITS) - 1)


def _id_of_mark() -> int:
    """Return an id that nothing has: those of samples are positive."""
    return -1 - secrets.randbits(62)


def _mark(note: str) -> Mark:
    read = json.loads(note)
    witness = read.pop("witness")
    damaged = tuple(read.pop("damaged"))
    return Mark(**read, witness=witness and Witness(**witness), damaged=damaged)


def _without_user(address: str) -> tuple[str, str | None]:
    """Cut user and password out of an address, as `user:password`."""
    if "://" not in address:
        return address, None
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), unquote(user) if at else None
