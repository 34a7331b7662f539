"""A gallery changes its model: by the faces that are kept, while others go on, and back again."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import sqlalchemy as sa

from fakes import FACE, TwoModels
from galleries import NOW, FakeClock, a_sample
from recognition import changing
from recognition.audit import Audit
from recognition.changing import Changed, change
from recognition.errors import (
    AuditUnavailable,
    ChangeStopped,
    ChangeUnderWay,
    EmbeddingUnavailable,
    GalleryModelMismatch,
    ModelChanged,
)
from recognition.faces import KeptFace
from recognition.gallery import (
    Gallery,
    changes,
    galleries,
    models,
    open_gallery,
    people,
    search_database,
    tables,
    transfer,
    vector_indexes,
    vector_rows,
)
from recognition.gallery.changes import Job
from recognition.gallery.tables import samples, second_vectors
from recognition.seeing import fingerprint_of
from serving import pictures
from serving.errors import InvalidImage

decode = partial(pictures.decode, max_pixels=10**6)
KEY = bytes(range(32))
A, B = (fingerprint_of(model) for model in TwoModels.MODELS.values())


@pytest.fixture(params=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> bytes | None:
    return KEY if request.param == "encrypted" else None


@pytest.fixture
def gallery(url: str, clock: FakeClock, key: bytes | None) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock, key=key)
    yield gallery
    gallery.close()


@pytest.fixture
def other(url: str, clock: FakeClock, key: bytes | None, gallery: Gallery) -> Iterator[Gallery]:
    """The same gallery as another worker has it."""
    other = open_gallery(url, lock_timeout_s=5, clock=clock, key=key)
    yield other
    other.close()


@pytest.fixture
def embedder() -> TwoModels:
    return TwoModels()


def kept(grey: int) -> KeptFace:
    jpeg = simplejpeg.encode_jpeg(np.full((32, 32, 3), grey, np.uint8), quality=98, colorsubsampling="444")
    return KeptFace(jpeg, FACE)


def vectors(greys: Sequence[int], name: str = "a") -> np.ndarray:
    embedder = TwoModels()
    model = embedder.model(name)
    side = model.input_size
    crops = np.array(greys, np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, side, side, 3), np.uint8)
    return embedder.embed(crops, model)


def enrol(
    gallery: Gallery, greys: Sequence[int], name: str = "a", *, faces: bool = True, **changes: Any
) -> None:
    """Store samples called after their greys."""
    new = [a_sample(f"{grey:03}", face=kept(grey) if faces else None, **changes) for grey in greys]
    gallery.upsert(new, vectors(greys, name), fingerprint_of(TwoModels.MODELS[name]))


def nearest(gallery: Gallery, grey: int, name: str = "a", k: int = 1) -> list[tuple[str, float]]:
    (found,) = gallery.nearest(vectors([grey], name), k, fingerprint_of(TwoModels.MODELS[name]))
    return [(match.sample.id, round(match.distance, 1)) for match in found]


def to(gallery: Gallery, name: str, embedder: TwoModels, **options: Any) -> Changed:
    return change(gallery, name, decode, embedder, **options)


def both(gallery: Gallery) -> tuple[int, int]:
    """How many first and second vectors there are."""
    with gallery.reading() as (connection, _):
        first = sa.select(sa.func.count()).where(samples.c.fingerprint != "")
        second = sa.select(sa.func.count()).select_from(second_vectors)
        return connection.execute(first).scalar_one(), connection.execute(second).scalar_one()


def test_it_is_searched_by_the_new_model_and_back_again(
    gallery: Gallery, other: Gallery, embedder: TwoModels
) -> None:
    enrol(gallery, [10, 20, 30, 200])
    assert nearest(other, 20, k=2) == [("020", 0.0), ("010", 1.0)]
    assert to(gallery, "b", embedder) == Changed(True, 4, 0, 0)
    for worker in (gallery, other):
        assert nearest(worker, 20, "b", k=2) == [("020", 0.0), ("010", 2.0)]
        with pytest.raises(GalleryModelMismatch):
            nearest(worker, 20)
        with pytest.raises(GalleryModelMismatch):
            enrol(worker, [50])
        assert worker.model_name == "b"
    status = models.status(gallery)
    assert (status.model, status.other, status.samples, status.done) == ("b", "a", 4, 4)
    assert (status.to, status.running, status.waiting) == (None, False, 0)
    enrol(gallery, [40], "b")
    assert gallery.delete("010")
    assert list(transfer.faults(gallery)) == []
    assert to(gallery, "a", embedder) == Changed(True, 1, 0, 0)  # only the one that is new
    for worker in (gallery, other):
        assert nearest(worker, 20, k=9) == [("020", 0.0), ("030", 1.0), ("040", 2.0), ("200", 18.0)]
    assert embedder.embedded == {"a": 1, "b": 4}
    assert models.forget(gallery) == 4 and both(gallery) == (4, 0)
    assert nearest(other, 200) == [("200", 0.0)]
    assert models.status(gallery).has_other is False
    assert list(transfer.faults(gallery)) == []


def test_the_change_to_where_it_is_changes_nothing(gallery: Gallery, embedder: TwoModels) -> None:
    enrol(gallery, [10])
    assert to(gallery, "a", embedder) == Changed(True, 0, 0, 0)
    assert (gallery.model_name, nearest(gallery, 10)) == ("a", [("010", 0.0)])


def test_an_empty_gallery_changes_at_once(gallery: Gallery, embedder: TwoModels) -> None:
    assert to(gallery, "b", embedder) == Changed(True, 0, 0, 0)
    with pytest.raises(ModelChanged):
        enrol(gallery.of_model(None), [10])
    enrol(gallery.of_model("b"), [10], "b")
    assert nearest(gallery, 10, "b") == [("010", 0.0)]


def test_a_third_model_takes_the_place_of_the_one_before(
    gallery: Gallery, other: Gallery, embedder: TwoModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = TwoModels.MODELS["b"].__class__("c", 6, 16, 18.0, (0.0, 40.0), "fingerprint of c")
    monkeypatch.setitem(TwoModels.MODELS, "c", c)
    enrol(gallery, [10, 20])
    for name in ("b", "c", "a", "b"):
        assert to(gallery, name, embedder) == Changed(True, 2, 0, 0)
        for worker in (gallery, other):
            assert nearest(worker, 20, name)[0] == ("020", 0.0)
        enrol(gallery, [20], name)  # in the same place, and with another vector
        assert list(transfer.faults(gallery)) == []


@pytest.mark.parametrize("without_face", ["wait", "leave", "drop"])
def test_samples_without_a_face(
    gallery: Gallery,
    other: Gallery,
    embedder: TwoModels,
    without_face: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    enrol(gallery, [10, 20])
    enrol(gallery, [30, 40], faces=False)
    outcome = to(gallery, "b", embedder, without_face=without_face)
    if without_face == "wait":
        assert outcome == Changed(False, 2, 0, 2)
        assert models.waiting(gallery, 9) == (["030", "040"], 2)
        assert models.waiting(gallery, 9, after="030") == (["040"], 2)
        status = models.status(gallery)
        assert (status.to, status.trouble, status.running) == ("b", "without_face", False)
        assert nearest(other, 30) == [("030", 0.0)]  # as before
        enrol(gallery, [30, 40])  # anew, with faces
        assert to(gallery, "b", embedder) == Changed(True, 2, 0, 0)
        assert nearest(other, 30, "b") == [("030", 0.0)]
    elif without_face == "leave":
        assert outcome == Changed(True, 2, 0, 2)
        assert models.waiting(gallery, 9) == (["030", "040"], 2)
        for worker in (gallery, other):
            assert nearest(worker, 30, "b", k=9) == [("020", 2.0), ("010", 4.0)]
        people.change_sample(gallery, "030", {"metadata": 1})
        assert nearest(other, 30, "b", k=9) == [("020", 2.0), ("010", 4.0)]
        enrol(gallery, [30], "b")
        for worker in (gallery, other):
            assert nearest(worker, 30, "b", k=9)[0] == ("030", 0.0)
        assert gallery.count() == 4 and models.waiting(gallery, 9) == (["040"], 1)
        assert list(transfer.faults(gallery)) == []
        assert b'"samples":3' in list(transfer.export(gallery))[-1]
        assert "1 samples are not exported: they have no vector of b" in caplog.text
        whose = next(sample.person for sample in gallery.page(limit=9) if sample.id == "040")
        with pytest.raises(GalleryModelMismatch, match="1 samples of this person wait"):
            transfer.export_person(gallery, whose)
        assert to(gallery, "a", embedder).changed
        assert nearest(other, 40) == [("040", 0.0)]  # which was kept
    else:
        assert outcome == Changed(True, 2, 2, 0)
        assert [sample.id for sample in gallery.page(limit=9)] == ["010", "020"]
    assert list(transfer.faults(gallery)) == []


def test_a_face_that_cannot_be_read_counts_as_none(gallery: Gallery, embedder: TwoModels) -> None:
    broken = KeptFace(b"\xff\xd8\xff\xe0 not a picture \xff\xd9", FACE)
    gallery.upsert([a_sample("x", face=broken)], vectors([10]), A)
    enrol(gallery, [20])
    assert to(gallery, "b", embedder) == Changed(False, 1, 0, 1)
    assert models.waiting(gallery, 9)[0] == ["x"]
    assert to(gallery, "b", embedder, without_face="leave") == Changed(True, 0, 0, 1)


def test_whatever_happens_meanwhile_is_caught_up_with(
    gallery: Gallery, other: Gallery, embedder: TwoModels
) -> None:
    enrol(gallery, range(200))
    happens: list[Callable[[], object]] = [
        lambda: enrol(other, [250, 251]),
        lambda: other.delete("199"),
        lambda: enrol(other, [3]),
        lambda: other.upsert([a_sample("004", face=kept(224))], vectors([224]), A),
        lambda: people.merge(other, other.get("005").person, other.get("006").person),  # type: ignore
        lambda: enrol(other, [240]),
        lambda: enrol(other, [241]),
    ]

    def advance(_: int) -> None:
        if happens:
            happens.pop(0)()

    assert to(gallery, "b", embedder, advance=advance).changed
    assert happens == []
    assert both(gallery) == (gallery.count(), gallery.count())
    for grey, sample_id in ((250, "250"), (3, "003"), (224, "004"), (241, "241"), (5, "005")):
        assert nearest(other, grey, "b") == [(sample_id, 0.0)]
    assert nearest(other, 199, "b") == [("198", 0.2)]
    assert list(transfer.faults(gallery)) == []


def test_a_steady_stream_of_enrolments_does_not_keep_it_from_its_end(
    gallery: Gallery, other: Gallery, embedder: TwoModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(gallery, [10])
    greys = iter(range(100, 200))
    real = changes.change_over

    def one_more_each_time(*args: Any, **options: Any) -> Any:
        enrol(other, [next(greys)])
        return real(*args, **options)

    monkeypatch.setattr(changing.changes, "change_over", one_more_each_time)
    assert to(gallery, "b", embedder).changed
    assert both(gallery) == (gallery.count(), gallery.count())
    assert nearest(other, 100 + gallery.count() - 2, "b")[0][1] == 0


class Broken(TwoModels):
    """Fails after so many crops."""

    def __init__(self, crops: int) -> None:
        super().__init__()
        self.left = crops

    def embed(self, crops: np.ndarray, model: Any) -> np.ndarray:
        self.left -= len(crops)
        if self.left < 0:
            raise EmbeddingUnavailable("It is down.")
        return super().embed(crops, model)


def test_what_was_broken_off_is_gone_on_with(gallery: Gallery, embedder: TwoModels) -> None:
    enrol(gallery, range(100))
    with pytest.raises(EmbeddingUnavailable):
        to(gallery, "b", Broken(70))
    status = models.status(gallery)
    assert (status.to, status.done, status.running, status.trouble) == (
        "b",
        64,
        False,
        "embedding_unavailable",
    )
    assert nearest(gallery, 50) == [("050", 0.0)]
    assert to(gallery, "b", embedder) == Changed(True, 36, 0, 0)


def test_whoever_stops_it_or_takes_it_over_wins(
    gallery: Gallery, other: Gallery, embedder: TwoModels
) -> None:
    enrol(gallery, range(100))
    with pytest.raises(ChangeStopped):
        to(gallery, "b", embedder, advance=lambda _: changes.release(other))
    assert models.status(gallery).to is None
    outcomes = []

    def take_over(_: int) -> None:
        outcomes.append(to(other, "b", TwoModels()))

    with pytest.raises(ChangeStopped):
        to(gallery, "b", embedder, advance=take_over)
    assert [outcome.changed for outcome in outcomes] == [True]
    assert nearest(gallery, 50, "b") == [("050", 0.0)]


def test_a_gallery_that_is_emptied_meanwhile(gallery: Gallery, other: Gallery, embedder: TwoModels) -> None:
    enrol(gallery, range(100))
    with pytest.raises(ChangeStopped):
        to(gallery, "b", embedder, advance=lambda _: other.clear())
    assert both(gallery) == (0, 0)
    assert models.status(gallery).has_other is False


def test_only_a_change_that_services_may_go_on_with_is_an_orphan(
    gallery: Gallery, embedder: TwoModels, clock: FakeClock
) -> None:
    enrol(gallery, range(40))
    for unattended in (False, True):
        job = changes.Job("b", B, 6, "somebody")
        assert changes.claim(gallery, job, "leave", unattended=unattended)
        assert models.status(gallery).running
        assert changes.orphaned(gallery) is None
        clock.now += models.SILENT + timedelta(seconds=1)
        assert not models.status(gallery).running
        assert changes.orphaned(gallery) == (("b", "leave", "somebody") if unattended else None)
    changes.beat(gallery, job)
    assert changes.orphaned(gallery) is None


def test_what_is_erased_takes_both_vectors_along(gallery: Gallery, embedder: TwoModels) -> None:
    enrol(gallery, range(60))
    soon = NOW + timedelta(hours=1)
    enrol(gallery, [60], expires_at=soon)
    to(gallery, "b", embedder)
    left = 61
    for erase in (
        lambda: gallery.delete("001"),
        lambda: gallery.delete_named("name of 002"),
        lambda: people.delete(gallery, gallery.get("003").person),  # type: ignore
    ):
        erase()
        left -= 1
        assert both(gallery) == (left, left)
    gallery._clock.now = soon + timedelta(seconds=1)  # type: ignore
    gallery.remove_expired()
    assert both(gallery) == (57, 57)
    gallery.clear()
    assert both(gallery) == (0, 0)
    enrol(gallery, [10], "a")  # the name of the model stays, and what is searched is the first again
    assert nearest(gallery, 10) == [("010", 0.0)]


def test_each_gallery_has_its_own(gallery: Gallery, other: Gallery, embedder: TwoModels) -> None:
    galleries.make(gallery, "lobby")
    for each in (gallery, gallery.of("lobby")):
        enrol(each, [10, 20])
    to(gallery.of("lobby"), "b", embedder)
    assert nearest(other, 20) == [("020", 0.0)]
    assert nearest(other.of("lobby"), 20, "b", k=2) == [("020", 0.0), ("010", 2.0)]
    assert (gallery.model_name, gallery.of("lobby").model_name) == (None, "b")
    galleries.delete(gallery.of("lobby"))
    assert both(gallery) == (2, 0)
    galleries.make(gallery, "lobby")
    assert models.status(gallery.of("lobby")).model is None


def test_nothing_of_either_vector_is_in_the_files_of_an_encrypted_gallery(tmp_path: Path) -> None:
    file = tmp_path / "gallery.sqlite3"
    with closing(open_gallery(f"sqlite:///{file}", lock_timeout_s=5, key=KEY)) as gallery:
        enrol(gallery, [17, 18])
        to(gallery, "b", TwoModels())
        enrol(gallery, [19], "b")
        for name in ("a", "b"):
            for vector in vectors([17, 18, 19], name):
                for path in tmp_path.iterdir():
                    assert vector.tobytes() not in path.read_bytes()


@pytest.mark.parametrize("erase", ["delete", "forget", "replace"])
def test_nothing_of_an_erased_vector_stays_in_the_files(tmp_path: Path, erase: str) -> None:
    file = tmp_path / "gallery.sqlite3"
    with closing(open_gallery(f"sqlite:///{file}", lock_timeout_s=5)) as gallery:
        for name, before in (("b", "a"), ("a", "b")):
            enrol(gallery, [17, 99], before)
            to(gallery, name, TwoModels())
            gone = ["a", "b"]
            if erase == "delete":
                gallery.delete("017")
            elif erase == "replace":
                gallery.upsert([a_sample("017")], vectors([55], name), A if name == "a" else B)
            else:
                models.forget(gallery)
                gone = [before]
            for each in gone:
                for path in tmp_path.iterdir():
                    assert vectors([17], each)[0].tobytes() not in path.read_bytes(), (each, path)


def test_a_file_that_was_begun_with_the_old_model_is_finished_with_it(
    gallery: Gallery, embedder: TwoModels
) -> None:
    enrol(gallery, range(120))
    pieces = transfer.export(gallery, faces=True)
    first = next(pieces)
    to(gallery, "b", embedder)
    file = io.BytesIO(first + b"".join(pieces))
    galleries.make(gallery, "copy")
    assert transfer.import_file(gallery.of("copy"), file).imported == 120
    assert nearest(gallery.of("copy"), 70) == [("070", 0.0)]
    file = io.BytesIO(b"".join(transfer.export(gallery)))
    galleries.make(gallery, "new")
    assert transfer.import_file(gallery.of("new"), file).imported == 120
    assert nearest(gallery.of("new"), 70, "b") == [("070", 0.0)]


def interpose(
    monkeypatch: pytest.MonkeyPatch, gallery: Gallery, number: int, happens: Callable[[], object]
) -> None:
    """Let something happen before a transaction that writes, the first one being number 0."""
    real = gallery.writing
    numbers = iter(range(1000))

    def writing(**options: Any) -> Any:
        if next(numbers) == number:
            happens()
        return real(**options)

    monkeypatch.setattr(gallery, "writing", writing)


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> Job:
    """A change to the model `c`."""
    model = TwoModels.MODELS["b"].__class__("c", 6, 16, 18.0, (0.0, 40.0), "fingerprint of c")
    monkeypatch.setitem(TwoModels.MODELS, "c", model)
    return Job("c", fingerprint_of(model), 6, "somebody")


def made_some(gallery: Gallery, job: Job, count: int) -> None:
    """Begin a change, and store the first vectors."""
    assert changes.claim(gallery, job, "wait", unattended=False)
    some, _ = changes.lacking(gallery, job, 0, -1, count)
    changes.store(gallery, job, [(each, vectors([int(each.id)], job.model)[0]) for each in some])


def test_two_changes_at_once_do_not_mix_their_vectors(
    gallery: Gallery, other: Gallery, embedder: TwoModels, third: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(gallery, [10, 20, 30])
    interpose(monkeypatch, other, 0, lambda: made_some(gallery, third, 2))
    assert to(other, "b", embedder) == Changed(True, 3, 0, 0)
    assert list(transfer.faults(gallery)) == []
    with pytest.raises(ChangeStopped):
        changes.store(gallery, third, [])


def test_the_vectors_of_a_third_model_go_step_by_step(
    gallery: Gallery, other: Gallery, embedder: TwoModels, third: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(gallery, [10, 20, 30])
    to(gallery, "b", embedder)
    assert changes.claim(gallery, third, "wait", unattended=True)
    assert both(gallery) == (3, 3)
    status = models.status(gallery)
    assert (status.to, status.done, status.waiting) == ("c", 0, 3)
    monkeypatch.setattr(models, "ROWS_AT_ONCE", 1)
    interpose(monkeypatch, gallery, 2, lambda: changes.release(other))
    with pytest.raises(ChangeStopped):
        changes.make_room(gallery, third)
    assert sorted(both(gallery)) == [2, 3]
    assert to(other, "a", embedder) == Changed(True, 1, 0, 0)
    assert nearest(gallery, 10) == [("010", 0.0)]
    assert list(transfer.faults(gallery)) == []


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_change_that_begins_while_vectors_are_forgotten_ends_that(
    gallery: Gallery,
    other: Gallery,
    embedder: TwoModels,
    third: Job,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enrol(gallery, [10, 20, 30])
    to(gallery, "b", embedder)
    monkeypatch.setattr(models, "ROWS_AT_ONCE", 1)
    interpose(monkeypatch, gallery, step, lambda: changes.claim(other, third, "wait", unattended=False))
    with pytest.raises(ChangeUnderWay):
        models.forget(gallery)
    assert to(other, "c", embedder) == Changed(True, 3, 0, 0)
    assert list(transfer.faults(gallery)) == []


def test_nothing_is_forgotten_that_the_audit_log_cannot_tell(
    url: str, clock: FakeClock, key: bytes | None, gallery: Gallery, embedder: TwoModels, tmp_path: Path
) -> None:
    enrol(gallery, [10])
    to(gallery, "b", embedder)
    changes.claim(gallery, Job("a", A, 4, "somebody"), "wait", unattended=True)
    clock.now += models.SILENT + timedelta(seconds=1)
    audit = Audit(tmp_path / "nowhere" / "audit.jsonl")
    with closing(open_gallery(url, lock_timeout_s=5, clock=clock, key=key, audit=audit)) as careful:
        with pytest.raises(AuditUnavailable):
            models.forget(careful)
        assert both(gallery) == (1, 1) and models.status(gallery).to == "a"


def test_a_face_that_is_read_at_the_second_try_is_not_given_up(gallery: Gallery, embedder: TwoModels) -> None:
    enrol(gallery, [10, 20])
    tried: set[bytes] = set()

    def decode_at_last(data: bytes) -> pictures.Picture:
        if data not in tried:
            tried.add(data)
            raise InvalidImage("The picture takes longer than 1 s to decode.")
        return decode(data)

    assert change(gallery, "b", decode_at_last, embedder, without_face="drop") == Changed(True, 2, 0, 0)


def test_no_sample_is_dropped_once_the_change_was_stopped(
    gallery: Gallery, other: Gallery, embedder: TwoModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(gallery, [10])
    enrol(gallery, [20], faces=False)
    real = changes.change_over

    def stopped_after(*args: Any, **options: Any) -> Any:
        changed = real(*args, **options)
        changes.release(other)
        return changed

    monkeypatch.setattr(changing.changes, "change_over", stopped_after)
    with pytest.raises(ChangeStopped):
        to(gallery, "b", embedder, without_face="drop")
    assert gallery.count() == 2


def test_new_weights_under_the_same_name_are_another_model(
    gallery: Gallery, embedder: TwoModels, third: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    to(gallery, "b", embedder)
    enrol(gallery, [10], "b")
    enrol(gallery, [20], "b", faces=False)
    monkeypatch.setitem(TwoModels.MODELS, "b", TwoModels.MODELS["c"])
    assert to(gallery, "b", embedder) == Changed(False, 1, 0, 1)
    assert models.waiting(gallery, 9) == (["020"], 1)
    assert models.status(gallery).done == 1


@pytest.mark.parametrize("second", [False, True])
def test_a_vector_of_another_model_counts_as_none(
    gallery: Gallery, other: Gallery, embedder: TwoModels, third: Job, second: bool
) -> None:
    """Whatever may have left it there."""
    enrol(gallery, [10, 20])
    back = "b"
    if second:  # are searched
        to(gallery, "b", embedder)
        models.forget(gallery)
        back = "a"
    made_some(gallery, third, 2)
    with gallery.writing() as (connection, _):
        lost = {"other_model": back, "other_fingerprint": {"a": A, "b": B}[back]}
        connection.execute(tables.galleries.update().values(**lost))
    assert to(other, back, embedder) == Changed(True, 2, 0, 0)
    assert nearest(gallery, 20, back) == [("020", 0.0)]
    assert list(transfer.faults(gallery)) == []


def test_an_index_that_a_stopped_change_has_left_is_not_in_the_way(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    if gallery.engine.dialect.name != "postgresql":
        return
    monkeypatch.setattr(search_database, "INDEXED_FROM", 2)
    galleries.make(gallery, "lobby")
    lobby = gallery.of("lobby")
    enrol(lobby, [10])
    with lobby.writing() as (connection, _):
        left = vector_indexes.index_of(tables.gallery_of(connection), vector_rows.FIRST, 4)
        connection.exec_driver_sql(left)
    enrol(lobby, [20])
    assert nearest(lobby, 20) == [("020", 0.0)]


def test_samples_that_have_expired_are_not_waited_for(
    gallery: Gallery, embedder: TwoModels, clock: FakeClock
) -> None:
    enrol(gallery, [10])
    enrol(gallery, [20], faces=False, expires_at=NOW + timedelta(days=200))
    clock.set_ahead = timedelta(days=400)  # which is not believed yet: the sample is hidden, and not erased
    assert to(gallery, "b", embedder) == Changed(True, 1, 0, 0)
