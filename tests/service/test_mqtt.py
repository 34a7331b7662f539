"""Events at a real MQTT broker: each exactly once, whatever becomes of the broker and of the program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brokers import (
    AT_ONCE,
    LIMIT_S,
    MOSQUITTO,
    Mosquitto,
    an_event,
    certificates,
    cuttable,
    needs_mosquitto,
    running_mosquitto,
    subscribed,
)
from recognition.events.address import address_of
from recognition.events.delivery import Pace
from recognition.events.mqtt import Mqtt
from recognition.events.outlets import Outlets
from recognition.events.spool import Spool
from recognition.visits import Event
from running import ROOT

pytestmark = needs_mosquitto

JPEG = b"\xff\xd8 a face \xff\xd9"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path / "broker") as broker:
        yield broker


def eventually(condition: Callable[[], bool]) -> None:
    patience = threading.Event()
    for _ in range(LIMIT_S * 50):
        if condition():
            return
        patience.wait(0.02)
    raise AssertionError("it never came to pass")


class Said:
    """Messages, and how to wait for one."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.messages: list[str] = []

    def __call__(self, message: str) -> None:
        with self.changed:
            self.messages.append(message)
            self.changed.notify_all()

    def wait(self, part: str) -> str:
        with self.changed:
            assert self.changed.wait_for(lambda: any(part in m for m in self.messages), LIMIT_S), (
                self.messages
            )
            return next(message for message in self.messages if part in message)


@pytest.fixture
def said() -> Said:
    return Said()


@contextmanager
def outlets(
    url: str,
    folder: Path,
    say: Callable[[str], None],
    *,
    cameras: tuple[str, ...] = ("door",),
    discovery: str | None = None,
    ca_file: Path | None = None,
    event_of: Callable[[str], Event | None] | None = None,
    within_s: float = LIMIT_S,
) -> Iterator[Outlets]:
    spool = Spool(folder / "events.sqlite3", say)
    live = Mqtt(
        address_of(url, "recognition"),
        f"recognition-{spool.identity}",
        cameras,
        say,
        ca_file=ca_file,
        discovery=discovery,
        pace=AT_ONCE,
    )
    outlets = Outlets(spool, [live], say, live=live, event_of=event_of, pace=AT_ONCE)
    try:
        yield outlets
    finally:
        outlets.close(within_s)


def test_a_visit_is_published_as_json(broker: Mosquitto, tmp_path: Path, said: Said) -> None:
    with subscribed(broker) as home, outlets(f"{broker.url}/home/faces", tmp_path, said) as out:
        out.send(an_event(name="Änn 😀"), JPEG)
        home.wait(lambda home: home.ids())
        (body,) = [body for topic, body in home.messages if topic == "home/faces/events"]
        assert json.loads(body)["name"] == "Änn 😀"
        home.wait(lambda home: home.kept.get("home/faces/status") == b"online")
        assert not any(JPEG in payload for _, payload in home.messages)
    assert said.messages == []


def test_it_is_known_who_is_there_and_that_nobody_tells_any_more(
    broker: Mosquitto, tmp_path: Path, said: Said
) -> None:
    topic = "recognition/cameras/door/present"
    with subscribed(broker) as home:
        with outlets(broker.url, tmp_path, said) as out:
            home.wait(lambda home: home.kept.get(topic) and home.json(topic)["state"] == "nobody")
            visit = an_event(until=None)
            out.present("door", [visit, an_event(1, name=None, person=None)])
            home.wait(lambda home: home.json(topic)["state"] == "Ann, somebody unknown")
            assert next(each["id"] for each in home.json(topic)["present"]) == visit.id
            out.present("door", [])
            home.wait(lambda home: home.json(topic)["state"] == "nobody")
            assert home.ids() == {}
        home.wait(lambda home: home.kept["recognition/status"] == b"offline")


def test_each_of_a_hundred_events_arrives_once_while_the_broker_goes_and_comes(
    broker: Mosquitto, tmp_path: Path, said: Said
) -> None:
    with subscribed(broker) as home, outlets(broker.url, tmp_path, said) as out:
        for number in range(100):
            out.send(an_event(number), None)
            if number % 25 == 10:
                broker.stop()
            if number % 25 == 20:
                broker.start()
        home.wait(lambda home: len(home.ids()) == 100)
        assert set(home.ids().values()) == {1}
        sent = [json.loads(body)["id"] for topic, body in home.messages if topic.endswith("/events")]
        assert sent == sorted(sent)
    assert said.wait("connected")


