"""Enrolment on the web page: whose pictures they are, and which of them are enrolled already."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from browsing import (
    TIMEOUT_S,
    Visit,
    enrolled,
    grey,
    hand_over,
    named,
    running_chromium,
    samples,
    visiting,
)
from running import Pair

OTHER_HOST = "faces"  # what another machine would call it: http from there is no secure context

Photographs = dict[str, list[Path]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium(f"--host-resolver-rules=MAP {OTHER_HOST} 127.0.0.1") as browser:
        yield browser


@pytest.fixture
def people(photographs: Photographs, tmp_path: Path) -> Path:
    """A folder of people: two in folders of their own, one just as a file."""
    paths = {
        "Guillermo_Coria/01.jpg": photographs["ben_afflek"][0],
        "Guillermo_Coria/02.jpg": photographs["ben_afflek"][1],
        " Jose\u0301 /01.jpg": photographs["elton_john"][0],
        "Mindy_K.jpg": photographs["mindy_kaling"][0],
    }
    for path, photograph in paths.items():
        file = tmp_path / "people" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        named(file.parent, file.name, photograph)
    return tmp_path / "people"


NAMES = ["Guillermo_Coria", "Guillermo_Coria", "Jos\u00e9", "Mindy_K"]


def enrol_folder(page: Page, folder: Path, pictures: str) -> Locator:
    page.set_input_files("#enrol-folder", folder)
    page.get_by_role("button", name=f"Enrol {pictures}").click()
    return page.locator("#enrol-summary")


def test_people_are_named_as_their_folders_are(visit: Visit, pair: Pair, people: Path) -> None:
    page = visit.view("enrol")
    expect(enrol_folder(page, people, "4 pictures")).to_have_text("4 enrolled.")
    assert enrolled(pair) == NAMES


def test_ids_tell_nothing_and_metadata_the_file(visit: Visit, pair: Pair, people: Path) -> None:
    page = visit.view("enrol")
    expect(enrol_folder(page, people, "4 pictures")).to_have_text("4 enrolled.")
    found = samples(pair)
    assert all(uuid.UUID(sample["id"]).version == 4 for sample in found)
    assert len({sample["id"] for sample in found}) == 4
    assert {sample["metadata"]["path"] for sample in found} == {
        path.relative_to(people).as_posix() for path in people.rglob("*.jpg")
    }
    page = visit.view("gallery")
    expect(page.locator("#gallery-list")).to_contain_text("Guillermo_Coria/01.jpg")


def test_a_folder_enrolled_twice_is_enrolled_once(
    visit: Visit, pair: Pair, people: Path, photographs: Photographs
) -> None:
    page = visit.view("enrol")
    expect(enrol_folder(page, people, "4 pictures")).to_have_text("4 enrolled.")
    before = samples(pair)

    page.reload()  # as on another day
    (people / "Guillermo_Coria" / "03.jpg").write_bytes(photographs["ben_afflek"][2].read_bytes())
    expect(enrol_folder(page, people, "5 pictures")).to_have_text("1 enrolled, 4 already enrolled.")
    expect(page.locator("#enrol-list .skipped").first).to_contain_text("already enrolled under this name")
    assert len(samples(pair)) == 5
    assert visit.faults() == []

    page.get_by_role("button", name="Replace 4 enrolled pictures").click()
    expect(page.locator("#enrol-summary")).to_have_text("5 enrolled.")
    after = {sample["id"]: sample for sample in samples(pair)}
    assert len(after) == 5
    for sample in before:
        assert after[sample["id"]]["modified"] > sample["modified"]
        assert after[sample["id"]]["metadata"] == sample["metadata"]


def test_what_is_replaced_keeps_all_but_its_picture(
    visit: Visit, pair: Pair, photographs: Photographs, tmp_path: Path, as_base64: Callable[[Path], str]
) -> None:
    sample = {
        "id": "an id of old",
        "name": "Madonna",
        "metadata": {"path": "m.jpg", "room": 7},
        "action": "open",
        "expires_at": "2099-01-01T00:00:00+00:00",
    }
    body = [sample | {"image": as_base64(photographs["madonna"][0])}]
    assert requests.post(f"{pair.url}/update-samples", json=body, timeout=TIMEOUT_S).json()["fail"] == []
    page = visit.view("enrol")
    page.set_input_files("#enrol-files", named(tmp_path, "m.jpg", photographs["madonna"][1]))
    page.get_by_label("One name for all pictures").fill("Madonna")
    page.get_by_role("button", name="Enrol 1 picture").click()
    page.get_by_role("button", name="Replace 1 enrolled picture").click()
    expect(page.locator("#enrol-summary")).to_have_text("1 enrolled.")
    (stored,) = samples(pair)
    assert {key: stored[key] for key in sample} == sample


def test_under_another_name_the_same_file_is_another_sample(
    visit: Visit, pair: Pair, photographs: Photographs
) -> None:
    page = visit.view("enrol")
    file = photographs["madonna"][0]
    for name, summary in (("Ann", "1 enrolled."), ("Ann", "1 enrolled, 1 already enrolled.")):
        page.set_input_files("#enrol-files", file)
        page.locator("#enrol-list input").last.fill(name)
        page.get_by_role("button", name="Enrol 1 picture").click()
        expect(page.locator("#enrol-summary")).to_have_text(summary)
    page.locator("#enrol-list input").last.fill("Bea")
    page.get_by_role("button", name="Enrol 1 picture").click()
    expect(page.locator("#enrol-summary")).to_have_text("2 enrolled.")
    assert enrolled(pair) == ["Ann", "Bea"]


def test_a_pasted_picture_has_no_file(
    visit: Visit, pair: Pair, photographs: Photographs, tmp_path: Path
) -> None:
    """Browsers call each of them image.png: two of them are not one."""
    page = visit.view("enrol")
    for i in range(2):
        hand_over(page, "paste", "body", [named(tmp_path, "image.png", photographs["madonna"][i])])
    expect(page.locator("#enrol-list input").first).to_have_value("")
    page.get_by_label("One name for all pictures").fill("Madonna")
    page.get_by_role("button", name="Enrol 2 pictures").click()
    expect(page.locator("#enrol-summary")).to_have_text("2 enrolled.")
    assert [sample["metadata"] for sample in samples(pair)] == [None, None]


def test_over_plain_http_from_another_host(browser: Browser, pair: Pair, photographs: Photographs) -> None:
    with visiting(browser, f"http://{OTHER_HOST}:{pair.detection.port}") as visit:
        page = visit.view("enrol")
        assert page.evaluate("[isSecureContext, typeof crypto.randomUUID]") == [False, "undefined"]
        page.set_input_files("#enrol-files", photographs["madonna"][:2])
        page.get_by_role("button", name="Enrol 2 pictures").click()
        expect(page.locator("#enrol-summary")).to_have_text("2 enrolled.")
    assert [uuid.UUID(sample["id"]).version for sample in samples(pair)] == [4, 4]


def test_enrol_files_named_after_themselves(
    visit: Visit, pair: Pair, photographs: Photographs, tmp_path: Path
) -> None:
    page = visit.view("enrol")
    files = [
        named(tmp_path, "madonna-01.jpg", photographs["madonna"][0]),
        named(tmp_path, "Elton_John (2).jpg", photographs["elton_john"][0]),
        grey(tmp_path / "wall.png"),
    ]
    page.set_input_files("#enrol-files", files)
    rows = page.locator("#enrol-list li")
    for i, name in enumerate(("madonna-01", "Elton_John (2)", "wall")):
        expect(rows.nth(i).get_by_role("combobox")).to_have_value(name)
    page.get_by_role("button", name="Enrol 3 pictures").click()
    expect(page.locator("#enrol-summary")).to_have_text("2 enrolled, 1 failed.")
    expect(rows.nth(2)).to_contain_text("Not enrolled: No face was found in the picture.")
    expect(page.locator("#enrol-list canvas")).to_have_count(2)  # the faces that were found
    assert enrolled(pair) == ["Elton_John (2)", "madonna-01"]

    rows.nth(2).get_by_role("combobox").fill("")  # and again: what is enrolled is not sent twice
    page.get_by_role("button", name="Enrol 1 picture").click()
    expect(rows.nth(2)).to_contain_text("enter a name")
    assert visit.asked.count("POST /update-samples") == 3
    page.get_by_role("button", name="Clear list").click()
    expect(rows).to_have_count(0)


def test_enrol_by_drop_under_one_name(visit: Visit, pair: Pair, photographs: Photographs) -> None:
    page = visit.view("enrol")
    hand_over(page, "drop", "#view-enrol .dropzone", photographs["madonna"][:2])
    page.get_by_label("One name for all pictures").fill("Madonna")
    page.get_by_role("button", name="Enrol 2 pictures").click()
    expect(page.locator("#enrol-summary")).to_have_text("2 enrolled.")
    assert enrolled(pair) == ["Madonna", "Madonna"]
    hand_over(page, "drop", "#view-enrol .dropzone", photographs["madonna"][:1])
    page.get_by_role("button", name="Enrol 1 picture").click()
    expect(page.locator("#enrol-summary")).to_have_text("2 enrolled, 1 already enrolled.")
    assert enrolled(pair) == ["Madonna", "Madonna"]


def test_a_folder_names_its_pictures(
    visit: Visit, photographs: Photographs, tmp_path: Path, pair: Pair
) -> None:
    folder = tmp_path / "people" / "Mindy K"
    folder.mkdir(parents=True)
    named(folder, "x.jpg", photographs["mindy_kaling"][0])
    (folder / "notes.txt").write_text("no picture")
    page = visit.view("enrol")
    page.set_input_files("#enrol-folder", tmp_path / "people")
    expect(page.locator("#enrol-list li")).to_have_count(1)
    expect(page.locator("#enrol-summary")).to_have_text("1 file is no picture: notes.txt")
    page.get_by_role("button", name="Enrol 1 picture").click()
    expect(page.locator("#enrol-summary")).to_have_text("1 enrolled.")
    assert enrolled(pair) == ["Mindy K"]
