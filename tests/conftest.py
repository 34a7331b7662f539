"""Fixtures: the prepared models, the demo photographs, both services running, and galleries."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from galleries import FakeClock, MilvusServer, PostgreSQL, database_url, milvus_database, running_postgresql
from recognition.gallery import Gallery, open_gallery
from running import ROOT, Pair, running_pair
from serving.runtimes import stop_reports

stop_reports()  # of what the tests import themselves; test_offline.py takes it back for what it watches

os.environ["RECOGNITION_SETTINGS"] = os.devnull  # a settings file in the checkout is the developer's


@pytest.fixture(autouse=True)
def level_of_the_log() -> Iterator[None]:
    """Take back what commands set that run within a test."""
    logger = logging.getLogger("recognition")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def models_dir() -> Path:
    folder = Path(os.environ.get("MODELS_DIR", ROOT / "models"))
    command = [sys.executable, str(ROOT / "prepare_models.py"), "--models-dir", str(folder)]
    assert subprocess.run(command).returncode == 0
    return folder


@pytest.fixture(scope="session")
def demo(models_dir: Path) -> Path:
    return models_dir / "demo"


@pytest.fixture(scope="session")
def photographs(demo: Path) -> dict[str, list[Path]]:
    """Demo photographs for enrolment by person, in a stable order."""
    return {folder.name: sorted(folder.glob("*.jpg")) for folder in sorted((demo / "train").iterdir())}


@pytest.fixture(scope="session")
def session_pair(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("pair"), models_dir) as pair:
        yield pair


@pytest.fixture
def pair(session_pair: Pair) -> Pair:
    """The running services with an empty gallery."""
    assert requests.post(f"{session_pair.url}/clear-samples", timeout=30).ok
    return session_pair


@pytest.fixture(scope="session")
def as_base64() -> Callable[[Path], str]:
    return lambda path: base64.b64encode(path.read_bytes()).decode("ascii")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Milvus: MILVUS, or a server of milvus-lite."""
    if address := os.environ.get("MILVUS"):
        yield address
        return
    server = MilvusServer(tmp_path_factory.mktemp("milvus"))
    yield server.address
    server.kill()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """What runs once for each kind of database."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery without samples: a file to copy."""
    file = tmp_path_factory.mktemp("empty") / "gallery.sqlite3"
    open_gallery(f"sqlite:///{file}", lock_timeout_s=5).close()
    return file


@pytest.fixture(scope="session")
def empty_postgresql(postgresql: PostgreSQL) -> Iterator[str]:
    """A gallery without samples: a database to copy."""
    with postgresql.database() as name:
        open_gallery(postgresql.url(name), lock_timeout_s=5).close()
        yield name


@pytest.fixture
def sqlite_url(tmp_path: Path, empty_sqlite: Path) -> str:
    """A new SQLite file, which has its tables: for what is the same with any database."""
    file = shutil.copy(empty_sqlite, tmp_path / "gallery.sqlite3")
    return f"sqlite:///{file}"


@pytest.fixture
def url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new database, which has its tables."""
    with database_url(backend, tmp_path, request) as url:
        yield url


@pytest.fixture
def bare_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new database without tables; a SQLite file that is not there."""
    with database_url(backend, tmp_path, request, tables=False) as url:
        yield url


@pytest.fixture
def index(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Where the index of the gallery is: nowhere, but for tests that are marked `also_in_milvus`."""
    if getattr(request, "param", None) is None:
        yield None
        return
    with milvus_database(request.getfixturevalue("milvus")) as address:
        yield address


@pytest.fixture
def gallery(url: str, index: str | None) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, index=index)
    yield gallery
    gallery.close()


@pytest.fixture
def other(url: str, gallery: Gallery, index: str | None) -> Iterator[Gallery]:
    """The same gallery as another worker has it."""
    other = open_gallery(url, lock_timeout_s=5, index=index)
    yield other
    other.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
