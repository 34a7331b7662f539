"""`watch` as a process, with a broker, a webhook and Frigate beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result
from paho.mqtt.publish import single

from brokers import LIMIT_S, Mosquitto, needs_mosquitto, running_mosquitto, subscribed
from fake_cameras import FakeService, camera, fake_service, picture
from frigate_api import message, running_api
from hooks import Hook, running_hook, silence, status
from recognition.__main__ import cli
from recognition.client import Client
from running import Pair, wait_until

PROGRAM = str(Path(sys.executable).with_name("recognition"))
SECRET = "a s3cret that nobody shows"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def hook() -> Iterator[Hook]:
    with running_hook() as hook:
        yield hook


@pytest.fixture
def service() -> Iterator[FakeService]:
    with fake_service() as service:
        yield service


@contextmanager
def watching(
    log: Path, *arguments: object, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[Callable[[], object]], None]]]:
    """Run `watch`, and end it at the end as `systemctl stop` does."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [PROGRAM, "watch", *map(str, arguments)],
            stdout=stream,
            stderr=stream,
            env=os.environ | {"WEBHOOK_SECRET": SECRET, **environment},
        )
    try:
        yield process, lambda condition: wait_until(lambda: bool(condition()), process, log)
        process.terminate()
        assert process.wait(LIMIT_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


@needs_mosquitto
def test_each_visit_is_one_event_everywhere_whatever_is_away_meanwhile(
    broker: Mosquitto, hook: Hook, service: FakeService, tmp_path: Path
) -> None:
    """People come and go; the broker is stopped, the webhook fails, and the program is killed and started."""
    there: list[str] = []
    file, log = tmp_path / "events.jsonl", tmp_path / "log"
    url = f"mqtt://door:{quote(SECRET)}@127.0.0.1:{broker.port}/home"
    with (
        camera(lambda: picture(*((name, 160, 120) for name in there))) as door,
        subscribed(broker) as home,
    ):
        options = (
            *(f"front door={door.address}", "--host", service.url, "--gap", "0.3", "--json"),
            *("--mqtt", url, "--home-assistant", "--webhook", f"{hook.url}?token={quote(SECRET)}"),
            *("--events", file, "--queue", tmp_path / "queue.sqlite3"),
        )

        def visited(until: Callable[[Callable[[], object]], None], name: str) -> None:
            """Have somebody come, and go again."""
            told = len(service.posted)
            there[:] = [name]
            until(lambda: name in {each["name"] for each in service.posted[told:]})
            there.clear()
            until(lambda: any(each["until"] for each in service.posted[told:]))

        hook.answers = [status(503), status(500)]
        with watching(log, *options) as (process, until):
            visited(until, "Ann")
            broker.stop()
            hook.answers = [status(500)] * 3
            visited(until, "Ben")
            broker.start()
            visited(until, "Ann")
            shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert SECRET.encode() not in shown
        broker.stop()
        hook.answers = [silence]
        log_of_killed = tmp_path / "killed"
        with pytest.raises(AssertionError), watching(log_of_killed, *options) as (process, until):
            visited(until, "Ben")
            until(lambda: file.read_bytes().count(b"\n") == 4)
            process.kill()
            process.wait()
        broker.start()
        with watching(log, *options) as (process, until):
            visited(until, "Ann")
            ended = {each["id"] for each in service.posted if each["until"]}
            assert len(ended) == 5
            until(lambda: ended <= set(home.ids()))
            until(lambda: ended <= {json.loads(body)["id"] for _, body in hook.received})
            until(lambda: "home/status" in home.kept)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert sorted(line["id"] for line in lines) == sorted(ended)
        assert set(home.ids()) == ended
        assert sum(home.ids().values()) <= 6  # one more where the kill was
        assert {json.loads(body)["id"] for _, body in hook.received} == ended
        assert home.kept["home/status"] == b"offline"
        assert sorted(line["name"] for line in lines) == ["Ann", "Ann", "Ann", "Ben", "Ben"]
    for text in (log.read_text(), log_of_killed.read_text()):
        assert SECRET not in text
        assert "s3cret" not in text


@needs_mosquitto
def test_what_frigate_sees_gets_the_names_of_people(
    broker: Mosquitto, pair: Pair, photographs: dict[str, list[Path]], tmp_path: Path
) -> None:
    with Client(pair.url) as client:
        client.enrol("m", "Madonna", photographs["madonna"][0])
    with running_api() as api:
        api.pictures["1607123955.475377-mxklsc"] = photographs["madonna"][1].read_bytes()
        api.pictures["stranger"] = photographs["ben_afflek"][0].read_bytes()
        log = tmp_path / "log"
        frigate = "--frigate", f"{broker.url}/frigate", "--frigate-url", api.url
        with watching(log, *frigate, "--host", pair.url) as (_, until):

            def named() -> bool:
                for event in ("stranger", "1607123955.475377-mxklsc"):
                    single("frigate/events", message(event, 1), hostname="127.0.0.1", port=broker.port)
                return bool(api.labels)

            until(named)
        ((event, name, score),) = api.labels
        assert (event, name) == ("1607123955.475377-mxklsc", "Madonna")
        assert 0.5 < score <= 1


def run(*arguments: object, **environment: str) -> Result:
    runner = CliRunner(env={"WEBHOOK_SECRET": None, "MQTT_URL": None, **environment})
    return runner.invoke(cli, ["watch", "nowhere.avi", "--host", "http://127.0.0.1:9", *map(str, arguments)])


@pytest.mark.parametrize(
    "options",
    [
        ("--home-assistant",),
        ("--mqtt", "mqtt://broker", "--home-assistant", "--discovery-prefix", "a/#"),
        ("--mqtt", "http://me:s3cret@broker"),
        ("--mqtt", "mqtt://me:s3cret@broker:port"),
        ("--webhook", "mqtt://me:s3cret@broker"),
        ("--webhook", "s3cret"),
        ("--frigate", "mqtt://broker"),
        ("--frigate-url", "http://frigate:5000"),
        ("--frigate", "mqtt://broker", "--frigate-url", "frigate"),
        ("--frames", "--events", "events.jsonl"),
    ],
    ids=" ".join,
)
def test_options_that_are_none_are_mistakes(options: tuple[str, ...]) -> None:
    result = run(*options)
    assert result.exit_code == 2, result.output
    assert "s3cret" not in result.output


def test_a_secret_that_is_too_short_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    for result in (
        run("--webhook", "http://host/", "--webhook-secret-file", file),
        run("--webhook", "http://host/", WEBHOOK_SECRET="s3cret"),
    ):
        assert result.exit_code == 2
        assert "fewer than 16 bytes" in result.output
        assert "s3cret" not in result.output.replace("--webhook-secret-file", "")


def test_a_queue_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    queue = tmp_path / "notes.txt"
    queue.write_text("notes " * 1000)
    result = run("--events", tmp_path / "events.jsonl", "--queue", queue)
    assert (result.exit_code, result.output.count("\n")) == (3, 1)
    assert "something else" in result.output


def test_certificates_that_are_none_are_said(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("no certificate")
    result = run("--mqtt", "mqtts://broker", "--mqtt-ca", ca, "--queue", tmp_path / "queue.sqlite3")
    assert result.exit_code == 3
    assert str(ca) in result.output


def test_without_the_extra_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["paho"] = None
sys.argv = ["recognition", "watch", "x.avi", "--host", "http://127.0.0.1:9", "--mqtt", "mqtt://broker",
            "--queue", {str(tmp_path / "queue.sqlite3")!r}]
from recognition.cli.main import cli
cli()
"""
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 3, outcome.stderr
    assert "face-recognition-service[mqtt]" in outcome.stderr
