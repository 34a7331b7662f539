"""Several processes on one gallery: any order of changes, and processes that are killed while they write."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from galleries import (
    MODEL,
    NOW,
    OtherProcess,
    a_sample,
    database_url,
    method_of,
    milvus_database,
    miscounted,
    running_postgresql,
    running_standby,
    vectors_of,
)
from recognition.errors import AmbiguousName, GalleryModelMismatch, PersonExists
from recognition.faces import Sample, Stored
from recognition.gallery import Gallery, open_gallery, people, transfer
from serving.errors import InvalidRequest, NotFound

DIMENSION = {MODEL: 8, "model-b": 16}
SEEDS = range(6)  # few, so that there are equal vectors
VECTORS = {model: vectors_of(*SEEDS, dimension=DIMENSION[model]) for model in DIMENSION}


@pytest.fixture(scope="module")
def shared_url(
    backend: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    """One database for all examples."""
    with database_url(backend, tmp_path_factory.mktemp("shared"), request) as url:
        yield url


@pytest.fixture(scope="module", params=["without Milvus", "with Milvus"])
def index(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Where the index of the gallery is, for tests that run with one, too."""
    if request.param == "without Milvus":
        yield None
        return
    with milvus_database(request.getfixturevalue("milvus")) as address:
        yield address


