"""`index`, `find` and `recognise` of folders, with the real models and demo photographs."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pillow_heif
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from recognition.__main__ import cli
from recognition.archive.sidecars import AREA, MWG, RDF
from running import Pair, wait_until

Run = Callable[..., Result]
PERSON, OTHER = "madonna", "ben_afflek"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> Path:
    """Two people enrolled, and pictures of them, of a stranger, of both, a HEIC, a broken one and a text."""
    folder = tmp_path_factory.mktemp("archive")
    pictures = folder / "pictures"
    for year in ("2019", "2020"):
        (pictures / year).mkdir(parents=True)
    for person in (PERSON, OTHER):
        (folder / "people" / person).mkdir(parents=True)
        for number, path in enumerate(sorted((demo / "train" / person).iterdir())[:3]):
            shutil.copy(path, folder / "people" / person / f"{number}.jpg")
    mine = sorted((demo / "val" / PERSON).iterdir())
    shutil.copy(mine[0], pictures / "2019" / "me.jpg")
    shutil.copy(min((demo / "val" / OTHER).iterdir()), pictures / "2019" / "him.jpg")
    shutil.copy(min((demo / "val" / "elton_john").iterdir()), pictures / "2020" / "stranger.jpg")
    sides = [
        Image.open(folder / "people" / person / "0.jpg").resize((300, 300)) for person in (PERSON, OTHER)
    ]
    both = Image.new("RGB", (600, 300))
    for number, side in enumerate(sides):
        both.paste(side, (300 * number, 0))
    both.save(pictures / "2020" / "both.png")
    heic = pillow_heif.from_pillow(Image.open(mine[0]).convert("RGB"))
    heic.save(pictures / "2020" / "phone.heic", quality=90)
    lying = Image.open(mine[2]).convert("RGB").rotate(90, expand=True)
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(pictures / "2020" / "lying.jpg", exif=exif, quality=95)
    (pictures / "broken.jpg").write_bytes(mine[0].read_bytes()[:300])
    (pictures / "notes.txt").write_text("notes")
    return folder


@pytest.fixture(scope="module")
def environment(archive: Path, models_dir: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": f"sqlite:///{archive / 'data' / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
    }


@pytest.fixture(scope="module")
def run(archive: Path, environment: dict[str, str]) -> Iterator[Run]:
    def run(*arguments: object, **more: str) -> Result:
        return CliRunner(env=environment | more).invoke(cli, [*map(str, arguments)])

    assert run("enrol", archive / "people").exit_code == 0
    first = run("index", archive / "pictures", "--json")
    assert first.exit_code == 1, first.output
    value = json.loads(first.stdout)
    assert (value["files"], value["looked_at"], value["removed"]) == (8, 8, 0)
    assert (value["pictures"], value["others"]) == (6, 1)
    assert [(each["code"], each["files"]) for each in value["refused"]] == [("invalid_image", 1)]
    yield run


def objects(result: Result, status: int = 0) -> list[dict[str, Any]]:
    assert result.exit_code == status, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def names(pictures: list[dict[str, Any]]) -> list[str]:
    return [Path(each["picture"]).name for each in pictures]


def test_a_second_pass_looks_at_nothing(run: Run, archive: Path) -> None:
    (value,) = objects(run("index", archive / "pictures", "--json"), 1)
    assert (value["files"], value["looked_at"], value["pictures"]) == (8, 0, 6)
    (described,) = objects(run("index", "--json"))
    assert (described["pictures"], described["index"]) == (6, str(archive / "data" / "archive.sqlite3"))
    assert Path(described["index"]).stat().st_mode & 0o777 == 0o600


def test_refusals_are_told_by_reason_and_in_a_file(run: Run, archive: Path, tmp_path: Path) -> None:
    result = run("index", archive / "pictures", "--refused", tmp_path / "refused.csv")
    assert result.exit_code == 1
    assert "  1 refused: The picture cannot be read: " in result.stdout
    assert f"    {archive / 'pictures' / 'broken.jpg'}" in result.stdout
    (row,) = csv.DictReader((tmp_path / "refused.csv").read_text().splitlines())
    assert (row["code"], Path(row["picture"]).name) == ("invalid_image", "broken.jpg")


def test_somebody_is_found_by_name_id_and_picture(run: Run, archive: Path) -> None:
    found = objects(run("find", PERSON, "--json"))
    assert sorted(names(found)) == ["both.png", "lying.jpg", "me.jpg", "phone.heic"]
    assert names(found)[0] == "both.png"  # of a picture that is enrolled
    assert [each["distance"] for each in found] == sorted(each["distance"] for each in found)
    person = next(each for each in objects(run("people", "list", "--json")) if each["name"] == PERSON)
    assert objects(run("find", person["id"], "--json")) == found
    assert objects(run("find", PERSON.upper(), "--json")) == found
    in_2019 = objects(run("find", PERSON, "--json", "--in", archive / "pictures" / "2019"))
    assert names(in_2019) == ["me.jpg"]
    by_picture = objects(run("find", archive / "pictures" / "2020" / "stranger.jpg", "--json"))
    assert names(by_picture) == ["stranger.jpg"]
    assert by_picture[0]["distance"] < 1e-3
    rows = list(csv.DictReader(io.StringIO(run("find", PERSON, "--csv").stdout)))
    assert [(row["picture"], row["bbox"]) for row in rows] == [
        (each["picture"], each["bbox"]) for each in found
    ]
    assert sorted(names(objects(run("find", PERSON, "--json", "--max-false-match", "0.01")))) == sorted(
        names(found)
    )
    assert len(run("find", PERSON).stdout.splitlines()) == 4


def test_nobody_and_nothing(run: Run, archive: Path, tmp_path: Path) -> None:
    assert run("find", "nobody").exit_code == 1
    assert run("find", archive / "pictures" / "notes.txt").exit_code == 1
    Image.new("RGB", (200, 200)).save(tmp_path / "nobody.png")
    assert run("find", tmp_path / "nobody.png").exit_code == 1
    assert run("index", tmp_path / "nowhere").exit_code == 2
    assert run("index", "--forget").exit_code == 2
    assert run("find", PERSON, "--csv", "--json").exit_code == 2
    assert run("find", PERSON, "--index", tmp_path / "none.sqlite3").exit_code == 3
    assert not (tmp_path / "none.sqlite3").exists()
    assert run("find", PERSON, GALLERY_KEY="A" * 43 + "=").exit_code == 3
    other = run("find", PERSON, "--gallery", "nowhere")
    assert other.exit_code == 1, other.output


def test_corrections_are_followed_without_a_new_pass(
    run: Run, archive: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    for name in ("gallery.sqlite3", "archive.sqlite3"):
        shutil.copy(archive / "data" / name, tmp_path / name)
    url = {"DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}"}
    person = next(each for each in objects(run("people", "list", "--json", **url)) if each["name"] == PERSON)
    assert run("people", "rename", person["id"], "Louise", **url).exit_code == 0
    assert len(objects(run("find", "Louise", "--json", **url))) == 4
    assert run("find", PERSON, **url).exit_code == 1
    enrolled = run("enrol", archive / "pictures" / "2020" / "stranger.jpg", "--name", "Elton", **url)
    assert enrolled.exit_code == 0
    assert names(objects(run("find", "Elton", "--json", **url))) == ["stranger.jpg"]
    assert run("people", "delete", person["id"], **url).exit_code == 0
    assert run("find", "Louise", **url).exit_code == 1


def test_a_folder_is_forgotten_also_one_that_is_gone(run: Run, archive: Path, tmp_path: Path) -> None:
    index = ("--index", tmp_path / "own.sqlite3")
    for name in ("a", "b"):
        shutil.copytree(archive / "pictures" / "2019", tmp_path / name)
    assert run("index", tmp_path / "a", tmp_path / "b", *index).exit_code == 0
    shutil.rmtree(tmp_path / "a")
    assert objects(run("index", "--forget", tmp_path / "a", *index, "--json")) == [{"forgotten": 2}]
    found = objects(run("find", PERSON, *index, "--json"))
    assert [each["picture"] for each in found] == [str(tmp_path.resolve() / "b" / "me.jpg")]


def test_folders_are_recognised_into_csv_and_json(run: Run, archive: Path, tmp_path: Path) -> None:
    table, array, lines = (tmp_path / name for name in ("who.csv", "who.json", "who.jsonl"))
    result = run("recognise", archive / "pictures", "--csv", table, "--json", array)
    assert result.exit_code == 1, result.output
    pictures = json.loads(array.read_text())
    shown = {Path(each["picture"]).name: each for each in pictures}
    assert len(pictures) == 7  # without the text
    assert [face["name"] for face in shown["both.png"]["faces"]] in ([PERSON, OTHER], [OTHER, PERSON])
    assert [face["name"] for face in shown["stranger.jpg"]["faces"]] == [""]
    assert shown["broken.jpg"]["error"]["code"] == "invalid_image"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {row["picture"] for row in rows} == {each["picture"] for each in pictures}
    (me,) = [row for row in rows if row["picture"].endswith("me.jpg")]
    face = shown["me.jpg"]["faces"][0]
    assert (me["name"], me["person"], me["id"], me["bbox"]) == (
        PERSON,
        face["person"],
        face["id"],
        face["bbox"],
    )
    assert all(file.stat().st_mode & 0o077 == 0 for file in (table, array))
    # The same without an index, for which every picture is seen now.
    anew = run("recognise", archive / "pictures", "--json-file", lines, "--small-faces")
    assert anew.exit_code == 1
    seen = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(each["picture"], [face["name"] for face in each.get("faces", [])]) for each in seen] == [
        (each["picture"], [face["name"] for face in each.get("faces", [])]) for each in pictures
    ]
    printed = objects(run("recognise", archive / "pictures" / "2019", "--json"))
    assert names(printed) == ["him.jpg", "me.jpg"]


def test_a_running_service_recognises_folders_too(pair: Pair, archive: Path, tmp_path: Path) -> None:
    run = CliRunner()
    host = ["--host", pair.url]
    assert run.invoke(cli, ["enrol", str(archive / "people"), *host]).exit_code == 0
    out = tmp_path / "who.json"
    result = run.invoke(cli, ["recognise", str(archive / "pictures"), "--json", str(out), *host])
    assert result.exit_code == 1, result.output
    shown = {Path(each["picture"]).name: each for each in json.loads(out.read_text())}
    assert [face["name"] for face in shown["me.jpg"]["faces"]] == [PERSON]
    assert shown["broken.jpg"]["error"]["code"] == "invalid_image"
    assert len(shown) == 7
    assert run.invoke(cli, ["recognise", str(archive), "--xmp", *host]).exit_code == 2


def test_sidecars_are_written_and_pictures_are_not(run: Run, archive: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(archive / "pictures", pictures)
    before = {path: path.read_bytes() for path in pictures.rglob("*.*")}
    assert run("recognise", pictures, "--xmp").exit_code == 1  # the broken one
    sidecars = {path.name for path in pictures.rglob("*.xmp")}
    assert sidecars == {"me.jpg.xmp", "him.jpg.xmp", "both.png.xmp", "phone.heic.xmp", "lying.jpg.xmp"}
    assert all(path.read_bytes() == content for path, content in before.items())
    lying = ElementTree.fromstring((pictures / "2020" / "lying.jpg.xmp").read_bytes())
    (description,) = [each for each in lying.iter(f"{{{RDF}}}Description") if each.get(f"{{{MWG}}}Name")]
    assert description.get(f"{{{MWG}}}Name") == PERSON
    area = description.find(f"{{{MWG}}}Area")
    assert area is not None
    # The picture is stored on its side: what is cut out there by the region is a face once it is turned.
    with Image.open(pictures / "2020" / "lying.jpg") as stored:
        x, y, w, h = (float(str(area.get(f"{{{AREA}}}{name}"))) for name in "xywh")
        width, height = stored.size
        box = (
            round((x - w) * width),
            round((y - h) * height),
            round((x + w) * width),
            round((y + h) * height),
        )
        stored.crop(box).rotate(-90, expand=True).save(tmp_path / "face.jpg")
    (cut,) = objects(run("recognise", tmp_path / "face.jpg", "--json"))
    assert [face["name"] for face in cut["faces"]] == [PERSON]
    written = {path: path.stat().st_mtime_ns for path in pictures.rglob("*.xmp")}
    assert run("recognise", pictures, "--xmp").exit_code == 1
    assert {path: path.stat().st_mtime_ns for path in pictures.rglob("*.xmp")} == written


def test_a_sidecar_of_others_is_kept(run: Run, archive: Path, tmp_path: Path) -> None:
    shutil.copy(archive / "pictures" / "2019" / "me.jpg", tmp_path)
    shutil.copy(archive / "pictures" / "2019" / "him.jpg", tmp_path)
    (tmp_path / "me.xmp").write_text("no XMP")
    result = run("recognise", tmp_path, "--xmp", "--lightroom")
    assert result.exit_code == 1
    assert "Its sidecar stays as it is: It is no XML." in result.stderr
    assert (tmp_path / "me.xmp").read_text() == "no XMP"
    assert (tmp_path / "him.xmp").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["him.jpg", "him.xmp", "me.jpg", "me.xmp"]


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_it_goes_on_after_its_end(
    run: Run, archive: Path, environment: dict[str, str], tmp_path: Path, by: signal.Signals
) -> None:
    pictures, index = tmp_path / "pictures", tmp_path / "own.sqlite3"
    pictures.mkdir()
    for number in range(250):
        shutil.copy(archive / "pictures" / "2019" / "me.jpg", pictures / f"{number:03}.jpg")
    command = [sys.executable, "-m", "recognition", "index", str(pictures), "--index", str(index), "--json"]
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )

    def stored() -> int:
        try:
            with closing(sqlite3.connect(f"{index.as_uri()}?mode=ro", uri=True)) as connection:
                return int(connection.execute("SELECT count(*) FROM pictures").fetchone()[0])
        except sqlite3.Error:
            return 0

    wait_until(lambda: stored() > 0, process, index)
    process.send_signal(by)
    out, _ = process.communicate(timeout=60)
    if by == signal.SIGINT:
        assert process.returncode == 130
        assert json.loads(out)["interrupted"]
    before = stored()
    assert 0 < before < 250
    (value,) = objects(run("index", pictures, "--index", index, "--json"))
    assert (value["looked_at"], value["pictures"]) == (250 - before, 250)
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM faces").fetchone() == (250,)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory, run: Run, demo: Path) -> Path:
    """Make an index of four pictures of a stranger, three of another, and two of somebody who is known."""
    folder = tmp_path_factory.mktemp("strangers")
    for person, number in (("mindy_kaling", 4), ("jerry_seinfeld", 3), (PERSON, 2)):
        for place, path in enumerate(sorted((demo / "train" / person).iterdir())[:number]):
            (folder / "pictures").mkdir(exist_ok=True)
            shutil.copy(path, folder / "pictures" / f"{person}-{place}.jpg")
    file = folder / "own.sqlite3"
    assert run("index", folder / "pictures", "--index", file).exit_code == 0
    return file


@pytest.fixture
def unknowns(run: Run, strangers: Path, tmp_path: Path) -> Callable[..., Result]:
    """The commands about a copy of that index."""
    file = tmp_path / "own.sqlite3"
    shutil.copy(strangers, file)
    return lambda *words: run("unknowns", *words, "--index", file)


def test_unknown_people_of_an_index_are_listed(unknowns: Callable[..., Result], tmp_path: Path) -> None:
    large, small = objects(unknowns("list", "--json"))
    assert [(each["faces"], each["pictures"], each["ignored"]) for each in (large, small)] == [
        (4, 4, False),
        (3, 3, False),
    ]
    assert len(large["best"]) == 3
    assert {name.partition("-")[0] for name in names(large["best"])} == {"mindy_kaling"}
    assert objects(unknowns("list", "--json")) == [large, small]
    assert objects(unknowns("list", "--json", "--at-least", "4")) == [large]
    lines = unknowns("list").stdout.splitlines()
    assert lines[0] == f"{large['id']}  4  {large['best'][0]['picture']}  at {large['best'][0]['bbox']}"
    rows = list(csv.DictReader(io.StringIO(unknowns("list", "--csv").stdout)))
    assert [(row["id"], row["faces"]) for row in rows] == [(large["id"], "4"), (small["id"], "3")]
    (one,) = objects(unknowns("show", small["id"], "--json", "--faces", tmp_path / "faces"))
    assert one["faces"] == len(one["seen"]) == 3
    assert [face["quality"] for face in one["seen"]] == sorted(
        (face["quality"] for face in one["seen"]), reverse=True
    )
    written = sorted((tmp_path / "faces").iterdir())
    assert [path.name for path in written] == [f"{small['id']}-{number}.jpg" for number in (1, 2, 3)]
    for path in written:
        with Image.open(path) as picture:
            assert max(picture.size) <= 256
    assert written[0].stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(io.StringIO(unknowns("show", small["id"], "--csv").stdout)))
    assert names(rows) == names(one["seen"])
    assert len(unknowns("show", small["id"]).stdout.splitlines()) == 4


def test_who_is_named_is_enrolled_and_found_and_comes_back_when_erased(
    run: Run, unknowns: Callable[..., Result], tmp_path: Path
) -> None:
    large, small = objects(unknowns("list", "--json"))
    (named,) = objects(unknowns("name", large["id"], "Mindy", "--json"))
    assert len(named["samples"]) == 4
    assert named["success"] == [large["id"]]
    try:
        found = objects(run("find", "Mindy", "--index", tmp_path / "own.sqlite3", "--json"))
        assert {name.partition("-")[0] for name in names(found)} == {"mindy_kaling"}
        assert objects(unknowns("list", "--json")) == [small]
        assert unknowns("show", large["id"]).exit_code == 1
        assert unknowns("name", small["id"], "--person", "nobody").exit_code == 1
        assert unknowns("name", small["id"]).exit_code == 2
    finally:
        assert run("people", "delete", named["person"]).exit_code == 0
    assert objects(unknowns("list", "--json")) == [large, small]


def test_pictures_that_are_gone_are_not_enrolled(run: Run, strangers: Path, tmp_path: Path) -> None:
    pictures, file = tmp_path / "pictures", tmp_path / "moved.sqlite3"
    shutil.copytree(strangers.parent / "pictures", pictures)
    assert run("index", pictures, "--index", file).exit_code == 0
    for path in pictures.glob("jerry*"):
        path.unlink()
    _, small = objects(run("unknowns", "list", "--index", file, "--json"))
    result = run("unknowns", "name", small["id"], "Jerry", "--index", file)
    assert result.exit_code == 1
    assert "None of the pictures is as it was" in result.stderr
    assert run("unknowns", "show", small["id"], "--faces", tmp_path / "f", "--index", file).exit_code == 0
    assert not [*(tmp_path / "f").iterdir()]


def test_unknown_people_of_an_index_are_merged_ignored_and_forgotten(
    unknowns: Callable[..., Result],
) -> None:
    large, small = objects(unknowns("list", "--json"))
    assert unknowns("merge", small["id"], large["id"]).stdout == f"{small['id']} is {large['id']} now.\n"
    (both,) = objects(unknowns("list", "--json"))
    assert (both["id"], both["faces"]) == (large["id"], 7)
    assert unknowns("ignore", large["id"]).exit_code == 0
    assert objects(unknowns("list", "--json")) == []
    assert [each["id"] for each in objects(unknowns("list", "--ignored", "--json"))] == [large["id"]]
    assert unknowns("forget", large["id"]).stdout == "1 unknown people forgotten.\n"
    assert objects(unknowns("list", "--ignored", "--json")) == []
    for words in (
        ("show", "0"),
        ("show", "x"),
        ("ignore", large["id"]),
        ("merge", "1", "²"),
        ("forget", "7"),
    ):
        assert unknowns(*words).exit_code == 1, words
    assert unknowns("forget", "--all").stdout == "0 unknown people forgotten.\n"


def test_an_index_is_this_machines(run: Run, tmp_path: Path) -> None:
    result = run("unknowns", "list", "--host", "http://127.0.0.1:9", "--index")
    assert result.exit_code == 2
    assert "--index works without --host" in result.stderr
    assert run("unknowns", "list", "--csv").exit_code == 2
    assert run("unknowns", "list", "--csv", "--json", "--index").exit_code == 2
    result = run("unknowns", "list", "--index", tmp_path / "none")
    assert (result.exit_code, "There is no index" in result.stderr) == (3, True)
    assert [each["faces"] for each in objects(run("unknowns", "list", "--json", "--index"))] == [1]


def test_a_wish_is_weighed_for_those_alone_who_may_be_meant(run: Run) -> None:
    by_distance = objects(run("find", PERSON, "--json"))
    by_wish = objects(run("find", PERSON, "--max-false-match", "0.01", "--json"))
    assert sorted(names(by_wish)) == sorted(names(by_distance))
    assert objects(run("find", PERSON, "--max-false-match", "1e-12", "--json")) == []


def test_a_damaged_index_says_what_to_do(run: Run, strangers: Path, tmp_path: Path) -> None:
    file = tmp_path / "damaged.sqlite3"
    shutil.copy(strangers, file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE faces SET vector = x'00' WHERE picture = 1")
        connection.commit()
    for words in (("find", PERSON), ("unknowns", "list")):
        result = run(*words, "--index", file, "--json")
        assert result.exit_code == 3
        error = json.loads(result.stderr.splitlines()[-1])["error"]
        assert error["code"] == "index_unavailable"
        assert "index --again" in error["detail"]
    assert run("index", "--again", strangers.parent / "pictures", "--index", file).exit_code == 0
    assert len(objects(run("unknowns", "list", "--index", file, "--json"))) == 2
