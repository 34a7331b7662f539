"""PostgreSQL's indexes of vectors: of either kind, made anew under load, looked at harder if need be."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from galleries import MODEL, PROCESSES, a_sample, enrol, nearest_ids, vectors_of
from recognition.cli.main import cli
from recognition.config import read
from recognition.errors import ChangeStopped, GalleryUnavailable
from recognition.gallery import Gallery, changes, galleries, open_gallery, reindexing, vector_indexes
from recognition.gallery.reindexing import drop_index, reindex
from recognition.gallery.tables import DEFAULT_KEY
from recognition.gallery.vector_rows import FIRST
from running import LIMIT_S
from serving.errors import InvalidRequest

WITH_INDEX = "&options=-c%20enable_seqscan%3Doff"  # PostgreSQL reads every row of a small gallery
NAME = "samples_by_vector"
FLOAT, HALF = "vector_l2_ops", "halfvec_l2_ops"
SEEDS = range(40)
IDS = [str(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def backend() -> str:
    return "postgresql"


@contextmanager
def opened(url: str, *, half: bool, **options: Any) -> Iterator[Gallery]:
    with closing(open_gallery(url + WITH_INDEX, lock_timeout_s=5, halfvec=half, **options)) as gallery:
        yield gallery


def query(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []


def indexes(url: str) -> dict[str, str]:
    """The kind of each index of vectors, by its name."""
    read = query(url, "SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '%hnsw%'")
    return {name: HALF if HALF in definition else FLOAT for name, definition in read}


def scans(url: str, name: str = NAME) -> tuple[int, int]:
    """How often an index was searched, and how many rows it gave; connections are to be closed before."""
    ((times, rows),) = query(
        url, f"SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = '{name}'"
    )
    return times, rows


@pytest.mark.parametrize("half", [False, True])
def test_an_index_is_searched_by_processes_of_either_setting(url: str, half: bool) -> None:
    with opened(url, half=half) as one, opened(url, half=not half) as other:
        enrol(one, IDS, SEEDS)
        assert indexes(url) == {NAME: HALF if half else FLOAT}
        enrol(other, ["late"], [99])
        for gallery in (one, other):
            found = gallery.nearest(vectors_of(7, 99), 2, MODEL)
            assert [matches[0].sample.id for matches in found] == ["7", "late"]
            assert found[0][0].distance == 0  # exact, whatever the index holds
    assert scans(url)[0] == 4


@pytest.mark.parametrize(("dimension", "float_", "half"), [(2001, {}, {NAME: HALF}), (4001, {}, {})])
def test_16_bit_floats_take_longer_vectors(
    url: str, dimension: int, float_: dict[str, str], half: dict[str, str]
) -> None:
    with opened(url, half=False) as one, opened(url, half=True) as other:
        for gallery, expected in ((one, float_), (other, half)):
            gallery.clear()
            gallery.upsert([a_sample("a")], vectors_of(1, dimension=dimension), MODEL)
            assert indexes(url) == expected
            found = gallery.nearest(vectors_of(1, dimension=dimension), 1, MODEL)
            assert found[0][0].distance == 0
        if not half:
            with pytest.raises(InvalidRequest, match="up to 4000 values"):
                reindex(other)


def test_a_gallery_changes_its_kind_and_back_and_nothing_is_left(url: str) -> None:
    with opened(url, half=False) as plain, opened(url, half=True) as halved:
        enrol(plain, IDS, SEEDS)
        made = reindex(halved)
        assert made is not None and made[:2] == (128, True)
        assert indexes(url) == {NAME: HALF}
        assert [nearest_ids(each, 5) for each in (plain, halved)] == [["5"]] * 2
        made = reindex(plain)
        assert made is not None and made[:2] == (128, False)
        assert indexes(url) == {NAME: FLOAT}
        assert [nearest_ids(each, 5) for each in (plain, halved)] == [["5"]] * 2


@pytest.mark.parametrize("half", [False, True])
def test_searches_and_enrolments_go_on_while_it_is_made(url: str, half: bool) -> None:
    vectors = np.random.default_rng(1).normal(size=(3000, 128)).astype(np.float32)
    done = threading.Event()
    wrong: list[object] = []
    rounds = 0
    with opened(url, half=False) as gallery, opened(url, half=half) as maker:
        gallery.upsert([a_sample(str(n)) for n in range(len(vectors))], vectors, MODEL)

        def use() -> None:
            nonlocal rounds
            while not done.is_set():
                seed = 10_000 + rounds
                enrol(gallery, [f"new {seed}"], [seed])
                for asked, expected in (
                    (vectors_of(seed), f"new {seed}"),
                    (vectors[rounds % 3000, None], None),
                ):
                    match = gallery.nearest(asked, 1, MODEL, max_distance=1.0)[0][0]
                    if (expected is not None and match.sample.id != expected) or match.distance > 1e-3:
                        wrong.append((rounds, match))
                rounds += 1

        user = threading.Thread(target=use)
        user.start()
        try:
            for _ in range(3):
                reindex(maker)
        finally:
            done.set()
            user.join()
        assert not wrong
        assert rounds > 3
        assert gallery.count() == 3000 + rounds
        assert nearest_ids(gallery, 10_000 + rounds - 1) == [f"new {10_000 + rounds - 1}"]
    assert indexes(url) == {NAME: HALF if half else FLOAT}


def test_nobody_waits_for_one_that_is_made_for_another_gallery(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old transaction keeps it from ending."""
    monkeypatch.setattr("recognition.gallery.search_database.INDEXED_FROM", 3)
    with opened(url, half=False) as gallery, psycopg.connect(url.replace("+psycopg", "")) as old:
        enrol(gallery, IDS, SEEDS)
        lobby = gallery.of("lobby")
        galleries.make(gallery, "lobby")
        enrol(lobby, IDS[:2], SEEDS[:2])
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM samples")
        maker = threading.Thread(target=_reindex, args=(url,))
        maker.start()
        try:
            making = "SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = current_database()"
            deadline = time.monotonic() + LIMIT_S
            while query(url, making) != [(1,)]:
                assert maker.is_alive() and time.monotonic() < deadline
                maker.join(0.02)
            enrol(lobby, IDS[2:], SEEDS[2:])  # which is large enough now
            assert NAME + "_2" not in indexes(url)
            assert nearest_ids(lobby, 20) == ["20"]
            galleries.make(gallery, "vault")
            enrol(gallery.of("vault"), IDS[:1], SEEDS[:1])
            with pytest.raises(GalleryUnavailable, match="An index is being made"):
                gallery.clear()
        finally:
            old.rollback()
            maker.join()
        enrol(lobby, ["one more"], [99])
        assert NAME + "_2" in indexes(url)
        gallery.clear()
        assert (gallery.count(), lobby.count()) == (0, len(IDS) + 1)


