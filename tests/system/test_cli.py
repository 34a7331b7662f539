"""The program `recognition`, with the real services running and without."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import cv2
import pytest
import requests
from click.testing import CliRunner, Result
from PIL import Image

from recognition.__main__ import cli
from recognition.client import Client
from running import ROOT, Pair, free_port, wait_until
from serving.version import VERSION

TIMEOUT_S = 60
Run = Callable[..., Result]


def with_host(url: str) -> Run:
    return lambda *arguments, **more: CliRunner().invoke(cli, [*map(str, arguments), "--host", url], **more)


@pytest.fixture
def run(pair: Pair) -> Run:
    return with_host(pair.url)


@pytest.fixture
def environment(tmp_path: Path, models_dir: Path) -> dict[str, str]:
    """Of a machine without a gallery: keys and rates are those of services."""
    return {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'alone' / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
        "AUDIT_LOG": str(tmp_path / "audit.jsonl"),
        "API_KEYS": f"door:recognise:{'0' * 64}",
        "RATE_LIMIT_PER_MINUTE": "1",
    }


@pytest.fixture
def alone(environment: dict[str, str]) -> Run:
    """Without a service."""
    return lambda *arguments, **more: CliRunner(env=environment).invoke(cli, [*map(str, arguments)], **more)


@pytest.fixture
def folder(tmp_path: Path, photographs: dict[str, list[Path]]) -> Path:
    """Two people's first two photographs, a copy of one, a broken one, one without a face, and a text."""
    folder = tmp_path / "people"
    for person in ("madonna", "ben_afflek"):
        (folder / person).mkdir(parents=True)
        for number, path in enumerate(photographs[person][:2]):
            shutil.copy(path, folder / person / f"{number}.jpg")
    shutil.copy(folder / "madonna" / "0.jpg", folder / "madonna" / "again.JPG")
    shutil.copy(photographs["mindy_kaling"][0], folder / "Mindy.jpg")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture")
    return folder


def objects(result: Result, status: int = 0) -> list[dict[str, Any]]:
    """The objects of --json."""
    assert result.exit_code == status, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def text(result: Result, status: int = 0) -> str:
    assert result.exit_code == status, result.output
    return result.stdout


REPORT = {
    "enrolled": ["Mindy.jpg", "ben_afflek/0.jpg", "ben_afflek/1.jpg", "madonna/0.jpg", "madonna/1.jpg"],
    "already": [],
    "duplicates": {"madonna/again.JPG": "madonna/0.jpg"},
    "refused": {
        name: {"code": "invalid_image", "detail": "Not a picture: it is a text."}
        for name in ("broken.jpg", "notes.txt")
    },
}


@pytest.mark.parametrize("transport", ["run", "alone"])
def test_a_session(transport: str, request: pytest.FixtureRequest, folder: Path, demo: Path) -> None:
    """What a user does, the same with and without a service."""
    run: Run = request.getfixturevalue(transport)
    stranger = next((demo / "val" / "elton_john").iterdir())
    madonna = next((demo / "val" / "madonna").iterdir())
    assert objects(run("enrol", folder, "--json"), 1) == [REPORT]
    again = objects(run("enrol", folder, "--json"), 1)
    assert again == [REPORT | {"enrolled": [], "already": REPORT["enrolled"]}]
    listed = objects(run("samples", "list", "--json"))
    assert {s["metadata"]["path"]: s["name"] for s in listed} == {
        "Mindy.jpg": "Mindy",
        "ben_afflek/0.jpg": "ben_afflek",
        "ben_afflek/1.jpg": "ben_afflek",
        "madonna/0.jpg": "madonna",
        "madonna/1.jpg": "madonna",
    }
    assert all(uuid.UUID(s["id"]).version == 4 for s in listed)
    (first,) = [s["id"] for s in listed if s["metadata"]["path"] == "madonna/0.jpg"]
    assert objects(run("samples", "export", folder / "gallery.jsonl", "--json")) == [{"exported": 5}]
    assert (folder / "gallery.jsonl").stat().st_mode & 0o077 == 0
    assert objects(run("samples", "clear", "--yes", "--json")) == [{"cleared": True}]
    answer = {"imported": 5, "unchanged": 0}
    assert objects(run("samples", "import", folder / "gallery.jsonl", "--json")) == [answer]
    seen, broken = objects(run("recognise", madonna, folder / "broken.jpg", "--json"), 1)
    assert (seen["picture"], seen["faces"][0]["name"]) == (str(madonna), "madonna")
    assert broken["error"]["code"] == "invalid_image"
    assert "unknown" in text(run("recognise", stranger, "--min-distance", "1"))
    assert objects(run("detect", stranger, "--json"))[0]["faces"][0]["landmarks"]["nose"]
    assert "not the same person" in text(run("verify", madonna, stranger), 1)
    assert objects(run("samples", "delete", first, "nobody", "--json"), 1) == [
        {"deleted": 1, "missing": ["nobody"]}
    ]
    assert objects(run("samples", "clear", "--yes", "--json")) == [{"cleared": True}]
    assert objects(run("samples", "list", "--json")) == []


