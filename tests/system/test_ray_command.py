"""`index --ray` and `change-model --ray`, with a real Ray on this machine, real models and photographs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pyarrow import dataset

from buckets import Bucket, environment, running_bucket
from fakes import FACE
from galleries import a_sample, vectors_of
from recognition.__main__ import cli
from recognition.faces import KeptFace
from recognition.gallery import open_gallery
from recognition.pictures.keeping import keep_face
from running import ROOT, Pair
from serving.pictures import decode

TIMEOUT_S = 300
RAY_WORKER = b"ray::Worker"
OLD = "of an old model"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, list[Path]]) -> Path:
    """Some batches of pictures, in folders of people, a broken one and a text."""
    folder = tmp_path_factory.mktemp("ray") / "pictures"
    for number in range(3):
        for person, paths in photographs.items():
            (folder / person).mkdir(parents=True, exist_ok=True)
            for path in paths[:10]:
                # Appended, the number makes it another file; decoders stop before it.
                (folder / person / f"{number}-{path.name}").write_bytes(path.read_bytes() + b"%d" % number)
    (folder / "broken.jpg").write_bytes(path.read_bytes()[:300])
    (folder / "notes.txt").write_text("notes")
    return folder


@pytest.fixture(scope="module")
def bucket(pictures: Path) -> Iterator[Bucket]:
    with running_bucket() as bucket:
        for path in pictures.rglob("*.*"):
            bucket.put(path.relative_to(pictures).as_posix(), path.read_bytes())
        yield bucket


@pytest.fixture(scope="module")
def plain(pictures: Path, models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What the plain command sees."""
    folder = tmp_path_factory.mktemp("plain")
    result = CliRunner(env=settings(folder, models_dir)).invoke(cli, ["index", str(pictures)])
    assert result.exit_code == 1, result.output
    return seen(folder / "archive.sqlite3", str(pictures))


def settings(folder: Path, models_dir: Path, **more: str) -> dict[str, str]:
    return {"DATABASE_URL": f"sqlite:///{folder / 'gallery.sqlite3'}", "MODELS_DIR": str(models_dir), **more}


