"""Workers of the service are killed in the midst of large enrolments, and nothing acknowledged is lost.

KILLS=50 kills as many on each database; without it a few do. `pytest -rP` shows what became of them.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import requests

from recognition.gallery import Gallery, open_gallery, transfer
from running import Pair, Service, answers, free_port, wait_until, workers_of

KILLS = int(os.environ.get("KILLS", 4))
WORKERS = 2  # and as many callers, each of whom enrols samples of its own
PICTURES = 25  # of one enrolment
SAME = 1.0  # vectors of one picture, embedded among others, are nearer than this; no two of PICTURES are
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def images(photographs: dict[str, list[Path]], as_base64: Callable[[Path], str]) -> list[str]:
    return [as_base64(path) for paths in photographs.values() for path in paths[:5]]


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def service(url: str, tmp_path: Path, audit: Path, models_dir: Path, session_pair: Pair) -> Iterator[Service]:
    settings = {
        "MODELS_DIR": str(models_dir),
        "FEATURE_EXTRACTION_URL": session_pair.extraction.url,
        "DATABASE_URL": url,
        "AUDIT_LOG": str(audit),
        "WORKERS": str(WORKERS),
    }
    running = Service("face_detection", settings, free_port(), tmp_path / "log")
    try:
        running.start()
        yield running
    finally:
        running.stop()


def picture_of(caller: int, turn: int, place: int) -> int:
    """Each turn enrols another picture under each id."""
    return (place + turn + 7 * caller) % PICTURES


def enrol(service: Service, images: list[str], caller: int, turn: int) -> bool:
    """Enrol samples, new or in the place of older ones, named for the turn: whether it was acknowledged."""
    body = [
        {"id": f"{caller}/{place}", "name": str(turn), "image": images[picture_of(caller, turn, place)]}
        for place in range(PICTURES)
    ]
    try:
        answer = requests.post(f"{service.url}/update-samples", json=body, timeout=TIMEOUT_S)
    except requests.ConnectionError:
        return False  # its worker was killed
    assert answer.json()["success"] == [sample["id"] for sample in body]
    return True


def is_longer(file: Path, size: int) -> bool:
    return file.stat().st_size > size


def is_later(moment: float) -> bool:
    return time.monotonic() > moment


def kill_one(service: Service, moment: Callable[[], bool], sent: list[Future[bool]]) -> None:
    """Kill a worker when the moment has come, at the latest when an enrolment has been answered."""
    victim = random.choice(workers_of(service))
    while not moment() and not wait(sent, timeout=0.0002, return_when=FIRST_COMPLETED).done:
        pass
    os.kill(victim, signal.SIGKILL)
    wait(sent)
    wait_until(
        lambda: victim not in workers_of(service) and len(workers_of(service)) == WORKERS,
        service.process,
        service.log,
    )
    wait_until(lambda: answers(service.url), service.process, service.log)


def turn_stored(gallery: Gallery, caller: int) -> int | None:
    """The turn whose samples of this caller are stored, whole; None: there are none."""
    there = [gallery.get(f"{caller}/{place}") for place in range(PICTURES)]
    (name,) = {sample and sample.name for sample in there}  # one turn's, or nobody's: no mixture
    return None if name is None else int(name)


def assert_search_agrees_with_table(
    gallery: Gallery, service: Service, images: list[str], held: dict[int, int]
) -> None:
    assert list(transfer.faults(gallery)) == []
    assert gallery.count() == PICTURES * len(held)
    if not held:
        return
    of = transfer.header(gallery)
    records = transfer.records(gallery, of, None)
    places = {sample.id: place for place, (sample, _) in enumerate(records)}
    vectors = np.stack([vector for _, vector in records])
    for vector, found in zip(vectors, gallery.nearest(vectors, 3, of.fingerprint), strict=True):
        exact = np.linalg.norm(vectors.astype(float) - vector.astype(float), axis=1)
        distances = [match.distance for match in found]
        assert distances == pytest.approx(np.sort(exact)[:3].tolist(), abs=1e-9)
        assert [exact[places[match.sample.id]] for match in found] == pytest.approx(distances, abs=1e-9)
    for picture in random.sample(range(PICTURES), 3 * WORKERS):  # whichever worker answers
        body = {"image": images[picture], "top_k": 100, "per": "sample", "min_distance": SAME}
        answer = requests.post(f"{service.url}/face-recognition", json=body, timeout=TIMEOUT_S).json()
        assert {candidate["id"] for face in answer for candidate in face["candidates"]} == {
            f"{caller}/{place}"
            for caller, turn in held.items()
            for place in range(PICTURES)
            if picture_of(caller, turn, place) == picture
        }


def test_a_killed_worker_loses_nothing_and_leaves_nothing_half_done(
    service: Service, url: str, images: list[str], audit: Path
) -> None:
    """It is killed at any time, or when the audit log has its line: just before, in or after the commit."""
    became: Counter[str] = Counter()
    with (
        closing(open_gallery(url, lock_timeout_s=30, ef_search=400)) as gallery,
        ThreadPoolExecutor() as pool,
    ):
        began = time.monotonic()
        assert all(pool.map(lambda caller: enrol(service, images, caller, 0), range(WORKERS)))
        takes_s = time.monotonic() - began
        held = dict.fromkeys(range(WORKERS), 0)
        for turn in range(1, KILLS + 1):
            if turn % 4 in (1, 2):  # else the samples that are there are replaced
                gallery.clear()
                held = {}
            sent = [pool.submit(enrol, service, images, caller, turn) for caller in range(WORKERS)]
            if turn % 2:
                moment = partial(is_longer, audit, audit.stat().st_size)
            else:
                moment = partial(is_later, time.monotonic() + random.uniform(0, takes_s))
            kill_one(service, moment, sent)
            gallery.delete("whoever")  # waits for what the killed worker's database still does
            for caller, acknowledged in enumerate(future.result() for future in sent):
                stored = turn_stored(gallery, caller)
                assert stored == turn if acknowledged else stored in (turn, held.get(caller))
                if stored is not None:
                    held[caller] = stored
                became[
                    "acknowledged" if acknowledged else "stored unsaid" if stored == turn else "not stored"
                ] += 1
            assert_search_agrees_with_table(gallery, service, images, held)
    assert became.total() == KILLS * WORKERS
    print(f"{KILLS} kills, enrolments of {PICTURES}: {dict(became)}")