def test_a_report_for_people(run: Run, folder: Path) -> None:
    lines = text(run("enrol", folder), 1).splitlines()
    assert lines == [
        "5 enrolled, 0 already there, 1 duplicates, 2 refused.",
        "  madonna/again.JPG: the same bytes as madonna/0.jpg",
        "  broken.jpg: Not a picture: it is a text.",
        "  notes.txt: Not a picture: it is a text.",
    ]


def test_files_are_named_for_themselves_or_as_objects(run: Run, folder: Path) -> None:
    files = folder / "madonna" / "0.jpg", folder / "Mindy.jpg"
    assert objects(run("enrol", *files, "--json"))[0]["enrolled"] == ["0.jpg", "Mindy.jpg"]
    assert objects(run("enrol", *files, "--json"))[0]["already"] == ["0.jpg", "Mindy.jpg"]
    assert objects(run("enrol", files[0], "--name", "Madonna", "--replace", "--json"))[0]["enrolled"] == [
        "0.jpg"
    ]
    assert sorted(s["name"] for s in objects(run("samples", "list", "--json"))) == ["0", "Madonna", "Mindy"]
    (line,) = text(run("samples", "list", "--name", "Mindy")).splitlines()
    assert re.fullmatch(r"[0-9a-f-]{36}  Mindy  20\S+", line)


def test_a_picture_that_has_changed_is_replaced_under_its_id(
    run: Run, folder: Path, photographs: dict[str, list[Path]]
) -> None:
    objects(run("enrol", folder, "--json"), 1)
    before = {s["id"]: s for s in objects(run("samples", "list", "--json"))}
    shutil.copy(photographs["madonna"][2], folder / "madonna" / "0.jpg")
    (folder / "madonna" / "again.JPG").unlink()
    (report,) = objects(run("enrol", folder, "--replace", "--json"), 1)
    assert report["enrolled"] == REPORT["enrolled"]
    after = {s["id"]: s for s in objects(run("samples", "list", "--json"))}
    assert list(after) == list(before)
    for sample_id, sample in before.items():
        path = sample["metadata"]["path"]
        assert after[sample_id]["metadata"]["path"] == path
        assert (after[sample_id]["metadata"] == sample["metadata"]) == (path != "madonna/0.jpg")
        assert after[sample_id]["modified"] > sample["modified"]


def test_a_folder_that_was_moved_or_is_named_otherwise_is_there_already(run: Run, folder: Path) -> None:
    objects(run("enrol", folder, "--json"), 1)
    moved = folder.rename(folder.parent / "moved")
    (moved / "madonna" / "again.JPG").unlink()
    (report,) = objects(run("enrol", moved, "--json"), 1)
    assert (report["enrolled"], report["already"]) == ([], REPORT["enrolled"])
    (report,) = objects(run("enrol", moved / "madonna", "--name", "MADONNA", "--json"))
    assert (report["enrolled"], report["already"]) == ([], ["0.jpg", "1.jpg"])


@pytest.mark.parametrize("together", [True, False])
def test_two_cities_with_people_of_one_name_are_two_folders(
    run: Run, folder: Path, photographs: dict[str, list[Path]], together: bool
) -> None:
    """Their pictures have the same path below the folder that is named."""
    cities = [folder / "london", folder / "paris"]
    for city, photograph in zip(cities, photographs["elton_john"], strict=False):
        (city / "John Smith").mkdir(parents=True)
        shutil.copy(photograph, city / "John Smith" / "1.jpg")
    for _ in range(2):
        for some in [cities] if together else [[city] for city in cities]:
            objects(run("enrol", *some, "--json"))
        listed = objects(run("samples", "list", "--name", "John Smith", "--json"))
        assert [s["metadata"]["path"] for s in listed] == 2 * ["John Smith/1.jpg"]
        assert len({s["metadata"]["sha256"] for s in listed}) == 2
    (report,) = objects(run("enrol", *cities, "--replace", "--json"))
    assert report["enrolled"] == ["John Smith/1.jpg", str(folder / "paris" / "John Smith" / "1.jpg")]
    assert len(objects(run("samples", "list", "--json"))) == 2


