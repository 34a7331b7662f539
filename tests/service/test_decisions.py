"""Decisions by an error that the caller accepts: over HTTP, on both databases."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from fakes import FACE, ok, refused, shipped_background
from galleries import NOW, FakeClock, a_sample
from recognition.app import create_app
from recognition.config import SettingsError, read
from recognition.gallery import Gallery, open_gallery, weighing
from serving.model import Model
from serving.remarks import Picture

DIMENSION = 24
WITH, WITHOUT = "with a background", "without one"  # models, by their fingerprints
Vectors = NDArray[np.float32]


def made_up(number: int, seed: int, samples: int = 2, spread: float = 0.6) -> list[Vectors]:
    """People whose samples lie about a place of their own, at length 10."""
    random = np.random.default_rng(seed)
    places = random.normal(size=(number, DIMENSION)) + 1
    places *= 10 / np.linalg.norm(places, axis=1, keepdims=True)
    raw = places[:, None] + random.normal(scale=spread, size=(number, samples, DIMENSION))
    return list((10 * raw / np.linalg.norm(raw, axis=2, keepdims=True)).astype(np.float32))


class Embedder:
    """Gives the vector that was laid for a picture's first value."""

    def __init__(self, fingerprint: str) -> None:
        self.described = Model("a model", DIMENSION, 8, 9.0, (0.0, 20.0), fingerprint)
        self.vectors: dict[int, Vectors] = {}

    def model(self, name: str | None = None) -> Model:
        return self.described

    def embed(self, crops: np.ndarray, model: Model) -> Vectors:
        return np.stack([self.vectors.get(int(crop[0, 0, 0]), np.ones(DIMENSION)) for crop in crops])


class Door:
    """A service and what it may be shown: each vector as a picture of its own."""

    def __init__(self, gallery: Gallery, fingerprint: str = WITH, **settings: str) -> None:
        self.gallery = gallery
        self.fingerprint = f"{fingerprint}-1"
        self.embedder = Embedder(fingerprint)
        self.client: FlaskClient = create_app(
            read({"MIN_QUALITY": "0", **settings}),
            detector=lambda _: [FACE],
            embedder=self.embedder,
            gallery=gallery,
            decode=lambda data: Picture(np.full((20, 20, 3), data[0], np.uint8)),
        ).test_client()

    def enrol(self, name: str, vectors: Vectors, **fields: Any) -> None:
        samples = [a_sample(f"{name}/{n}", name=name, **fields) for n in range(len(vectors))]
        self.gallery.upsert(samples, vectors, self.fingerprint)

    def picture(self, vector: Vectors) -> str:
        number = len(self.embedder.vectors)
        self.embedder.vectors[number] = vector
        return base64.b64encode(bytes([number])).decode()

    def ask(self, vector: Vectors, **options: Any) -> Any:
        return self.client.post("/face-recognition", json={"image": self.picture(vector), **options})

    def seen(self, vector: Vectors, **options: Any) -> Any:
        (face,) = ok(self.ask(vector, include_unknown=True, **options))
        return face


@pytest.fixture(scope="module", autouse=True)
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("backgrounds")
    with shipped_background(folder, f"{WITH}-1", made_up(600, 1, samples=3)):
        yield


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    with closing(open_gallery(url, lock_timeout_s=5, clock=clock)) as gallery:
        yield gallery


@pytest.fixture
def door(gallery: Gallery) -> Door:
    """Where fifty people may come in."""
    door = Door(gallery)
    for number, vectors in enumerate(made_up(50, 2)):
        door.enrol(f"p{number}", vectors)
    return door


def toward(one: Vectors, other: Vectors, part: float) -> Vectors:
    raw = (1 - part) * one + part * other
    return (10 * raw / np.linalg.norm(raw)).astype(np.float32)