def _reindex(url: str) -> None:
    with opened(url, half=True) as gallery:
        reindex(gallery)


def test_who_is_killed_leaves_nothing_in_the_way(url: str) -> None:
    """An old transaction keeps it from ending; the index beside is not valid then."""
    with opened(url, half=False) as gallery:
        enrol(gallery, IDS, SEEDS)
        with psycopg.connect(url.replace("+psycopg", "")) as old:
            old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            old.execute("SELECT count(*) FROM samples")
            process = PROCESSES.Process(target=_reindex, args=(url,))
            process.start()
            deadline = time.monotonic() + LIMIT_S
            while len(indexes(url)) < 2:
                assert process.is_alive() and time.monotonic() < deadline
                process.join(0.02)
            process.kill()
            process.join()
            query(
                url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'",
            )
            assert nearest_ids(gallery, 3) == ["3"]
        assert indexes(url) == {NAME: FLOAT, f"{NAME}_anew": HALF}
        ((valid,),) = query(
            url, f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{NAME}_anew'::regclass"
        )
        assert not valid
        enrol(gallery, ["late"], [99])
    _reindex(url)
    assert indexes(url) == {NAME: HALF}
    with opened(url, half=False) as gallery:
        assert [nearest_ids(gallery, seed) for seed in (3, 99)] == [["3"], ["late"]]


def test_what_was_built_before_a_kill_is_taken_and_what_was_replaced_removed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url, half=True) as gallery, opened(url, half=False) as plain:
        enrol(plain, IDS, SEEDS)
        built = vector_indexes.index_of(DEFAULT_KEY, FIRST, 128, half=True, name=f"{NAME}_anew")
        query(url, built)
        query(url, vector_indexes.index_of(DEFAULT_KEY, FIRST, 128, name=f"{NAME}_replaced"))

        def never(*_: object, **__: object) -> None:
            raise AssertionError("it is there")

        monkeypatch.setattr(reindexing, "make_beside", never)
        reindex(gallery)
        assert indexes(url) == {NAME: HALF}
        assert nearest_ids(plain, 8) == ["8"]


def test_a_gallery_that_is_emptied_meanwhile_keeps_its_own_index(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url, half=True) as gallery, opened(url, half=False) as other:
        enrol(other, IDS, SEEDS)
        make = reindexing.make_beside

        def and_then(*about: Any, **options: Any) -> None:
            make(*about, **options)
            other.clear()
            other.upsert([a_sample("a")], vectors_of(1, dimension=64), "other model")

        monkeypatch.setattr(reindexing, "make_beside", and_then)
        with pytest.raises(ChangeStopped):
            reindex(gallery)
        assert indexes(url) == {NAME: FLOAT}
        found = gallery.nearest(vectors_of(1, dimension=64), 1, "other model")
        assert found[0][0].sample.id == "a"


