"""`watch` as a process beside cameras that break and a service that goes: what it says and leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fake_cameras import PASSWORD, Camera, FakeService, camera, fake_service, picture, rotated, video
from processes import children, state_of
from rtsp import rtsp

PROGRAM = str(Path(sys.executable).with_name("recognition"))
# The same program, which waits for a service that hangs only for a moment when it is to end.
HASTY = (
    *(sys.executable, "-c"),
    "from recognition.cli import watching; watching.ENDING_S = 0.2\n"
    "from recognition.__main__ import cli; cli(prog_name='recognition')",
)
LIMIT_S = 60


@dataclass
class Watching:
    """A program that runs, and what it has said so far."""

    process: subprocess.Popen[str]
    stdout: Path
    stderr: Path
    shown: set[str] = field(default_factory=set)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for what the program brings about; meanwhile look at what `ps` shows of it."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            self.shown |= set(arguments_of(self.process.pid).values())
            time.sleep(0.02)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(LIMIT_S)

    def said(self) -> str:
        return self.stderr.read_text()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.read_text().splitlines()]


def arguments_of(pid: int) -> dict[int, str]:
    """The arguments of a process and of those that it has started, as `ps` shows them."""
    shown = {}
    for each in (pid, *children(pid)):
        with suppress(FileNotFoundError, ProcessLookupError):
            shown[each] = Path(f"/proc/{each}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return shown


def captures(watching: Watching) -> list[int]:
    return [pid for pid, shown in arguments_of(watching.process.pid).items() if "capturing" in shown]


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Callable[..., Watching]]:
    started: list[Watching] = []

    def start(
        *arguments: object,
        environment: Mapping[str, str] | None = None,
        given: str = "",
        program: Sequence[str] = (PROGRAM,),
    ) -> Watching:
        out, err = (tmp_path / f"{name}-{len(started)}" for name in ("out", "err"))
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                [*program, "watch", *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        assert process.stdin is not None
        process.stdin.write(given)
        process.stdin.close()
        started.append(Watching(process, out, err))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        assert PASSWORD not in each.said() + each.stdout.read_text()


@pytest.fixture
def service() -> Iterator[FakeService]:
    with fake_service() as service:
        yield service


@pytest.fixture
def door() -> Iterator[Camera]:
    """A camera before which Ann stands."""
    with camera(lambda: picture(("Ann", 160, 120))) as door:
        yield door


def saw(service: FakeService, more: int = 3) -> Callable[[], bool]:
    """Tell whether the service has had more frames since now."""
    before = service.frames
    return lambda: service.frames >= before + more


def test_a_visit_outlasts_whatever_breaks_the_stream(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    arguments = f"front door={door.address}", "--host", service.url, "--json", "--gap", "60", "--stall", "2"
    run = watching(*arguments, environment={"API_KEY": PASSWORD})
    run.until(saw(service))
    for number, how in enumerate(("half", "close", "stall", "refuse"), 2):
        if how == "refuse":
            door.refuses, refused = True, door.refused
            door.breaks = "close"
            run.until(lambda refused=refused: door.refused >= refused + 2)
            door.refuses = False
        else:
            door.breaks = how
        run.until(lambda number=number: door.connections >= number)
        run.until(saw(service))
    assert run.end() == 0
    (event,) = run.events()
    assert (event["camera"], event["name"]) == ("front door", "Ann")
    assert event["since"] < event["until"]
    assert {each["id"] for each in service.posted} == {event["id"]}
    lines = run.said().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["front door is lost", "front door is back"] * 4
    assert "no frame for 2 s" in lines[4]


def test_what_ps_shows_has_no_address(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    run = watching(door.address, "--host", service.url)
    run.until(saw(service))
    shown = arguments_of(run.process.pid)
    assert len(shown) == 2
    assert not [text for text in shown.values() if PASSWORD in text or str(door.port) in text]
    for pid in shown:
        assert PASSWORD not in Path(f"/proc/{pid}/environ").read_text()
    assert run.end() == 0


def test_sources_come_from_standard_input(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    lines = f"# my cameras\n\ndoor={door.address}\n"
    run = watching("--sources", "-", "--host", service.url, "--json", given=lines)
    run.until(saw(service))
    assert not [shown for shown in run.shown if PASSWORD in shown]
    assert run.end() == 0
    assert [event["camera"] for event in run.events()] == ["door"]


def test_a_wrong_password_is_tried_again_without_being_shown(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    wrong = door.address.replace("admin:", "nobody:")
    run = watching(wrong, "--host", service.url)
    run.until(lambda: door.refused >= 6)
    assert run.end() == 0
    assert run.said() == "127.0.0.1 is lost: it cannot be opened; trying again\n"
    run = watching(wrong, "--host", service.url, "--fail")
    assert run.process.wait(LIMIT_S) == 1
    assert run.said() == "127.0.0.1: it cannot be opened\n"


def test_a_stream_that_ends_ends_the_program_only_if_it_is_to_fail(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    run = watching(f"door={door.address}", "--host", service.url, "--json", "--fail")
    run.until(saw(service))
    door.breaks = "close"
    assert run.process.wait(LIMIT_S) == 1
    assert run.said() == "door: it has ended\n"
    assert [event["name"] for event in run.events()] == ["Ann"]


def test_ctrl_c_ends_visits_that_are_under_way(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    run = watching(door.address, "--host", service.url)
    run.until(saw(service))
    left = captures(run)
    assert run.end(signal.SIGINT) == 130
    header, row = run.stdout.read_text().splitlines()
    assert header == "camera,since,until,name,person,distance,false_match,frames"
    assert re.fullmatch(r"127\.0\.0\.1,\d{4}-[^,]+,\d{4}-[^,]+,Ann,person Ann,1\.5,,\d+", row)
    assert run.said() == ""
    assert [state_of(pid) for pid in left] == ["gone"]


def test_a_killed_program_leaves_no_process(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    with camera(lambda: picture(("Ben", 160, 120))) as hangs:
        hangs.breaks = "stall"  # its process waits in FFmpeg
        run = watching(door.address, hangs.address, "--host", service.url)
        run.until(lambda: hangs.connections)
        run.until(saw(service))
        left = captures(run)
        assert len(left) == 2
        run.end(signal.SIGKILL)
        deadline = time.monotonic() + LIMIT_S
        while any(state_of(pid) not in ("gone", "Z") for pid in left):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
def test_a_process_that_dies_or_hangs_is_begun_again(
    watching: Callable[..., Watching], service: FakeService, door: Camera, how: signal.Signals
) -> None:
    run = watching(f"door={door.address}", "--host", service.url, "--json", "--gap", "60", "--stall", "2")
    run.until(saw(service))
    (pid,) = captures(run)
    os.kill(pid, how)
    run.until(lambda: "is back" in run.said())
    run.until(saw(service))
    assert captures(run) != [pid]
    assert run.end() == 0
    assert len(run.events()) == 1
    assert len(run.said().splitlines()) == 2
    assert state_of(pid) == "gone"


def test_one_source_that_is_lost_does_not_hold_up_another(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    with camera(lambda: picture(("Ben", 160, 120))) as hall:
        hall.breaks = "stall"
        run = watching(f"door={door.address}", f"hall={hall.address}", "--host", service.url, "--json")
        run.until(lambda: service.posted)
        run.until(saw(service, 10))
        assert {event["name"] for event in service.posted} == {"Ann"}
        assert run.end() == 0
        assert [(event["camera"], event["name"]) for event in run.events()] == [("door", "Ann")]


def test_a_visit_waits_for_a_service_that_is_away(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    run = watching(f"door={door.address}", "--host", service.url, "--json", "--gap", "1")
    run.until(lambda: service.posted)
    service.away = True
    run.until(lambda: service.refused >= 3)
    service.away = False
    run.until(lambda: run.events())
    door.show = picture
    run.until(lambda: "is back" in run.said())
    assert run.end() == 0
    first, second = run.said().splitlines()
    assert first.startswith("The service is away: ")
    assert second == "The service is back."
    assert {event["name"] for event in run.events()} == {"Ann"}
    assert {event["id"] for event in run.events()} == {event["id"] for event in service.posted}


def test_a_service_that_is_not_there_is_waited_for_and_a_wrong_key_is_not(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    run = watching(door.address, "--host", "http://127.0.0.1:9")
    run.until(lambda: "The service is away: Nothing answers" in run.said())
    assert run.end() == 0
    service.error_always = (401, "unauthorized")
    run = watching(door.address, "--host", service.url)
    assert run.process.wait(LIMIT_S) == 3
    assert run.said() == "Error: It is so: unauthorized.\n"


def test_a_service_that_is_full_or_starts_anew_is_waited_for(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    run = watching(f"door={door.address}", "--host", service.url, "--json", "--gap", "600")
    run.until(lambda: service.posted)
    for answer in ((507, "disk_full"), (503, "model_unknown"), (429, "overloaded"), (408, "request_timeout")):
        before, service.error_always = service.refused, answer
        run.until(lambda before=before: service.refused >= before + 1)
    service.error_always = None
    run.until(saw(service))
    assert run.end() == 0
    assert len(run.events()) == 1


def test_after_a_change_of_model_the_visit_goes_on(
    watching: Callable[..., Watching], service: FakeService, door: Camera
) -> None:
    run = watching(f"door={door.address}", "--host", service.url, "--json", "--gap", "60")
    run.until(lambda: service.posted)
    service.fingerprint, service.dimension = "second", 16
    run.until(saw(service, 6))
    assert run.end() == 0
    (event,) = run.events()
    assert event["name"] == "Ann"
    assert run.said() == ""


@pytest.mark.parametrize("erased", [False, True])
def test_a_visit_whose_face_another_model_does_not_find_ends_as_whose_it_was(
    watching: Callable[..., Watching], service: FakeService, door: Camera, *, erased: bool
) -> None:
    run = watching(f"door={door.address}", "--host", service.url, "--json", "--gap", "60")
    run.until(lambda: service.posted)
    service.fingerprint, service.blind = "second", True
    run.until(saw(service, 3))
    if erased:
        service.events.clear()
    assert run.end() == 0
    assert [event["name"] for event in run.events()] == ["Ann"] * (not erased)
    assert [event["until"] is None for event in service.posted] == [True, False][: 2 - erased]
    said = "door: a visit is given up: its face cannot be found again for another model\n"
    assert run.said() == said * erased


def test_what_a_service_that_hangs_has_not_taken_when_it_ends_is_said_to_be_lost(
    service: FakeService, watching: Callable[..., Watching], tmp_path: Path
) -> None:
    asked, over = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        over.wait()

    service.hang = hang
    file = video(tmp_path / "door.avi", [picture(("Ann", 160, 120))] * 10)
    try:
        watch = watching(file, "--host", service.url, "--json", program=HASTY)
        watch.until(asked.is_set)
        assert watch.end() == 0
    finally:
        service.hang = lambda: None
        over.set()
    assert watch.events() == []
    assert watch.said() == "door.avi: the service does not answer; visits that it has not taken are lost\n"


def test_unknown_people_are_told_of_if_asked_for(
    watching: Callable[..., Watching], service: FakeService, tmp_path: Path
) -> None:
    file = video(tmp_path / "somebody.avi", [picture(("somebody", 160, 120))] * 10)
    for more, names in (((), []), (("--unknown",), [None])):
        run = watching(file, "--host", service.url, "--json", *more)
        assert run.process.wait(LIMIT_S) == 0
        assert [event["name"] for event in run.events()] == names
    run = watching(file, "--host", service.url, "--json", "--unknown", "--at-once")
    assert run.process.wait(LIMIT_S) == 0
    assert [event["until"] is None for event in run.events()] == [True] * 4 + [False]


def test_times_in_files_count_from_their_beginning(
    watching: Callable[..., Watching], service: FakeService, tmp_path: Path
) -> None:
    frames = [picture(*([("Ann", 100 + 4 * n, 120)] if 10 <= n < 30 else [])) for n in range(40)]
    frames += [picture(("Ben", 200, 100))] * 10
    files = [video(tmp_path / name, frames) for name in ("one.avi", "two.mp4")]
    run = watching(*files, "--host", service.url)
    assert run.process.wait(LIMIT_S) == 0
    _, *rows = run.stdout.read_text().splitlines()
    assert sorted(rows) == [
        f"{name},{since},{until},{who},person {who},1.5,,{count}"
        for name in ("one.avi", "two.mp4")
        for who, since, until, count in (("Ann", "2.0", "5.8", 20), ("Ben", "8.0", "9.8", 10))
    ]
    options = "--json", "--began", "2026-11-24T08:00:00+01:00"
    run = watching(files[0], "--host", service.url, *options)
    assert run.process.wait(LIMIT_S) == 0
    ann, _ = run.events()
    assert (ann["since"], ann["since_s"]) == ("2026-11-24T07:00:02+00:00", 2.0)
    assert (ann["until"], ann["until_s"]) == ("2026-11-24T07:00:05.800000+00:00", 5.8)


def test_where_nothing_moves_hardly_a_frame_is_looked_at(
    watching: Callable[..., Watching], service: FakeService, tmp_path: Path
) -> None:
    file = video(tmp_path / "night.avi", [picture()] * (60 * 5))
    run = watching(file, "--host", service.url)
    assert run.process.wait(LIMIT_S) == 0
    assert 6 <= service.frames <= 20  # of 300
    run = watching(file, "--host", service.url, "--frames", "--json")
    assert run.process.wait(LIMIT_S) == 3  # this service does not recognise


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_videos_of_phones_are_turned_upright(
    watching: Callable[..., Watching], service: FakeService, tmp_path: Path, degrees: int
) -> None:
    """The face stands in the upper left of what the camera's sensor has seen, 320 x 240."""
    file = rotated(video(tmp_path / "phone.mp4", [picture(("Ann", 60, 50))] * 10), degrees)
    run = watching(file, "--host", service.url, "--json")
    assert run.process.wait(LIMIT_S) == 0
    (event,) = run.events()
    x, y, w, h = map(int, event["bbox"].split(","))
    middle = {0: (60, 50), 90: (240 - 50, 60), 180: (320 - 60, 240 - 50), 270: (50, 320 - 60)}[degrees]
    assert abs(x + w / 2 - middle[0]) < 5
    assert abs(y + h / 2 - middle[1]) < 5