def test_pictures_that_change_their_paths_do_not_replace_each_other(
    run: Run, tmp_path: Path, photographs: dict[str, list[Path]]
) -> None:
    first, second = tmp_path / "people" / "a" / "1.jpg", tmp_path / "people" / "a" / "2.jpg"
    first.parent.mkdir(parents=True)
    shutil.copy(photographs["madonna"][0], first)
    objects(run("enrol", tmp_path / "people", "--json"))
    first.rename(second)
    shutil.copy(photographs["madonna"][1], first)
    (report,) = objects(run("enrol", tmp_path / "people", "--replace", "--json"))
    assert report["enrolled"] == ["a/1.jpg", "a/2.jpg"]
    assert len(objects(run("samples", "list", "--json"))) == 2


def test_a_sample_of_an_earlier_version_is_not_enrolled_again(pair: Pair, run: Run, folder: Path) -> None:
    """Its id is the path."""
    with Client(pair.url) as client:
        client.enrol("madonna/1.jpg", "madonna", folder / "madonna" / "1.jpg")
    (report,) = objects(run("enrol", folder, "--json"), 1)
    assert report["already"] == report["already_by_path"] == ["madonna/1.jpg"]
    assert count(pair) == 5
    (folder / "broken.jpg").unlink()
    (folder / "notes.txt").unlink()
    assert "  madonna/1.jpg: already there, by its path alone" in text(run("enrol", folder))
    objects(run("enrol", folder, "--replace", "--json"))
    assert count(pair) == 5
    (report,) = objects(run("enrol", folder, "--json"))
    assert "already_by_path" not in report and len(report["already"]) == 5


@pytest.mark.parametrize("written", ["Zo\u00eb_Kravitz", "Zoe\u0308_Kravitz", " Zo\u00eb_Kravitz "])
def test_a_person_has_the_folders_name(run: Run, folder: Path, written: str) -> None:
    """As it is written, but in Unicode's composed form, and trimmed."""
    (folder / "madonna").rename(folder / written)
    objects(run("enrol", folder, "--json"), 1)
    names = {s["name"] for s in objects(run("samples", "list", "--json"))}
    assert names == {"Mindy", "ben_afflek", "Zo\u00eb_Kravitz"}
    again = objects(run("enrol", folder, "--json"), 1)[0]
    assert again["enrolled"] == []
    assert unicodedata.normalize("NFC", written) == written or f"{written}/1.jpg" in again["already"]


def test_pictures_of_one_path_are_told_apart_in_the_report(run: Run, folder: Path) -> None:
    one, other = folder / "madonna" / "0.jpg", folder / "ben_afflek" / "0.jpg"
    (report,) = objects(run("enrol", one, other, one, "--json"))
    assert report["enrolled"] == ["0.jpg", str(other)]
    assert report["duplicates"] == {str(one): "0.jpg"}


def test_one_pictures_name_does_not_stop_the_others(run: Run, folder: Path) -> None:
    """The service refuses a whole request for one name that is blank; a name may even be no text."""
    blank = folder / " "
    blank.mkdir()
    shutil.copy(folder / "Mindy.jpg", blank / "x.jpg")
    (blank / "x.jpg").write_bytes((blank / "x.jpg").read_bytes() + b"\0")
    bad = os.fsdecode(b"M\xff.jpg")
    shutil.copy(folder / "ben_afflek" / "0.jpg", folder / bad)
    (folder / "ben_afflek" / "0.jpg").unlink()
    (report,) = objects(run("enrol", folder, "--json"), 1)
    assert report["enrolled"] == ["Mindy.jpg", "ben_afflek/1.jpg", "madonna/0.jpg", "madonna/1.jpg"]
    assert set(report["refused"]) == {"broken.jpg", "notes.txt", bad, " /x.jpg"}


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root can read everything: be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_cannot_be_read_is_reported(run: Run, folder: Path) -> None:
    text(run("samples", "list"))  # imports what it needs
    for path in [folder, *folder.parents]:
        if path.stat().st_uid == os.getuid() and path.name.startswith(("pytest-", "popen-")):
            path.chmod(0o755)
    folder.parent.chmod(0o755)
    (folder / "ben_afflek").chmod(0)
    (folder / "gone.jpg").symlink_to("nowhere")
    (folder / "madonna" / "1.jpg").chmod(0)
    with unprivileged():
        (report,) = objects(run("enrol", folder, "--json"), 1)
    assert report["enrolled"] == ["Mindy.jpg", "madonna/0.jpg"]
    assert report["refused"][str(folder / "ben_afflek")] == {"code": "file", "detail": "Permission denied"}
    assert report["refused"]["madonna/1.jpg"] == {"code": "file", "detail": "Permission denied"}
    assert report["refused"]["gone.jpg"] == {"code": "file", "detail": "No such file or directory"}


