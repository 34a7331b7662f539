"""Faces on the web page that got the wrong name, and pictures of which a face has to be chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, expect

from browsing import (
    TIMEOUT_S,
    Visit,
    enrol,
    enrolled,
    hand_over,
    named,
    opened,
    samples,
    visiting,
)
from running import Pair

Photographs = dict[str, list[Path]]


@pytest.fixture(scope="module")
def group(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people in one picture, Elton larger than Madonna."""
    picture = Image.new("RGB", (900, 520), "white")
    for i, (person, height) in enumerate({"elton_john": 500, "madonna": 300}.items()):
        picture.paste(ImageOps.contain(opened(photographs[person][1]), (440, height)), (450 * i, 10))
    path = tmp_path_factory.mktemp("group") / "IMG_1234.png"
    picture.save(path)
    return path


def recognised(visit: Visit, picture: Path, summary: str) -> Page:
    page = visit.view("recognise")
    page.set_input_files("#recognise-file", picture)
    expect(page.locator("#summary")).to_have_text(summary)
    return page


# --- not her


@pytest.mark.parametrize(
    ("fate", "left"),
    [
        ("keep it", ["Ann", "Bea"]),
        ("move it, too", ["Bea", "Bea"]),
        ("remove it", ["Bea"]),
    ],
)
def test_not_her(visit: Visit, pair: Pair, photographs: Photographs, fate: str, left: list[str]) -> None:
    enrol(pair, {"1": photographs["madonna"][0]}, {"1": "Ann"})
    page = recognised(visit, photographs["madonna"][0], "1 face: Ann")
    page.get_by_role("button", name="Not Ann?").click()
    form = page.locator("#faces form.correction")
    expect(form.get_by_role("combobox")).to_be_focused()
    expect(form.get_by_role("radio", name="Ann’s: keep it")).to_be_checked()
    visit.screenshot("recognise-correction")
    assert visit.faults() == []
    page.keyboard.type("Bea")
    form.get_by_role("radio", name=fate).check()
    form.get_by_role("button", name="Correct").click()
    expect(form).to_be_hidden()
    assert enrolled(pair) == left
    (new,) = (sample for sample in samples(pair) if sample["id"] != "1")
    assert new["metadata"] == {"path": photographs["madonna"][0].name}
    assert visit.asked.count("POST /corrections") == 1
    if len(set(left)) == 1:
        expect(page.locator("#summary")).to_have_text("1 face: Bea")
        expect(page.locator("#faces > li")).to_be_focused()


def test_the_right_one_of_several_faces_is_corrected_in_all_pictures(
    visit: Visit, pair: Pair, photographs: Photographs, group: Path
) -> None:
    enrol(
        pair, {"e": photographs["elton_john"][1], "m": photographs["madonna"][1]}, {"e": "Elton", "m": "Ann"}
    )
    page = visit.view("recognise")
    hand_over(page, "drop", "main", [group, photographs["madonna"][1]])
    expect(page.locator("#strip-list .who")).to_have_text(["Elton, Ann", "Ann"])
    small = page.locator("#faces > li").nth(1)
    small.get_by_role("button", name="Not Ann?").click()
    small.get_by_role("combobox").fill("Madonna")
    small.get_by_role("radio", name="move it, too").check()
    small.get_by_role("button", name="Correct").click()
    expect(page.locator("#strip-list .who")).to_have_text(["Elton, Madonna", "Madonna"])
    assert enrolled(pair) == ["Elton", "Madonna", "Madonna"]
    expect(small).to_be_focused()


def test_a_correction_can_be_given_up_and_says_what_is_wrong(
    browser: Browser, pair: Pair, photographs: Photographs
) -> None:
    enrol(pair, {"1": photographs["madonna"][0]}, {"1": "Ann"})
    with visiting(browser, pair.url, forgiven="status of 40") as visit:
        page = recognised(visit, photographs["madonna"][0], "1 face: Ann")
        wrong = page.get_by_role("button", name="Not Ann?")
        wrong.click()
        page.get_by_role("button", name="Cancel").click()
        expect(wrong).to_be_focused()
        wrong.click()
        requests.patch(f"{pair.url}/samples/1", json={"name": "Cleo"}, timeout=TIMEOUT_S)
        form = page.locator("#faces form.correction")
        form.get_by_role("combobox").fill("Bea")
        form.get_by_role("radio", name="remove it").check()
        form.get_by_role("button", name="Correct").click()
        expect(form.get_by_role("alert")).to_contain_text("another person's by now")
        expect(form.get_by_role("combobox")).to_have_value("Bea")
        assert enrolled(pair) == ["Cleo"]


# --- which face, and whose


def test_one_of_several_faces_is_chosen(
    visit: Visit, pair: Pair, photographs: Photographs, group: Path
) -> None:
    page = visit.view("enrol")
    page.set_input_files("#enrol-files", [group, photographs["madonna"][0]])
    row = page.locator("#enrol-list > li").first
    expect(row.get_by_role("combobox")).to_have_value("")  # a camera has named it
    row.get_by_role("combobox").fill("Madonna")
    page.locator("#enrol-list > li").nth(1).get_by_role("combobox").fill("Madonna")
    page.get_by_role("button", name="Enrol 2 pictures").click()
    expect(page.locator("#enrol-summary")).to_have_text("1 enrolled, 1 with several faces to choose from.")
    expect(row).to_contain_text("Several faces: whose is meant?")
    expect(row.get_by_role("combobox")).to_be_enabled()
    visit.screenshot("enrol-choice")
    assert visit.faults() == []
    assert enrolled(pair) == ["Madonna"]
    row.get_by_role("button", name="Face 1 of 2").click()
    row.get_by_role("button", name="Face 2 of 2").click()
    expect(row.get_by_role("button", name="Face 2 of 2")).to_have_attribute("aria-pressed", "true")
    expect(row).to_contain_text("Face 2 of 2 will be enrolled.")
    page.get_by_role("button", name="Enrol 1 picture").click()
    expect(page.locator("#enrol-summary")).to_have_text("2 enrolled.")
    requests.delete(f"{pair.url}/samples/{first_id(pair, photographs)}", timeout=TIMEOUT_S)
    answer = requests.post(
        f"{pair.url}/verify",
        files={"image1": group.read_bytes(), "image2": photographs["madonna"][1].read_bytes()},
        timeout=TIMEOUT_S,
    ).json()
    assert not answer["verified"]  # the largest is not hers
    face = requests.post(
        f"{pair.url}/face-recognition",
        files={"file": photographs["madonna"][1].read_bytes()},
        timeout=TIMEOUT_S,
    ).json()[0]
    assert face["name"] == "Madonna"


