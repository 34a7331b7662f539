"""What comes over from CompreFace, from each kind of source alike."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

import compreface_source
from compreface_source import (
    INVISIBLE,
    ODD,
    REFUSED,
    a_key,
    an_id,
    answering,
    door,
    dump,
    grey,
    home,
    many,
    packed,
)
from fakes import FACE, EmbedderOfGreys
from galleries import PostgreSQL
from recognition import client_keys
from recognition.app import decoding_here, make_enroller, make_sight
from recognition.config import read
from recognition.enrolling import Enroller
from recognition.errors import GalleryUnavailable
from recognition.faces import Face
from recognition.gallery import Gallery, applications, galleries, open_gallery, people, services, transfer
from recognition.takeover import dump as dumps
from recognition.takeover.database import Database
from recognition.takeover.dump import Dump
from recognition.takeover.report import Report
from recognition.takeover.rest import Rest
from recognition.takeover.source import Service, Source, SourceFailure
from recognition.takeover.taking import Wishes, shown_name, take_over

MAX_BYTES = 4000
SQL = {"sql": [], "inserts": ["--inserts"], "columns": ["--column-inserts"], "rows": ["--rows-per-insert=3"]}
OWN = {"custom": ["-Fc"], "stored": ["-Fc", "-Z0"], "own inserts": ["-Fc", "--inserts"], "tar": ["-Ft"]}
FOLDER = {"folder": ["-Fd"]}


def faces_in(pixels: np.ndarray) -> list[Face]:
    """None in what is black, two in what is white."""
    level = int(pixels[0, 0, 0])
    return [FACE] * (0 if level < 5 else 2 if level > 240 else 1)


def enroller(**variables: str) -> Enroller:
    settings = read({"MIN_QUALITY": "0"} | variables)
    return make_enroller(settings, make_sight(settings, decoding_here(settings), faces_in, EmbedderOfGreys()))


def taken(source: Source, where: Gallery | None, enrol: Any = None, **wishes: Any) -> Report:
    """Take over a source, and tell what became of it; what was to be done adds up to what was."""
    report, steps = Report(), [0, 0]

    def progress(total: int) -> Callable[[int], object]:
        steps[0] = total
        return lambda done: steps.__setitem__(1, steps[1] + done)

    take_over(source, where, enrol or enroller(), Wishes(**wishes), report, progress)
    assert steps[0] == steps[1]
    return report


def names(gallery: Gallery) -> dict[str, str]:
    """By the ids of its samples, what their people are called."""
    return {sample.id: sample.name for sample in gallery.page(limit=10_000)}


def people_of(gallery: Gallery) -> list[str]:
    return sorted(person.name for person in people.page(gallery, limit=1000).persons)


def refused(report: Report) -> dict[str, str]:
    return {line.id or "": line.code for line in report.refused}


@pytest.fixture(scope="module", autouse=True)
def pg_restore(postgresql: PostgreSQL) -> Iterator[str]:
    """The one that fits the server, whose dumps an older one cannot read."""
    program = str(postgresql.programs / "pg_restore")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dumps, "PG_RESTORE", program)
        yield program


@pytest.fixture(scope="module")
def home_url(postgresql: PostgreSQL) -> Iterator[str]:
    with compreface_source.database(postgresql, home()) as url:
        yield url


KINDS = ["database", "rest", *SQL, *OWN, *FOLDER, "packed"]


@pytest.fixture(scope="module", params=KINDS)
def source(
    request: pytest.FixtureRequest,
    postgresql: PostgreSQL,
    home_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Source]]:
    """Open CompreFace's things, as often as is wanted."""
    kind: str = request.param
    if kind == "database":
        yield lambda: Database(home_url, MAX_BYTES)
    elif kind == "rest":
        with answering(home()) as url:

            def log_in() -> Source:
                rest = Rest(url, [], MAX_BYTES)
                rest.log_in(compreface_source.EMAIL, compreface_source.PASSWORD)
                return rest

            yield log_in
    else:
        file = tmp_path_factory.mktemp("dump") / "frs.dump"
        dump(postgresql, home_url, file, *({**SQL, **OWN, **FOLDER, "packed": []}[kind]))
        if kind == "packed":
            file = packed(file)
        yield lambda: Dump(file, MAX_BYTES)


