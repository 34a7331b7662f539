"""The audit log: who did what with which samples, and with what outcome; nothing is done without its line."""

from __future__ import annotations

import base64
import io
import json
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask.testing import FlaskClient
from PIL import Image

from fakes import FACE, ConstantEmbedder
from galleries import MODEL, NOW, PROCESSES, FakeClock, PostgreSQL, a_sample, enrol, nearest_ids, vectors_of
from recognition.app import create_app, load_gallery
from recognition.audit import Audit
from recognition.config import read
from recognition.errors import AuditUnavailable, GalleryModelMismatch, GalleryUnavailable
from recognition.faces import Mistaken
from recognition.gallery import Gallery, open_gallery, people, transfer, unmerging
from recognition.gallery.__main__ import cli
from serving import keys
from serving.request_id import caller, request_id

KEY, KEPT = keys.new("door", "admin")
LATER = datetime(2100, 1, 1, tzinfo=UTC)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def logged(path: Path) -> list[tuple[str, str, Any]]:
    return [(line["what"], line["outcome"], line.get("ids", line.get("samples"))) for line in lines(path)]


def both(what: str, concerned: Any) -> list[tuple[str, str, Any]]:
    """The two lines of what was begun and done."""
    return [(what, "begun", concerned), (what, "done", concerned)]


# --- the gallery's changes, on both databases


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def gallery(url: str, log: Path, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock, audit=Audit(log))
    yield gallery
    gallery.close()


def test_every_change_has_its_lines(gallery: Gallery, log: Path, clock: FakeClock) -> None:
    enrol(gallery, ["a", "名", "c", "d"], [1, 2, 3, 4])
    enrol(gallery, ["a"], [5])
    gallery.delete("nobody")
    gallery.delete("a")
    gallery.delete_named("name of c")
    gallery.upsert([a_sample("e", expires_at=NOW + timedelta(seconds=1))], vectors_of(6), MODEL)
    clock.now = LATER
    assert set(nearest_ids(gallery, 6, k=9)) == {"名", "d"}
    gallery.remove_expired()
    gallery.clear()
    assert logged(log) == [
        *both("enrol", ["a", "名", "c", "d"]),
        *both("enrol", ["a"]),
        *both("delete", ["a"]),
        *both("delete", ["c"]),
        *both("enrol", ["e"]),
        *both("expire", ["e"]),
        *both("clear", 2),
    ]


def test_changes_of_people_have_lines_that_name_nobody(gallery: Gallery, log: Path) -> None:
    whose = gallery.upsert([a_sample("a", name="Ann"), a_sample("b", name="Ben")], vectors_of(1, 2), MODEL)
    ann, ben = whose.people["a"], whose.people["b"]
    people.make(gallery, "Eve", person_id="eve")
    people.change(gallery, "eve", {"name": "Eva"})
    people.change_sample(gallery, "a", {"person": "eve"})
    people.change_sample(gallery, "a", {"action": "open"})
    merged = people.merge(gallery, ben, "eve")
    unmerging.unmerge(gallery, "eve", merged.emptied, merged.revision)
    people.merge(gallery, ben, "eve")
    gallery.upsert([a_sample("c", name="Ben")], vectors_of(3), MODEL, mistaken=Mistaken("a", "move"))
    gallery.upsert([a_sample("d", name="Ben")], vectors_of(4), MODEL, mistaken=Mistaken("c", "remove"))
    people.delete(gallery, "eve")
    done = [line for line in lines(log) if line["outcome"] == "done"]
    right = gallery.page(limit=1)[0].person
    assert [(line["what"], line["ids"], line.get("person"), line.get("into")) for line in done] == [
        ("enrol", ["a", "b"], None, None),
        ("make", [], "eve", None),
        ("change", [], "eve", None),
        ("move", ["a"], "eve", None),
        ("change", ["a"], None, None),
        ("merge", ["b"], ben, "eve"),
        ("unmerge", ["b"], ben, "eve"),
        ("merge", ["b"], ben, "eve"),
        ("enrol", ["c"], None, None),
        ("move", ["a"], right, None),
        ("enrol", ["d"], None, None),
        ("delete", ["c"], None, None),
        ("delete", ["b"], "eve", None),
    ]
    text = log.read_text(encoding="utf-8")
    assert not any(name in text for name in ("Ann", "Ben", "Eve", "Eva")) and ann not in text


