"""The check of what is in a gallery: over HTTP and on the command line, on both databases."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from fakes import EmbedderOfGreys, app_of_greys
from galleries import NOW, FakeClock, a_sample
from recognition.cli.findings import command
from recognition.cli.main import cli
from recognition.gallery import Gallery, open_gallery
from recognition.results import Advice
from recognition.seeing import fingerprint_of

FINGERPRINT = fingerprint_of(EmbedderOfGreys().model())


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield gallery
    gallery.close()


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return app_of_greys(gallery, MIN_QUALITY="0.25").test_client()


def store(gallery: Gallery, *stored: tuple[str, float, float], **more: Any) -> None:
    """Store samples that lie in a plane; the name of each is its id without the last character."""
    new = [a_sample(sample_id, name=sample_id[:-1], **more) for sample_id, *_ in stored]
    vectors = np.array([[*place, 0, 1] for _, *place in stored], np.float32)
    gallery.upsert(new, vectors, FINGERPRINT)


def part(client: FlaskClient, **query: Any) -> Any:
    answer = client.get("/doctor", query_string=query)
    assert answer.status_code == 200, answer.json
    return answer.json


def shown(findings: list[Any]) -> list[tuple[Any, ...]]:
    return [(each["what"], *(sample["id"] for sample in each["samples"])) for each in findings]


# Two people, Ann and Ben, far from each other; one of Ann's lies among Ben's. The others are far from all.
WRONG = [("ann1", 0, 0), ("ann2", 4, 0), ("ann3", 20, 3), ("ben1", 20, 0), ("ben2", 22, 0)]
FAR = [("cid1", 100, 0), ("cid2", 103, 0)]


def test_nothing_is_wrong_with_nobody_and_with_friends(client: FlaskClient, gallery: Gallery) -> None:
    assert part(client) == {"findings": [], "examined": 0, "total": 0, "next": None}
    store(gallery, *FAR)
    assert part(client) == {"findings": [], "examined": 2, "total": 2, "next": None}


def test_a_wrong_label_comes_first_with_the_person_whose_it_may_be(
    client: FlaskClient, gallery: Gallery
) -> None:
    store(gallery, *WRONG, *FAR)
    findings = part(client)["findings"]
    assert shown(findings)[0] == ("unlike_own", "ann3", "ben1")
    first = findings[0]
    ann, ben = (sample["person"] for sample in first["samples"])
    assert (first["distance"], first["sure"] > 0.9) == (3.0, True)
    assert first["own"] == pytest.approx(np.hypot(16, 3))
    assert first["advice"] == [
        {"action": "move_sample", "person": ann, "sample": "ann3", "into": ben},
        {"action": "delete_sample", "person": ann, "sample": "ann3", "into": None},
    ]
    assert (
        first["detail"]
        == "ann's sample ann3 is far from the person's others (16.28), and near to ben's sample ben1 (3.00)."
    )
    assert client.patch("/samples/ann3", json={"person": ben}).status_code == 200
    assert part(client)["findings"] == []


def test_a_sample_that_is_far_from_all_is_doubtful_too(client: FlaskClient, gallery: Gallery) -> None:
    store(gallery, *FAR, ("cid3", 0, 100))
    (finding,) = part(client)["findings"]
    assert shown([finding]) == [("unlike_own", "cid3")]
    assert finding["distance"] is None
    assert [advice["action"] for advice in finding["advice"]] == ["delete_sample"]


def test_people_that_are_alike_are_one_finding(client: FlaskClient, gallery: Gallery) -> None:
    store(gallery, ("ann1", 0, 0), ("ann2", 5, 0), ("ben1", 4, 4), ("ben2", 0, 4), *FAR)
    (finding,) = part(client)["findings"]
    assert (finding["what"], finding["distance"]) == ("looks_like", 4.0)
    (advice,) = finding["advice"]
    people = {sample["person"] for sample in finding["samples"]}
    assert advice["action"] == "merge_persons" and {advice["person"], advice["into"]} == people
    client.post(f"/persons/{advice['person']}/merge", json={"into": advice["into"]})
    assert part(client)["findings"] == []


def test_doubles_are_found_by_picture_and_face(client: FlaskClient, gallery: Gallery) -> None:
    store(gallery, ("ann1", 0, 0), ("ann2", 0, 0), ("ben1", 0, 0), ("ben2", 50, 0), picture=b"one picture")
    store(gallery, ("ann3", 0, 0), picture=b"another picture")
    found = [each for each in part(client)["findings"] if each["what"] == "same_picture"]
    assert [sorted(ids) for _, *ids in shown(found)] == [["ann1", "ben1"], ["ann2", "ben1"], ["ann1", "ann2"]]
    assert [each["sure"] for each in found][:2] == [1, 1] and found[2]["sure"] < 0.5


def test_doubles_among_samples_whose_pictures_are_not_known_have_the_same_vector(
    client: FlaskClient, gallery: Gallery
) -> None:
    store(gallery, ("ann1", 0, 0), ("ann2", 0.05, 0), ("ann3", 0.5, 0))
    found = [each for each in part(client)["findings"] if each["what"] == "same_picture"]
    assert [sorted(ids) for _, *ids in shown(found)] == [["ann1", "ann2"]]


def test_people_with_little_come_last(client: FlaskClient, gallery: Gallery) -> None:
    store(gallery, *WRONG)
    store(gallery, ("eve1", 200, 0), quality=0.9)
    store(gallery, ("flo1", 300, 0), ("flo2", 301, 0), ("gus1", 400, 0), quality=0.1)
    store(gallery, ("hal1", 500, 0), quality=0.1)
    store(gallery, ("hal2", 501, 0))  # of whose quality nothing is known
    findings = part(client)["findings"]
    assert shown(findings)[-3:] == [
        ("poor_samples", "flo1"),
        ("poor_samples", "gus1"),
        ("few_samples", "eve1"),
    ]
    assert findings[-1]["advice"] == [
        {"action": "enrol_more", "person": findings[-1]["samples"][0]["person"], "sample": None, "into": None}
    ]
    assert findings[-1]["sure"] == 0


@pytest.mark.parametrize("limit", [1, 3, 33, 1000])
def test_parts_find_what_the_whole_finds(client: FlaskClient, gallery: Gallery, limit: int) -> None:
    random = np.random.default_rng(7)
    places = random.normal(scale=40, size=(30, 2))
    for number in range(100):
        who = int(random.integers(30))
        x, y = places[who] + random.normal(scale=4, size=2)
        store(gallery, (f"{who}-{number % 10}", float(x), float(y)))
    total = gallery.count()
    found, examined, after = {}, 0, None
    while True:
        answer = part(client, limit=limit, **({} if after is None else {"after": after}))
        assert answer["total"] == total
        assert answer["examined"] == min(limit, total - examined)
        examined += answer["examined"]
        for finding in answer["findings"]:
            found[finding["id"]] = max(finding["sure"], found.get(finding["id"], 0))
        sure = [finding["sure"] for finding in answer["findings"]]
        assert sure == sorted(sure, reverse=True)
        if (after := answer["next"]) is None:
            break
    assert examined == total
    assert found == {finding["id"]: finding["sure"] for finding in part(client, limit=1000)["findings"]}
    assert {what for what, *_ in map(json.loads, found)} >= {"unlike_own", "looks_like"}


def test_what_goes_between_two_parts_does_not_matter(client: FlaskClient, gallery: Gallery) -> None:
    store(gallery, *WRONG, *FAR)
    after = part(client, limit=3)["next"]
    gallery.delete("ann3")
    gallery.delete("ben1")
    rest = part(client, limit=100, after=after)
    assert (rest["examined"], rest["next"]) == (5, None)  # the other two of that person come again
    assert client.delete(f"/persons/{gallery.get('ann1').person}").status_code == 200  # type: ignore[union-attr]
    rest = part(client, limit=100, after=after)
    assert (rest["examined"], rest["next"]) == (3, None)


@pytest.mark.parametrize(
    "query",
    [
        *({"after": after} for after in ("x", "1", "1.x", "-1.2", f"1.{10**18}", "\u0661.\u0661")),
        *({"limit": limit} for limit in ("0", "1001", "x")),
        {"limt": "1"},
    ],
)
def test_bad_parameters_are_refused(client: FlaskClient, query: dict[str, str]) -> None:
    answer = client.get("/doctor", query_string=query)
    assert answer.json is not None
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_request")
    assert answer.json["detail"].startswith(next(iter(query)))


def test_another_model_is_refused(client: FlaskClient, gallery: Gallery) -> None:
    gallery.upsert([a_sample("a")], np.ones((1, 4), np.float32), "another")
    answer = client.get("/doctor")
    assert answer.json is not None
    assert (answer.status_code, answer.json["code"]) == (409, "gallery_model_mismatch")


def test_who_has_expired_is_not_looked_at(client: FlaskClient, gallery: Gallery, clock: FakeClock) -> None:
    store(gallery, *WRONG[:2], *FAR)
    store(gallery, ("ann3", 20, 3), expires_at=NOW + timedelta(seconds=1))
    store(gallery, ("ben1", 20, 0), ("ben2", 22, 0), expires_at=NOW + timedelta(seconds=2))
    assert part(client)["findings"]
    clock.now = NOW + timedelta(seconds=3)
    assert part(client)["findings"] == []


def test_damaged_samples_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "gallery.sqlite3"
    gallery = open_gallery(f"sqlite:///{file}", lock_timeout_s=5)
    store(gallery, *WRONG, *FAR)
    with closing(sqlite3.connect(file)) as connection:
        for sample_id, vector in (("ben1", b"eight by"), ("ben2", b"\xff" * 16), ("cid2", "text")):
            connection.execute("UPDATE samples SET vector = ? WHERE sample_id = ?", (vector, sample_id))
        connection.commit()
    answer = part(app_of_greys(gallery).test_client())
    assert shown(answer["findings"]) == [("unlike_own", "ann3")]
    gallery.close()


def test_an_encrypted_gallery_is_checked_alike(tmp_path: Path) -> None:
    gallery = open_gallery(f"sqlite:///{tmp_path / 'gallery.sqlite3'}", lock_timeout_s=5, key=bytes(32))
    store(gallery, *WRONG, *FAR, picture=b"one picture")
    answer = part(app_of_greys(gallery).test_client())
    assert shown(answer["findings"])[0] == ("unlike_own", "ann3", "ben1")
    gallery.close()


def run(url: str, *arguments: str) -> str:
    outcome = CliRunner().invoke(cli, ["gallery", "--database", url, "doctor", *arguments])
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


def test_the_command_says_the_same_with_commands(url: str, client: FlaskClient, gallery: Gallery) -> None:
    store(gallery, *WRONG, *FAR, ("-x'1", 500, 0))
    answer = part(client)["findings"]
    lines = [json.loads(line) for line in run(url, "--json").splitlines()]
    assert [{name: line[name] for name in line if name != "commands"} for line in lines] == answer
    first, last = lines[0], lines[-1]
    assert first["commands"] == [
        f"recognition samples move --person={first['samples'][1]['person']} ann3",
        "recognition samples delete ann3",
    ]
    assert last["commands"] == [f"recognition enrol --person={last['samples'][0]['person']} PICTURES"]
    text = run(url, "--limit", "1").splitlines()
    assert text[1:] == [
        f"        {first['commands'][0]}",
        f"        {first['commands'][1]}",
        f"{len(lines)} findings, of which 1 are shown.",
    ]
    assert first["detail"] in text[0]
    assert len(run(url, "--limit", "0").splitlines()) > 4


def test_the_commands_can_be_run_as_they_stand(url: str, gallery: Gallery) -> None:
    """Whatever the ids are."""
    store(gallery, *WRONG[:2], ("--'a b';1", 20, 3), *WRONG[3:], *FAR)
    gallery.delete("ann2")
    store(gallery, ("--'a b';2", 60, 0))
    (first, *_) = [json.loads(line) for line in run(url, "--json").splitlines()]
    program, *words = shlex.split(first["commands"][0])
    assert program == "recognition"
    outcome = CliRunner(env={"DATABASE_URL": url}).invoke(cli, words)
    assert (outcome.exit_code, outcome.stdout) == (0, "1 moved.\n"), outcome.output
    merged = shlex.split(command(Advice("merge_persons", "-a", into="b c")))
    assert merged == ["recognition", "people", "merge", "--", "-a", "b c"]