@contextmanager
def opened(source: Callable[[], Source]) -> Iterator[Source]:
    opened = source()
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def here(empty_sqlite: Path, tmp_path: Path) -> Iterator[Gallery]:
    """A gallery in SQLite: enough for what is about the kinds of sources."""
    file = shutil.copy(empty_sqlite, tmp_path / "gallery.sqlite3")
    gallery = open_gallery(f"sqlite:///{file}", lock_timeout_s=5)
    yield gallery
    gallery.close()


def test_everything_comes_over_from_each_kind_of_source(here: Gallery, source: Callable[[], Source]) -> None:
    everything_comes_over(here, source)


def test_everything_comes_over_into_each_kind_of_gallery(gallery: Gallery, home_url: str) -> None:
    everything_comes_over(gallery, lambda: Database(home_url, MAX_BYTES))


def everything_comes_over(gallery: Gallery, source: Callable[[], Source]) -> None:
    with opened(source) as theirs:
        report = taken(theirs, gallery)
    (first, look, same, second) = services.listed(gallery)
    assert [(each.name, each.kind, each.gallery) for each in (first, look, same, second)] == [
        ("Door", "recognition", "Door"),
        ("Look", "detection", None),
        ("Same?", "verification", None),
        ("Door", "recognition", "Door-2"),
    ]
    assert services.find(gallery, client_keys.digest(a_key(100))) == first
    assert services.find(gallery, client_keys.digest(a_key(103).upper())) == second
    assert {app.name: app.id for app in applications.listed(gallery)} == {
        "Home": first.app,
        "Büro": second.app,
    }
    assert galleries.names(gallery) == ["Door", "Door-2", "default"]

    own = gallery.of("Door")
    assert names(own) == {row.id: shown_name(row.subject) for row in door().examples[len(REFUSED) :]}
    assert people_of(own) == sorted(map(shown_name, ODD))
    kept = [name for name in ODD if name != INVISIBLE and "\n" not in name]
    assert set(kept) < set(people_of(own))
    assert shown_name("two\nlines\tand a tab") == "two lines and a tab"
    assert shown_name(INVISIBLE).startswith("unnamed (")
    assert names(gallery.of("Door-2")) == {an_id(40): "Anna"}
    assert list(transfer.faults(gallery)) == []

    assert refused(report) == {an_id(number): code for number, code in REFUSED.items()}
    assert [(line.id, line.code) for line in report.warnings if line.code == "several_faces"] == [
        (an_id(30), "several_faces")
    ]
    assert {(line.subject, line.code) for line in report.notes} == {
        (INVISIBLE, "renamed"),
        ("two\nlines\tand a tab", "renamed"),
        ("Anna", "namesakes"),
    }
    value = report.value()
    assert (value["taken"], value["already"], value["moved"]) == (10, 0, 0)
    assert [each["name"] for each in value["services"] if "passed_over" in each] == ["Demo"]
    assert not report.complete()


def test_again_nothing_is_done_twice(here: Gallery, source: Callable[[], Source]) -> None:
    with opened(source) as theirs:
        taken(theirs, here)
    before = [(sample.id, sample.modified) for sample in here.of("Door").page(limit=100)]
    people_before = people_of(here.of("Door"))

    def no_more_than_those(where: Gallery, enrolments: Any) -> Any:
        assert {each.id for each in enrolments} <= {an_id(1), an_id(2)}
        return enroller()(where, enrolments)

    with opened(source) as theirs:
        report = taken(theirs, here, no_more_than_those)
    assert (report.value()["taken"], report.value()["already"]) == (0, 10)
    assert refused(report) == {an_id(number): code for number, code in REFUSED.items()}
    assert [(sample.id, sample.modified) for sample in here.of("Door").page(limit=100)] == before
    assert people_of(here.of("Door")) == people_before
    assert len(services.listed(here)) == 4


def test_a_dry_run_changes_nothing(here: Gallery, source: Callable[[], Source]) -> None:
    for where in (None, here):
        report = Report(dry=True)
        with opened(source) as theirs:
            take_over(theirs, where, None, Wishes(), report, lambda total: lambda done: None)
        assert report.value()["taken"] == 13
        assert [each.new for each in report.services.values()] == [True, True, True, True, False]
    assert galleries.names(here) == ["default"]
    assert services.listed(here) == applications.listed(here) == []


def test_what_belongs_nowhere_is_told(
    postgresql: PostgreSQL, home_url: str, tmp_path: Path, gallery: Gallery
) -> None:
    for source in (
        Database(home_url, MAX_BYTES),
        Dump(dump(postgresql, home_url, tmp_path / "sql"), MAX_BYTES),
    ):
        told = {each.code: each.detail for each in taken(source, gallery).troubles}
        source.close()
        assert told == {
            "no_subject": f"The example {an_id(61)} belongs to no subject of a service.",
            "orphans": "1 pictures belong to no example, as deleting leaves them.",
        }