def test_rtsp_is_watched(watching: Callable[..., Watching], service: FakeService) -> None:
    with rtsp(lambda: picture(("Ben", 160, 120))) as server:
        arguments = f"door={server.address}", "--host", service.url, "--json", "--gap", "60"
        run = watching(*arguments)
        run.until(saw(service))
        server.broken.set()
        run.until(lambda: "is lost" in run.said())
        server.broken.clear()
        run.until(lambda: "is back" in run.said())
        run.until(saw(service))
        shown = arguments_of(run.process.pid)
        assert not [text for text in shown.values() if PASSWORD in text]
        assert run.end() == 0
        (event,) = run.events()
        assert (event["camera"], event["name"]) == ("door", "Ben")
        assert server.plays >= 2


@pytest.mark.parametrize("content", [None, b"no video", b""])
def test_a_file_that_cannot_be_read_is_told_and_others_are_watched(
    watching: Callable[..., Watching], service: FakeService, tmp_path: Path, content: bytes | None
) -> None:
    wrong = tmp_path / "wrong.avi"
    if content is not None:
        wrong.write_bytes(content)
    right = video(tmp_path / "right.avi", [picture(("Ann", 160, 120))] * 10)
    run = watching(wrong, right, "--host", service.url, "--json")
    assert run.process.wait(LIMIT_S) == 1
    assert run.said() == "wrong.avi: it cannot be opened\n"
    assert [event["name"] for event in run.events()] == ["Ann"]