def test_people_get_their_names_and_strangers_none(door: Door) -> None:
    for number, vectors in enumerate(made_up(50, 2, samples=3)[:20]):
        face = door.seen(vectors[2], max_false_match=0.01)
        assert (face["name"], face["person"] != "") == (f"p{number}", True)
        assert 0 <= face["false_match"] <= 0.01
    for (vector,) in made_up(20, 3, samples=1):
        face = door.seen(vector, max_false_match=0.001)
        assert (face["name"], face["id"], face["person"]) == ("", "", "")
        assert 0.001 < face["false_match"] <= 1
        assert face["distance"] > 0
        assert ok(door.ask(vector, max_false_match=0.001)) == []


def test_all_samples_of_a_person_count_together(gallery: Gallery) -> None:
    """The nearest sample is one of Ann's that looks like Ben; all of Ben's are nearly as near."""
    door = Door(gallery)
    ann, ben = (vectors[0] for vectors in made_up(2, 5, samples=1))
    probe = toward(ann, ben, 0.9)
    door.enrol("Ann", np.stack([ann, ann, ann, probe]))
    door.enrol("Ben", np.stack([toward(ben, ann, 0.02), toward(ben, -ann, 0.02)]))
    assert door.seen(probe, min_distance=9)["name"] == "Ann"
    face = door.seen(probe, max_false_match=0.1)
    assert (face["name"], face["distance"] > 0) == ("Ben", True)