@pytest.fixture
def rest() -> Iterator[Callable[..., Rest]]:
    """Open a source of services, by their keys, that answers as it should."""
    opened: list[Any] = []

    def open_(*theirs: compreface_source.Service, **behaviour: Any) -> Rest:
        running = answering(theirs, compreface_source.Behaviour(**behaviour))
        url = running.__enter__()
        source = Rest(url, [Service(each.name, "recognition", each.key) for each in theirs], MAX_BYTES)
        opened.append((running, source))
        return source

    yield open_
    for running, source in opened:
        source.close()
        running.__exit__(None, None, None)


def test_only_some_services(gallery: Gallery, home_url: str) -> None:
    source = Database(home_url, MAX_BYTES)
    report = taken(source, gallery, only=frozenset({"Büro/Door", "Look"}), gallery="there")
    assert [each.service.name for each in report.services.values()] == ["Look", "Door"]
    assert names(gallery.of("there")) == {an_id(40): "Anna"}
    with pytest.raises(
        SourceFailure, match="no service called Cellar; it has Büro/Door, Demo, Demo app/Demo,"
    ):
        taken(source, gallery, only=frozenset({"Cellar"}))
    with pytest.raises(SourceFailure, match="--gallery is for one recognition service"):
        taken(source, gallery, gallery="there")
    source.close()


def test_keys_that_others_can_guess_come_if_asked_for(gallery: Gallery, home_url: str) -> None:
    source = Database(home_url, MAX_BYTES)
    report = taken(source, gallery, only=frozenset({"Demo"}))
    assert "others can guess its key" in next(iter(report.lines()))
    assert services.listed(gallery) == []
    taken(source, gallery, only=frozenset({"Demo"}), guessable=True)
    source.close()
    (demo,) = services.listed(gallery)
    assert demo.guessable
    assert names(gallery.of("Demo")) == {an_id(50): "Will Smith"}


def test_a_key_that_is_none_is_passed_over(gallery: Gallery, rest: Callable[..., Rest]) -> None:
    source = rest(compreface_source.Service("x", "no key\r\nX-Other: header"))
    report = taken(source, gallery)
    assert list(report.lines()) == ["x: passed over: its key is no UUID."]
    assert not report.complete()


def test_poor_faces_are_refused_unless_all_are_wanted(gallery: Gallery, rest: Callable[..., Rest]) -> None:
    source = rest(many(3))
    report = taken(source, gallery, enroller(MIN_QUALITY="1"))
    assert set(refused(report).values()) == {"low_quality"}
    report = taken(source, gallery, enroller(MIN_QUALITY="1"), take_all=True)
    assert report.value()["taken"] == 3
    assert [service.take_all for service in services.listed(gallery)] == [False]  # it was there already


def test_take_all_is_what_the_service_does_later_on(gallery: Gallery, rest: Callable[..., Rest]) -> None:
    taken(rest(many(3)), gallery, take_all=True)
    assert [service.take_all for service in services.listed(gallery)] == [True]


def test_a_picture_beyond_the_limit_is_not_read(
    postgresql: PostgreSQL, gallery: Gallery, tmp_path: Path, rest: Callable[..., Rest]
) -> None:
    large, fitting = b"\xff" * (MAX_BYTES + 2000), b"\xff" * MAX_BYTES
    contents = [large, fitting, grey(40), b"\xff" * (MAX_BYTES + 1)]
    service = many(4, lambda place: contents[place])
    expected = {an_id(1000): "image_too_large", an_id(1001): "invalid_image", an_id(1003): "image_too_large"}
    with compreface_source.database(postgresql, [service]) as url:
        sources: list[Source] = [Database(url, MAX_BYTES), rest(service)]
        for name, options in (SQL | OWN).items():
            sources.append(Dump(dump(postgresql, url, tmp_path / name, *options), MAX_BYTES))
        for source in sources:
            assert refused(taken(source, gallery)) == expected
            source.close()
    assert names(gallery.of("Many")) == {an_id(1002): "subject 0"}