def test_what_expires_when_somebody_enrols_has_lines_of_its_own(
    gallery: Gallery, log: Path, clock: FakeClock
) -> None:
    gallery.upsert([a_sample("a", expires_at=NOW + timedelta(seconds=1))], vectors_of(1), MODEL)
    clock.now = LATER
    enrol(gallery, ["b"], [2])
    begun, done = (
        [(what, outcome, ids) for what, ids in (("expire", ["a"]), ("enrol", ["b"]))]
        for outcome in ("begun", "done")
    )
    assert logged(log)[2:] == [*begun, *done]


def fail_to_commit(gallery: Gallery) -> None:
    """The database refuses what is written from now on, in the last step."""

    def refuse(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("write"):
            connection.exec_driver_sql("SELECT nothing")

    sa.event.listen(gallery.engine, "commit", refuse)


def test_no_line_says_done_of_what_the_database_refused(gallery: Gallery, log: Path) -> None:
    enrol(gallery, ["a"], [1])
    before = len(lines(log))
    fail_to_commit(gallery)
    for change in (lambda: gallery.delete("a"), gallery.clear, lambda: enrol(gallery, ["b"], [2])):
        with pytest.raises(GalleryUnavailable):
            change()
    assert logged(log)[before:] == [
        ("delete", "begun", ["a"]),
        ("delete", "failed", ["a"]),
        ("clear", "begun", 1),
        ("clear", "failed", 1),
        ("enrol", "begun", ["b"]),
        ("enrol", "failed", ["b"]),
    ]
    codes = [line.get("code") for line in lines(log)[before:]]
    assert codes == 3 * [None, "gallery_unavailable"]


def test_what_is_refused_before_it_begins_has_no_line(gallery: Gallery, log: Path) -> None:
    enrol(gallery, ["a"], [1])
    before = lines(log)
    with pytest.raises(GalleryModelMismatch):
        enrol(gallery, ["b"], [2], fingerprint="model-b")
    with pytest.raises(ValueError, match="zip"):
        gallery.upsert([a_sample("b"), a_sample("c")], vectors_of(2), MODEL)
    assert lines(log) == before


def test_what_is_stored_is_no_error_because_of_the_log(
    gallery: Gallery, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log goes between the two lines; the first one stands."""

    def lose_the_log(_: sa.Connection) -> None:
        log.rename(log.with_name("aside"))
        log.mkdir()

    sa.event.listen(gallery.engine, "commit", lose_the_log, once=True)
    enrol(gallery, ["a"], [1])
    assert gallery.get("a") is not None
    assert logged(log.with_name("aside")) == [("enrol", "begun", ["a"])]
    assert "audit_unavailable: enrol: done" in caplog.text


def test_nothing_is_claimed_of_a_commit_that_nobody_answered(postgresql: PostgreSQL, log: Path) -> None:
    """The connection breaks in the commit: it may be stored, or not."""
    with (
        postgresql.database() as name,
        closing(open_gallery(postgresql.url(name), lock_timeout_s=5, audit=Audit(log))) as gallery,
    ):
        enrol(gallery, ["a"], [1])
        before = len(lines(log))
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        sa.event.listen(gallery.engine, "commit", lambda _: postgresql.execute(cut), once=True)
        with pytest.raises(GalleryUnavailable):
            gallery.delete("a")
        assert logged(log)[before:] == [("delete", "begun", ["a"])]
        gallery.delete("a")
        assert logged(log)[before + 1 :] == both("delete", ["a"])


def test_what_cannot_be_logged_is_not_done(gallery: Gallery, tmp_path: Path) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    before = gallery.page(limit=9)
    gallery.audit = Audit(tmp_path)  # a folder takes no lines
    for change in (
        lambda: enrol(gallery, ["a", "c"], [3, 4]),
        lambda: gallery.delete("a"),
        lambda: gallery.delete_named("name of a"),
        gallery.clear,
    ):
        with pytest.raises(AuditUnavailable):
            change()
    assert gallery.page(limit=9) == before
    assert nearest_ids(gallery, 1) == ["a"]


# --- the file


def test_a_line_says_when_who_and_in_which_request(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit", lambda: NOW)
    request_id.set("r-1")
    caller.set("door")
    audit("search", ['a\n"b"'])
    with audit.outcomes() as begin:
        begin("expire", ["c"])
        request_id.set("")  # an export is read when its request is over
        caller.set("anonymous")
    with pytest.raises(KeyboardInterrupt), audit.outcomes() as begin:
        begin("clear", 7)
        raise KeyboardInterrupt
    common = {"time": "2026-01-02T03:04:05.678+00:00"}
    expired = common | {"request_id": "r-1", "who": "service", "what": "expire", "ids": ["c"]}
    cleared = common | {"request_id": None, "who": "anonymous", "what": "clear", "samples": 7}
    assert lines(tmp_path / "audit") == [
        common | {"request_id": "r-1", "who": "door", "what": "search", "outcome": "done", "ids": ['a\n"b"']},
        expired | {"outcome": "begun"},
        expired | {"outcome": "done"},
        cleared | {"outcome": "begun"},
        cleared | {"outcome": "failed", "code": "interrupted"},
    ]
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o600


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit")
    audit("search", ["a"])
    (tmp_path / "audit").rename(tmp_path / "audit.1")
    audit("search", ["b"])
    assert logged(tmp_path / "audit.1") == [("search", "done", ["a"])]
    assert logged(tmp_path / "audit") == [("search", "done", ["b"])]


def test_a_line_that_a_full_disk_cut_off_spoils_none_behind_it(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit")
    audit("search", ["a"])
    with (tmp_path / "audit").open("a") as file:
        file.write('{"time": "2026')
    audit("search", ["b"])
    first, cut, last = (tmp_path / "audit").read_text().splitlines()
    assert [json.loads(line)["ids"] for line in (first, last)] == [["a"], ["b"]]
    assert cut == '{"time": "2026'


def test_it_may_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Audit(read({"MIN_QUALITY": "0", "AUDIT_LOG": "-"}).audit_log)("clear", 3)
    assert json.loads(capsys.readouterr().err)["samples"] == 3


def test_none_is_kept_by_default(tmp_path: Path) -> None:
    assert read({"MIN_QUALITY": "0"}).audit_log is None
    Audit(None)("clear", 3)


def test_a_full_disk_is_told() -> None:
    with pytest.raises(AuditUnavailable, match="its disk is full"):
        Audit(Path("/dev/full"))("clear", 3)


def test_a_log_that_cannot_be_written_stops_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'gallery.sqlite3'}"
    with pytest.raises(SystemExit) as stopped:
        load_gallery(
            read({"MIN_QUALITY": "0", "DATABASE_URL": url, "AUDIT_LOG": str(tmp_path / "nowhere" / "audit")})
        )
    assert stopped.value.code == 3
    assert "cannot start: AUDIT_LOG: The audit log cannot be written." in capsys.readouterr().err


def append(path: Path, number: int) -> None:
    audit = Audit(path)
    for step in range(100):
        audit("enrol", [f"{number}-{step}"] * 500)


def test_lines_of_several_processes_stay_whole(tmp_path: Path) -> None:
    processes = [PROCESSES.Process(target=append, args=(tmp_path / "audit", n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    seen = [line["ids"] for line in lines(tmp_path / "audit")]
    assert all(len(ids) == 500 and len(set(ids)) == 1 for ids in seen)
    assert sorted(ids[0] for ids in seen) == sorted(f"{n}-{step}" for n in range(3) for step in range(100))


# --- over HTTP, and from the command line


@pytest.fixture
def client(tmp_path: Path, log: Path) -> Iterator[FlaskClient]:
    gallery = open_gallery(f"sqlite:///{tmp_path / 'http.sqlite3'}", lock_timeout_s=5, audit=Audit(log))
    settings = read({"MIN_QUALITY": "0", "AUDIT_LOG": str(log), "API_KEYS": KEPT.entry()})
    app = create_app(settings, detector=lambda _: [FACE], embedder=ConstantEmbedder(), gallery=gallery)
    yield app.test_client()
    gallery.close()


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


def call(client: FlaskClient, method: str, path: str, **options: Any) -> Any:
    headers = {"x-api-key": KEY, "X-Request-Id": f"{method} {path}".replace(" ", "").replace("/", "-")}
    return client.open(path, method=method, headers=headers, **options)


def enrolled(client: FlaskClient, *ids: str) -> Any:
    image = base64.b64encode(picture()).decode("ascii")
    body = [{"id": i, "name": "Zoë", "image": image, "metadata": {"secret": 1}} for i in ids]
    return call(client, "POST", "/update-samples", json=body)


def test_requests_are_told_with_their_key_and_without_what_they_carry(client: FlaskClient, log: Path) -> None:
    assert enrolled(client, "a", "b").status_code == 200
    upload = {"file": (io.BytesIO(picture()), "x.png")}
    assert call(client, "POST", "/face-recognition", data=upload).json[0]["id"] == "a"
    images = {name: (io.BytesIO(picture()), "x.png") for name in ("image1", "image2")}
    assert call(client, "POST", "/verify", data=images).status_code == 200
    assert call(client, "GET", "/ready").status_code == 200
    assert call(client, "DELETE", "/samples/a").status_code == 200
    assert call(client, "DELETE", "/samples/a").status_code == 404
    assert call(client, "DELETE", "/samples").status_code == 200
    assert logged(log) == [
        *both("enrol", ["a", "b"]),
        ("search", "done", ["a"]),
        ("verify", "done", []),
        *both("delete", ["a"]),
        *both("clear", 1),
    ]
    assert {line["who"] for line in lines(log)} == {"door"}
    assert [line["request_id"] for line in lines(log)][1:3] == [
        "POST-update-samples",
        "POST-face-recognition",
    ]
    assert {name for line in lines(log) for name in line} == {
        "time",
        "request_id",
        "who",
        "what",
        "outcome",
        "ids",
        "samples",
    }
    assert "Zo" not in log.read_text() and "secret" not in log.read_text() and KEY not in log.read_text()


def test_what_leaves_and_comes_as_a_file_is_told(client: FlaskClient, log: Path) -> None:
    assert enrolled(client, "a", "b").status_code == 200
    exported = call(client, "GET", "/export").data
    assert call(client, "DELETE", "/samples/a").status_code == 200
    answer = call(client, "POST", "/import", data=exported, content_type="application/x-ndjson")
    assert answer.json == {"imported": 1, "unchanged": 1}
    assert logged(log)[2:] == [
        *both("export", 2),
        *both("delete", ["a"]),
        ("import", "begun", 2),
        *both("enrol", ["a"]),
        ("import", "done", 2),
    ]
    export = [line for line in lines(log) if line["what"] == "export"]
    assert {(line["who"], line["request_id"]) for line in export} == {("door", "GET-export")}


@pytest.mark.parametrize("taken", [0, 1])
def test_an_export_that_is_broken_off_says_so(client: FlaskClient, log: Path, taken: int) -> None:
    assert enrolled(client, "a", "b").status_code == 200
    answer = call(client, "GET", "/export", buffered=False)
    for _ in range(taken):
        next(answer.iter_encoded())
    answer.close()
    assert logged(log)[2:] == [("export", "begun", 2), ("export", "failed", 2)]
    assert lines(log)[-1]["code"] == "interrupted"


def test_an_import_that_fails_half_way_says_so(gallery: Gallery, log: Path, tmp_path: Path) -> None:
    many = [a_sample(f"{number:04}") for number in range(1500)]
    gallery.upsert(many, np.ones((1500, 4), np.float32), MODEL)
    transfer.export_to(gallery, tmp_path / "file")
    gallery.clear()
    before = len(lines(log))
    steps: list[int] = []

    @contextmanager
    def fail_later(part: str, total: int | None) -> Iterator[Any]:
        yield lambda samples: fail_to_commit(gallery) if part == "importing" else steps.append(samples)

    with (tmp_path / "file").open("rb") as file, pytest.raises(GalleryUnavailable):
        transfer.import_file(gallery, file, progress=fail_later)
    assert [(what, outcome) for what, outcome, _ in logged(log)[before:]] == [
        ("import", "begun"),
        ("enrol", "begun"),
        ("enrol", "done"),
        ("enrol", "begun"),
        ("enrol", "failed"),
        ("import", "failed"),
    ]
    assert gallery.count() == 1000


def test_a_log_that_cannot_be_written_refuses_the_request(client: FlaskClient, log: Path) -> None:
    assert enrolled(client, "a").status_code == 200
    log.unlink()
    log.mkdir()
    upload = {"file": (io.BytesIO(picture()), "x.png")}
    for answer in (
        enrolled(client, "b"),
        call(client, "POST", "/face-recognition", data=upload),
        call(client, "DELETE", "/samples/a"),
        call(client, "GET", "/export"),
    ):
        assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")
        assert "Retry-After" in answer.headers
    assert call(client, "GET", "/samples/count").json == {"count": 1}


def test_the_command_tells_what_it_copies_and_stores(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_LOG", str(log))
    gallery = open_gallery(f"sqlite:///{tmp_path / 'g'}", lock_timeout_s=5)
    enrol(gallery, ["a", "b"], [1, 2])
    gallery.close()
    for database, *arguments in (
        ("g", "export", "file"),
        ("h", "import", "file"),
        ("g", "backup", "copy"),
        ("g", "count"),
    ):
        named = [arguments[0], *(str(tmp_path / name) for name in arguments[1:])]
        result = CliRunner().invoke(cli, ["--database", f"sqlite:///{tmp_path / database}", *named])
        assert result.exit_code == 0, result.output
    assert logged(log) == [
        *both("export", 2),
        ("import", "begun", 2),
        *both("enrol", ["a", "b"]),
        ("import", "done", 2),
        *both("backup", 2),
    ]
    assert all(line["who"].startswith("command of ") for line in lines(log))
    caller.set("anonymous")


# --- what is merely shown


@pytest.fixture
def reader(tmp_path: Path, log: Path) -> Iterator[FlaskClient]:
    """A service that records what it shows, with two samples of one person."""
    audit = Audit(log, reads=True)
    gallery = open_gallery(f"sqlite:///{tmp_path / 'http.sqlite3'}", lock_timeout_s=5, audit=audit)
    people.make(gallery, "Zoë", person_id="zoe")
    new = [a_sample(each, person="zoe", metadata={"secret": 1}) for each in "ab"]
    gallery.upsert(new, vectors_of(1, 2), MODEL)
    log.unlink()
    variables = {"MIN_QUALITY": "0", "AUDIT_LOG": str(log), "AUDIT_READS": "1", "API_KEYS": KEPT.entry()}
    yield create_app(
        read(variables), detector=lambda _: [FACE], embedder=ConstantEmbedder(), gallery=gallery
    ).test_client()
    gallery.close()


def test_what_is_shown_has_a_line_if_that_is_wanted(reader: FlaskClient, log: Path) -> None:
    for path in ("/samples?limit=1", "/samples/b", "/persons?q=zo", "/persons/zoe", "/persons/zoe/export"):
        answer = call(reader, "GET", path)
        assert answer.status_code == 200 and answer.data
    for path in ("/samples/count", "/samples/nobody", "/persons/nobody", "/ready", "/metrics"):
        call(reader, "GET", path)
    told = [{name: line[name] for name in line if name not in ("time", "request_id")} for line in lines(log)]
    common = {"who": "door", "outcome": "done"}
    export = {"who": "door", "what": "export", "samples": 2, "person": "zoe"}
    assert told == [
        common | {"what": "list", "ids": ["a"]},
        common | {"what": "show", "ids": ["b"]},
        common | {"what": "list", "ids": [], "persons": ["zoe"]},
        common | {"what": "show", "ids": [], "person": "zoe"},
        export | {"outcome": "begun"},
        export | {"outcome": "done"},
    ]
    assert "Zo" not in log.read_text() and "secret" not in log.read_text()


def test_what_cannot_be_logged_is_not_shown(reader: FlaskClient, log: Path) -> None:
    log.mkdir()
    for path in ("/samples", "/samples/a", "/persons", "/persons/zoe"):
        answer = call(reader, "GET", path)
        assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")


def test_nothing_of_it_is_logged_by_default(client: FlaskClient, log: Path) -> None:
    assert enrolled(client, "a").status_code == 200
    before = lines(log)
    for path in ("/samples", "/samples/a", "/persons"):
        assert call(client, "GET", path).status_code == 200
    assert lines(log) == before
