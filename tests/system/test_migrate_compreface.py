"""`recognition migrate-compreface`, as it is run: with the real models, killed, and told to stop.

KILLS=20 kills it as often; without it a few times.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import requests
from click.testing import CliRunner, Result

import compreface_source
from compreface_source import EMAIL, PASSWORD, Behaviour, Row, Service, a_key, an_id, answering, dump
from galleries import PostgreSQL
from recognition import client_keys
from recognition.cli.main import cli
from recognition.gallery import open_gallery, transfer
from running import running_pair

KILLS = int(os.environ.get("KILLS", 2))
KEY = a_key(100)

Run = Callable[..., Result]


@pytest.fixture
def environment(tmp_path: Path, models_dir: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
        "AUDIT_LOG": str(tmp_path / "audit.jsonl"),
    }


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    return lambda *arguments, **more: CliRunner(env=environment | more).invoke(cli, [*map(str, arguments)])


@pytest.fixture(scope="module")
def stars(photographs: dict[str, list[Path]]) -> Service:
    """The demo photographs, and what cannot be taken: a blurred one, one with nobody, and none."""
    rows = [
        Row(an_id(1000 + 100 * person + number), name, path.read_bytes())
        for person, (name, paths) in enumerate(photographs.items())
        for number, path in enumerate(paths)
    ]
    madonna = cv2.imread(str(photographs["madonna"][0]))
    assert madonna is not None
    blurred = cv2.GaussianBlur(madonna, (0, 0), 9)
    rows += [
        Row(an_id(1), "poor", cv2.imencode(".jpg", blurred)[1].tobytes()),
        Row(an_id(2), "nobody", cv2.imencode(".png", madonna[:30, :30])[1].tobytes()),
        Row(an_id(3), "madonna", None),
        Row(an_id(4), "madonna", rows[0].content and rows[0].content[:200]),
    ]
    return Service("Stars", KEY, subjects=(*photographs, "poor", "nobody", "later"), examples=tuple(rows))


@pytest.fixture(scope="module")
def frs(postgresql: PostgreSQL, stars: Service) -> Iterator[str]:
    with compreface_source.database(postgresql, [stars], stray=False) as url:
        yield url


def value_of(result: Result, status: int) -> dict[str, Any]:
    assert result.exit_code == status, result.output
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def test_from_the_database(
    run: Run, frs: str, stars: Service, demo: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    number, report = len(stars.examples), tmp_path / "report.json"
    plan = value_of(run("migrate-compreface", frs, "--dry-run", "--json"), 0)
    assert (plan["taken"], plan["services"][0]["new"]) == (number, True)
    assert not (tmp_path / "gallery.sqlite3").exists()

    value = value_of(run("migrate-compreface", frs, "--json", "--report", report), 1)
    assert (value["taken"], value["already"]) == (number - 4, 0)
    assert {line["id"]: line["code"] for line in value["refused"]} == {
        an_id(1): "low_quality",
        an_id(2): "no_face",
        an_id(3): "no_picture",
        an_id(4): "invalid_image",
    }
    assert json.loads(report.read_text()) == value
    assert report.stat().st_mode & 0o077 == 0

    stranger = min((demo / "val" / "madonna").iterdir())
    faces = json.loads(run("recognise", stranger, "--gallery", "Stars", "--json").stdout)["faces"]
    assert faces[0]["name"] == "madonna"
    assert faces[0]["id"] in {row.id for row in stars.examples if row.subject == "madonna"}
    listed = run("people", "list", "--gallery", "Stars", "--json").stdout.splitlines()
    assert {json.loads(line)["name"]: json.loads(line)["samples"] for line in listed}["later"] == 0
    assert [
        json.loads(line)["name"]
        for line in run("compreface", "services", "list", "--json").stdout.splitlines()
    ] == ["Stars"]
    assert KEY not in (tmp_path / "audit.jsonl").read_text()
    assert KEY.encode() not in (tmp_path / "gallery.sqlite3").read_bytes()

    again = run("migrate-compreface", frs, "--take-all")
    assert again.exit_code == 1
    assert again.stdout.splitlines()[0] == (
        f"Home/Stars: gallery Stars, {len(stars.subjects)} subjects; "
        f"examples: 1 taken, {number - 4} already there, 3 refused."
    )
    assert f"  Stars  nobody  {an_id(2)}: No face was found in the picture." in again.stdout.splitlines()


def test_from_a_dump_after_the_database_all_is_there(
    run: Run, postgresql: PostgreSQL, frs: str, stars: Service, tmp_path: Path
) -> None:
    few = compreface_source.without(stars, *(row.id for row in stars.examples[4:]))
    with answering([few]) as url:
        value = value_of(run("migrate-compreface", url, "--key", f"Stars={KEY}", "--json"), 0)
        assert (value["taken"], value["already"]) == (4, 0)
    file = dump(postgresql, frs, tmp_path / "frs.dump", "-Fc")
    path = f"{postgresql.programs}{os.pathsep}{os.environ['PATH']}"  # with the pg_restore that fits
    value = value_of(run("migrate-compreface", file, "--json", PATH=path), 1)
    assert (value["taken"], value["already"]) == (len(stars.examples) - 8, 4)


def test_it_can_be_killed_at_any_moment(environment: dict[str, str], stars: Service, tmp_path: Path) -> None:
    """Whatever was stored is whole, and the next run goes on: each example is there once."""
    random_ = random.Random(7)
    good = compreface_source.without(stars, *(an_id(number) for number in range(5)))
    rows = [
        replace(row, id=an_id(5000 + n * 1000 + k)) for n in range(2) for k, row in enumerate(good.examples)
    ]
    service = replace(good, examples=tuple(rows))
    behaviour, reached, moment = Behaviour(), threading.Event(), [0]

    class Asked(list[tuple[str, str]]):
        def append(self, call: tuple[str, str]) -> None:
            super().append(call)
            if len(self) >= moment[0]:
                reached.set()

    command = [sys.executable, "-m", "recognition", "migrate-compreface"]
    counts = [0]
    with answering([service], behaviour) as url:
        options = [url, "--key", f"Stars={KEY}", "--json"]
        kills = 0
        while kills < KILLS:
            behaviour.asked = Asked()
            # Up to 41 pictures are fetched before the first 32 are stored.
            moment[0] = random_.choice([1, 3, 40]) if kills % 2 else random_.randrange(45, 80)
            reached.clear()
            process = subprocess.Popen(
                [*command, *options],
                env=os.environ | environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while process.poll() is None and not reached.wait(0.02):
                pass
            try:
                process.wait(random_.choice([0.0, 0.05, 0.5, 2.0]))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            kills += 1
            process.wait()
            with closing(open_gallery(environment["DATABASE_URL"], lock_timeout_s=5)) as gallery:
                assert list(transfer.faults(gallery)) == []
                counts.append(gallery.total())
        behaviour.asked = []
        done = CliRunner(env=environment).invoke(cli, ["migrate-compreface", *options])
    assert counts == sorted(counts)
    assert counts[-1] > 0
    value = value_of(done, 0)
    assert (value["taken"], value["already"]) == (len(rows) - counts[-1], counts[-1])
    fetched = [path for _, path in behaviour.asked if path.endswith("/img")]
    assert len(fetched) == value["taken"]
    with closing(open_gallery(environment["DATABASE_URL"], lock_timeout_s=5)) as gallery:
        stored = gallery.of("Stars").page(limit=1000)
    assert {sample.id: sample.name for sample in stored} == {row.id: row.subject for row in rows}
    print(f"killed with {counts[1:]} of {len(rows)} stored")


def test_ctrl_c_tells_what_was_done(environment: dict[str, str], stars: Service, tmp_path: Path) -> None:
    good = compreface_source.without(stars, *(an_id(number) for number in range(5)))
    reached, report = threading.Event(), tmp_path / "report.json"

    class Asked(list[tuple[str, str]]):
        def append(self, call: tuple[str, str]) -> None:
            super().append(call)
            if len(self) == 40:  # the first batch of 32 is being enrolled, or is stored
                reached.set()

    with answering([good], Behaviour(asked=Asked())) as url:
        process = subprocess.Popen(
            [sys.executable, "-m", "recognition", "migrate-compreface", url, "--report", str(report)],
            env=os.environ | environment | {"COMPREFACE_KEY": KEY},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert reached.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted: start the same command again to go on." in err
    assert out.startswith("compreface: gallery compreface, ")
    assert json.loads(report.read_text())["taken"] in (0, 32)


def test_wrong_ways_to_call_it(run: Run, tmp_path: Path) -> None:
    def said(status: int, *arguments: str, **variables: str) -> str:
        result = run("migrate-compreface", *arguments, **variables)
        assert result.exit_code == status, result.output
        return result.stderr

    assert "say either --key or --email" in said(2, "http://127.0.0.1:1")
    assert "say either --key or --email" in said(2, "http://127.0.0.1:1", "--key", KEY, "--email", EMAIL)
    wrong = said(2, "http://127.0.0.1:1", "--key", "Door=not-a-key")
    assert "no UUID" in wrong
    assert "not-a-key" not in wrong
    assert "No such file" in said(3, str(tmp_path / "none.sql"))
    assert "no table app" in said(3, __file__)
    refused = said(3, "postgresql://somebody:a-secret@127.0.0.1:1/frs", "--json")
    assert json.loads(refused.splitlines()[-1])["error"]["code"] == "source"
    assert "a-secret" not in refused
    with answering([]) as url:
        refused = said(3, url, "--key", KEY)
        assert "is the key or login right?" in refused
        assert KEY not in refused
        refused = said(3, url, "--email", EMAIL, COMPREFACE_PASSWORD="wrong-one")
        assert "refuses the login" in refused
        assert "wrong-one" not in refused


def test_a_login_takes_all_services(run: Run, stars: Service) -> None:
    few = compreface_source.without(stars, *(row.id for row in stars.examples[3:]))
    look = Service("Look", a_key(101), "D")
    with answering([few, look]) as url:
        result = run("migrate-compreface", url, "--email", EMAIL, "--json", COMPREFACE_PASSWORD=PASSWORD)
    value = value_of(result, 0)
    assert [(each["name"], each["kind"], each["taken"]) for each in value["services"]] == [
        ("Stars", "recognition", 3),
        ("Look", "detection", 0),
    ]
    assert KEY not in result.output


def test_from_one_of_our_own(
    run: Run, stars: Service, photographs: dict[str, list[Path]], models_dir: Path, tmp_path: Path
) -> None:
    """What speaks CompreFace's dialect is a CompreFace to come from, too."""
    entry = client_keys.entry("Stars", "recognition", KEY)
    (tmp_path / "pair").mkdir()
    with running_pair(tmp_path / "pair", models_dir, COMPREFACE_SERVICES=entry) as pair:
        call = f"{pair.url}/api/v1/recognition"
        headers = {"x-api-key": KEY}
        assert requests.post(f"{call}/subjects", json={"subject": "later"}, headers=headers, timeout=60).ok
        expected = {}
        for name in ("madonna", "ben_afflek"):
            for path in photographs[name][:3]:
                answer = requests.post(
                    f"{call}/faces",
                    params={"subject": name},
                    files={"file": ("1.jpg", path.read_bytes())},
                    headers=headers,
                    timeout=60,
                )
                assert answer.status_code == 201, answer.text
                expected[answer.json()["image_id"]] = name
        value = value_of(run("migrate-compreface", pair.url, "--key", f"Stars={KEY}", "--json"), 0)
        assert (value["taken"], value["services"][0]["subjects"]) == (6, 3)
        again = value_of(run("migrate-compreface", pair.url, "--key", f"Stars={KEY}", "--json"), 0)
        assert (again["taken"], again["already"]) == (0, 6)
    samples = [
        json.loads(line)
        for line in run("samples", "list", "--gallery", "Stars", "--json").stdout.splitlines()
    ]
    assert {sample["id"]: sample["name"] for sample in samples} == expected