def test_one_picture_of_two_examples(postgresql: PostgreSQL, gallery: Gallery, tmp_path: Path) -> None:
    """As services have that were copied."""
    with compreface_source.database(postgresql, [many(2)], stray=False) as url:
        with psycopg.connect(url) as connection:
            (shared,) = connection.execute("SELECT img_id FROM embedding LIMIT 1").fetchone() or ()
            connection.execute("UPDATE embedding SET img_id = %s", [shared])
        source = Dump(dump(postgresql, url, tmp_path / "sql"), MAX_BYTES)
        report = taken(source, gallery)
        source.close()
    assert set(names(gallery.of("Many"))) == {an_id(1000), an_id(1001)}
    assert [each.code for each in report.troubles] == ["orphans"]


def test_an_example_of_another_subject_by_now_moves(gallery: Gallery, rest: Callable[..., Rest]) -> None:
    taken(rest(many(12)), gallery)
    own = gallery.of("Many")
    (by_hand,) = {each.person for each in own.page(limit=20) if each.id == an_id(1011)}
    people.change_sample(own, an_id(1001), {"person": by_hand})  # here somebody knew better
    service = many(12)
    renamed = tuple(compreface_source.Row(row.id, "Renamed", row.content) for row in service.examples[:2])
    source = rest(replace(service, examples=(*renamed, *service.examples[2:])))
    report = taken(source, gallery)
    assert (report.value()["moved"], report.value()["already"], report.value()["taken"]) == (1, 11, 0)
    assert names(own)[an_id(1000)] == "Renamed"
    assert names(own)[an_id(1001)] == "subject 1"
    assert [(line.id, line.code) for line in report.warnings if line.code == "elsewhere"] == [
        (an_id(1001), "elsewhere")
    ]


def test_who_was_here_before_is_joined(gallery: Gallery, rest: Callable[..., Rest]) -> None:
    """Clients may have enrolled here before the old examples come."""
    services.add(gallery, "Many", "recognition", client_keys.digest(many(1).key), gallery_name="first")
    own = gallery.of("first")
    known = people.make(own, "SUBJECT 0", person_id="their own id")
    taken(rest(many(11)), gallery)
    assert {sample.person for sample in own.page(limit=10)} == {known.id}
    assert people_of(own) == ["SUBJECT 0", "subject 1"]
    assert names(own)[an_id(1000)] == "SUBJECT 0"


def test_ids_of_people_do_not_tell_names_without_the_key(gallery: Gallery, rest: Callable[..., Rest]) -> None:
    """They outlive people in audit logs and receipts, where others could try names on them."""
    first, second = many(1), replace(many(1), name="Other", key=a_key(134))
    taken(rest(first), gallery)
    taken(rest(second), gallery)
    ids = {sample.person for name in ("Many", "Other") for sample in gallery.of(name).page(limit=9)}
    assert len(ids) == 2


def test_what_is_changed_here_stays(gallery: Gallery, rest: Callable[..., Rest]) -> None:
    taken(rest(many(2)), gallery)
    own = gallery.of("Many")
    (person,) = people.page(own, limit=2).persons
    people.change(own, person.id, {"name": "Maria"})
    assert taken(rest(many(2)), gallery).value()["already"] == 2
    assert people_of(own) == ["Maria"]


def test_a_service_of_the_name_is_there(gallery: Gallery, rest: Callable[..., Rest]) -> None:
    services.add(gallery, "Many", "detection", client_keys.digest(a_key(132)))
    services.add(gallery, "Many 2", "detection", client_keys.digest(a_key(133)))
    taken(rest(many(1)), gallery)
    assert [each.name for each in services.listed(gallery)] == ["Many", "Many 2", "Many 3"]


def test_a_key_of_another_kind_is_passed_over(gallery: Gallery, rest: Callable[..., Rest]) -> None:
    services.add(gallery, "Many", "detection", client_keys.digest(many(1).key))
    assert list(taken(rest(many(1)), gallery).lines()) == [
        "Many: passed over: its key opens a detection service here."
    ]


