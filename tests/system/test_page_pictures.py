"""Many pictures recognised on the web page one after the other, and many faces in one of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Locator, Page, Route, expect

from browsing import (
    WIDE,
    Visit,
    enrol,
    grey,
    hand_over,
    named,
    opened,
    refuse,
    samples,
    visiting,
)
from running import Pair

PHONE = {"width": 390, "height": 844}
ROUNDING_PX = 0.1  # browsers lay out in 64ths of a pixel
COLUMNS, ROWS, CELL_PX = 6, 4, 180

Photographs = dict[str, list[Path]]


def captions(page: Page) -> Locator:
    return page.locator("#strip-list .who")


@pytest.fixture
def files(photographs: Photographs, tmp_path: Path) -> list[Path]:
    """Four files: Madonna, no picture, a wall, Ben."""
    (tmp_path / "notes.jpg").write_text("no picture")
    return [
        named(tmp_path, "madonna.jpg", photographs["madonna"][1]),
        tmp_path / "notes.jpg",
        grey(tmp_path / "wall.png"),
        named(tmp_path, "ben.jpg", photographs["ben_afflek"][1]),
    ]


def test_all_pictures_are_recognised(
    visit: Visit, pair: Pair, photographs: Photographs, files: list[Path]
) -> None:
    enrol(pair, {"madonna": photographs["madonna"][0], "ben": photographs["ben_afflek"][0]})
    page = visit.view("recognise")
    hand_over(page, "drop", "main", files)
    expect(page.locator("#strip-done")).to_have_text("3 recognised, 1 failed.")
    expect(captions(page)).to_have_text(
        ["madonna", "Not a picture that this browser can show.", "No face", "ben"]
    )
    expect(page.locator("#strip .file")).to_have_text([path.name for path in files])
    assert visit.asked.count("POST /face-recognition") == 3
    expect(page.locator("#summary")).to_have_text("1 face: madonna")
    assert visit.faults() == []

    radios = page.locator("#strip").get_by_role("radio")
    expect(radios.nth(0)).to_be_checked()
    radios.nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(radios.nth(1)).to_be_checked()
    expect(page.locator("#recognise-message")).to_have_text("Not a picture that this browser can show.")
    expect(page.locator("#stage")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#summary")).to_have_text("No face was found in the picture.")
    expect(page.locator("#recognise-message")).to_be_empty()
    page.get_by_role("radio", name="ben.jpg").check()
    expect(page.locator("#summary")).to_have_text("1 face: ben")
    expect(page.locator(".box")).to_contain_text("ben")
    assert visit.asked.count("POST /face-recognition") == 3  # going back asks nothing

    page.get_by_role("slider").fill("0.5")
    expect(captions(page)).to_have_text(
        ["unknown", "Not a picture that this browser can show.", "No face", "unknown"]
    )
    page.set_input_files("#recognise-other", files[0])  # one alone needs no strip
    expect(page.locator("#strip")).to_be_hidden()
    expect(page.locator("#summary")).to_have_text("1 face: unknown")


def test_the_threshold_may_move_while_a_picture_is_under_way(visit: Visit, files: list[Path]) -> None:
    page = visit.view("recognise")
    held: list[Route] = []
    page.route("**/face-recognition", lambda route: held.append(route))
    with page.expect_request("**/face-recognition"):
        hand_over(page, "drop", "main", files[:1])
    page.locator("#threshold").fill("5")
    expect(page.locator("#threshold-value")).to_have_text("5.00")
    held[0].continue_()
    expect(page.locator("#summary")).to_have_text("1 face: unknown")


def test_several_pictures_are_chosen(visit: Visit, files: list[Path]) -> None:
    page = visit.view("recognise")
    page.set_input_files("#recognise-file", files[2:])
    expect(captions(page)).to_have_text(["No face", "unknown"])
    page.set_input_files("#recognise-other", [files[0], files[3]])
    expect(page.locator("#strip .file")).to_have_text(["madonna.jpg", "ben.jpg"])
    expect(captions(page)).to_have_text(["unknown", "unknown"])


def test_what_the_service_refuses_stands_in_its_place(
    browser: Browser, pair: Pair, files: list[Path]
) -> None:
    with visiting(browser, pair.url, forgiven="status of 413") as visit:
        page = visit.view("recognise")
        refuse(page, "face-recognition", 413, "image_too_large", times=1, detail="Too many pixels.")
        hand_over(page, "drop", "main", [files[0], files[3]])
        expect(captions(page)).to_have_text(["Too many pixels.", "unknown"])
        expect(page.locator("#recognise-message")).to_have_text("Too many pixels.")
        expect(page.locator("#picture")).to_be_visible()


def test_a_face_named_in_one_picture_is_known_in_the_others(
    visit: Visit, pair: Pair, photographs: Photographs
) -> None:
    page = visit.view("recognise")
    hand_over(page, "drop", "main", photographs["madonna"][:3])
    expect(captions(page)).to_have_text(["unknown"] * 3)
    page.locator("#strip").get_by_role("radio").nth(1).check()
    page.locator("#faces").get_by_role("combobox").fill("Madonna")
    page.get_by_role("button", name="Name this face").click()
    expect(captions(page)).to_have_text(["Madonna"] * 3)
    expect(page.locator("#faces li")).to_be_focused()
    (sample,) = samples(pair)
    assert sample["metadata"] == {"path": photographs["madonna"][1].name}


def test_an_outage_stops_and_trying_again_goes_on(browser: Browser, pair: Pair, files: list[Path]) -> None:
    with visiting(browser, pair.url, forgiven="status of 503") as visit:
        page = visit.view("recognise")
        refuse(page, "face-recognition", 503, "gallery_unavailable", times=1, detail="The disk is full.")
        hand_over(page, "drop", "main", [files[3], files[0]])
        expect(page.locator("#alert")).to_contain_text("The disk is full.")
        expect(page.locator("#strip-done")).to_have_text("0 recognised, 2 not tried.")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#strip-done")).to_have_text("2 recognised.")
        expect(page.locator("#summary")).to_have_text("1 face: unknown")


# --- labels


@pytest.fixture(scope="module")
def crowd(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of 24 faces, close together in its middle."""
    people = sorted(photographs)
    picture = Image.new("RGB", (COLUMNS * CELL_PX, ROWS * CELL_PX))
    for i in range(COLUMNS * ROWS):
        photograph = opened(photographs[people[i % len(people)]][i // len(people)])
        cell = ImageOps.fit(photograph, (CELL_PX, CELL_PX), centering=(0.5, 0.3))
        picture.paste(cell, (i % COLUMNS * CELL_PX, i // COLUMNS * CELL_PX))
    path = tmp_path_factory.mktemp("crowd") / "crowd.jpg"
    ImageOps.expand(picture, ROWS * CELL_PX // 2).save(path, quality=95)
    return path


Rectangle = dict[str, float]


def overlap(a: Rectangle, b: Rectangle) -> bool:
    across = min(a["x"] + a["width"], b["x"] + b["width"]) - max(a["x"], b["x"])
    down = min(a["y"] + a["height"], b["y"] + b["height"]) - max(a["y"], b["y"])
    return min(across, down) > ROUNDING_PX


def overlaps(rectangles: list[Rectangle]) -> int:
    return sum(overlap(a, b) for i, a in enumerate(rectangles) for b in rectangles[:i])


def rectangles(places: Locator) -> list[Rectangle]:
    """Where those that are shown lie, once they have followed the size of the window."""
    found: list[Rectangle] = places.evaluate_all(
        """async (nodes) => {
            for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
            return nodes.filter(node => node.offsetWidth).map(node => {
                const { x, y, width, height } = node.getBoundingClientRect();
                return { x, y, width, height };
            });
        }"""
    )
    return found


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "desktop"])
def test_labels_never_cover_each_other(
    browser: Browser, pair: Pair, photographs: Photographs, crowd: Path, size: dict[str, int]
) -> None:
    enrol(
        pair,
        {person: paths[0] for person, paths in photographs.items()},
        {person: f"{person.replace('_', ' ').title()} of Somewhere" for person in photographs},
    )
    with visiting(browser, pair.url, viewport=size) as visit:
        page = visit.view("recognise")
        page.set_input_files("#recognise-file", crowd)
        expect(page.locator("#faces li").nth(COLUMNS * ROWS - 4)).to_be_visible()  # a few may be missed
        faces = page.locator("#faces li").count()
        visit.screenshot(f"crowd-{size['width']}")
        for width in (size["width"], 320, size["width"]):  # turned, and turned back
            page.set_viewport_size({**size, "width": width})  # type: ignore[arg-type]
            expect(page.locator("#stage")).to_be_visible()
            labels = rectangles(page.locator(".label"))
            assert len(labels) == faces
            assert overlaps(labels) == 0
            stage = page.locator("#stage").bounding_box()
            assert stage
            for label in labels:
                assert stage["x"] - 1 <= label["x"]
                assert label["x"] + label["width"] <= stage["x"] + stage["width"] + 1
                assert stage["y"] - 1 <= label["y"]
                assert label["y"] + label["height"] <= stage["y"] + stage["height"] + 1
            assert visit.fits()
        numbers = page.locator(".label b").all_text_contents()
        assert (
            numbers
            == [str(i + 1) for i in range(faces)]
            == page.locator("#faces .number").all_text_contents()
        )


def test_a_label_says_the_name_where_there_is_room(
    browser: Browser, pair: Pair, photographs: Photographs
) -> None:
    enrol(pair, {"Madonna": photographs["madonna"][0]})
    with visiting(browser, pair.url, viewport=PHONE) as visit:
        page = visit.view("recognise")
        page.set_input_files("#recognise-file", photographs["madonna"][0])
        expect(page.locator(".label").get_by_text("Madonna")).to_be_visible()


def test_labels_of_any_boxes_keep_apart(visit: Visit) -> None:
    """Where there is too little room, some have none."""
    page = visit.view("recognise")
    page.get_by_role("button", name="Or try an example").click()
    expect(page.locator("#summary")).to_have_text("1 face: unknown")
    draw = random.Random(6)
    for faces in (0, 1, 2, 30, 300):
        items = [
            {
                "box": dict(zip("xywh", map(draw.uniform, (0, 0, 4, 4), (280, 280, 90, 90)), strict=True)),
                "number": i + 1,
                "name": draw.choice(["Al", "Bartholomew the Younger"]),
                "figures": " 7.12 · 61 %",
                "known": draw.random() < 0.5,
            }
            for i in range(faces)
        ]
        page.evaluate(
            """async (items) => {
                const { drawBoxes } = await import("/static/boxes.js");
                drawBoxes(document.getElementById("boxes"), 300, 300, items);
            }""",
            items,
        )
        for size in (PHONE, WIDE, PHONE):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            labels = rectangles(page.locator(".label"))
            assert overlaps(labels) == 0
            assert len(labels) == faces if faces <= 30 else 30 < len(labels) < faces