class Here:
    """A gallery in this process, called like one in another."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        return method_of(self.gallery, method)(*args, **options)


ids = st.sampled_from(["a", "B", "é", "名", "\U0001f600", "a/b", "\uffff"])
names = st.sampled_from(["x", "y", "z"])
own_ids = st.sampled_from(["p", "q"])  # of people who are made by hand
places = st.integers(0, 9)  # among the people who are there
seeds = st.sampled_from(SEEDS)
models = st.sampled_from([MODEL, MODEL, MODEL, "model-b"])
whose = st.one_of(names.map(lambda name: (name, None)), places.map(lambda place: (None, place)))
rows = st.tuples(ids, whose, seeds)
batches = st.lists(rows, unique_by=lambda row: row[0])
sides = st.booleans()  # which of the two processes
Whose = tuple[str | None, int | None]  # a name, or a place
Row = tuple[str, Whose, int]


class AnyHistory(RuleBasedStateMachine):
    """Two processes change and read one gallery; two dictionaries say what each must see."""

    processes: tuple[Here, OtherProcess]

    @initialize()
    def empty(self) -> None:
        self.call(False, "clear")
        self.held: dict[str, tuple[int, Sample, int]] = {}  # id -> order of enrolment, sample, seed
        self.people: dict[str, tuple[str, bool]] = {}  # id -> name, made by hand
        self.model: str | None = None
        self.clock = 0

    @invariant()
    def all_are_counted(self) -> None:
        here = self.processes[0].gallery
        assert here.count() == len(self.held)
        assert miscounted(here) == []

    def call(self, side: bool, method: str, *args: Any, **options: Any) -> Any:
        return self.processes[side].call(method, *args, **options)

    def prepared(self, batch: list[Row], model: str) -> tuple[list[Sample], np.ndarray, str]:
        self.clock += 1
        now = NOW + timedelta(seconds=self.clock)
        new = [
            a_sample(
                sample_id,
                name=name or "whoever",
                metadata={"n": self.clock},
                created=now,
                modified=now,
                person=None if place is None else self.person_at(place),
            )
            for sample_id, (name, place), _ in batch
        ]
        return new, VECTORS[model][[seed for *_, seed in batch]], model

    def person_at(self, place: int) -> str:
        people = sorted(self.people)
        return people[place] if place < len(people) else "nobody"

    def named_so(self, name: str) -> list[str]:
        return [person for person, (other, _) in self.people.items() if other == name]

    def hold(self, new: list[Sample], batch: list[Row], stored: Stored, model: str) -> None:
        """Hold what is stored, once it is sure that what is stored is what must be."""
        may_be = {name: self.named_so(name) for name in "xyz"}
        for place, (sample, (_, _, seed)) in enumerate(zip(new, batch, strict=True)):
            candidates = may_be[sample.name] if sample.person is None else [sample.person]
            if sample.person is not None and sample.person not in self.people:
                assert isinstance(stored.failed[sample.id], NotFound)
                continue
            if len(candidates) > 1:
                failure = stored.failed[sample.id]
                assert isinstance(failure, AmbiguousName) and sorted(failure.persons) == sorted(candidates)
                continue
            person = stored.people[sample.id]
            if candidates:
                assert candidates == [person]
            else:
                assert person not in self.people
                may_be[sample.name] = [person]
                self.people[person] = (sample.name, False)
            self.model = model
            self.hold_one(place, sample, person, seed)
        assert len(stored.people) + len(stored.failed) == len(new)
        self.forget_emptied()

    def hold_one(self, place: int, sample: Sample, person: str, seed: int) -> None:
        key, created = self.clock * 100 + place, sample.created
        if sample.id in self.held:
            key, created = self.held[sample.id][0], self.held[sample.id][1].created
        self.held[sample.id] = key, replace(sample, created=created, person=person), seed

    def forget_emptied(self) -> None:
        used = {sample.person for _, sample, _ in self.held.values()}
        self.people = {
            person: (name, by_hand)
            for person, (name, by_hand) in self.people.items()
            if by_hand or person in used
        }

    def seen(self, sample: Sample) -> Sample:
        """What is to be seen of a sample: its name is the person's, and `modified` of a real clock."""
        assert sample.person is not None
        return replace(sample, name=self.people[sample.person][0], modified=NOW, spelling=None)

    def assert_seen(self, found: list[Sample], expected: list[Sample]) -> None:
        assert [replace(sample, modified=NOW, spelling=None) for sample in found] == [
            self.seen(sample) for sample in expected
        ]

    @rule(side=sides, batch=batches, model=models)
    def upsert(self, side: bool, batch: list[Row], model: str) -> None:
        new, vectors, _ = self.prepared(batch, model)
        sure = [
            sample
            for sample in new
            if sample.person in self.people or (sample.person is None and len(self.named_so(sample.name)) < 2)
        ]
        if self.held and sure and model != self.model:
            with pytest.raises(GalleryModelMismatch):
                self.call(side, "upsert", new, vectors, model)
            return
        self.hold(new, batch, self.call(side, "upsert", new, vectors, model), model)

    @rule(first=rows, second=rows)
    def upsert_both_at_once(self, first: Row, second: Row) -> None:
        """Neither order of the two may matter, nor may their keys: only ids that are there already."""
        if first[0] == second[0] or not {first[0], second[0]} <= set(self.held):
            return
        if not all(
            place is not None or len(self.named_so(str(name))) for _, (name, place), _ in (first, second)
        ):
            return  # either might make a person, whom the other would meet or not
        if self.would_empty(first, second):
            return  # either might remove the person whom the other is sent to
        assert self.model is not None
        one, other = self.prepared([first], self.model), self.prepared([second], self.model)
        here, there = self.processes
        there.begin("upsert", *other)
        stored = here.call("upsert", *one)
        self.hold(one[0], [first], stored, self.model)
        self.hold(other[0], [second], there.result(), self.model)

    def would_empty(self, *rows: Row) -> bool:
        leaving = {row[0] for row in rows}
        staying = {sample.person for id, (_, sample, _) in self.held.items() if id not in leaving}
        return any(not by_hand and person not in staying for person, (_, by_hand) in self.people.items())

    @rule(side=sides, sample_id=ids)
    def delete(self, side: bool, sample_id: str) -> None:
        assert self.call(side, "delete", sample_id) == (self.held.pop(sample_id, None) is not None)
        self.forget_emptied()

    @rule(side=sides, name=names)
    def delete_named(self, side: bool, name: str) -> None:
        gone = [sample.id for sample in self.named(name)]
        assert self.call(side, "delete_named", name) == len(gone)
        for sample_id in gone:
            del self.held[sample_id]
        self.forget_emptied()

    @rule(side=sides, sure=st.sampled_from([True, False, False]))
    def clear(self, side: bool, sure: bool) -> None:
        if sure:
            self.call(side, "clear")
            self.held.clear()
            self.people.clear()

    @rule(side=sides, person_id=own_ids, name=names)
    def make(self, side: bool, person_id: str, name: str) -> None:
        if person_id in self.people:
            with pytest.raises(PersonExists):
                self.call(side, "people.make", name, person_id=person_id)
            return
        self.call(side, "people.make", name, person_id=person_id)
        self.people[person_id] = (name, True)

    @rule(side=sides, place=places, name=names)
    def rename(self, side: bool, place: int, name: str) -> None:
        person = self.person_at(place)
        if person not in self.people:
            with pytest.raises(NotFound):
                self.call(side, "people.change", person, {"name": name})
            return
        assert self.call(side, "people.change", person, {"name": name}).name == name
        self.people[person] = (name, self.people[person][1])

    @rule(side=sides, place=places)
    def delete_person(self, side: bool, place: int) -> None:
        person = self.person_at(place)
        if person not in self.people:
            with pytest.raises(NotFound):
                self.call(side, "people.delete", person)
            return
        theirs = {sample.id for _, sample, _ in self.held.values() if sample.person == person}
        assert set(self.call(side, "people.delete", person).samples) == theirs
        for sample_id in theirs:
            del self.held[sample_id]
        del self.people[person]

    def merged(self, person: str, into: str) -> None:
        for sample_id, (key, sample, seed) in self.held.items():
            if sample.person == person:
                self.held[sample_id] = key, replace(sample, person=into), seed
        del self.people[person]

    @rule(side=sides, places=st.tuples(places, places))
    def merge(self, side: bool, places: tuple[int, int]) -> None:
        person, into = map(self.person_at, places)
        wrong = InvalidRequest if person == into else NotFound
        if person == into or not {person, into} <= set(self.people):
            with pytest.raises(wrong):
                self.call(side, "people.merge", person, into)
            return
        self.call(side, "people.merge", person, into)
        self.merged(person, into)

    @rule(side=sides, places=st.tuples(places, places))
    def merge_and_take_it_back(self, side: bool, places: tuple[int, int]) -> None:
        person, into = map(self.person_at, places)
        if person == into or not {person, into} <= set(self.people):
            return
        merged = self.call(side, "people.merge", person, into)
        back = self.call(not side, "unmerging.unmerge", into, merged.emptied, merged.revision)
        assert (back.person.id, back.left) == (person, 0)

    @rule(places=st.tuples(places, places), sample_id=ids, seed=seeds, by_name=st.booleans())
    def merge_during_an_enrolment(
        self, places: tuple[int, int], sample_id: str, seed: int, by_name: bool
    ) -> None:
        """Whichever is first: the sample is there, or the answer says that it is not."""
        person, into = map(self.person_at, places)
        if self.model is None or person == into or not {person, into} <= set(self.people):
            return
        name = self.people[person][0]
        if len(self.named_so(name)) > 1 or sample_id in self.held:
            return
        whose: Whose = (name, None) if by_name else (None, places[0])
        new, vectors, model = self.prepared([(sample_id, whose, seed)], self.model)
        here, there = self.processes
        if not self.held:
            return
        there.begin("upsert", new, vectors, model)
        here.call("people.merge", person, into)
        stored = there.result()
        self.merged(person, into)
        if stored.failed:
            assert not by_name and isinstance(stored.failed[sample_id], NotFound)
            assert here.call("get", sample_id) is None
            return
        found = here.call("get", sample_id)
        assert found.person == into if stored.people[sample_id] == person else found.name == name
        if found.person not in self.people:
            self.people[found.person] = (name, False)
        self.hold_one(0, new[0], found.person, seed)

    @rule(side=sides, sample_id=ids, whose=whose)
    def move(self, side: bool, sample_id: str, whose: Whose) -> None:
        name, place = whose
        to = {"name": name} if place is None else {"person": self.person_at(place)}
        candidates = self.named_so(name) if name is not None else [to["person"]]
        if sample_id not in self.held or to.get("person", "p") == "nobody":
            with pytest.raises(NotFound):
                self.call(side, "people.change_sample", sample_id, to)
            return
        if len(candidates) > 1:
            with pytest.raises(AmbiguousName):
                self.call(side, "people.change_sample", sample_id, to)
            return
        moved = self.call(side, "people.change_sample", sample_id, to)
        if not candidates:
            assert name is not None and moved.person not in self.people
            self.people[moved.person] = (name, False)
        key, sample, seed = self.held[sample_id]
        self.held[sample_id] = key, replace(sample, person=moved.person), seed
        self.assert_seen([moved], [self.held[sample_id][1]])
        self.forget_emptied()

    @rule(side=sides, sample_id=ids)
    def get(self, side: bool, sample_id: str) -> None:
        found = self.call(side, "get", sample_id)
        if sample_id in self.held:
            self.assert_seen([found], [self.held[sample_id][1]])
        else:
            assert found is None

    @rule(side=sides, name=st.none() | names)
    def count(self, side: bool, name: str | None) -> None:
        assert self.call(side, "count", name) == len(self.named(name))

    @rule(side=sides, limit=st.integers(1, 5), after=st.none() | ids, name=st.none() | names)
    def page(self, side: bool, limit: int, after: str | None, name: str | None) -> None:
        expected = [sample for sample in self.named(name) if after is None or sample.id > after][:limit]
        self.assert_seen(self.call(side, "page", limit=limit, after=after, name=name), expected)

    @rule(side=sides, q=st.none() | names)
    def page_of_people(self, side: bool, q: str | None) -> None:
        found = self.call(side, "people.page", limit=100, q=q)
        owned = [sample.person for _, sample, _ in self.held.values()]
        expected = {
            (person, name, owned.count(person))
            for person, (name, _) in self.people.items()
            if q in (None, name)
        }
        assert {(person.id, person.name, person.samples) for person in found.persons} == expected
        assert found.total == len(expected)

    @rule(
        side=sides,
        probe=seeds,
        k=st.integers(1, 9),
        max_distance=st.sampled_from([math.inf, 14.0, 8.0]),
        per_person=st.booleans(),
        model=models,
    )
    def nearest(
        self, side: bool, probe: int, k: int, max_distance: float, per_person: bool, model: str
    ) -> None:
        probes = VECTORS[model][[probe]]
        if self.held and model != self.model:
            with pytest.raises(GalleryModelMismatch):
                self.call(side, "nearest", probes, k, model)
            return
        (found,) = self.call(
            side, "nearest", probes, k, model, max_distance=max_distance, per_person=per_person
        )
        ranked = sorted(
            (float(np.linalg.norm(VECTORS[model][seed].astype(float) - probes[0].astype(float))), key, sample)
            for key, sample, seed in self.held.values()
        )
        people_met: set[str | None] = set()
        expected = []
        for distance, _, sample in ranked:
            if not (per_person and sample.person in people_met) and (not expected or distance < max_distance):
                expected.append((sample, distance))
            people_met.add(sample.person)
        self.assert_seen([match.sample for match in found], [sample for sample, _ in expected[:k]])
        distances = [distance for _, distance in expected[:k]]
        assert [match.distance for match in found] == pytest.approx(distances, abs=1e-9)

    def named(self, name: str | None) -> list[Sample]:
        samples = [
            sample
            for _, sample, _ in self.held.values()
            if name is None or self.people[str(sample.person)][0] == name
        ]
        return sorted(samples, key=lambda sample: sample.id)