def test_what_is_taken_when_the_gallery_fails_stays(gallery: Gallery, rest: Callable[..., Rest]) -> None:
    enrol, calls = enroller(), []

    def failing(where: Gallery, enrolments: Any) -> Any:
        calls.append(len(enrolments))
        if len(calls) == 2:
            raise GalleryUnavailable("It is locked.")
        return enrol(where, enrolments)

    source, report = rest(many(100)), Report()
    with pytest.raises(GalleryUnavailable):
        take_over(source, gallery, failing, Wishes(), report, lambda total: lambda done: None)
    assert calls == [32, 32]
    assert gallery.of("Many").count() == report.value()["taken"] == 32
    again = taken(source, gallery)
    assert (again.value()["already"], again.value()["taken"]) == (32, 68)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there is no table app"),
        (b"%PDF-1.7 no dump\n", "there is no table app"),
        (b"CREATE TABLE public.app (\n    id bigint,\n    name text\n);\n", "there is no table model"),
        (b"COPY public.app (id, guid) FROM stdin;\n\\.\n", "no column name in its table app"),
        (b"COPY public.app (id, name) FROM stdin;\n0\tHome\n", "ends in the middle of the table app"),
        (b"INSERT INTO public.app VALUES (0, 'Home');\n", "make it with --column-inserts"),
        (b"INSERT INTO public.app (id, name) VALUES (0, 'Home\n", "ends in the middle of the table app"),
        (b"SET client_encoding = 'WIN1252';\n", "make it with pg_dump --encoding=UTF8"),
        (b"\x28\xb5\x2f\xfd...", "packed with zstd: unpack it first"),
        (b"\x1f\x8b...", "cannot be unpacked"),
        (b"PGDMP\x01\x63\x00", "The dump cannot be read: pg_restore: error: unsupported version"),
    ],
)
def test_a_file_that_is_no_dump(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "dump"
    file.write_bytes(content)
    with pytest.raises(SourceFailure, match=said):
        Dump(file, MAX_BYTES)


@pytest.mark.parametrize("kind", ["sql", "inserts", "custom", "packed"])
def test_a_dump_that_ends_early(
    kind: str, postgresql: PostgreSQL, home_url: str, tmp_path: Path, gallery: Gallery
) -> None:
    file = dump(postgresql, home_url, tmp_path / "dump", *({**SQL, **OWN, "packed": []}[kind]))
    if kind == "packed":
        file = packed(file)
    whole = file.read_bytes()
    for share in (0.3, 0.5, 0.7):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(SourceFailure):
            taken(Dump(file, MAX_BYTES), gallery)


def test_without_pg_restore(
    postgresql: PostgreSQL, home_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = dump(postgresql, home_url, tmp_path / "dump", "-Fc")
    monkeypatch.setattr(dumps, "PG_RESTORE", "no-such-program")
    with pytest.raises(SourceFailure, match="pg_restore has to read: install it"):
        Dump(file, MAX_BYTES)
    with pytest.raises(SourceFailure, match="Unpack the dump first"):
        Dump(packed(file), MAX_BYTES)


def test_a_folder_that_is_no_dump(tmp_path: Path) -> None:
    with pytest.raises(SourceFailure, match="is a folder, and no dump"):
        Dump(tmp_path, MAX_BYTES)
    with pytest.raises(FileNotFoundError):
        Dump(tmp_path / "none", MAX_BYTES)


def test_the_database_is_read_as_of_one_moment_and_never_written(home_url: str, gallery: Gallery) -> None:
    source = Database(home_url, MAX_BYTES)
    assert len(source.services()) == 5
    with psycopg.connect(home_url) as connection:
        connection.execute("UPDATE subject SET subject_name = 'later' WHERE subject_name = 'Will Smith'")
    try:
        taken(source, gallery, only=frozenset({"Demo"}), guessable=True)
        assert people_of(gallery.of("Demo")) == ["Will Smith"]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            source._connection.execute("DELETE FROM subject")
    finally:
        source.close()
        with psycopg.connect(home_url) as connection:
            connection.execute("UPDATE subject SET subject_name = 'Will Smith' WHERE subject_name = 'later'")


def test_a_database_that_is_none(postgresql: PostgreSQL) -> None:
    with (
        postgresql.database() as name,
        pytest.raises(SourceFailure, match=r"there is no table app\. CompreFace before 0\.6\.0"),
    ):
        Database(postgresql.url(name).replace("+psycopg", ""), MAX_BYTES)
    with pytest.raises(SourceFailure, match="cannot be read") as e:
        Database("postgresql://someone:a-secret@127.0.0.1:1/frs", MAX_BYTES)
    assert "a-secret" not in e.value.detail


def test_a_tar_has_the_pictures_in_files_of_their_own(
    postgresql: PostgreSQL, home_url: str, tmp_path: Path
) -> None:
    """So that `tar` is really read as one, by its first file."""
    with tarfile.open(dump(postgresql, home_url, tmp_path / "dump", "-Ft")) as archive:
        assert archive.getnames()[0] == dumps.CONTENTS
