"""API keys: how they are made, kept, read and found; how the settings take them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

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


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.keys", *arguments],
        cwd=ROOT / "face_detection",
        capture_output=True,
        text=True,
    )


def test_the_command_prints_a_key_and_its_entry() -> None:
    outcome = command("door", "recognise,monitor")
    assert outcome.returncode == 0, outcome.stderr
    presented, entry = (line.split()[-1] for line in outcome.stdout.splitlines())
    found = keys.find(read({"API_KEYS": entry}).api_keys, presented)
    assert found is not None
    assert found.scopes == {"recognise", "monitor"}
    assert command("door", "recognise,monitor").stdout != outcome.stdout
    for bad in (("door", "everything"), ("front door", "enrol"), ("door", "")):
        assert command(*bad).returncode == 2
