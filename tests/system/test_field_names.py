"""Names and ids as people write them, over HTTP and on the command line."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from PIL import Image

from running import ROOT, Pair

TIMEOUT_S = 60
SPELLINGS = [
    "José",
    "Jose\u0301",
    "José ",
    "\u00a0José",
    "JOSÉ",
    "José\u200b",
    "\u2067José\u2069",
    "jose\u0301",
]


@pytest.fixture
def picture(photographs: dict[str, list[Path]]) -> str:
    return base64.b64encode(photographs["madonna"][0].read_bytes()).decode("ascii")


def enrol(pair: Pair, *samples: dict[str, Any]) -> requests.Response:
    return requests.post(f"{pair.url}/update-samples", json=list(samples), timeout=TIMEOUT_S)


def recognition(pair: Pair, *arguments: object) -> str:
    command = [sys.executable, "-m", "recognition", *map(str, arguments), "--host", pair.url]
    done = subprocess.run(
        command,
        cwd=ROOT / "face_detection",
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_eight_spellings_are_one_person_everywhere(pair: Pair, picture: str) -> None:
    for number, name in enumerate(SPELLINGS):
        assert enrol(pair, {"id": str(number), "name": name, "image": picture}).json()["success"]
    page = requests.get(f"{pair.url}/samples", timeout=TIMEOUT_S).json()
    assert {sample["name"] for sample in page["samples"]} == {"José"}
    body = {"image": picture, "top_k": 8}
    (face,) = requests.post(f"{pair.url}/face-recognition", json=body, timeout=TIMEOUT_S).json()
    assert [candidate["name"] for candidate in face["candidates"]] == ["José"]
    assert len(recognition(pair, "samples", "list", "--name", "josé ").splitlines()) == 8
    assert recognition(pair, "samples", "delete", "--name", "JOSE\u0301") == "8 deleted.\n"


@pytest.mark.parametrize("name", ["   ", "\u200b", "\u3164", "\u2800", "\ufeff\u00ad", "\u2029"])
def test_what_cannot_be_seen_is_no_name(pair: Pair, picture: str, name: str) -> None:
    answer = enrol(pair, {"id": "1", "name": name, "image": picture})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "[0].name" in answer.json()["detail"]


@pytest.mark.parametrize("sample_id", [".", ".."])
def test_an_id_that_clients_lose_is_refused(pair: Pair, picture: str, sample_id: str) -> None:
    assert enrol(pair, {"id": sample_id, "name": "Ann", "image": picture}).status_code == 400


@pytest.mark.parametrize("sample_id", ["...", "a/../b", "../a", "//", "%2e%2e", "..\\", " .", "\u202e.."])
def test_an_id_that_is_taken_can_be_asked_for_and_deleted(pair: Pair, picture: str, sample_id: str) -> None:
    assert enrol(pair, {"id": sample_id, "name": "Ann", "image": picture}).json()["success"] == [sample_id]
    url = f"{pair.url}/samples/{quote(sample_id, safe='')}"
    if shutil.which("curl"):
        curl = subprocess.run(["curl", "-s", url], capture_output=True, text=True, timeout=TIMEOUT_S)
        assert '"name":"Ann"' in curl.stdout
    assert requests.get(url, timeout=TIMEOUT_S).json()["id"] == sample_id
    assert requests.delete(url, timeout=TIMEOUT_S).json()["success"] == [sample_id]


@pytest.mark.parametrize("name", ["ראש", "محمد", "นก", "नरेंद्र", "Ann", "\U000f0000"])
def test_any_name_is_drawn(pair: Pair, picture: str, name: str) -> None:
    """That it is legible, tests/unit/test_fonts.py shows: it needs no fonts of the system."""
    enrol(pair, {"id": "7", "name": name, "image": picture})
    files = {"file": base64.b64decode(picture)}
    drawn = requests.post(f"{pair.url}/face-recognition?draw=1", files=files, timeout=TIMEOUT_S)
    with Image.open(io.BytesIO(drawn.content)) as image:
        assert image.format == "JPEG"