def started(arguments: list[object], environment: dict[str, str]) -> subprocess.Popen[str]:
    path = os.pathsep.join(str(ROOT / name) for name in (".", "face_detection", "feature_extraction"))
    return subprocess.Popen(
        [sys.executable, "-m", "recognition", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def seen(file: Path, root: str) -> dict[str, list[Any]]:
    """What an index has, by the pictures' names below a root: why nothing was seen, boxes and vectors."""
    query = (
        "SELECT path, code, width, height, number, x, y, w, h, confidence, quality, vector FROM pictures "
        "LEFT JOIN faces ON faces.picture = pictures.key ORDER BY path, number"
    )
    found: dict[str, list[Any]] = {}
    with closing(sqlite3.connect(file)) as connection:
        for path, *values in connection.execute(query):
            found.setdefault(path.decode().removeprefix(root), []).append(values)
    return found


def assert_alike(found: dict[str, list[Any]], expected: dict[str, list[Any]]) -> None:
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert [row[:4] for row in found[name]] == [row[:4] for row in rows]
        for (*_, mine), (*_, theirs) in zip(found[name], rows, strict=True):
            if theirs is not None:
                one, other = (np.frombuffer(each, np.float32) for each in (mine, theirs))
                np.testing.assert_allclose(one, other, atol=1e-3)
        for mine, theirs in zip(found[name], rows, strict=True):
            if theirs[4] is not None:
                np.testing.assert_allclose(mine[4:-1], theirs[4:-1], atol=1e-3)


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def workers_of(process: int) -> list[int]:
    """The processes of workers that a process has started, at work by now."""
    parents, found = {}, []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            if (each / "cmdline").read_bytes().startswith(RAY_WORKER + b".see"):
                found.append(int(each.name))
        except OSError:
            continue

    def is_below(child: int) -> bool:
        return child == process or (child in parents and is_below(parents[child]))

    return [each for each in found if is_below(each)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
def test_a_bucket_is_seen_as_a_folder_is_though_a_worker_is_killed(
    bucket: Bucket, plain: dict[str, list[Any]], tmp_path: Path, models_dir: Path, pictures: Path
) -> None:
    parquet = tmp_path / "parquet"
    command = ["index", "s3://pictures", "--json", "--parquet", parquet, "--enrol", "--jobs", 2, "--ray"]
    process = started(command, settings(tmp_path, models_dir, **environment(bucket.url)))
    os.kill(wait_for(lambda: workers_of(process.pid), process)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1, err  # one is broken
    assert "A worker of Ray died; another one takes its place." in err
    value = json.loads(out)
    assert value["looked_at"] == value["files"] == len(plain)
    assert_alike(
        seen(tmp_path / "archive.sqlite3", "s3://pictures"), {f"{name}": rows for name, rows in plain.items()}
    )
    rows = [each for some in plain.values() for each in some if each[0] != "no_picture"]
    assert dataset.dataset(parquet).to_table().num_rows == value["rows"] == len(rows)
    with closing(open_gallery(f"sqlite:///{tmp_path / 'gallery.sqlite3'}", lock_timeout_s=5)) as gallery:
        samples = gallery.page(limit=1000)
    assert len(samples) == value["enrolled"] > 50
    people = {each.name for each in pictures.iterdir() if each.is_dir()}
    assert {each.name for each in samples} == people


def test_an_interrupted_run_is_gone_on_with(
    plain: dict[str, list[Any]], tmp_path: Path, models_dir: Path, pictures: Path
) -> None:
    file = tmp_path / "archive.sqlite3"
    process = started(["index", pictures, "--json", "--jobs", 1, "--ray"], settings(tmp_path, models_dir))
    wait_for(lambda: count(file), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, err
    assert json.loads(out)["interrupted"]
    before = count(file)
    assert 0 < before < len(plain)
    result = CliRunner(env=settings(tmp_path, models_dir)).invoke(cli, ["index", str(pictures), "--json"])
    assert json.loads(result.stdout)["looked_at"] == len(plain) - before
    assert_alike(seen(file, str(pictures)), plain)


def count(file: Path) -> int:
    if not file.exists():
        return 0
    with closing(sqlite3.connect(file)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM pictures").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def test_a_gallery_changes_its_model_to_the_same_vectors(
    pair: Pair, photographs: dict[str, list[Path]], tmp_path: Path, models_dir: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'gallery.sqlite3'}"
    kept = [
        keep_face(decode(path.read_bytes(), max_pixels=10**7).pixels, FACE)
        for paths in photographs.values()
        for path in paths[:10]
    ]
    kept.append(KeptFace(b"broken", FACE))
    samples = [a_sample(f"{number:03}", face=face) for number, face in enumerate(kept)]
    with closing(open_gallery(url, lock_timeout_s=5)) as gallery:
        gallery.upsert(samples, np.tile(vectors_of(1), (len(kept), 1)), OLD)
    shutil.copy(tmp_path / "gallery.sqlite3", tmp_path / "other.sqlite3")
    extraction = {"FEATURE_EXTRACTION_URL": pair.extraction.url}
    asked = ["change-model", "Facenet", "--leave", "--json"]
    process = started(["gallery", *asked, "--jobs", 2, "--ray"], settings(tmp_path, models_dir, **extraction))
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    outcome = json.loads(out)
    assert (outcome["changed"], outcome["embedded"], outcome["waiting"]) == (True, len(kept) - 1, 1)
    other = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    result = CliRunner(env=settings(tmp_path, models_dir, **extraction)).invoke(
        cli, ["gallery", "--database", other, *asked]
    )
    assert result.exit_code == 0, result.output
    mine, theirs = (second_vectors(tmp_path / f"{name}.sqlite3") for name in ("gallery", "other"))
    assert len(mine) == len(kept) - 1
    np.testing.assert_allclose(mine, theirs, atol=1e-3)


def second_vectors(file: Path) -> np.ndarray:
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT vector FROM second_vectors ORDER BY sample").fetchall()
    return np.array([np.frombuffer(vector, np.float32) for (vector,) in rows])


def test_without_ray_it_says_what_is_missing(
    tmp_path: Path, models_dir: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    run = CliRunner(env=settings(tmp_path, models_dir))
    result = run.invoke(cli, ["index", str(pictures), "--ray"])
    assert (result.exit_code, "needs the extra `ray`" in result.stderr) == (2, True)
    result = run.invoke(cli, ["index", "--ray", str(pictures)])
    assert (result.exit_code, "put --ray at the end" in result.stderr) == (2, True)
