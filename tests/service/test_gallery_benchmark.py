"""The gallery's benchmark: its made-up vectors lie as faces do, and a small run writes its results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import gallery as benchmark
from running import ROOT


def test_vectors_lie_as_those_of_faces_do() -> None:
    random = np.random.default_rng(1)
    centres = benchmark.people(200, random)
    first, second = (benchmark.pictures(centres, random).astype(np.float64) for _ in range(2))
    distances = np.linalg.norm(first[:, np.newaxis] - second, axis=2)
    genuine, impostor = np.diag(distances), distances[~np.eye(200, dtype=bool)]
    assert np.abs(np.linalg.norm(first, axis=1) - 10).max() < 1e-5
    assert 5 < np.percentile(genuine, 1) < np.percentile(genuine, 99) < 8.2
    assert 11 < np.percentile(impostor, 0.1) < np.percentile(impostor, 99.9) < 16.5


def test_the_exact_search_goes_through_every_part() -> None:
    vectors = np.zeros((120_000, 2), np.float32)
    vectors[110_000] = 1
    vectors[3] = 7
    probes = np.array([[1, 1], [9, 9]], np.float32)
    assert benchmark.exact(probes, vectors).tolist() == [110_000, 3]


def test_a_small_run_writes_table_and_curves(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gallery.py", "--sizes", "50", "100", "--out", str(tmp_path)]
    done = subprocess.run([*command, "--probes", "64"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "GALLERY.md").read_text(encoding="utf-8")
    assert "| 100 samples, 16 faces, nearest 100 | ours |" in text
    assert "ours 1.000 (1.000), " in text
    assert "`benchmarks/gallery.py --sizes 50 100 " in text  # how it came about
    assert "](gallery.png)" in text
    assert (tmp_path / "gallery.png").stat().st_size > 0


def test_a_size_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    limit = ["--sizes", "50", "--fill-minutes", "0", "--out", str(tmp_path), "--probes", "64"]
    done = subprocess.run([sys.executable, "benchmarks/gallery.py", *limit], cwd=ROOT, capture_output=True)
    assert done.returncode == 0
    assert "| 50 | not run: enrolling takes longer" in (tmp_path / "GALLERY.md").read_text(encoding="utf-8")


def test_a_database_in_use_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mine.sqlite3'}"
    mine = benchmark.open_gallery(url, 5)
    mine.upsert([benchmark.sample("a")], np.ones((1, 128), np.float32), benchmark.MODEL)
    command = [sys.executable, "benchmarks/gallery.py", "--sizes", "50", "--probes", "64", "--database", url]
    done = subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "not empty" in done.stderr
    assert mine.count() == 1
    mine.close()
