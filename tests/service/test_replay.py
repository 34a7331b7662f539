"""What an old backup brings back is erased again, as the audit log and receipts say; nothing else is."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from galleries import MODEL, FakeClock, a_sample, vectors_of
from recognition.audit import Audit
from recognition.cli.main import cli
from recognition.gallery import Gallery, open_gallery, people, subjects, transfer
from recognition.gallery.erasures import read
from recognition.gallery.replay import Replay, replay

STEP = timedelta(minutes=1)


@dataclass
class World:
    """A gallery with an audit log, a clock that goes on with every change, and backups."""

    url: str
    log: Path
    clock: FakeClock
    gallery: Gallery
    unseen: Gallery  # whose changes are in no log

    def enrol(self, *ids: str, name: str | None = None, **more: Any) -> dict[str, str]:
        """Returns the people by the ids of the samples."""
        self.clock.now += STEP
        times = {"created": self.clock(), "modified": self.clock()}
        names = {} if name is None else {"name": name}
        new = [a_sample(each, **times, **names, **more) for each in ids]
        return self.gallery.upsert(new, vectors_of(*range(len(ids))), MODEL).people

    def do(self, change: Callable[..., Any], *args: Any, **more: Any) -> Any:
        self.clock.now += STEP
        return change(self.gallery, *args, **more)

    def delete(self, sample_id: str) -> None:
        self.do(Gallery.delete, sample_id)

    def backup(self) -> bytes:
        return b"".join(transfer.export(self.unseen))

    def restore(self, backup: bytes) -> None:
        self.clock.now += STEP
        self.unseen.clear()
        transfer.import_file(self.unseen, io.BytesIO(backup))

    def replay(self, *, dry_run: bool = False, **more: Any) -> Replay:
        self.clock.now += STEP
        with self.log.open("rb") as lines:
            journal = read([lines], **more)
        return replay(self.gallery, journal, dry_run=dry_run)

    def samples(self) -> list[str]:
        return [sample.id for sample in self.unseen.page(limit=1000)]

    def people(self) -> list[str]:
        return [person.id for person in people.page(self.unseen, limit=1000).persons]


@pytest.fixture
def world(url: str, tmp_path: Path, clock: FakeClock) -> Iterator[World]:
    log = tmp_path / "audit"
    with (
        closing(open_gallery(url, 5, clock=clock, audit=Audit(log, clock))) as gallery,
        closing(open_gallery(url, 5, clock=clock)) as unseen,
    ):
        yield World(url, log, clock, gallery, unseen)


def test_what_was_erased_after_the_backup_is_erased_again(world: World) -> None:
    world.do(people.make, "Eve", person_id="eve", metadata={"consent": "in writing"})
    world.do(people.make, "Zoe", person_id="zoe")
    soon = world.clock() + 20 * STEP
    world.enrol("expires", expires_at=soon + timedelta(days=300))
    world.enrol("a", "b", "c", "d")
    world.enrol("e", person="eve")
    backup = world.backup()
    world.delete("a")
    world.do(Gallery.delete_named, "name of b")
    world.do(people.delete, "eve")
    world.do(people.change_sample, "expires", {"expires_at": soon})
    world.clock.now = soon
    world.gallery.remove_expired()
    assert (world.samples(), world.people()) == (["c", "d"], [*world.people()])
    world.restore(backup)
    before = world.samples(), world.people()
    expected = Replay(samples=["a", "b", "e", "expires"], persons=["eve"])
    assert world.replay(dry_run=True) == expected
    assert (world.samples(), world.people()) == before
    assert world.replay() == expected
    assert world.samples() == ["c", "d"]
    assert len(world.people()) == 3 and "zoe" in world.people()
    assert world.replay() == Replay()
    assert list(transfer.faults(world.gallery)) == []
    done = [json.loads(line) for line in world.log.read_text().splitlines()][-1]
    assert (done["what"], done["outcome"], done["persons"]) == ("delete", "done", ["eve"])


def test_whoever_was_enrolled_anew_stays(world: World) -> None:
    world.enrol("a", "b", "c", name="Ann")
    backup = world.backup()
    for each in "abc":
        world.delete(each)
    world.enrol("c", name="Ann")  # which the restored backup lacks
    world.restore(backup)
    world.enrol("a", name="Ann")  # in the place of the row that is back
    assert world.replay() == Replay(samples=["b", "c"], stay=["a"])
    world.enrol("b", name="Ann")
    assert world.replay() == Replay(stay=["a", "b"])
    assert world.samples() == ["a", "b"]


def test_a_person_who_was_enrolled_anew_keeps_only_what_is_new(world: World) -> None:
    world.do(people.make, "Eve", person_id="eve")
    world.enrol("old", person="eve")
    backup = world.backup()
    world.do(people.delete, "eve")
    world.restore(backup)
    world.enrol("new", person="eve")
    assert world.replay() == Replay(samples=["old"], stay=["new"])
    assert (world.samples(), world.people()) == (["new"], ["eve"])


CHANGES: dict[str, Callable[[World], Any]] = {
    "changed": lambda world: world.do(people.change_sample, "a", {"metadata": 1}),
    "moved": lambda world: world.do(people.change_sample, "a", {"name": "Ben"}),
    "renamed": lambda world: world.do(people.change, world.gallery.get("a").person, {"name": "Ben"}),
    "merged": lambda world: world.do(people.merge, world.gallery.get("a").person, "eve"),
}


@pytest.mark.parametrize("how", CHANGES)
def test_what_was_only_changed_since_is_erased_all_the_same(world: World, how: str) -> None:
    world.do(people.make, "Eve", person_id="eve")
    world.enrol("a", name="Ann")
    backup = world.backup()
    world.delete("a")
    world.restore(backup)
    CHANGES[how](world)
    assert world.replay() == Replay(samples=["a"])
    assert (world.samples(), world.people()) == ([], ["eve"])


def test_what_the_log_does_not_decide_stays_and_is_told(world: World) -> None:
    world.enrol("a", "b")
    backup = world.backup()
    world.delete("a")
    world.restore(backup)
    lines = world.log.read_bytes()
    world.do(people.change_sample, "a", {"metadata": 1})
    assert replay(world.gallery, read([io.BytesIO(lines)])) == Replay(unclear=["a"])
    # It was enrolled again, and then changed: by which of the two lives is not to be seen.
    world.enrol("a")
    world.do(people.change_sample, "a", {"metadata": 2})
    assert world.replay() == Replay(unclear=["a"])
    assert world.samples() == ["a", "b"]


def test_only_erasures_that_were_done_count(world: World) -> None:
    world.enrol("a", "b", "c")
    backup = world.backup()
    lines = world.log.read_text().splitlines()
    template = json.loads(lines[0]) | {"what": "delete", "time": world.clock().isoformat()}

    def both(sample_id: str, **outcome: str) -> list[str]:
        line = template | {"ids": [sample_id]}
        return [json.dumps(line), *([json.dumps(line | outcome)] if outcome else [])]

    failed = both("a", outcome="failed", code="gallery_unavailable")
    world.log.write_text("\n".join(["", *failed, *both("b"), *both("c", outcome="done"), '{"time": "2026']))
    world.restore(backup)
    journal = read([world.log.read_bytes().splitlines()])
    assert journal.strange == 1
    assert replay(world.gallery, journal) == Replay(samples=["c"], unclear=["b"])
    assert world.samples() == ["a", "b"]


def test_a_clearing_is_done_again_for_what_was_there(world: World) -> None:
    world.do(people.make, "Eve", person_id="eve")
    world.enrol("a", "b", "c", name="Ann")
    backup = world.backup()
    world.do(Gallery.clear)
    world.do(people.make, "Zoe", person_id="zoe")
    world.enrol("z", person="zoe")
    newer = world.backup()
    world.restore(backup)
    world.enrol("b", "new", name="Ann")
    transfer.import_file(world.gallery, io.BytesIO(newer))
    outcome = world.replay()
    assert (outcome.samples, outcome.persons[-1:], outcome.stay) == (["a", "c"], ["eve"], ["b"])
    assert world.samples() == ["b", "new", "z"]
    assert world.people()[1:] == ["zoe"]


def test_whoever_was_merged_into_somebody_is_erased_with_them(world: World) -> None:
    for person in ("one", "two", "three", "four"):
        world.do(people.make, person, person_id=person)
        world.enrol(f"of {person}", person=person)
    backup = world.backup()
    world.do(people.merge, "one", "two")
    world.do(people.merge, "four", "two")
    world.do(people.merge, "two", "three")
    world.do(people.make, "four", person_id="four")  # the merge is undone
    world.do(people.change_sample, "of four", {"person": "four"})
    world.do(people.delete, "three")
    world.restore(backup)
    erased = ["of one", "of three", "of two"]
    assert world.replay() == Replay(samples=erased, persons=["one", "three", "two"])
    assert (world.samples(), world.people()) == (["of four"], ["four"])


def test_so_is_whoever_was_merged_by_a_name(world: World) -> None:
    world.do(people.make, "Anna", person_id="anna")
    world.do(people.make, "Ann", person_id="ann")
    world.enrol("in the backup alone", person="anna")
    backup = world.backup()
    world.delete("in the backup alone")
    world.do(subjects.rename, "Anna", "Ann")
    world.do(subjects.remove, "Ann")
    world.restore(backup)
    assert world.replay() == Replay(samples=["in the backup alone"], persons=["ann", "anna"])
    assert (world.samples(), world.people()) == ([], [])


def test_a_receipt_does_for_whoever_keeps_no_log(world: World) -> None:
    world.do(people.make, "Eve", person_id="eve", metadata="x")
    world.enrol("a", "b", person="eve")
    world.enrol("c")
    backup = world.backup()
    erasure = world.do(people.delete, "eve")
    receipt = {
        "person": erasure.person,
        "samples": erasure.samples,
        "erased_at": erasure.erased_at.isoformat(),
    }
    world.restore(backup)
    for told in (receipt, {"success": ["eve"], "receipt": receipt}):
        journal = read([[json.dumps(told).encode()]])
        assert replay(world.unseen, journal, dry_run=True) == Replay(samples=["a", "b"], persons=["eve"])
    replay(world.unseen, journal)
    assert (world.samples(), "eve" in world.people()) == (["c"], False)


def test_what_was_erased_before_a_time_is_passed_over(world: World) -> None:
    world.enrol("a", "b")
    backup = world.backup()
    world.delete("a")
    since = world.clock() + STEP / 2
    world.delete("b")
    world.restore(backup)
    assert world.replay(since=since) == Replay(samples=["b"])


def test_a_merge_that_was_taken_back_joins_nobody(world: World) -> None:
    for person in ("one", "two"):
        world.do(people.make, person, person_id=person)
        world.enrol(f"of {person}", person=person)
    backup = world.backup()
    world.do(people.merge, "one", "two")
    merge = json.loads(world.log.read_text().splitlines()[-1])
    with world.log.open("a") as log:
        log.write(json.dumps(merge | {"what": "unmerge"}) + "\n")
    world.do(people.change_sample, "of one", {"name": "somebody"})
    world.do(people.delete, "two")
    world.restore(backup)
    assert world.replay() == Replay(samples=["of two"], persons=["two"])


def test_lines_about_another_gallery_do_not_count(world: World) -> None:
    world.enrol("a")
    done = {"time": world.clock().isoformat(), "request_id": None, "who": "x", "outcome": "done"}
    told = [json.dumps(done | {"what": "delete", "ids": ["a"], "gallery": "other"}).encode()]
    assert replay(world.gallery, read([told])) == Replay()
    assert replay(world.gallery, read([told], gallery="other"), dry_run=True) == Replay(samples=["a"])
    told = [json.dumps(done | {"what": "delete_gallery", "samples": 1, "gallery": "other"}).encode()]
    assert replay(world.gallery, read([told], gallery="other"), dry_run=True).samples == ["a"]


@pytest.mark.parametrize(
    "line",
    [b"null", b"7", b"[]", b"{}", b'{"receipt": 7}', b'{"receipt": {"erased_at": 7}}', b"\xff", b"[" * 9999],
)
def test_lines_of_other_things_are_counted(line: bytes) -> None:
    journal = read([[line, b"\n"]])
    assert (journal.strange, journal.until) == (1, None)


ids = st.sampled_from("abcd")
names = st.sampled_from("xyz")
events = st.one_of(
    st.tuples(st.just("enrol"), ids, names),
    st.tuples(st.just("delete"), ids),
    st.tuples(st.just("delete person"), names),
    st.tuples(st.just("merge"), names, names),
    st.tuples(st.just("move"), ids, names),
    st.tuples(st.just("clear")),
)


def happen(world: World, event: tuple[str, ...]) -> None:
    what, *more = event
    whose = {sample.name: str(sample.person) for sample in world.unseen.page(limit=9)}
    if what == "enrol":
        world.enrol(more[0], name=more[1])
    elif what == "delete":
        world.delete(more[0])
    elif what == "move" and world.unseen.get(more[0]):
        world.do(people.change_sample, more[0], {"name": more[1]})
    elif what == "clear":
        world.do(Gallery.clear)
    elif what == "delete person" and more[0] in whose:
        world.do(people.delete, whose[more[0]])
    elif what == "merge" and more[0] != more[1] and {*more} <= set(whose):
        world.do(people.merge, *(whose[name] for name in more))


@given(before=st.lists(events, max_size=8), after=st.lists(events, max_size=12))
@settings(max_examples=60, deadline=None)
def test_after_any_history_just_what_was_erased_is_gone(
    tmp_path_factory: pytest.TempPathFactory, before: list[tuple[str, ...]], after: list[tuple[str, ...]]
) -> None:
    folder, clock = tmp_path_factory.mktemp("history"), FakeClock()
    url, log = f"sqlite:///{folder / 'gallery.sqlite3'}", folder / "audit"
    with (
        closing(open_gallery(url, 5, clock=clock, audit=Audit(log, clock))) as gallery,
        closing(open_gallery(url, 5, clock=clock)) as unseen,
    ):
        world = World(url, log, clock, gallery, unseen)
        world.enrol("e", name="w")
        for event in before:
            happen(world, event)
        if not world.samples():
            return
        backup, there = world.backup(), {each.id: str(each.person) for each in unseen.page(limit=9)}
        erased: set[str] = set()
        gone: set[str] = set()  # the ids of people who were deleted, and of those merged into them
        same = {person: {person} for person in there.values()}
        for event in after:
            held = {each.id: each for each in unseen.page(limit=9)}
            whose = {each.name: str(each.person) for each in held.values()}
            happen(world, event)
            if event[0] in ("delete", "delete person", "clear"):
                erased |= set(held) - set(world.samples())
            if event[0] == "delete person" and event[1] in whose:
                gone |= same.get(whose[event[1]], set())
            if event[0] == "merge" and event[1] != event[2] and {*event[1:]} <= set(whose):
                one, other = (whose[name] for name in event[1:])
                same.setdefault(other, {other}).update(same.pop(one, {one}))
        world.restore(backup)
        world.replay()
        assert set(world.samples()) == {
            each for each in there if each not in erased and there[each] not in gone
        }
        assert list(transfer.faults(gallery)) == []


# --- the command


@pytest.fixture
def home(tmp_path: Path) -> Iterator[World]:
    url, log, clock = f"sqlite:///{tmp_path / 'gallery.sqlite3'}", tmp_path / "audit", FakeClock()
    with (
        closing(open_gallery(url, 5, clock=clock, audit=Audit(log, clock))) as gallery,
        closing(open_gallery(url, 5, clock=clock)) as unseen,
    ):
        yield World(url, log, clock, gallery, unseen)


def run(world: World, *arguments: object, status: int = 0, environment: dict[str, str] | None = None) -> Any:
    command = ["gallery", "--database", world.url, "replay-erasures", *map(str, arguments), "--json"]
    done = CliRunner().invoke(cli, command, env=environment or {})
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if status in (0, 1) and done.stdout else done.stderr


def test_a_backup_is_restored_and_erasures_follow(home: World, tmp_path: Path) -> None:
    home.enrol("a", "b", name="Ann Secretname")
    copy, place = tmp_path / "copy", tmp_path / "gallery.sqlite3"
    assert CliRunner().invoke(cli, ["gallery", "--database", home.url, "backup", str(copy)]).exit_code == 0
    home.delete("a")
    with home.log.open("rb") as log, gzip.open(tmp_path / "audit.1.gz", "wb") as packed:
        shutil.copyfileobj(log, packed)
    home.log.unlink()
    home.enrol("c", name="Ben")
    home.delete("b")
    home.unseen.close()
    home.gallery.close()
    for file in tmp_path.glob("gallery.sqlite3*"):
        file.unlink()
    shutil.copy(copy, place)
    environment = {"AUDIT_LOG": str(home.log)}
    # The newest file comes first, as the shell sorts them.
    outcome = run(home, home.log, tmp_path / "audit.1.gz", "--dry-run", environment=environment)
    empty: dict[str, Any] = {
        "gallery": "default",
        "persons": [],
        "stay": [],
        "unclear": [],
        "faces": 0,
        "events": [],
        "unread_lines": 0,
    }
    assert outcome == {"dry_run": True, "samples": ["a", "b"], **empty}
    assert b"Ann Secretname" in place.read_bytes()
    assert run(home, environment=environment)["samples"] == ["b"]
    assert run(home, home.log, tmp_path / "audit.1.gz", environment=environment)["samples"] == ["a"]
    assert b"Ann Secretname" not in place.read_bytes()
    assert not list(tmp_path.glob("*-wal")) or not (tmp_path / "gallery.sqlite3-wal").stat().st_size


def test_what_the_files_do_not_show_is_told_by_the_status(home: World, tmp_path: Path) -> None:
    home.enrol("a")
    line = json.loads(home.log.read_text().splitlines()[0]) | {"what": "delete", "ids": ["a"]}
    (tmp_path / "log").write_text(json.dumps(line))
    assert run(home, tmp_path / "log", status=1)["unclear"] == ["a"]


def test_files_that_are_no_logs_are_refused(home: World, tmp_path: Path) -> None:
    home.enrol("a")
    (tmp_path / "x").write_text("once upon a time\n")
    (tmp_path / "x.gz").write_bytes(gzip.compress(home.log.read_bytes())[:-9])
    assert "no line of an audit log" in run(home, tmp_path / "x", status=1)
    assert "cut off" in run(home, tmp_path / "x.gz", status=1)
    assert "Name the audit log" in run(home, status=2)
    assert "ISO 8601" in run(home, home.log, "--since", "2026-01-01", status=2)
    assert home.samples() == ["a"]
