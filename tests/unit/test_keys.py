"""API keys: how they are made, kept, read and found; how the settings take them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from recognition.cli.keys import new
from recognition.cli.main import cli
from recognition.config import SettingsError, read
from running import ROOT
from serving import keys


def test_a_new_key_is_found_by_its_entry_alone() -> None:
    made = {name: keys.new(name, "recognise,enrol") for name in ("door", "desk")}
    kept = keys.parse("\n".join(key.entry() for _, key in made.values()))
    for name, (presented, key) in made.items():
        found = keys.find(kept, presented)
        assert found == key
        assert found is not None
        assert (found.name, found.scopes) == (name, {"recognise", "enrol"})
        assert len(presented) == 43  # 256 bits in base64
    for other in ("", "x", presented[:-1], presented + "x", kept[0].digest.hex(), "\xe9"):
        assert keys.find(kept, other) is None


def test_an_entry_is_the_keys_sha256() -> None:
    presented, key = keys.new("door", "recognise")
    assert key.entry() == f"door:recognise:{hashlib.sha256(presented.encode()).hexdigest()}"
    assert presented not in repr(key)
    assert key.digest.hex() not in repr(key)


@pytest.mark.parametrize("scope", keys.SCOPES)
def test_a_key_opens_its_scopes_and_admin_all(scope: str) -> None:
    _, key = keys.new("door", scope)
    assert {wanted for wanted in keys.SCOPES if key.opens(wanted)} == (
        set(keys.SCOPES) if scope == "admin" else {scope}
    )
    assert key.opens(keys.ANY)


def test_a_key_may_be_for_one_gallery() -> None:
    presented, key = keys.new("door", "recognise", "lobby")
    assert key.entry() == f"door:recognise:{hashlib.sha256(presented.encode()).hexdigest()}:lobby"
    found = keys.find(keys.parse(key.entry()), presented)
    assert found == key and key.gallery == "lobby"
    assert keys.new("desk", "recognise")[1].gallery is None
    for gallery in ("", ".", "-a", "a b", "a:b", "ä", "x" * 65):
        with pytest.raises(ValueError, match="entry"):
            keys.new("door", "recognise", gallery)


A, B = ("a" * 64, "b" * 64)

BAD = {
    "nothing but a comment": "# none",
    "the key itself": "door:recognise:xRKKogO-M85qnGcsT0vHYTgd-9xP3g_CRk1LVuZW_0g",
    "no scope": f"door::{A}",
    "an unknown scope": f"door:recognise,secretscope:{A}",
    "no name": f":recognise:{A}",
    "a name with a blank": f"front door:recognise:{A}",
    "half a hash": f"door:recognise:{A[:32]}",
    "two names alike": f"door:recognise:{A} door:enrol:{B}",
    "two keys alike": f"door:recognise:{A} desk:enrol:{A}",
    "two keys alike for two galleries": f"door:recognise:{A}:a desk:recognise:{A}:b",
    "a gallery that none can be": f"door:recognise:{A}:front/door",
    "no gallery behind the last colon": f"door:recognise:{A}:",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_entries_are_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(text)
    for settings in ({"API_KEYS": text}, {"API_KEYS_FILE": str(tmp_path / "keys")}):
        (variable,) = settings
        with pytest.raises(SettingsError, match=f"^{variable}: ") as refused:
            read(settings)
        for part in (A, "xRKK", "secretscope", "front"):
            assert part not in str(refused.value)


def test_the_file_has_an_entry_a_line_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who\n\ndoor:recognise:{A}\n  desk:enrol,admin:{B}  # until May\n")
    settings = read({"API_KEYS_FILE": str(file)})
    assert [key.name for key in settings.api_keys_file] == ["door", "desk"]
    assert settings.api_keys_file == read({"API_KEYS": f"door:recognise:{A} desk:admin,enrol:{B}"}).api_keys


def test_a_file_that_is_missing_or_beside_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="API_KEYS_FILE: the file cannot be read: No such file"):
        read({"API_KEYS_FILE": str(tmp_path / "none")})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="API_KEYS_FILE: the file cannot be read: it is not text"):
        read({"API_KEYS_FILE": str(tmp_path / "binary")})
    kept = tmp_path / "keys"
    kept.write_text(f"desk:admin:{B}")
    with pytest.raises(SettingsError, match="set one of them"):
        read({"API_KEYS_FILE": str(kept), "API_KEYS": f"door:recognise:{A}"})


def in_the_program(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["keys", "new", *arguments])


def as_the_module(*arguments: str) -> Result:
    """`python -m recognition.keys`, which makes this of it."""
    return CliRunner().invoke(new, arguments)


@pytest.mark.parametrize("command", [in_the_program, as_the_module])
def test_the_command_prints_a_key_and_its_entry(command: Callable[..., Result]) -> None:
    outcome = command("door", "recognise,monitor")
    assert outcome.exit_code == 0, outcome.output
    presented, entry = (line.split()[-1] for line in outcome.stdout.splitlines())
    found = keys.find(read({"API_KEYS": entry}).api_keys, presented)
    assert found is not None
    assert found.scopes == {"recognise", "monitor"}
    assert command("door", "recognise,monitor").stdout != outcome.stdout
    for bad in (("door", "everything"), ("front door", "enrol"), ("door", "")):
        assert command(*bad).exit_code == 2
    bound = command("door", "recognise", "--gallery", "lobby").stdout.split()[-1]
    assert read({"API_KEYS": bound}).api_keys[0].gallery == "lobby"
    assert command("door", "recognise", "--gallery", "a b").exit_code == 2
    as_json = json.loads(command("door", "recognise", "--json").stdout)
    assert keys.find(keys.parse(as_json["entry"]), as_json["key"]) is not None


def test_the_module_makes_a_key() -> None:
    command = [sys.executable, "-m", "recognition.keys", "door", "recognise"]
    outcome = subprocess.run(command, cwd=ROOT / "face_detection", capture_output=True, text=True)
    assert (outcome.returncode, len(outcome.stdout.splitlines()), outcome.stderr) == (0, 2, "")