def check_any_history(here: Gallery, there: OtherProcess, examples: int) -> None:
    class OnThisDatabase(AnyHistory):
        processes = (Here(here), there)

    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_any_history_of_two_processes_is_that_of_a_dictionary(shared_url: str, index: str | None) -> None:
    here = open_gallery(shared_url, lock_timeout_s=30, index=index)
    with closing(here), closing(OtherProcess(shared_url, index)) as there:
        check_any_history(here, there, 30 if index is None else 12)


def test_any_history_of_two_processes_is_that_of_a_dictionary_where_they_search_on_a_standby() -> None:
    with running_postgresql() as primary, running_standby(primary) as standby:
        url, read_url = primary.url(), standby.url()
        here = open_gallery(url, lock_timeout_s=30, read_url=read_url)
        with closing(here), closing(OtherProcess(url, read_url=read_url)) as there:
            check_any_history(here, there, 12)
            here.check_replicas()


# --- killed

KILLS = {"sqlite": int(os.environ.get("KILLS", 8)), "postgresql": int(os.environ.get("KILLS", 4))}
KILLS_WITH_MILVUS = int(os.environ.get("KILLS", 2))
BATCH = 40


def batch_vectors(name: str) -> np.ndarray:
    return np.random.default_rng(list(name.encode())).normal(size=(BATCH, 8)).astype(np.float32)