def first_id(pair: Pair, photographs: Photographs) -> str:
    """The id of the sample that is of the picture with one face."""
    path = photographs["madonna"][0].name
    (found,) = (sample["id"] for sample in samples(pair) if sample["metadata"]["path"] == path)
    return str(found)


def test_the_largest_face_of_all_pictures(visit: Visit, pair: Pair, group: Path, tmp_path: Path) -> None:
    page = visit.view("enrol")
    page.set_input_files("#enrol-files", [group, named(tmp_path, "other.png", group)])
    page.get_by_label("One name for all pictures").fill("Elton")
    page.get_by_role("button", name="Enrol 2 pictures").click()
    page.get_by_role("button", name="Take the largest face in 2 pictures").click()
    expect(page.locator("#enrol-summary")).to_have_text("2 enrolled.")
    expect(page.locator("#enrol-list li.warned, #enrol-list li.enrolled").first).to_contain_text(
        "the largest was taken"
    )
    page.get_by_role("link", name="Show the person").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Elton")


def test_people_are_suggested_while_a_name_is_typed(
    visit: Visit, pair: Pair, photographs: Photographs
) -> None:
    enrol(
        pair, {"1": photographs["madonna"][0], "2": photographs["ben_afflek"][0]}, {"1": "José", "2": "Ann"}
    )
    page = visit.view("enrol")
    page.set_input_files("#enrol-files", photographs["madonna"][1])
    name = page.locator("#enrol-list").get_by_role("combobox")
    name.fill("")
    name.press_sequentially("jos")
    option = page.get_by_role("option")
    expect(option).to_have_count(1)
    expect(option).to_contain_text("José")
    expect(option).to_contain_text("1 face")
    expect(name).to_have_attribute("aria-expanded", "true")
    name.press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    expect(name).to_have_attribute("aria-activedescendant", "suggestion-0")
    name.press("Escape")
    expect(option).to_have_count(0)
    name.press_sequentially("é")
    name.press("ArrowDown")
    expect(option).to_have_count(1)
    name.press("ArrowDown")
    name.press("Enter")
    expect(name).to_have_value("José")
    page.get_by_role("button", name="Enrol 1 picture").click()
    expect(page.locator("#enrol-summary")).to_have_text("1 enrolled.")
    assert enrolled(pair) == ["Ann", "José", "José"]


def test_a_poor_face_is_enrolled_by_those_who_want_it(
    visit: Visit, pair: Pair, photographs: Photographs, tmp_path: Path
) -> None:
    picture = opened(photographs["madonna"][0])
    small = picture.resize((picture.width // 12, picture.height // 12)).resize(picture.size)
    small.save(tmp_path / "Madonna.png")
    page = visit.view("enrol")
    page.set_input_files("#enrol-files", tmp_path / "Madonna.png")
    page.get_by_role("button", name="Enrol 1 picture").click()
    page.get_by_role("button", name="Enrol it all the same").click()
    expect(page.locator("#enrol-summary")).to_have_text("1 enrolled.")
    expect(page.locator("#enrol-list li.warned")).to_contain_text("Enrolled. ")
    assert enrolled(pair) == ["Madonna"]


NOBODYS = [
    "IMG_1234", "DSC0001", "_DSC0001", "DSCN0042", "PXL_20240101_123045789.PORTRAIT", "2024-01-01 12.30.45",
    "WhatsApp Image 2024-01-01 at 12.00.00 PM (2)", "Screenshot 2024-01-01 at 12.00.00",
    "Screenshot_20240101-120000_Chrome", "123", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "IMG-20240101-WA0001",
    "20240101_123456", "IMG_E1234", "image (3)", "Photo on 1-1-24 at 12.00 PM", "P1010001", "GOPR0123",
    "signal-2024-01-01-120000", "photo_2024-01-01_12-00-00", "Bildschirmfoto 2024-01-01 um 12.00.00",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
]  # fmt: skip
SOMEBODYS = [
    "Sam", "Sam 2", "madonna-01", "Elton_John (2)", "R", "Pat", "Jose\u0301", "Imogen", "Image Smith",
    "Lee 1", "James007", "Anna 2024-01-01", "名前", "Facey", "Van 3",
]  # fmt: skip


def test_names_that_machines_give_to_files_are_nobodys(visit: Visit) -> None:
    told = visit.view("enrol").evaluate(
        """async (names) => {
            const { nameOf } = await import("/static/file-names.js");
            return names.map((name) => nameOf(new File([], `${name}.jpg`)));
        }""",
        [*NOBODYS, *SOMEBODYS],
    )
    assert dict(zip([*NOBODYS, *SOMEBODYS], told, strict=True)) == dict.fromkeys(NOBODYS, "") | {
        name: name.replace("e\u0301", "é") for name in SOMEBODYS
    }