def test_other_galleries_and_second_vectors_have_indexes_of_their_own(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognition.gallery.search_database.INDEXED_FROM", 20)
    monkeypatch.setattr(reindexing, "INDEXED_FROM", 20)
    monkeypatch.setattr(changes, "INDEXED_FROM", 20)
    with opened(url, half=False) as gallery, opened(url, half=True) as halved:
        galleries.make(gallery, "lobby")
        lobby = gallery.of("lobby")
        enrol(gallery, ["of default"], [3])
        enrol(lobby, IDS[:10], SEEDS[:10])
        assert reindex(halved.of("lobby")) is None  # it is small
        enrol(lobby, IDS[10:], SEEDS[10:])
        ((key,),) = query(url, "SELECT key FROM galleries WHERE name = 'lobby'")
        own = f"{NAME}_{key}"
        assert indexes(url) == {NAME: FLOAT, own: FLOAT}
        reindex(halved.of("lobby"))
        assert indexes(url) == {NAME: FLOAT, own: HALF}

        job = changes.Job("b", "model-b", 64, "worker")
        changes.claim(halved.of("lobby"), job, "leave", unattended=False)
        with gallery.of("lobby").reading() as (connection, _):
            samples = connection.execute(sa.text("SELECT key FROM samples WHERE gallery = :g"), {"g": key})
            keys = samples.scalars().all()
        second = vectors_of(*keys, dimension=64)
        for at, vector in zip(keys, second, strict=True):
            values = f"({at}, {key}, '{vector.tolist()}', 'model-b')"
            query(url, f"INSERT INTO second_vectors (sample, gallery, vector, fingerprint) VALUES {values}")
        changes.index(halved.of("lobby"), job)
        theirs = f"second_vectors_by_vector_{key}"
        assert indexes(url) == {NAME: FLOAT, own: HALF, theirs: HALF}
        assert changes.change_over(halved.of("lobby"), job, -1, "a", None, wait=False)
        assert _nearest(lobby, second[4], "model-b") == _id_of(url, keys[4])
        reindex(lobby)  # of those that are searched now
        assert indexes(url) == {NAME: FLOAT, own: HALF, theirs: FLOAT}
        for each in (lobby, halved.of("lobby")):
            assert _nearest(each, second[4], "model-b") == _id_of(url, keys[4])
        galleries.delete(lobby)
        assert indexes(url) == {NAME: FLOAT}
        assert nearest_ids(gallery, 3) == ["of default"]


def _nearest(gallery: Gallery, vector: np.ndarray, fingerprint: str) -> str:
    return gallery.nearest(vector[np.newaxis], 1, fingerprint)[0][0].sample.id


def _id_of(url: str, key: int) -> str:
    ((sample_id,),) = query(url, f"SELECT sample_id FROM samples WHERE key = {key}")
    return str(sample_id)


def test_the_command_drops_it_before_a_bulk_load_and_makes_it_after(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(cli, ["gallery", "--database", url, "reindex", *arguments, "--json"])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    with opened(url, half=False) as gallery:
        enrol(gallery, IDS[:3], SEEDS[:3])
        assert run("--drop") == {"indexed": None}
        assert indexes(url) == {}
        enrol(gallery, IDS[3:], SEEDS[3:])
        assert indexes(url) == {}  # nobody makes it by the way
        assert nearest_ids(gallery, 20) == ["20"]
        monkeypatch.setenv("GALLERY_HALFVEC", "1")
        made = run()
        assert (made["indexed"], made["halfvec"], made["bytes"] > 0) == (128, True, True)
        assert indexes(url) == {NAME: HALF}
        assert nearest_ids(gallery, 20) == ["20"]
    assert read({"GALLERY_HALFVEC": "1"}).gallery_halfvec


def test_one_that_is_dropped_before_the_first_sample_is_not_made_by_it(url: str) -> None:
    arguments = ["gallery", "--database", url, "reindex"]
    with opened(url, half=False) as gallery:
        assert CliRunner().invoke(cli, [*arguments, "--drop"]).exit_code == 0
        enrol(gallery, IDS, SEEDS)
        assert indexes(url) == {}
        assert nearest_ids(gallery, 20) == ["20"]
        assert CliRunner().invoke(cli, arguments).exit_code == 0
        assert indexes(url) == {NAME: FLOAT}
        gallery.clear()
        enrol(gallery, IDS[:1], SEEDS[:1])  # nothing is loaded in bulk any more
        assert indexes(url) == {NAME: FLOAT}


def test_the_command_has_nothing_to_do_in_sqlite_or_without_samples(url: str, tmp_path: Path) -> None:
    file = f"sqlite:///{tmp_path / 'gallery.sqlite3'}"
    open_gallery(file, lock_timeout_s=5).close()
    for database, status, said in ((file, 2, "in SQLite"), (url, 1, "The gallery is empty")):
        result = CliRunner().invoke(cli, ["gallery", "--database", database, "reindex"])
        assert (result.exit_code, said in result.stderr) == (status, True)


def short_sighted(url: str) -> tuple[Gallery, np.ndarray, np.ndarray]:
    """A gallery with a very coarse index, and faces of which it misses some.

    Returns the gallery, vectors enrolled as "0", "1", ..., and a face close to each.
    """
    random = np.random.default_rng(5)
    vectors = (10 * random.normal(size=(1000, 128)) / np.sqrt(128)).astype(np.float32)
    gallery = open_gallery(url + WITH_INDEX, lock_timeout_s=30, ef_search=EF_SEARCH)
    enrol(gallery, ["first"], [1])
    drop_index(gallery)
    gallery.upsert([a_sample(str(n)) for n in range(len(vectors))], vectors, MODEL)
    good = f"(m = {vector_indexes.M}, ef_construction = {vector_indexes.EF_CONSTRUCTION})"
    statement = vector_indexes.index_of(DEFAULT_KEY, FIRST, 128)
    query(url, statement.replace(good, "(m = 3, ef_construction = 6)"))
    query(url, "UPDATE galleries SET indexed = 128")
    probes = vectors + (0.5 * 10 * random.normal(size=vectors.shape) / np.sqrt(128)).astype(np.float32)
    return gallery, vectors, probes


EF_SEARCH = 40  # more than PostgreSQL sorts at once
NEAR = 9.0  # all who are enrolled are nearer to their face, and all others farther


def found(gallery: Gallery, probes: np.ndarray, near: float | None) -> list[bool]:
    matches = gallery.nearest(probes, 1, MODEL, near=near)
    return [match.sample.id == str(place) for place, (match,) in enumerate(matches)]


def test_where_the_first_look_finds_nobody_the_index_is_looked_at_harder(url: str) -> None:
    gallery, vectors, probes = short_sighted(url)
    with closing(gallery):
        distances = np.linalg.norm(vectors - probes[:, None], axis=2)
        assert (np.diag(distances) < NEAR).all()
        assert (distances[~np.eye(len(vectors), dtype=bool)] > NEAR).all()
        once, harder = found(gallery, probes, None), found(gallery, probes, NEAR)
        missed = [place for place, hit in enumerate(once) if not hit]
        assert missed
        assert sum(harder) > sum(once)
        assert all(hit for hit, before in zip(harder, once, strict=True) if before)
        # The threshold of a request does the same, and so do several people.
        (place, *_) = [each for each in missed if harder[each]]
        for options in ({}, {"per_person": True}):
            asked = gallery.nearest(probes[place, None], 3, MODEL, max_distance=NEAR, **options)
            assert [match.sample.id for match in asked[0]] == [str(place)]


def test_only_the_probes_that_need_it_are_looked_for_harder(url: str) -> None:
    """In one statement: the index gives few rows to whom they satisfy, and twice its candidates to others."""
    gallery, vectors, _ = short_sighted(url)
    seen = vectors[found(gallery, vectors, None)][:5]
    strangers = -vectors[:3]
    sent: list[str] = []

    def note(*call: Any) -> None:
        if "probes" in call[3]:
            sent.append(call[2])

    counted = []
    for probes in (seen, strangers, np.concatenate([seen, strangers])):
        gallery.engine.dispose()  # the server counts what a connection has done when it ends
        before = scans(url)[1]
        sa.event.listen(gallery.engine, "before_cursor_execute", note)
        gallery.nearest(probes, 1, MODEL, max_distance=NEAR)
        sa.event.remove(gallery.engine, "before_cursor_execute", note)
        gallery.engine.dispose()
        counted.append(scans(url)[1] - before)
    gallery.close()
    assert len(sent) == 3
    assert counted[2] == counted[0] + counted[1]
    assert counted[0] <= 5 * EF_SEARCH
    assert counted[1] == 3 * 2 * EF_SEARCH


def test_a_wish_has_it_looked_at_harder_too(url: str) -> None:
    """Where nobody is as near as an ordinary face that comes to the wish."""
    gallery, _, probes = short_sighted(url)

    def likeliest(wish: float | None) -> int:
        matches = gallery.likeliest(probes, 1, MODEL, per_person=True, wish=wish)
        return sum(match.sample.id == str(place) for place, (match,) in enumerate(matches))

    with closing(gallery):
        assert likeliest(0.01) > likeliest(None)
