"""Several processes on one gallery: any order of changes, and processes that are killed while they write."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from galleries import MODEL, NOW, OtherProcess, a_sample, database_url, vectors_of
from recognition.errors import GalleryModelMismatch
from recognition.faces import Sample
from recognition.gallery import Gallery, open_gallery

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


class Here:
    """A gallery in this process, called like one in another."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        return getattr(self._gallery, method)(*args, **options)


ids = st.sampled_from(["a", "B", "é", "名", "\U0001f600", "a/b", "\uffff"])
names = st.sampled_from(["x", "y", "z"])
seeds = st.sampled_from(SEEDS)
models = st.sampled_from([MODEL, MODEL, MODEL, "model-b"])
batches = st.lists(st.tuples(ids, names, seeds), unique_by=lambda row: row[0])
sides = st.booleans()  # which of the two processes


class AnyHistory(RuleBasedStateMachine):
    """Two processes change and read one gallery; a dictionary says what each must see."""

    processes: tuple[Here, OtherProcess]

    @initialize()
    def empty(self) -> None:
        self.call(False, "clear")
        self.held: dict[str, tuple[int, Sample, int]] = {}  # id -> order of enrolment, sample, seed
        self.model: str | None = None
        self.clock = 0

    def call(self, side: bool, method: str, *args: Any, **options: Any) -> Any:
        return self.processes[side].call(method, *args, **options)

    def prepared(self, batch: list[tuple[str, str, int]], model: str) -> tuple[list[Sample], np.ndarray, str]:
        self.clock += 1
        now = NOW + timedelta(seconds=self.clock)
        new = [
            a_sample(sample_id, name=name, metadata={"n": self.clock}, created=now, modified=now)
            for sample_id, name, _ in batch
        ]
        return new, VECTORS[model][[seed for *_, seed in batch]], model

    def hold(self, new: list[Sample], batch: list[tuple[str, str, int]], model: str) -> None:
        self.model = model
        for place, (sample, (sample_id, _, seed)) in enumerate(zip(new, batch, strict=True)):
            key, created = self.clock * 100 + place, sample.created
            if sample_id in self.held:
                key, created = self.held[sample_id][0], self.held[sample_id][1].created
            stored = replace(sample, created=created)
            self.held[sample_id] = (key, stored, seed)

    @rule(side=sides, batch=batches, model=models)
    def upsert(self, side: bool, batch: list[tuple[str, str, int]], model: str) -> None:
        new, vectors, _ = self.prepared(batch, model)
        if self.held and batch and model != self.model:
            with pytest.raises(GalleryModelMismatch):
                self.call(side, "upsert", new, vectors, model)
            return
        self.call(side, "upsert", new, vectors, model)
        if batch:
            self.hold(new, batch, model)

    @rule(first=st.tuples(ids, names, seeds), second=st.tuples(ids, names, seeds))
    def upsert_both_at_once(self, first: tuple[str, str, int], second: tuple[str, str, int]) -> None:
        """Neither order of the two may matter, nor may their keys: only ids that are there already."""
        if first[0] == second[0] or not {first[0], second[0]} <= set(self.held):
            return
        assert self.model is not None
        one, other = self.prepared([first], self.model), self.prepared([second], self.model)
        here, there = self.processes
        there.begin("upsert", *other)
        here.call("upsert", *one)
        there.result()
        self.hold(one[0], [first], self.model)
        self.hold(other[0], [second], self.model)

    @rule(side=sides, sample_id=ids)
    def delete(self, side: bool, sample_id: str) -> None:
        assert self.call(side, "delete", sample_id) == (self.held.pop(sample_id, None) is not None)

    @rule(side=sides, name=names)
    def delete_named(self, side: bool, name: str) -> None:
        gone = [sample_id for sample_id, (_, sample, _) in self.held.items() if sample.name == name]
        assert self.call(side, "delete_named", name) == len(gone)
        for sample_id in gone:
            del self.held[sample_id]

    @rule(side=sides, sure=st.sampled_from([True, False, False]))
    def clear(self, side: bool, sure: bool) -> None:
        if sure:
            self.call(side, "clear")
            self.held.clear()

    @rule(side=sides, sample_id=ids)
    def get(self, side: bool, sample_id: str) -> None:
        expected = self.held[sample_id][1] if sample_id in self.held else None
        assert self.call(side, "get", sample_id) == expected

    @rule(side=sides, name=st.none() | names)
    def count(self, side: bool, name: str | None) -> None:
        assert self.call(side, "count", name) == len(self.named(name))

    @rule(side=sides, limit=st.integers(1, 5), after=st.none() | ids, name=st.none() | names)
    def page(self, side: bool, limit: int, after: str | None, name: str | None) -> None:
        expected = [sample for sample in self.named(name) if after is None or sample.id > after][:limit]
        assert self.call(side, "page", limit=limit, after=after, name=name) == expected

    @rule(
        side=sides,
        probe=seeds,
        k=st.integers(1, 9),
        max_distance=st.sampled_from([math.inf, 14.0, 8.0]),
        per_name=st.booleans(),
        model=models,
    )
    def nearest(
        self, side: bool, probe: int, k: int, max_distance: float, per_name: bool, model: str
    ) -> None:
        probes = VECTORS[model][[probe]]
        if self.held and model != self.model:
            with pytest.raises(GalleryModelMismatch):
                self.call(side, "nearest", probes, k, model)
            return
        (found,) = self.call(side, "nearest", probes, k, model, max_distance=max_distance, per_name=per_name)
        ranked = sorted(
            (float(np.linalg.norm(VECTORS[model][seed].astype(float) - probes[0].astype(float))), key, sample)
            for key, sample, seed in self.held.values()
        )
        names_met: set[str] = set()
        expected = []
        for distance, _, sample in ranked:
            if not (per_name and sample.name in names_met) and (not expected or distance < max_distance):
                expected.append((sample, distance))
            names_met.add(sample.name)
        assert [match.sample for match in found] == [sample for sample, _ in expected[:k]]
        distances = [distance for _, distance in expected[:k]]
        assert [match.distance for match in found] == pytest.approx(distances, abs=1e-9)

    def named(self, name: str | None) -> list[Sample]:
        samples = [sample for _, sample, _ in self.held.values() if name in (None, sample.name)]
        return sorted(samples, key=lambda sample: sample.id)


