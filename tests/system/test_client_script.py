"""test_request.py as its users run it, against both real services."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import requests

from running import ROOT, Pair, free_port


def run(
    pair: Pair | None, *arguments: str, models_dir: Path | None = None
) -> subprocess.CompletedProcess[str]:
    host = pair.url if pair else f"http://127.0.0.1:{free_port()}"
    environment = dict(os.environ) | ({"MODELS_DIR": str(models_dir)} if models_dir else {})
    command = [sys.executable, str(ROOT / "test_request.py"), "--host", host, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_demo_recognises_every_photograph(pair: Pair, models_dir: Path) -> None:
    """25 of 25 at the default threshold 9; one of the 93 shows no face that MTCNN finds."""
    outcome = run(pair, models_dir=models_dir)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "92 of 93 pictures enrolled." in outcome.stdout
    assert re.search(r"^all +25 of 25$", outcome.stdout, re.MULTILINE)


def test_a_python_without_the_libraries_hands_over_to_the_one_that_make_set_up(tmp_path: Path) -> None:
    shutil.copy(ROOT / "test_request.py", tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    host = f"http://127.0.0.1:{free_port()}"
    bare = [
        sys.executable,
        "-S",
        str(tmp_path / "test_request.py"),
        "--host",
        host,
        "clear",
    ]  # no site-packages
    outcome = subprocess.run(bare, capture_output=True, text=True)
    assert f"Nothing answers at {host}" in outcome.stderr


def test_enrol_recognise_clear(pair: Pair, photographs: dict[str, list[Path]], tmp_path: Path) -> None:
    (tmp_path / "people" / "Elton").mkdir(parents=True)
    shutil.copy(photographs["madonna"][0], tmp_path / "people" / "Madonna.jpg")
    shutil.copy(photographs["elton_john"][0], tmp_path / "people" / "Elton" / "1.jpg")
    enrolled = run(pair, "enrol", str(tmp_path / "people"))
    assert enrolled.returncode == 0, enrolled.stderr
    assert "2 of 2 pictures enrolled." in enrolled.stdout
    assert run(pair, "recognise", str(photographs["elton_john"][0])).stdout.startswith(
        "Elton (Elton/1.jpg)  at "
    )
    assert run(pair, "recognise", str(photographs["madonna"][0])).stdout.startswith(
        "Madonna (Madonna.jpg)  at "
    )
    assert run(pair, "recognise", str(photographs["mindy_kaling"][0])).stdout.startswith("unknown  at ")
    assert run(pair, "clear").stdout.strip() == "Samples have been removed successfully"
    assert requests.get(f"{pair.url}/samples/Madonna.jpg", timeout=60).status_code == 404


def test_refusals_are_listed(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    outcome = run(pair, "enrol", str(tmp_path))
    assert outcome.returncode == 1
    assert "broken.jpg: The picture cannot be read." in outcome.stdout


def test_faults_are_told_in_one_line(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for outcome, words in (
        (run(None, "clear"), "is the service running"),
        (run(pair, "enrol", str(tmp_path / "nowhere")), "no pictures"),
        (run(pair, "recognise", str(tmp_path / "nowhere.jpg")), "nowhere.jpg"),
        (run(pair, "recognise", str(tmp_path / "broken.jpg")), "Invalid request."),
    ):
        assert outcome.returncode == 1
        assert words in outcome.stderr
        assert len(outcome.stderr.strip().splitlines()) == 1
