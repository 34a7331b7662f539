"""The benchmark of size: what it loads is what the service stores, and a small run tells of every step."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import gallery as made_up
import size_report
import size_rows
from galleries import PostgreSQL
from recognition.gallery import open_gallery, transfer
from running import ROOT
from size_report import Step, Times

SMALL = ["--steps", "300", "600", "--probes", "10"]


@pytest.fixture
def url(postgresql: PostgreSQL) -> Iterator[str]:
    with postgresql.database() as name:
        yield postgresql.url(name)


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/size.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def measured(text: str) -> dict[str, list[str]]:
    """Read the first table: the cells of each row by its name."""
    rows = text.split("## Measured")[1].split("\n## ")[0].splitlines()
    return {cells[0]: cells[1:] for row in rows if len(cells := row.strip("| ").split(" | ")) > 1}


def test_a_row_is_the_same_whatever_is_made_at_once() -> None:
    at_once, by_parts = (
        np.concatenate([some.ids for begin, end in parts for some in size_rows.between(begin, end)])
        for parts in ([(0, 40_000)], [(0, 10), (10, 20_010), (20_010, 40_000)])
    )
    assert (at_once == by_parts).all()
    assert len(set(at_once.tolist())) == 40_000


def test_copied_samples_are_as_imported_ones_are(url: str, tmp_path: Path) -> None:
    (some,) = size_rows.between(0, 40)
    size_rows.file_of(some.part(0, 20), tmp_path / "file")
    with closing(open_gallery(url, 60)) as gallery:
        size_rows.imported(gallery, tmp_path / "file")
        size_rows.copied(gallery, some.part(20, 40))
        assert list(transfer.faults(gallery)) == []
        assert gallery.count() == gallery.total() == 40
        found = transfer.records(gallery, transfer.header(gallery), None)
        stored = {record[0].id: record for record in found}
    for place, sample_id in enumerate(some.ids.tolist()):
        sample, vector = stored[sample_id.decode()]
        assert (vector == some.vectors[place]).all()
        assert sample.person == some.people[place // 10].decode()
        assert sample.name == some.names[place // 10].decode()
        assert sample.picture == some.pictures[place].tobytes()
        assert (sample.metadata, sample.quality, sample.created) == ({"door": 1}, 0.9, made_up.NOW)


def test_the_nearest_sample_is_told_right() -> None:
    probes, nearest = size_rows.probes(30_000, 20, np.random.default_rng(1))
    every = list(size_rows.between(0, 30_000))
    places = made_up.exact(probes, np.concatenate([some.vectors for some in every]))
    ids = np.concatenate([some.ids for some in every])
    assert ids[places].astype(str).tolist() == nearest


def test_a_small_run_tells_of_every_step_and_size(tmp_path: Path) -> None:
    done = run(*SMALL, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "SIZE.md").read_text(encoding="utf-8")
    assert f"`benchmarks/size.py {' '.join(SMALL)}`, on " in text
    rows = measured(text)
    assert rows["samples"] == ["300", "600"]
    assert rows["nearest of enrolled people found"] == ["100.0 %", "100.0 %"]
    assert rows["nearest found in SQL, `halfvec`"] == ["100.0 %", "100.0 %"]
    assert not [cell for cells in rows.values() for cell in cells if cell == "-"]
    assert text.count("| 1,000,000,000 |") == 3  # in SQLite, PostgreSQL and Milvus
    assert "What was left out" not in text


def test_a_run_goes_on_behind_its_last_step(tmp_path: Path) -> None:
    # Not below pytest's own folder, which only its owner may enter: as root the server is another user.
    with tempfile.TemporaryDirectory() as folder:
        kept = ["--folder", folder, "--out", str(tmp_path)]
        first = run("--steps", "300", "--index-up-to", "0", "--dump-up-to", "0", *kept)
        assert first.returncode == 0, first.stderr
        text = (tmp_path / "SIZE.md").read_text(encoding="utf-8")
        assert "- 300 samples: no index, which was wanted up to 0." in text
        state = Path(folder) / "size.json"
        state.write_text(json.dumps([{**json.loads(state.read_text())[0], "count_ms": 12345.0}]))
        (Path(folder) / "importing").write_text("300 320")  # as if it had been killed in the next step
        second = run(*SMALL, *kept)
        assert second.returncode == 0, second.stderr
    rows = measured((tmp_path / "SIZE.md").read_text(encoding="utf-8"))
    assert rows["samples"] == ["300", "600"]
    assert rows["`Gallery.count()`"][0] == "12,345.0"  # measured by the first run


def test_a_run_without_time_or_disk_says_so(tmp_path: Path) -> None:
    done = run("--steps", "300", "--disk-gb", "0", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "SIZE.md").read_text(encoding="utf-8")
    assert "- 300 samples: loading stopped when the database had 0 GB." in text
    assert measured(text)["samples"] == ["30"]  # what was imported
    assert run("--steps", "300", "--minutes", "0", "--out", str(tmp_path)).returncode == 0
    text = (tmp_path / "SIZE.md").read_text(encoding="utf-8")
    assert "- 300 samples: not begun, since the time was over." in text


def test_a_database_in_use_is_left_alone(url: str, tmp_path: Path) -> None:
    with closing(open_gallery(url, 60)) as gallery:
        gallery.upsert([made_up.sample("mine")], np.ones((1, 128), np.float32), made_up.MODEL)
        done = run("--steps", "300", "--database", url, "--out", str(tmp_path))
        assert done.returncode != 0
        assert "not empty" in done.stderr
        assert gallery.count() == 1


def test_other_sizes_follow_by_the_laws_that_the_page_names() -> None:
    step = Step(
        10_000_000,
        10_000_000,
        table_bytes=8_000_000_000,
        other_indexes_bytes=1_000_000_000,
        people_bytes=1_000_000_000,
        copied_rate=1000.0,
        build_s=9000.0,
        build_cpu_s=7000.0,
        vector_bytes=9_000_000_000,
        known=Times(7.0, 9.0, 100),
        enrolment=Times(14.0, 15.0, 30),
    )
    lines = size_report.report("", [step]).splitlines()
    rows = {
        size: [line.strip("| ").split(" | ")[1:] for line in lines if line.startswith(f"| {size:,} |")][1]
        for size in (10**6, 10**7, 10**9)
    }
    assert rows[10**6][5:7] == ["10 (q)", "56 (q)"]  # of GALLERY.md
    told = ["19 GB (m)", "9.0 GB (m)", "-", "2.8 h (m)", "1.9 h (m)", "7.0 (m)", "71 (m)", "-"]
    assert rows[10**7] == told
    # A hundred times as many samples, whose logarithm is 9/7 as large.
    told = ["1.9 TB (e)", "900 GB (e)", "-", "12 days (e)", "10 days (e)", "9.0 (e)", "56 (e)", "-"]
    assert rows[10**9] == told