def test_of_very_many_samples_the_newest_count(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(gallery)
    ann, ben = (vectors[0] for vectors in made_up(2, 5, samples=1))
    door.enrol("Ann", np.stack([ben, ben, ann, ann]))
    before = door.seen(ann, max_false_match=0.5)["false_match"]
    monkeypatch.setattr(weighing, "MOST_EACH", 2)
    assert door.seen(ann, max_false_match=0.5)["false_match"] < before


def test_min_distance_decides_as_before_and_tells_the_error_too(door: Door) -> None:
    probe = made_up(50, 2, samples=3)[7][2]
    near = door.seen(probe, min_distance=9, top_k=3)
    ((first, *_),) = door.gallery.nearest(probe[np.newaxis], 1, door.fingerprint)
    assert (near["id"], near["distance"]) == (first.sample.id, first.distance)
    assert near["false_match"] == first.false_match
    assert 0 <= near["false_match"] < 0.01
    assert [each["distance"] for each in near["candidates"]] == sorted(
        each["distance"] for each in near["candidates"]
    )
    far = door.seen(probe, min_distance=0.001)
    assert (far["name"], far["distance"], far["false_match"]) == ("", near["distance"], near["false_match"])


@pytest.mark.parametrize("wish", [0, -0.1, 0.51, 1, "few", True, float("nan")])
def test_what_is_no_share_of_strangers_is_refused(door: Door, wish: Any) -> None:
    assert "max_false_match" in refused(
        door.ask(np.ones(DIMENSION), max_false_match=wish), 400, "invalid_request"
    )


def test_two_rules_together_are_refused(door: Door) -> None:
    answer = door.ask(np.ones(DIMENSION), max_false_match=0.01, min_distance=9)
    detail = refused(answer, 400, "invalid_request")
    assert "min_distance" in detail
    assert "max_false_match" in detail
    nothing_sent = door.ask(np.ones(DIMENSION), max_false_match=0.01, min_distance=None)
    assert nothing_sent.status_code == 200


def test_a_form_may_say_it_too(door: Door) -> None:
    probe = made_up(50, 2, samples=3)[4][2]
    data = base64.b64decode(door.picture(probe))
    for path in ("/face-recognition", "/draw"):
        fields = {"file": (io.BytesIO(data), "a.png"), "max_false_match": "0.01"}
        answer = door.client.post(path, data=fields)
        assert answer.status_code == 200
    refused(
        door.client.post(
            "/draw",
            data={"file": (io.BytesIO(data), "a.png"), "max_false_match": "0.01", "min_distance": "9"},
        ),
        400,
        "invalid_request",
    )


def test_the_setting_decides_where_a_caller_says_nothing(gallery: Gallery) -> None:
    strict = Door(gallery, MAX_FALSE_MATCH="0.0000000001")
    ann, ben = made_up(2, 5, samples=1)
    strict.enrol("Ann", ann)
    probe = toward(ann[0], ben[0], 0.35)
    assert strict.seen(probe)["name"] == ""
    assert strict.seen(probe, min_distance=9)["name"] == "Ann"
    assert strict.seen(probe, max_false_match=0.5)["name"] == "Ann"
    assert ok(strict.client.get("/ready"))["decisions"]["max_false_match"] == 1e-10
    assert Door(gallery).seen(probe)["name"] == "Ann"


def test_candidates_are_people_the_likeliest_first(door: Door) -> None:
    one, other = made_up(50, 2)[3], made_up(50, 2)[9]
    between = toward(one.mean(axis=0), other.mean(axis=0), 0.5)
    candidates = door.seen(between, max_false_match=0.5, top_k=5)["candidates"]
    assert {each["name"] for each in candidates[:2]} == {"p3", "p9"}
    assert len({each["person"] for each in candidates}) == len(candidates)
    rates = [each["false_match"] for each in candidates]
    assert rates == sorted(rates)
    assert max(rates) <= 0.5
    every = door.seen(between, max_false_match=0.5, top_k=5, per="sample")["candidates"]
    assert sorted(each["name"] for each in every[:4]) == ["p3", "p3", "p9", "p9"]
    assert every[0]["distance"] <= every[1]["distance"]


def test_what_was_stored_and_removed_counts_in_the_next_answer(door: Door) -> None:
    (ann,) = made_up(1, 8, samples=3)
    assert door.seen(ann[0], max_false_match=0.01)["name"] == ""
    door.enrol("Ann", ann[1:])
    assert door.seen(ann[0], max_false_match=0.01)["name"] == "Ann"
    door.gallery.delete("Ann/0")
    alone = door.seen(ann[0], max_false_match=0.01)
    assert (alone["name"], alone["id"]) == ("Ann", "Ann/1")
    door.gallery.delete("Ann/1")
    assert door.seen(ann[0], max_false_match=0.01)["name"] == ""


def test_the_estimate_follows_each_change_in_small_galleries_and_the_upkeep_in_large_ones(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weighing, "QUICK", 3)
    door, known = Door(gallery), []
    for number, vectors in enumerate(made_up(6, 2)):
        door.enrol(f"p{number}", vectors)
        if number == 5:
            gallery.load()
        door.seen(vectors[0], min_distance=9)
        known.append(ok(door.client.get("/ready"))["decisions"]["people"])
    assert known == [1, 2, 3, 4, 4, 6]
    door.gallery.clear()
    assert ok(door.client.get("/ready"))["decisions"]["people"] == 0


def test_what_has_expired_is_not_weighed(door: Door, clock: FakeClock) -> None:
    (ann,) = made_up(1, 8, samples=3)
    door.enrol("Ann", ann[1:], expires_at=NOW + timedelta(days=1))
    assert door.seen(ann[0], max_false_match=0.01)["name"] == "Ann"
    clock.now += timedelta(days=2)
    assert door.seen(ann[0], max_false_match=0.01)["name"] == ""


def test_a_person_without_samples_counts_for_nothing(door: Door) -> None:
    before = ok(door.client.get("/ready"))["decisions"]
    assert door.client.post("/persons", json={"name": "Cid"}).status_code in (200, 201)
    assert ok(door.client.get("/ready"))["decisions"] == before


def test_a_larger_gallery_makes_the_same_face_less_certain(door: Door) -> None:
    probe = made_up(50, 2, samples=3)[7][2]
    few = door.seen(probe, max_false_match=0.5)["false_match"]
    for number, vectors in enumerate(made_up(200, 9)):
        door.enrol(f"q{number}", vectors)
    assert door.seen(probe, max_false_match=0.5)["false_match"] > few


def test_ready_tells_what_wishes_mean(door: Door) -> None:
    decisions = ok(door.client.get("/ready"))["decisions"]
    assert (decisions["max_false_match"], decisions["people"]) == (None, 50)
    wishes = [each["max_false_match"] for each in decisions["wishes"]]
    assert wishes == sorted(wishes, reverse=True)
    assert 0.01 in wishes
    scores = [each["score"] for each in decisions["wishes"]]
    assert scores == sorted(scores)
    distances = [each["distance"] for each in decisions["wishes"]]
    assert distances == sorted(distances, reverse=True)
    missed = [each["missed"] for each in decisions["wishes"]]
    assert missed == sorted(missed)
    assert 0 < decisions["least"] < 0.5


def test_ready_tells_what_the_wish_means_that_is_set(gallery: Gallery) -> None:
    for setting, wishes in (
        ("0.02", [0.1, 0.03, 0.02, 0.01, 0.003, 0.001]),
        ("0.03", [0.1, 0.03, 0.01, 0.003, 0.001]),
        ("0.5", [0.5, 0.1, 0.03, 0.01, 0.003, 0.001]),
    ):
        decisions = ok(Door(gallery, MAX_FALSE_MATCH=setting).client.get("/ready"))["decisions"]
        assert [each["max_false_match"] for each in decisions["wishes"]] == wishes


def test_galleries_are_told_of_apart(door: Door) -> None:
    ok(door.client.post("/galleries", json={"name": "lobby"}))
    assert ok(door.client.get("/ready?gallery=lobby"))["decisions"]["people"] == 0
    assert ok(door.client.get("/ready"))["decisions"]["people"] == 50


def test_a_wish_that_cannot_be_had_is_told(door: Door) -> None:
    probe = made_up(50, 2, samples=3)[7][2]
    least = ok(door.client.get("/ready"))["decisions"]["least"]
    hopeless = door.ask(probe, max_false_match=least / 10)
    assert hopeless.headers["X-Picture-Warnings"] == "wish_out_of_reach"
    assert "X-Picture-Warnings" not in door.ask(probe, max_false_match=min(0.5, least * 2)).headers
    assert "X-Picture-Warnings" not in door.ask(probe, min_distance=9).headers


def test_a_poor_face_gets_no_name(gallery: Gallery) -> None:
    door = Door(gallery, MIN_QUALITY="0.9")
    (ann,) = made_up(1, 8)
    door.enrol("Ann", ann)
    face = door.seen(ann[0], max_false_match=0.5)
    assert (face["name"], face["quality"] < 0.9) == ("", True)


def test_without_anybody_to_compare_with_only_distances_decide(gallery: Gallery) -> None:
    door = Door(gallery, WITHOUT)
    assert ok(door.ask(np.ones(DIMENSION), max_false_match=0.01)) == []
    some = made_up(299, 2)
    for number, vectors in enumerate(some):
        door.enrol(f"p{number}", vectors)
    assert "300" in refused(door.ask(some[0][0], max_false_match=0.01), 409, "not_calibrated")
    face = door.seen(some[0][0])
    assert (face["name"], face["false_match"]) == ("p0", None)
    decisions = ok(door.client.get("/ready"))["decisions"]
    assert (decisions["people"], decisions["wishes"], decisions["least"]) == (None, [], None)
    door.enrol("one more", made_up(1, 6)[0])
    face = door.seen(some[0][0], max_false_match=0.01)
    assert (face["name"], face["false_match"] < 0.01) == ("p0", True)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # PostgreSQL keeps no damaged vectors
def test_damaged_vectors_are_not_weighed(door: Door) -> None:
    (ann,) = made_up(1, 8, samples=3)
    door.enrol("Ann", ann[1:])
    with door.gallery.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE samples SET vector = x'00' WHERE sample_id IN ('Ann/0', 'p7/0', 'p7/1')"
        )
    assert door.seen(ann[0], max_false_match=0.01)["id"] == "Ann/1"
    assert door.seen(made_up(50, 2)[7][0], max_false_match=0.01)["name"] == ""


def test_a_setting_that_is_no_share_stops_the_start() -> None:
    for wish in ("0", "0.6", "one in a hundred"):
        with pytest.raises(SettingsError, match="MAX_FALSE_MATCH"):
            read({"MAX_FALSE_MATCH": wish})
