"""Events to files and webhooks: real files, and a real server that fails as servers do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from brokers import AT_ONCE, LIMIT_S, an_event
from hooks import Answer, Hook, half, reset, running_hook, silence, status
from recognition.events.delivery import Failed, Outlet, Refused, Waiting
from recognition.events.lines import Lines
from recognition.events.outlets import Outlets
from recognition.events.spool import Spool
from recognition.events.webhooks import MAX_REFUSALS, Webhook
from recognition.visits import Event, as_json
from running import ROOT

KEY = b"a key of some length"
NOW = 1_800_000_000.0
PASSING = (301, 302, 307, 308, 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with running_hook() as hook:
        yield hook


@pytest.fixture
def said() -> list[str]:
    return []


@contextmanager
def outlets(
    folder: Path, said: list[str], *outlets: Outlet, within_s: float = LIMIT_S, **more: Any
) -> Iterator[Outlets]:
    out = Outlets(Spool(folder / "events.sqlite3", said.append), outlets, said.append, pace=AT_ONCE, **more)
    try:
        yield out
    finally:
        out.close(within_s)


def waiting(number: int = 0) -> Waiting:
    event = an_event(number)
    return Waiting(1, "x", event.id, event.person, json.dumps(as_json(event)), None)


def test_a_request_is_signed_and_says_which_event_it_is(hook: Hook) -> None:
    url = hook.url.replace("://", "://me:s3cret@")
    webhook = Webhook(url, KEY, clock=lambda: NOW)
    assert "s3cret" not in webhook.name
    webhook.deliver(waiting())
    webhook.close()
    ((headers, body),) = hook.received
    assert json.loads(body) == as_json(an_event())
    assert headers["Content-Type"] == "application/json"
    assert headers["webhook-id"] == an_event().id
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"me:s3cret").decode()
    content = f"{headers['webhook-id']}.{int(NOW)}.".encode() + body
    code = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{code}"


def test_the_documentation_tells_how_to_check_a_signature(hook: Hook) -> None:
    page = (ROOT / "docs" / "events.md").read_text("utf-8")
    (block,) = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    is_ours = names["is_ours"]
    Webhook(hook.url, KEY).deliver(waiting())
    Webhook(hook.url, KEY, clock=lambda: NOW).deliver(waiting())  # of another day
    (headers, body), (old, _) = hook.received
    assert is_ours(headers, body, KEY)
    assert not is_ours(headers, body + b" ", KEY)
    assert not is_ours({**headers, "webhook-id": "another"}, body, KEY)
    assert not is_ours(headers, body, KEY + b"x")
    assert not is_ours(old, body, KEY)


@pytest.mark.parametrize(
    "answer",
    [*(status(code) for code in PASSING), silence, reset, half],
    ids=[*map(str, PASSING), "silence", "reset", "half"],
)
def test_what_may_pass_is_tried_again(hook: Hook, answer: Answer) -> None:
    hook.answers = [answer]
    webhook = Webhook(hook.url, KEY, timeout_s=0.2)
    with pytest.raises(Failed):
        webhook.deliver(waiting())
    webhook.deliver(waiting())
    assert hook.ids() == [an_event().id] * 2
    webhook.close()


def test_who_wants_no_more_is_left_alone(hook: Hook) -> None:
    hook.answers = [status(410)]
    webhook = Webhook(hook.url, KEY)
    with pytest.raises(Refused, match="410"):
        webhook.deliver(waiting())
    webhook.close()


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_message_that_is_refused_again_and_again_is_given_up(hook: Hook, code: int) -> None:
    hook.answers = [status(code)] * 2 * MAX_REFUSALS
    webhook = Webhook(hook.url, KEY)
    for number in range(2):
        for _ in range(MAX_REFUSALS - 1):
            with pytest.raises(Failed):
                webhook.deliver(waiting(number))
        with pytest.raises(Refused, match=str(code)):
            webhook.deliver(waiting(number))
    webhook.close()


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_redirects_are_not_followed(hook: Hook, code: int) -> None:
    hook.answers = [status(code, Location=hook.url)]
    webhook = Webhook(hook.url, KEY)
    with pytest.raises(Failed, match=str(code)):
        webhook.deliver(waiting())
    assert len(hook.received) == 1
    webhook.close()


def test_each_state_of_a_visit_under_way_is_a_message_of_its_own(hook: Hook) -> None:
    webhook = Webhook(hook.url, KEY)
    for frames, until in ((5, None), (5, None), (9, None), (12, an_event().until)):
        body = json.dumps(as_json(an_event(frames=frames, until=until)))
        webhook.deliver(Waiting(1, "x", an_event().id, "ann", body, None))
    first, again, later, end = (headers["webhook-id"] for headers, _ in hook.received)
    assert first == again
    assert len({first, later, end}) == 3
    assert end == an_event().id
    webhook.close()


def test_no_face_waits_on_disk_that_the_service_does_not_keep(tmp_path: Path, said: list[str]) -> None:
    class Away:
        name, with_pictures = "away", True

        def deliver(self, _: Waiting) -> None:
            raise Failed("away")

        def close(self) -> None:
            pass

    with outlets(tmp_path, said, Away(), within_s=0) as out:
        for number, picture in enumerate((False, True)):
            out.send(an_event(number, picture=picture), b"face %d" % number)
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"face 0" not in stored
    assert b"face 1" in stored


@pytest.mark.parametrize(
    ("text", "after_s"),
    [
        ("7", 7),
        ("Fri, 15 Jan 2027 08:00:10 GMT", 10),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
    ],
)
def test_it_is_left_alone_for_as_long_as_it_asks(hook: Hook, text: str, after_s: float | None) -> None:
    hook.answers = [status(503, Retry_After=text)]
    webhook = Webhook(hook.url, KEY, clock=lambda: NOW)
    with pytest.raises(Failed) as caught:
        webhook.deliver(waiting())
    assert caught.value.after_s == after_s
    webhook.close()


def test_nothing_is_lost_and_all_comes_in_order(hook: Hook, tmp_path: Path, said: list[str]) -> None:
    hook.answers = [reset, status(500), status(204), half, status(429)]
    with outlets(tmp_path, said, Webhook(hook.url, KEY)) as out:
        for number in range(20):
            out.send(an_event(number), None)
    assert list(dict.fromkeys(hook.ids())) == [an_event(number).id for number in range(20)]
    assert len(hook.ids()) == 24
    assert "tried again" in said[0]
    assert "takes events again" in said[1]


def test_what_was_not_taken_comes_after_a_restart(hook: Hook, tmp_path: Path, said: list[str]) -> None:
    hook.answers = [status(500)] * 1000
    with outlets(tmp_path, said, Webhook(hook.url, KEY), within_s=0) as out:
        out.send(an_event(), None)
        hook.wait(1)
    assert "1 events wait in" in said[-1]
    hook.answers.clear()
    with outlets(tmp_path, said, Webhook(hook.url, KEY)):
        hook.wait(2)
    with outlets(tmp_path, said, Webhook(hook.url, KEY)):
        pass
    assert said[-1] != "1 events wait in"


def test_one_outlet_does_not_keep_another_one_waiting(hook: Hook, tmp_path: Path, said: list[str]) -> None:
    hook.answers = [silence]
    file = tmp_path / "events.jsonl"
    with outlets(tmp_path, said, Webhook(hook.url, KEY), Lines(file)) as out:
        out.send(an_event(), None)
        hook.wait(1)
        out.send(an_event(1), None)
        while not file.exists() or file.read_bytes().count(b"\n") < 2:
            hook.over.wait(0.01)
        assert len(hook.received) == 1
        hook.over.set()
    assert sorted(set(hook.ids())) == [an_event(0).id, an_event(1).id]


def test_what_is_given_up_is_said_and_the_next_one_comes(hook: Hook, tmp_path: Path, said: list[str]) -> None:
    hook.answers = [status(410)]
    with outlets(tmp_path, said, Webhook(hook.url, KEY)) as out:
        out.send(an_event(0), None)
        out.send(an_event(1), None)
    assert hook.ids() == [an_event(0).id, an_event(1).id]
    assert said == [f"webhook {hook.url}: it answers with status 410. Event {an_event().id} is given up."]


def test_events_that_were_erased_are_not_sent_and_merged_ones_have_their_new_names(
    hook: Hook, tmp_path: Path, said: list[str]
) -> None:
    """One question without an answer keeps the others from nothing."""
    hook.answers = [status(500)] * 1000
    now: dict[str, Event | None] = {
        an_event(0).id: an_event(0),
        an_event(1).id: None,
        an_event(2).id: an_event(2, name="Ann Lee", person="lee"),
    }
    with outlets(tmp_path, said, Webhook(hook.url, KEY), event_of=asking(now)) as out:
        for number in (0, 1, 2):
            out.send(an_event(number), None)
        hook.wait(1)
        assert not _asked_without(now, an_event(0).id, out)
        before = len(hook.received)
        hook.answers.clear()
    bodies = [json.loads(body) for _, body in hook.received[before:]]
    assert {body["id"] for body in bodies} == {an_event(0).id, an_event(2).id}
    assert (bodies[-1]["name"], bodies[-1]["person"]) == ("Ann Lee", "lee")


def asking(now: dict[str, Event | None]) -> Callable[[str], Event | None]:
    def event_of(event_id: str) -> Event | None:
        if event_id not in now:
            raise OSError("not now")
        return now[event_id]

    return event_of


def _asked_without(now: dict[str, Event | None], event_id: str, out: Outlets) -> bool:
    event = now.pop(event_id)
    try:
        return out.look_after_events()
    finally:
        now[event_id] = event


def test_what_waited_is_sent_only_when_the_service_says_that_it_is_there_still(
    hook: Hook, tmp_path: Path, said: list[str]
) -> None:
    hook.answers = [status(500)] * 1000
    with outlets(tmp_path, said, Webhook(hook.url, KEY), within_s=0) as out:
        out.send(an_event(0), None)
        out.send(an_event(1), None)
        hook.wait(1)
    hook.answers.clear()
    before = len(hook.received)
    asked = threading.Semaphore(0)

    def away(_: str) -> Event | None:
        asked.release()
        raise OSError("not now")

    with outlets(tmp_path, said, Webhook(hook.url, KEY), event_of=away):
        for _ in range(4):
            assert asked.acquire(timeout=LIMIT_S)
    assert len(hook.received) == before
    here = asking({an_event(0).id: None, an_event(1).id: an_event(1)})
    with outlets(tmp_path, said, Webhook(hook.url, KEY), event_of=here):
        hook.wait(before + 1)
    assert hook.ids()[before:] == [an_event(1).id]


def test_what_comes_now_is_sent_though_nobody_tells_what_is_there(
    hook: Hook, tmp_path: Path, said: list[str]
) -> None:
    with outlets(tmp_path, said, Webhook(hook.url, KEY), event_of=asking({})) as out:
        out.send(an_event(0), None)
    assert hook.ids() == [an_event(0).id]


def test_outlets_of_before_are_named(hook: Hook, tmp_path: Path, said: list[str]) -> None:
    with outlets(tmp_path, said, Webhook("http://127.0.0.1:9/", KEY), within_s=0) as out:
        out.send(an_event(), None)
    said.clear()
    with outlets(tmp_path, said, Webhook(hook.url, KEY)):
        pass
    assert said == ["1 events wait for webhook http://127.0.0.1:9/, which is not among the outlets now."]


def test_lines_are_whole_events(tmp_path: Path, said: list[str]) -> None:
    file = tmp_path / "events.jsonl"
    with outlets(tmp_path, said, Lines(file)) as out:
        for number in range(10):
            out.send(an_event(number, name="Änn\nLee"), None)
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == [an_event(number).id for number in range(10)]
    assert lines[0]["name"] == "Änn\nLee"
    assert file.stat().st_mode & 0o077 == 0


def test_a_file_may_be_rotated(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    lines = Lines(file)
    lines.deliver(waiting(0))
    file.rename(tmp_path / "events.jsonl.1")
    lines.deliver(waiting(1))
    assert len((tmp_path / "events.jsonl.1").read_bytes().splitlines()) == 1
    assert len(file.read_bytes().splitlines()) == 1


def test_a_line_is_not_written_twice(tmp_path: Path) -> None:
    """As after a kill between the line and the end of the delivery."""
    file = tmp_path / "events.jsonl"
    Lines(file).deliver(waiting(0))
    Lines(file).deliver(waiting(0))
    assert file.read_bytes().count(b"\n") == 1


def test_half_a_line_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b'{"id": "half of a li')
    Lines(file).deliver(waiting(0))
    _, whole = file.read_bytes().splitlines()
    assert json.loads(whole)["id"] == an_event(0).id


def test_a_full_disk_leaves_no_halves() -> None:
    with pytest.raises(Failed, match="No space"):
        Lines(Path("/dev/full")).deliver(waiting())


@pytest.mark.parametrize("where", ["missing/events.jsonl", "."])
def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path, where: str) -> None:
    with pytest.raises(Failed, match="cannot be written"):
        Lines(tmp_path / where).deliver(waiting())


def test_a_pipe_is_written_to_while_somebody_reads(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(Failed):
        Lines(pipe).deliver(waiting())
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    Lines(pipe).deliver(waiting())
    assert json.loads(os.read(reader, 10_000))["id"] == an_event().id
    os.close(reader)