def test_a_folder_without_pictures_is_a_mistake(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("enrol", tmp_path / "empty")
    assert (result.exit_code, "no pictures" in result.stderr) == (2, True)
    assert run("enrol", tmp_path / "nowhere").exit_code == 2


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    pair: Pair, tmp_path: Path, demo: Path
) -> None:
    shutil.copytree(demo / "train" / "madonna", tmp_path / "people" / "madonna")
    held = tmp_path / "people" / "madonna" / "zz.jpg"
    os.mkfifo(held)  # whoever reads it waits
    command = [sys.executable, "-m", "recognition", "enrol", str(tmp_path / "people"), "--host", pair.url]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=ROOT / "face_detection", stdout=stream, stderr=stream)
    writers: list[int] = []

    def is_read() -> bool:
        with suppress(OSError):  # nobody reads it yet
            writers.append(os.open(held, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers)

    wait_until(is_read, process, log)  # which comes after the answer to the first sixteen
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_S) == 130
    os.close(writers[0])
    assert log.read_text().splitlines() == [
        "16 enrolled, 0 already there, 0 duplicates, 0 refused.",
        "Interrupted: start the same command again to go on.",
    ]
    held.unlink()
    (report,) = objects(with_host(pair.url)("enrol", tmp_path / "people", "--json"))
    assert (len(report["enrolled"]), len(report["already"])) == (3, 16)
    assert count(pair) == 19


def count(pair: Pair) -> int:
    number: int = requests.get(f"{pair.url}/samples/count", timeout=TIMEOUT_S).json()["count"]
    return number


@pytest.mark.parametrize(
    "arguments", [("recognise", "{}"), ("verify", "{}", "{}"), ("enrol", "{}"), ("samples", "list")]
)
def test_no_service_is_objects(arguments: tuple[str, ...], folder: Path) -> None:
    run = with_host(f"http://127.0.0.1:{free_port()}")
    given = [argument.replace("{}", str(folder / "Mindy.jpg")) for argument in arguments]
    result = run(*given)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("Error: Nothing answers at http://127.0.0.1:")
    assert len(result.stderr.splitlines()) == 1
    result = run(*given, "--json")
    assert json.loads(result.stderr)["error"]["code"] == "unreachable"


