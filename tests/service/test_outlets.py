"""Events to files and webhooks: real files, and a real server that fails as servers do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterator
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
from recognition.events.webhooks import Webhook
from recognition.visits import as_json
from running import ROOT

KEY = b"a key of some length"
NOW = 1_800_000_000.0


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
    [status(500), status(503), status(429), status(408), silence, reset, half],
    ids=["500", "503", "429", "408", "silence", "reset", "half"],
)
def test_what_may_pass_is_tried_again(hook: Hook, answer: Answer) -> None:
    hook.answers = [answer]
    webhook = Webhook(hook.url, KEY, timeout_s=0.2)
    with pytest.raises(Failed):
        webhook.deliver(waiting())
    webhook.deliver(waiting())
    assert hook.ids() == [an_event().id] * 2
    webhook.close()


@pytest.mark.parametrize("code", [301, 302, 307, 308, 400, 401, 403, 404, 410, 413])
def test_what_will_not_pass_is_given_up(hook: Hook, code: int) -> None:
    hook.answers = [status(code, Location=hook.url)]
    webhook = Webhook(hook.url, KEY)
    with pytest.raises(Refused, match=str(code)):
        webhook.deliver(waiting())
    assert len(hook.received) == 1
    webhook.close()


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
    hook.answers = [status(404)]
    with outlets(tmp_path, said, Webhook(hook.url, KEY)) as out:
        out.send(an_event(0), None)
        out.send(an_event(1), None)
    assert hook.ids() == [an_event(0).id, an_event(1).id]
    assert said == [f"webhook {hook.url}: it answers with status 404. Event {an_event().id} is given up."]


def test_events_of_people_who_were_erased_are_not_sent(hook: Hook, tmp_path: Path, said: list[str]) -> None:
    hook.answers = [status(500)] * 1000
    people: dict[str, str] = {"ann": "Ann", "ben": "Ben"}
    with outlets(tmp_path, said, Webhook(hook.url, KEY), name_of=people.get) as out:
        out.send(an_event(0), None)
        hook.wait(1)
        out.send(an_event(1), None)
        out.send(an_event(2, person="ben"), None)
        del people["ann"]
        out.look_after_people()
        hook.answers.clear()
    assert set(hook.ids()) <= {an_event(0).id, an_event(2).id}
    assert an_event(2).id in hook.ids()


def test_who_was_erased_while_nobody_ran_gets_nothing_sent(
    hook: Hook, tmp_path: Path, said: list[str]
) -> None:
    hook.answers = [status(500)] * 1000
    with outlets(tmp_path, said, Webhook(hook.url, KEY), within_s=0) as out:
        out.send(an_event(0), None)
        out.send(an_event(1, person="ben"), None)
        hook.wait(1)
    hook.answers.clear()
    before = len(hook.received)
    with outlets(tmp_path, said, Webhook(hook.url, KEY), name_of={"ben": "Ben"}.get):
        pass
    assert hook.ids()[before:] == [an_event(1).id]


def test_events_go_where_it_cannot_be_told_who_is_there(hook: Hook, tmp_path: Path, said: list[str]) -> None:
    def name_of(_: str) -> str | None:
        raise OSError("not now")

    with outlets(tmp_path, said, Webhook(hook.url, KEY), name_of=name_of) as out:
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
