"""`watch`: a video made of photographs, and the services with the real models."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from recognition.__main__ import cli
from recognition.cli.session import cell
from recognition.client import Client
from running import Pair

SIDE = 320
RATE = 5
PERSON, STRANGER = "madonna", "ben_afflek"


@pytest.fixture
def video(tmp_path: Path, photographs: dict[str, list[Path]]) -> Path:
    """Two seconds of one person, one of nobody, two of another."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (SIDE, SIDE))
    grey = np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)
    first, last = (
        cv2.resize(cv2.imread(str(photographs[person][0])), (SIDE, SIDE)) for person in (PERSON, STRANGER)
    )
    for frame, seconds in ((first, 2), (grey, 1), (last, 2)):
        for _ in range(seconds * RATE):
            writer.write(frame)
    writer.release()
    return path


def watched(pair: Pair, *arguments: object) -> str:
    result = CliRunner().invoke(cli, ["watch", "--frames", *map(str, arguments), "--host", pair.url])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_video_tells_who_is_seen_when(pair: Pair, photographs: dict[str, list[Path]], video: Path) -> None:
    with Client(pair.url) as client:
        client.enrol("m\x1b", "Madonna", photographs[PERSON][0])
    rows = list(csv.DictReader(watched(pair, video).splitlines()))
    assert [(row["time"], row["name"], row["id"]) for row in rows] == [
        ("0.0", "Madonna", "m\N{REPLACEMENT CHARACTER}"),
        ("1.0", "Madonna", "m\N{REPLACEMENT CHARACTER}"),
    ]
    assert float(rows[0]["distance"]) < 9
    rows = list(csv.DictReader(watched(pair, video, "--unknown", "--every", "2").splitlines()))
    assert [(row["time"], row["id"]) for row in rows] == [
        ("0.0", "m\N{REPLACEMENT CHARACTER}"),
        ("4.0", ""),
    ]
    frames = [json.loads(line) for line in watched(pair, video, "--json").splitlines()]
    assert [(frame["time"], len(frame["faces"])) for frame in frames] == [
        (0, 1),
        (1, 1),
        (2, 0),
        (3, 0),
        (4, 0),
    ]
    for rule in (("--min-distance", "0.001"), ("--max-false-match", "1e-15")):
        assert watched(pair, video, *rule).splitlines() == ["time,name,id,distance,bbox"]
    assert "Madonna" in watched(pair, video, "--max-false-match", "0.1")


def test_frames_of_several_videos_say_of_which_they_are(
    pair: Pair, photographs: dict[str, list[Path]], video: Path
) -> None:
    with Client(pair.url) as client:
        client.enrol("m", "Madonna", photographs[PERSON][0])
    rows = list(csv.DictReader(watched(pair, f"a={video}", f"b={video}").splitlines()))
    assert sorted((row["camera"], row["time"], row["name"]) for row in rows) == [
        (camera, time, "Madonna") for camera in "ab" for time in ("0.0", "1.0")
    ]
    frames = [json.loads(line) for line in watched(pair, f"a={video}", video, "--json").splitlines()]
    assert {frame["camera"] for frame in frames} == {"a", "video.avi"}


def test_every_frame_can_be_looked_at(pair: Pair, video: Path) -> None:
    assert len(watched(pair, video, "--every", "0", "--json").splitlines()) == 5 * RATE


@pytest.mark.parametrize("source", ["nowhere.avi", "97", "text.avi"])
def test_a_source_that_cannot_be_opened_is_told(pair: Pair, tmp_path: Path, source: str) -> None:
    (tmp_path / "text.avi").write_text("no video")
    path = tmp_path / source if source.endswith(".avi") else source
    result = CliRunner().invoke(cli, ["watch", "--fail", "--frames", "--json", str(path), "--host", pair.url])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot be opened" in result.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\N{REPLACEMENT CHARACTER}=1"),
        ("\r=1", "'\N{REPLACEMENT CHARACTER}=1"),
        ("Jean-Luc = @home", "Jean-Luc = @home"),
        ("", ""),
    ],
)
def test_a_spreadsheet_computes_no_name(text: str, shown: str) -> None:
    assert cell(text) == shown