def test_a_bad_setting_is_told_where_there_is_no_service(folder: Path) -> None:
    command = [sys.executable, "-m", "recognition", "detect", str(folder / "Mindy.jpg")]
    done = subprocess.run(
        command,
        cwd=ROOT / "face_detection",
        env=os.environ | {"MIN_FACE_PX": "few"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Error: MIN_FACE_PX: ")


def test_no_face_is_an_answer(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "grey.png")
    assert text(run("recognise", tmp_path / "grey.png")) == f"{tmp_path / 'grey.png'}  no face\n"
    assert text(run("detect", tmp_path / "grey.png")) == f"{tmp_path / 'grey.png'}  no face\n"
    assert "image1: No face" in text(run("verify", tmp_path / "grey.png", tmp_path / "grey.png"), 1)
    assert (
        objects(run("enrol", tmp_path / "grey.png", "--json"), 1)[0]["refused"]["grey.png"]["code"]
        == "no_face"
    )


def test_the_picture_is_written_with_names(run: Run, folder: Path, tmp_path: Path) -> None:
    objects(run("enrol", folder, "--json"), 1)
    drawn, picture = tmp_path / "drawn.jpg", folder / "madonna" / "0.jpg"
    assert "madonna" in text(run("recognise", picture, "--draw", drawn))
    assert drawn.read_bytes().startswith(b"\xff\xd8\xff")
    assert cv2.imread(str(drawn)).shape == cv2.imread(str(picture)).shape
    assert run("recognise", picture, folder / "Mindy.jpg", "--draw", drawn).exit_code == 2
    drawn.unlink()
    text(run("recognise", folder / "broken.jpg", "--draw", drawn), 1)
    assert not drawn.exists()
    result = run("recognise", picture, "--draw", tmp_path / "nowhere" / "drawn.jpg")
    assert (result.exit_code, "nowhere" in result.stderr) == (1, True)


def test_a_damaged_export_is_refused(run: Run, folder: Path) -> None:
    objects(run("enrol", folder, "--json"), 1)
    text(run("samples", "export", folder / "gallery.jsonl"))
    whole = (folder / "gallery.jsonl").read_bytes()
    (folder / "half.jsonl").write_bytes(whole[: len(whole) // 2])
    result = run("samples", "import", folder / "half.jsonl", "--json")
    assert (result.exit_code, json.loads(result.stderr)["error"]["code"]) == (1, "damaged_gallery")
    assert text(run("samples", "import", folder / "gallery.jsonl")) == (
        "0 samples imported, 5 were there already.\n"
    )


def test_the_nearest_people_are_listed(run: Run, folder: Path) -> None:
    objects(run("enrol", folder, "--json"), 1)
    arguments = "recognise", folder / "madonna" / "0.jpg", "--top", "2", "--min-distance", "20"
    assert "  or " in text(run(*arguments))
    assert len(objects(run(*arguments, "--json"))[0]["faces"][0]["candidates"]) == 2


@pytest.mark.parametrize("transport", ["run", "alone"])
def test_the_share_of_strangers_decides(
    transport: str, request: pytest.FixtureRequest, folder: Path, demo: Path
) -> None:
    run: Run = request.getfixturevalue(transport)
    objects(run("enrol", folder, "--json"), 1)
    madonna = next((demo / "val" / "madonna").iterdir())
    (seen,) = objects(run("recognise", madonna, "--max-false-match", "0.5", "--top", "2", "--json"))
    (face,) = seen["faces"]
    assert face["name"] == face["candidates"][0]["name"] == "madonna"
    assert 0 <= face["false_match"] == face["candidates"][0]["false_match"] <= 0.5
    (seen,) = objects(run("recognise", madonna, "--max-false-match", "1e-15", "--json"))
    assert seen["faces"][0]["name"] == ""
    assert seen["warnings"] == ["wish_out_of_reach"]
    drawn = folder / "drawn.jpg"
    assert "unknown" in text(run("recognise", madonna, "--max-false-match", "1e-15", "--draw", drawn))
    assert drawn.exists()


@pytest.mark.parametrize("command", ["recognise", "watch"])
@pytest.mark.parametrize(
    "options",
    [
        ("--max-false-match", "0.6"),
        ("--max-false-match", "0"),
        ("--max-false-match", "0.1", "--min-distance", "9"),
    ],
    ids=" ".join,
)
def test_a_rule_that_is_none_is_a_mistake(
    run: Run, folder: Path, command: str, options: tuple[str, ...]
) -> None:
    result = run(command, folder / "Mindy.jpg", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--max-false-match" in result.stderr


def test_names_and_ids_cannot_command_the_terminal(pair: Pair, run: Run, folder: Path) -> None:
    with Client(pair.url) as client:
        client.enrol("M\x1b[2J\nx", "N\x1b[2J\nx", folder / "Mindy.jpg")
    assert "M\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}x  N[2J x" in text(run("samples", "list"))
    assert "\x1b" not in text(run("recognise", folder / "Mindy.jpg"))


def test_samples_are_removed_by_name(run: Run, folder: Path) -> None:
    objects(run("enrol", folder, "--json"), 1)
    assert text(run("samples", "delete", "--name", "madonna")) == "2 deleted.\n"
    assert "madonna: there is no such sample" in text(run("samples", "delete", "--name", "madonna"), 1)
    assert run("samples", "delete").exit_code == 2
    assert run("samples", "clear", input="n\n").exit_code == 1
    assert len(objects(run("samples", "list", "--json"))) == 3


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("command", list(commands(cli)), ids=" ".join)
def test_every_command_has_help_and_speaks_json(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*command, "--help"])
    assert result.exit_code == 0
    here = ("gallery", "keys", "compreface", "migrate-compreface", "index", "find")  # by no running service
    options = {"serve": set(), "models": set()} | {each: {"--json"} for each in here}
    assert options.get(command[0], {"--host", "--key", "--json"}) <= set(result.stdout.split())


def test_the_help_lists_what_people_do_first_first() -> None:
    lines = CliRunner().invoke(cli, ["--help"]).stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == list(cli.commands)
    assert list(cli.commands)[:4] == ["serve", "doctor", "enrol", "recognise"]
    assert not any(line.endswith("...") for line in lines)  # none is too long for its line


def test_the_version_is_the_distributions() -> None:
    assert text(CliRunner().invoke(cli, ["--version"])) == f"recognition {VERSION}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)


def test_the_shell_completes_commands() -> None:
    program = Path(sys.executable).with_name("recognition")
    for words, completions in (
        ("recognition s", ["samples", "serve"]),
        ("recognition gallery b", ["backup"]),
    ):
        environment = {
            "_RECOGNITION_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        done = subprocess.run([program], env=os.environ | environment, capture_output=True, text=True)
        assert sorted(done.stdout.split()) == [f"plain,{word}" for word in completions]
        assert done.stderr == ""


READING = [
    ("recognise", "{}"),
    ("samples", "list"),
    ("samples", "delete", "1"),
    ("samples", "clear", "--yes"),
    ("samples", "export", "{}.jsonl"),
    ("watch", "{}"),
    ("gallery", "count"),
    ("gallery", "verify"),
    ("gallery", "calibrate"),
    ("gallery", "export", "{}.jsonl"),
    ("gallery", "backup", "{}.sqlite3"),
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_no_gallery_is_made_by_who_only_reads(
    alone: Run, folder: Path, environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    before = set(folder.rglob("*"))
    result = alone(*[argument.replace("{}", str(folder / "Mindy.jpg")) for argument in arguments])
    url = environment["DATABASE_URL"]
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines() == [f"gallery: {url}", f"Error: There is no gallery at {url}."]
    assert not Path(url.removeprefix("sqlite:///")).parent.exists()
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize("command", [("detect", "{}"), ("verify", "{}", "{}")], ids=" ".join)
def test_what_needs_no_gallery_opens_none(
    alone: Run, folder: Path, environment: dict[str, str], command: tuple[str, ...]
) -> None:
    result = alone(*[argument.replace("{}", str(folder / "Mindy.jpg")) for argument in command])
    assert text(result)
    assert "gallery: " not in result.stderr
    assert not Path(environment["DATABASE_URL"].removeprefix("sqlite:///")).exists()


def test_what_a_command_does_is_audited_without_a_name(
    alone: Run, folder: Path, environment: dict[str, str]
) -> None:
    objects(alone("enrol", folder, "--json"), 1)
    assert text(alone("gallery", "count")) == "5\n"
    objects(alone("samples", "delete", "--name", "madonna", "--json"))
    audited = Path(environment["AUDIT_LOG"]).read_text()
    lines = [json.loads(line) for line in audited.splitlines()]
    assert {line["what"] for line in lines} == {"enrol", "delete"}
    assert all(line["who"].startswith("command of ") for line in lines)
    assert not [name for name in ("madonna", "ben_afflek", "Mindy") if name in audited]


def test_the_settings_file_is_the_services(
    pair: Pair, folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    file = tmp_path / "settings.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    chosen = CliRunner(env={"RECOGNITION_SETTINGS": str(file)})
    result = chosen.invoke(cli, ["enrol", str(folder / "Mindy.jpg")])
    assert result.exit_code == 0, result.output
    assert f"gallery: {environment['DATABASE_URL']}\n" in result.stderr
    assert Path(environment["AUDIT_LOG"]).exists()
    other = chosen.invoke(cli, ["gallery", "count"], env={"DATABASE_URL": f"sqlite:///{tmp_path / 'other'}"})
    assert (other.exit_code, "There is no gallery" in other.stderr) == (3, True)


def test_a_password_is_not_shown() -> None:
    url = f"postgresql://me:geheim@127.0.0.1:{free_port()}/faces"
    result = CliRunner().invoke(cli, ["gallery", "--database", url, "count"])
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("gallery: postgresql")
    assert "geheim" not in result.stderr


@pytest.mark.parametrize("module", ["recognition", "recognition.gallery", "recognition.keys"])
def test_the_modules_of_earlier_versions_still_work(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT / "face_detection", capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ")