def enrol_until_killed(connection: Connection, url: str, run: int) -> None:
    """Store one batch after the other, and tell the name of each when it is stored."""
    gallery = open_gallery(url, lock_timeout_s=30)
    for number in range(10_000):
        name = f"{run}-{number}"
        new = [a_sample(f"{name}-{row}", name=name) for row in range(BATCH)]
        gallery.upsert(new, batch_vectors(name), MODEL)
        connection.send(name)


def merge_until_killed(connection: Connection, url: str, run: int) -> None:
    """Enrol two people, merge them, move one sample away, and tell of it; again and again."""
    gallery = open_gallery(url, lock_timeout_s=30)
    for number in range(10_000):
        name = f"{run}-{number}"
        whose = []
        for who in ("one", "other"):
            new = [a_sample(f"{name}-{who}-{row}", name=f"{name}-{who}") for row in range(BATCH)]
            stored = gallery.upsert(new, batch_vectors(f"{name}-{who}"), MODEL)
            whose.append(stored.people[f"{name}-{who}-0"])
        people.merge(gallery, *whose)
        people.change_sample(gallery, f"{name}-one-0", {"name": f"{name}-moved"})
        connection.send(name)


def acknowledged_before_kill(
    context: Any, url: str, run: int, work: Callable[[Connection, str, int], None] = enrol_until_killed
) -> list[str]:
    """Start a process, kill it a while after it has told of some batches, and name those it has told of."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(theirs, url, run))
    process.start()
    theirs.close()
    chance = random.Random(run)
    told, moments = [ours.recv()], [time.monotonic()]
    for _ in range(chance.randint(1, 3)):
        told.append(ours.recv())
        moments.append(time.monotonic())
    until = moments[-1] + chance.uniform(0, 1.5) * (moments[-1] - moments[-2])
    while (left := until - time.monotonic()) > 0:
        if ours.poll(left):
            told.append(ours.recv())
    process.kill()
    process.join()
    try:
        while True:
            told.append(ours.recv())  # told, but not yet read
    except EOFError:
        ours.close()
        return told


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each process is a fork of one that has imported everything; Python 3.11 tells it no other path."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_gallery_processes"])
    return context


# What there may be of a round that was not told of: samples of one, of the other, and moved away.
ROUNDS = [
    (0, 0, 0),
    (BATCH, 0, 0),
    (BATCH, BATCH, 0),
    (0, 2 * BATCH, 0),
    (0, 2 * BATCH - 1, 1),
]


def test_merges_and_moves_are_whole_or_not_at_all_when_their_process_is_killed(
    backend: str, shared_url: str, context: Any
) -> None:
    with closing(open_gallery(shared_url, lock_timeout_s=30, ef_search=400)) as gallery:
        gallery.clear()
        total = 0
        for run in range(KILLS[backend]):
            told = acknowledged_before_kill(context, shared_url, run, merge_until_killed)
            gallery.delete("whoever")  # waits for what the killed process's database still does
            rounds = [
                tuple(gallery.count(f"{run}-{number}-{who}") for who in ("one", "other", "moved"))
                for number in range(len(told) + 1)
            ]
            assert rounds[:-1] == [ROUNDS[-1]] * len(told)
            assert rounds[-1] in ROUNDS
            total += sum(map(sum, rounds))
            assert gallery.count() == total
            listed = people.page(gallery, limit=1000)
            assert sum(person.samples for person in listed.persons) == total
            gallery.delete_named(f"{run}-0-other")
            total -= 2 * BATCH - 1
        assert list(transfer.faults(gallery)) == []


def test_what_was_acknowledged_survives_a_killed_process(
    backend: str, shared_url: str, index: str | None, context: Any
) -> None:
    with closing(open_gallery(shared_url, lock_timeout_s=30, ef_search=400, index=index)) as gallery:
        gallery.clear()
        stored: dict[str, np.ndarray] = {}
        for run in range(KILLS[backend] if index is None else KILLS_WITH_MILVUS):
            told = acknowledged_before_kill(context, shared_url, run)
            for name in told:
                assert gallery.count(name) == BATCH
                stored[name] = batch_vectors(name)
            gallery.delete("whoever")  # waits for what the killed process's database still does
            under_way = f"{run}-{len(told)}"
            assert gallery.count(under_way) in (0, BATCH)
            if gallery.count(under_way):
                stored[under_way] = batch_vectors(under_way)
            assert gallery.count() == BATCH * len(stored)
            assert miscounted(gallery) == []
            everything = np.concatenate([np.empty((0, 8), np.float32), *stored.values()]).astype(float)
            probe = np.random.default_rng(run).normal(size=(1, 8)).astype(np.float32)
            nearest = np.linalg.norm(everything - probe, axis=1).min(initial=np.inf)
            (matches,) = gallery.nearest(probe, 1, MODEL)
            assert [match.distance for match in matches] == pytest.approx([nearest] * bool(stored), abs=1e-9)
