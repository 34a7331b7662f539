"""PostgreSQL behind PgBouncer in transaction mode: each transaction may get another of its connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import psycopg
import pytest
from click.testing import CliRunner

from galleries import (
    MODEL,
    OtherProcess,
    PostgreSQL,
    a_sample,
    enrol,
    nearest_ids,
    running_pgbouncer,
    vectors_of,
)
from recognition.errors import GalleryUnavailable
from recognition.gallery import open_gallery
from recognition.gallery.__main__ import cli
from recognition.gallery.database import transaction

CONNECTIONS = 3


@pytest.fixture(scope="module")
def pooled(postgresql: PostgreSQL) -> Iterator[Callable[[str], str]]:
    with running_pgbouncer(postgresql, CONNECTIONS) as url:
        yield url


@pytest.fixture
def url(postgresql: PostgreSQL, pooled: Callable[[str], str]) -> Iterator[str]:
    """A new database, behind the pooler."""
    with postgresql.database() as name:
        yield pooled(name)


def test_many_threads_of_several_processes_share_few_connections(url: str) -> None:
    threads, each = 8, 6
    with closing(open_gallery(url, lock_timeout_s=30)) as here, ExitStack() as stack:
        elsewhere = [OtherProcess(url) for _ in range(2)]
        for process in elsewhere:
            stack.callback(process.close)

        def work(thread: int) -> None:
            for number in range(each):
                seed = each * thread + number
                enrol(here, [f"{seed}"], [seed])
                assert nearest_ids(here, seed) == [f"{seed}"]
            here.delete(f"{each * thread}")

        for process, seed in zip(elsewhere, (1000, 2000), strict=True):
            new = [a_sample(f"{seed + number}") for number in range(40)]
            process.begin("upsert", new, vectors_of(*range(seed, seed + 40)), MODEL)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
        assert [len(process.result().people) for process in elsewhere] == [40, 40]
        assert here.count() == threads * (each - 1) + 80
        assert all(process.call("count") == here.count() for process in elsewhere)
        assert nearest_ids(here, 1007) == ["1007"]


def test_each_transaction_brings_its_settings_along_and_leaves_none(url: str) -> None:
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "hnsw.ef_search")
    with closing(open_gallery(url, lock_timeout_s=7, ef_search=77)) as gallery:
        enrol(gallery, ["a"], [1])
        for write in (False, True):
            with transaction(gallery.engine, write=write) as connection:
                in_force = [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]
                isolation = connection.exec_driver_sql("SHOW transaction_isolation").scalar_one()
            assert in_force == ["7s", "7s", "7s", "77"]
            assert isolation == ("read committed" if write else "repeatable read")
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as somebody_else:
        for name in names[:3]:
            assert somebody_else.execute(f"SHOW {name}").fetchone() == ("0",)


def test_who_waits_too_long_for_a_lock_is_told_so(url: str) -> None:
    with (
        closing(open_gallery(url, lock_timeout_s=5)) as gallery,
        closing(open_gallery(url, lock_timeout_s=0.2)) as impatient,
        transaction(gallery.engine, write=True),
        pytest.raises(GalleryUnavailable),
    ):
        enrol(impatient, ["a"], [1])


def test_a_gallery_goes_out_and_comes_back(url: str, tmp_path: Path) -> None:
    with closing(open_gallery(url, lock_timeout_s=30)) as gallery:
        many = [a_sample(f"{number:04}") for number in range(1500)]
        gallery.upsert(many, np.random.default_rng(1).normal(size=(1500, 8)).astype(np.float32), MODEL)
        file = str(tmp_path / "file")
        for command, said in (
            (["verify"], "1500 samples, no faults."),
            (["export", file], "1500 samples exported."),
            (["import", file], "0 of 1500 samples imported; the others were there already."),
        ):
            result = CliRunner().invoke(cli, ["--database", url, *command])
            assert (result.exit_code, result.stdout) == (0, f"{said}\n")


def test_statements_are_prepared_only_where_no_pooler_stands_in_between(
    postgresql: PostgreSQL, pooled: Callable[[str], str]
) -> None:
    with postgresql.database() as name:
        direct, behind = postgresql.url(name), pooled(name)
        for url, expected in ((direct, True), (behind, False), (f"{direct}&prepare_threshold=999", False)):
            with closing(open_gallery(url, lock_timeout_s=5)) as gallery:
                enrol(gallery, ["a"], [1])
                for _ in range(8):
                    nearest_ids(gallery, 1)
                with transaction(gallery.engine) as connection:
                    prepared = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements")
                    assert (prepared.scalar_one() > 0) == expected, url