def test_each_arrives_once_over_a_line_that_is_cut_again_and_again(
    broker: Mosquitto, tmp_path: Path, said: Said
) -> None:
    with (
        subscribed(broker) as home,
        cuttable(broker) as line,
        outlets(line.url, tmp_path, said) as out,
    ):
        for number in range(100):
            out.send(an_event(number), None)
            if number % 10 == 5:
                home.wait(lambda home, least=number // 2: len(home.ids()) > least)
                line.cut()
        home.wait(lambda home: len(home.ids()) == 100)
        assert set(home.ids().values()) == {1}


def test_it_arrives_once_if_only_its_acknowledgement_is_lost(
    broker: Mosquitto, tmp_path: Path, said: Said
) -> None:
    """And the broker is then away for several tries: paho alone would send it again."""
    tries = []

    class Counting(Pace):
        def delay_s(self, failures: int, after_s: float | None = None) -> float:
            tries.append(failures)
            return 0.01

    with subscribed(broker) as home, cuttable(broker) as line:
        spool = Spool(tmp_path / "events.sqlite3", said)
        live = Mqtt(address_of(line.url, "recognition"), "recognition-x", ["door"], said, pace=Counting())
        out = Outlets(spool, [live], said, live=live, pace=AT_ONCE)
        eventually(lambda: home.kept.get("recognition/status") == b"online")
        line.breaks_at_pubcomp = True
        out.send(an_event(0), None)
        home.wait(lambda home: home.ids())
        eventually(lambda: len(tries) > 4)
        line.breaks_at_pubcomp = False
        line.open()
        out.send(an_event(1), None)
        home.wait(lambda home: len(home.ids()) == 2)
        out.close(LIMIT_S)
        assert set(home.ids().values()) == {1}


def test_a_broker_that_only_has_mqtt_3_gets_each_once_too(
    broker: Mosquitto, tmp_path: Path, said: Said
) -> None:
    with (
        subscribed(broker) as home,
        cuttable(broker, only_old=True) as line,
        outlets(line.url, tmp_path, said) as out,
    ):
        for number in range(20):
            out.send(an_event(number), None)
            if number == 10:
                home.wait(lambda home: len(home.ids()) > 5)
                line.cut()
        home.wait(lambda home: len(home.ids()) == 20)
        assert set(home.ids().values()) == {1}


def test_nothing_is_lost_with_a_broker_that_forgets_everything(tmp_path: Path, said: Said) -> None:
    """Nobody knows whether it had the message that was under way: that comes again, with its id."""
    with (
        running_mosquitto(tmp_path / "broker", remembers=False) as broker,
        subscribed(broker) as home,
        cuttable(broker) as line,
        outlets(line.url, tmp_path, said) as out,
    ):
        for number in range(60):
            if number % 20 == 10:
                line.close()
                before = home.subscriptions
                broker.stop(signal.SIGKILL)
            out.send(an_event(number), None)
            if number % 20 == 19:
                broker.start()
                home.wait(lambda home, before=before: home.subscriptions > before)
                line.open()
        home.wait(lambda home: len(home.ids()) == 60)
        assert sum(home.ids().values()) <= 60 + 3


SENDING = """
import sys
from pathlib import Path
from brokers import AT_ONCE, an_event
from recognition.events.address import address_of
from recognition.events.delivery import Pace
from recognition.events.mqtt import Mqtt
from recognition.events.outlets import Outlets
from recognition.events.spool import Spool

url, folder, first, last = sys.argv[1:]
spool = Spool(Path(folder, "events.sqlite3"), print)
live = Mqtt(address_of(url, "recognition"), f"recognition-{spool.identity}", ["door"], print, pace=AT_ONCE)
outlets = Outlets(spool, [live], print, live=live, pace=AT_ONCE)
for number in range(int(first), int(last)):
    outlets.send(an_event(number), None)
    print(number, flush=True)
sys.stdin.read()
outlets.close(30)
"""


def test_nothing_is_lost_by_a_program_that_is_killed(broker: Mosquitto, tmp_path: Path) -> None:
    """Whatever `send` has taken arrives; what was under way may come again, with the id that it had."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "tests", "face_detection"))
    kills = 3
    with subscribed(broker) as home:
        for run in range(kills + 1):
            command = [sys.executable, "-c", SENDING, broker.url, tmp_path, str(20 * run), str(20 * run + 20)]
            with subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": paths},
            ) as sender:
                assert sender.stdin and sender.stdout
                for line in sender.stdout:
                    if line.strip() == str(20 * run + 19).encode():
                        break
                if run < kills:
                    sender.kill()
                else:
                    sender.communicate()
        home.wait(lambda home: len(home.ids()) == 20 * (kills + 1))
        assert sum(home.ids().values()) <= 20 * (kills + 1) + kills


def test_a_broker_that_comes_late_gets_what_was_sent_before(tmp_path: Path, said: Said) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    late = Mosquitto(folder)
    try:
        with outlets(late.url, tmp_path, said) as out:
            out.send(an_event(), None)
            said.wait("refused")
            late.start()
            with subscribed(late) as home:
                out.send(an_event(1), None)
                home.wait(lambda home: an_event(1).id in home.ids())
    finally:
        late.stop()


def test_what_no_broker_took_waits_for_the_next_time(tmp_path: Path, said: Said) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Mosquitto(folder)
    spool = Spool(tmp_path / "events.sqlite3", said)
    live = Mqtt(address_of(broker.url, "recognition"), "recognition-x", ["door"], said, pace=AT_ONCE)
    out = Outlets(spool, [live], said, live=live, pace=AT_ONCE)
    out.send(an_event(), None)
    out.close(0)
    assert said.wait("1 events wait in")
    broker.start()
    try:
        with subscribed(broker) as home, outlets(broker.url, tmp_path, said):
            home.wait(lambda home: home.ids() == {an_event().id: 1})
    finally:
        broker.stop()


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    """Of one user, `door`, with the password `right/@word`."""
    assert MOSQUITTO
    path = tmp_path / "passwords"
    program = Path("/usr/bin/mosquitto_passwd")
    if not program.exists():
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([program, "-b", "-c", path, "door", "right/@word"], check=True)
    return path


def test_a_user_and_a_password_let_in(tmp_path: Path, passwords: Path, said: Said) -> None:
    settings = "allow_anonymous false", f"password_file {passwords}"
    with running_mosquitto(tmp_path / "broker", *settings) as broker:
        wrong = f"mqtt://door:wr0ng@127.0.0.1:{broker.port}"
        with outlets(wrong, tmp_path, said, within_s=0) as out:
            out.send(an_event(), None)
            message = said.wait("cannot be used")
            assert "uthor" in message
            assert "wr0ng" not in "".join(said.messages)
        right = f"mqtt://door:right%2F%40word@127.0.0.1:{broker.port}"
        with (
            subscribed(broker, user="door", password="right/@word") as home,
            outlets(right, tmp_path, said),
        ):
            home.wait(lambda home: home.ids() == {an_event().id: 1})


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket")  # paho leaves it open when it trusts nobody
def test_tls_is_spoken_with_brokers_that_are_trusted(tmp_path: Path, said: Said) -> None:
    files = certificates(tmp_path)
    settings = (
        "allow_anonymous true",
        f"cafile {files['ca']}",
        f"certfile {files['certificate']}",
        f"keyfile {files['key']}",
    )
    with running_mosquitto(tmp_path / "broker", *settings) as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        with outlets(url, tmp_path, said, within_s=0) as out:
            out.send(an_event(), None)
            said.wait("certificate is not trusted")
        assert said.wait("1 events wait in")
        said.messages.clear()
        with outlets(url, tmp_path, said, ca_file=files["ca"]) as out:
            out.send(an_event(1), None)
        assert said.messages == []


def test_home_assistant_is_told_what_to_show(broker: Mosquitto, tmp_path: Path, said: Said) -> None:
    with (
        subscribed(broker) as home,
        outlets(broker.url, tmp_path, said, discovery="homeassistant", cameras=("door",)) as out,
    ):
        out.send(an_event(), JPEG)
        picture = "recognition/people/ann/picture"
        home.wait(lambda home: home.ids() and picture in home.kept)
        assert home.kept[picture] == home.kept["recognition/cameras/door/picture"] == JPEG
        configs = {topic: home.json(topic) for topic in home.kept if topic.startswith("homeassistant/")}
        assert all(topic.endswith("/config") and len(topic.split("/")) == 4 for topic in configs)
        assert len({config["unique_id"] for config in configs.values()}) == len(configs) == 8
        for config in configs.values():
            assert config["availability_topic"] == "recognition/status"
            for key, value in config.items():
                if key.endswith("_topic"):
                    assert value in home.kept, key
        assert {config["device"]["name"] for config in configs.values()} == {"door", "Ann"}
        seen = home.json("recognition/people/ann")
        assert (seen["camera"], seen["present"]) == ("door", False)
        out.present("door", [an_event(1, until=None)])
        home.wait(lambda home: home.json("recognition/people/ann")["present"])
        out.send(an_event(2, name=None, person=None, picture=False), b"a stranger")
        home.wait(lambda home: an_event(2).id in home.ids())
        assert "recognition/cameras/door/picture" not in home.kept
        assert home.json("recognition/cameras/door/last")["state"] == "somebody unknown"


def test_renamed_people_are_renamed_and_erased_ones_are_gone(
    broker: Mosquitto, tmp_path: Path, said: Said
) -> None:
    ann, ben = an_event(), an_event(1, name="Ben", person="b/+#")
    events = {each.id: each for each in (ann, ben)}
    more: dict[str, Any] = {"discovery": "homeassistant", "event_of": events.get}
    with subscribed(broker) as home:
        with outlets(broker.url, tmp_path, said, **more) as out:
            for each in (ann, ben):
                out.send(each, JPEG)
            home.wait(lambda home: len(home.ids()) == 2)
            assert sum(b'"Ben"' in config for config in home.kept.values()) > 4
        events[ann.id] = an_event(name="Ann Lee")
        del events[ben.id]
        # Another run, which knows of them by what the broker has kept.
        with outlets(broker.url, tmp_path, said, **more) as out:
            eventually(lambda: _looked_after(out, home))
            left = b"".join(home.kept.values())
            assert b"Ben" not in left
            assert b'"Ann"' not in left
            assert JPEG not in home.kept.get("recognition/cameras/door/picture", b"")
            assert home.json("recognition/people/ann")["name"] == "Ann Lee"


def test_merged_people_are_shown_as_the_one_who_stays(broker: Mosquitto, tmp_path: Path, said: Said) -> None:
    events = {an_event().id: an_event()}
    more: dict[str, Any] = {"discovery": "homeassistant", "event_of": events.get}
    with subscribed(broker) as home, outlets(broker.url, tmp_path, said, **more) as out:
        out.send(an_event(), JPEG)
        home.wait(lambda home: home.ids() and "recognition/people/ann" in home.kept)
        events[an_event().id] = an_event(name="Ann Lee", person="lee")
        out.look_after_events()
        home.wait(lambda home: "recognition/people/lee" in home.kept)
        home.wait(lambda home: home.json("recognition/cameras/door/last")["name"] == "Ann Lee")
        assert not any("person-ann" in topic or "people/ann" in topic for topic in home.kept)


def test_two_watchers_at_one_broker_leave_each_others_cameras(
    broker: Mosquitto, tmp_path: Path, said: Said
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with (
        subscribed(broker) as home,
        outlets(broker.url, other, said, discovery="ha", cameras=("yard",)),
    ):
        home.wait(lambda home: sum(b"yard" in payload for payload in home.kept.values()) >= 5)
        with outlets(broker.url, tmp_path, said, discovery="ha") as out:
            out.send(an_event(), JPEG)
            home.wait(lambda home: home.ids())  # what was retained came before
        assert sum(b"yard" in payload for payload in home.kept.values()) >= 5


def _looked_after(out: Outlets, home: Any) -> bool:
    out.look_after_events()
    kept = b"".join(home.kept.values())
    return b"Ben" not in kept and b"Ann Lee" in kept


def test_a_camera_that_is_not_watched_any_more_is_gone(broker: Mosquitto, tmp_path: Path, said: Said) -> None:
    with subscribed(broker) as home:
        with outlets(broker.url, tmp_path, said, discovery="ha", cameras=("door", "yard + #1")):
            home.wait(lambda home: sum(b"yard" in payload for payload in home.kept.values()) >= 5)
        with outlets(broker.url, tmp_path, said, discovery="ha"):
            home.wait(lambda home: not any(b"yard" in payload for payload in home.kept.values()))
            assert any(b'"door"' in payload for payload in home.kept.values())


def test_events_under_way_are_shown_once_for_each_change(
    broker: Mosquitto, tmp_path: Path, said: Said
) -> None:
    topic = "recognition/cameras/door/present"
    with subscribed(broker) as home, outlets(broker.url, tmp_path, said) as out:
        home.wait(lambda home: topic in home.kept)
        visit = an_event(until=None)
        for _ in range(10):
            out.present("door", [visit])
        out.present("door", [replace(visit, frames=6)])
        home.wait(lambda home: home.json(topic)["present"] and home.json(topic)["present"][0]["frames"] == 6)
        assert len([each for each, _ in home.messages if each == topic]) == 3