def test_any_history_of_two_processes_is_that_of_a_dictionary(shared_url: str) -> None:
    here = open_gallery(shared_url, lock_timeout_s=30)
    with closing(here), closing(OtherProcess(shared_url)) as there:

        class OnThisDatabase(AnyHistory):
            processes = (Here(here), there)

        run_state_machine_as_test(
            OnThisDatabase,
            settings=settings(
                max_examples=30,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )


# --- killed

KILLS = {"sqlite": int(os.environ.get("KILLS", 50)), "postgresql": int(os.environ.get("KILLS", 15))}
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


def acknowledged_before_kill(context: Any, url: str, run: int) -> list[str]:
    """Start a process, kill it a while after it has told of some batches, and name those it has told of."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=enrol_until_killed, args=(theirs, url, run))
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


def test_what_was_acknowledged_survives_a_killed_process(
    backend: str, shared_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each process is a fork of one that has imported everything; Python 3.11 tells it no other path.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_gallery_processes"])
    with closing(open_gallery(shared_url, lock_timeout_s=30, ef_search=400)) as gallery:
        gallery.clear()
        stored: dict[str, np.ndarray] = {}
        for run in range(KILLS[backend]):
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
            everything = np.concatenate([np.empty((0, 8), np.float32), *stored.values()]).astype(float)
            probe = np.random.default_rng(run).normal(size=(1, 8)).astype(np.float32)
            nearest = np.linalg.norm(everything - probe, axis=1).min(initial=np.inf)
            (matches,) = gallery.nearest(probe, 1, MODEL)
            assert [match.distance for match in matches] == pytest.approx([nearest] * bool(stored), abs=1e-9)
