"""The web page in a real Chromium, with both real services: what people do with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Locator, expect

from browsing import (
    TIMEOUT_S,
    Visit,
    enrol,
    enrolled,
    grey,
    hand_over,
    named,
    opened,
    refuse,
    running_chromium,
    visiting,
)
from running import Pair

EXIF_ORIENTATION = 0x0112

Photographs = dict[str, list[Path]]


@pytest.fixture(scope="module")
def camera_file(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the camera sees: a film of one photograph."""
    path = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    ImageOps.pad(opened(photographs["madonna"][0]), (640, 480)).save(path, "JPEG", quality=95)
    path.write_bytes(2 * path.read_bytes())
    return path


@pytest.fixture(scope="module")
def browser(camera_file: Path) -> Iterator[Browser]:
    with running_chromium(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera_file}",
    ) as browser:
        yield browser


def move(slider: Locator, value: float) -> None:
    slider.fill(str(value))


# --- recognise


def test_recognise_and_move_the_slider(visit: Visit, pair: Pair, photographs: Photographs) -> None:
    enrol(pair, {"madonna": photographs["madonna"][0], "ben": photographs["ben_afflek"][0]})
    page = visit.view("recognise")
    page.set_input_files("#recognise-file", photographs["madonna"][1])
    face = page.locator("#faces li")
    expect(face.get_by_role("heading")).to_have_text("madonna")
    (told,) = requests.post(
        f"{pair.url}/face-recognition",
        files={"file": photographs["madonna"][1].read_bytes()},
        timeout=TIMEOUT_S,
    ).json()
    figures = f"{told['distance']:.2f}"
    expect(face).to_contain_text(f"distance {figures} · similarity {100 * told['similarity']:.0f}\u00a0%")
    expect(page.locator(".box")).to_contain_text(f"madonna {figures}")
    expect(page.locator("#taken")).to_contain_text("ms")
    expect(page.locator("#threshold-value")).to_have_text("9.00")

    asked = len(visit.asked)
    slider = page.get_by_role("slider")
    move(slider, 0.5)
    expect(page.locator(".box.unknown")).to_contain_text(f"Unknown {figures}")
    expect(face.get_by_role("heading")).to_have_text("Unknown face")
    expect(page.locator("#summary")).to_have_text("1 face: unknown")
    slider.press("End")
    expect(page.locator(".box:not(.unknown)")).to_contain_text("madonna")
    page.get_by_role("button", name="Reset to 9").click()
    expect(page.locator("#threshold-value")).to_have_text("9.00")
    assert len(visit.asked) == asked


def test_boxes_lie_on_the_faces_of_a_rotated_picture(
    visit: Visit, photographs: Photographs, tmp_path: Path, pair: Pair
) -> None:
    """The picture lies on its side and says so, as phones write it."""
    path = tmp_path / "phone.jpg"
    upright = opened(photographs["ben_afflek"][3]).resize((400, 500))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    (told,) = requests.post(f"{pair.url}/detect", files={"file": path.read_bytes()}, timeout=TIMEOUT_S).json()
    x, y, w, h = map(int, told["bbox"].split(", "))
    page = visit.view("recognise")
    page.set_input_files("#recognise-file", path)
    box = page.locator(".box")
    expect(box).to_have_count(1)
    shown, outer = box.bounding_box(), page.locator("#picture").bounding_box()
    assert shown and outer
    assert outer["height"] / outer["width"] == pytest.approx(500 / 400, rel=0.01)
    scale = outer["width"] / 400
    assert shown["x"] - outer["x"] == pytest.approx(x * scale, abs=1.5)
    assert shown["y"] - outer["y"] == pytest.approx(y * scale, abs=1.5)
    assert (shown["width"], shown["height"]) == pytest.approx((w * scale, h * scale), abs=1.5)


def test_name_unknown_faces(visit: Visit, pair: Pair, photographs: Photographs, tmp_path: Path) -> None:
    """Two people in one picture: the larger face first, then the smaller one beside it."""
    sizes = {"elton_john": 500, "madonna": 300}
    group = Image.new("RGB", (900, 520), "white")
    for i, (person, height) in enumerate(sizes.items()):
        group.paste(ImageOps.contain(opened(photographs[person][1]), (440, height)), (450 * i, 10))
    group.save(tmp_path / "group.png")
    page = visit.view("recognise")
    page.set_input_files("#recognise-file", tmp_path / "group.png")
    expect(page.locator("#summary")).to_have_text("2 faces: 2 unknown")
    expect(page.locator("#faces li").first).to_contain_text("Nobody is enrolled yet.")
    boxes = [box.bounding_box() for box in page.locator(".box").all()]
    assert boxes[0] and boxes[1] and boxes[0]["width"] > boxes[1]["width"]
    small = page.locator("#faces li").nth(1)
    small.get_by_role("combobox").fill("The Small One")
    small.get_by_role("button", name="Name this face").click()
    expect(page.locator("#summary")).to_have_text("2 faces: The Small One, unknown")
    expect(small).to_be_focused()
    assert enrolled(pair) == ["The Small One"]
    large = page.locator("#faces li").nth(0)
    large.get_by_role("combobox").fill("The Large One")
    large.get_by_role("combobox").press("Enter")
    expect(page.locator("#summary")).to_have_text("2 faces: The Large One, The Small One")
    move(page.get_by_role("slider"), 3)  # they are the very faces, hardly changed by being cut out
    expect(page.locator("#summary")).to_have_text("2 faces: The Large One, The Small One")


def test_paste_a_picture_and_then_one_without_a_face(
    visit: Visit, photographs: Photographs, tmp_path: Path
) -> None:
    page = visit.view("recognise")
    hand_over(page, "paste", "body", photographs["madonna"][:1])
    expect(page.locator("#summary")).to_have_text("1 face: unknown")
    hand_over(page, "drop", "#stage", [grey(tmp_path / "wall.png")])
    expect(page.locator("#summary")).to_have_text("No face was found in the picture.")
    expect(page.locator(".box")).to_have_count(0)


def test_a_file_that_is_no_picture(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    page = visit.view("recognise")
    page.set_input_files("#recognise-file", tmp_path / "notes.txt")
    expect(page.locator("#recognise-message")).to_contain_text("Not a picture that this browser can show.")
    assert "POST /face-recognition" not in visit.asked


def test_the_portrait_that_comes_with_the_page(visit: Visit) -> None:
    page = visit.view("recognise")
    page.get_by_role("button", name="Or try an example").click()
    expect(page.locator("#summary")).to_have_text("1 face: unknown")


# --- the camera


def test_camera_live_and_naming_who_is_seen(visit: Visit, pair: Pair) -> None:
    page = visit.view("recognise")
    with page.expect_response("**/face-recognition"):
        page.get_by_role("button", name="Use the camera").click()
    expect(page.locator("#summary")).to_have_text("1 face: unknown")
    for _ in range(2):  # frame after frame
        with page.expect_response("**/face-recognition"):
            pass
    visit.screenshot("recognise-camera")
    assert visit.faults() == []
    page.locator("#faces li input").focus()
    expect(page.locator("#video")).to_have_js_property("paused", True)  # it holds still for the name
    page.locator("#faces li input").fill("Seen Live")
    page.locator("#faces li input").press("Enter")
    expect(page.locator("#summary")).to_have_text("1 face: Seen Live")
    expect(page.locator("#video")).to_have_js_property("paused", False)
    assert enrolled(pair) == ["Seen Live"]
    page.get_by_role("link", name="Gallery").click()
    expect(page.locator("#gallery-list li")).to_have_count(1)
    assert page.locator("#video").evaluate("video => video.srcObject.getTracks()[0].readyState") == "ended"


# --- gallery


def test_pages_of_the_gallery(visit: Visit, pair: Pair, photographs: Photographs) -> None:
    enrol(pair, {f"{i:02}": photographs["madonna"][0] for i in range(30)}, {"29": "Last"})
    page = visit.view("gallery")
    summary = page.locator("#gallery-summary")
    expect(summary).to_have_text("30 samples, 1 to 24 shown")
    expect(page.get_by_role("button", name="Previous page")).to_be_disabled()
    page.get_by_role("button", name="Next page").click()
    expect(summary).to_have_text("30 samples, 25 to 30 shown")
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    page.get_by_role("button", name="Previous page").click()
    expect(summary).to_have_text("30 samples, 1 to 24 shown")
    page.get_by_role("searchbox").fill("Last")
    page.get_by_role("searchbox").press("Enter")
    expect(summary).to_have_text("1 sample of Last")
    expect(page.locator("#gallery-list h2")).to_have_text("Last")
    page.get_by_role("searchbox").fill("Nobody")
    page.get_by_role("button", name="Find").click()
    expect(summary).to_have_text("Nobody is enrolled as Nobody.")


def test_delete_one_those_of_a_name_and_all(visit: Visit, pair: Pair, photographs: Photographs) -> None:
    odd = "a/b c?#%&é"  # an id that has to be escaped in a path
    ids = ["1", "2", odd, "4", "5"]
    path = photographs["madonna"][0]
    enrol(pair, dict.fromkeys(ids, path), {"1": "Ann", "2": "Ann", odd: "Bob", "4": "Cem", "5": "Cem"})
    page = visit.view("gallery")
    dialog = page.get_by_role("dialog")
    one = page.get_by_role("button", name=f"Delete {odd}")
    one.click()
    expect(dialog).to_contain_text(f"Bob: {odd}")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    assert enrolled(pair) == ["Ann", "Ann", "Bob", "Cem", "Cem"]
    one.click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("#gallery-summary")).to_have_text("4 samples")

    page.get_by_role("searchbox").fill("Ann")
    page.get_by_role("searchbox").press("Enter")
    page.get_by_role("button", name="Delete all samples of Ann").click()
    dialog.get_by_role("button", name="Delete samples").click()
    expect(page.locator("#gallery-summary")).to_have_text("Nobody is enrolled as Ann.")
    assert enrolled(pair) == ["Cem", "Cem"]

    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#gallery-summary")).to_have_text("2 samples")
    page.get_by_role("button", name="Delete all").click()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert enrolled(pair) == ["Cem", "Cem"]
    page.get_by_role("button", name="Delete all").click()
    dialog.get_by_role("button", name="Delete everything").click()
    expect(page.locator("#gallery-summary")).to_have_text("Nobody is enrolled yet.")
    assert enrolled(pair) == []


# --- export and import


def test_export_and_import(visit: Visit, pair: Pair, photographs: Photographs, tmp_path: Path) -> None:
    enrol(pair, {"ann": photographs["madonna"][0], "bob": photographs["ben_afflek"][0]})
    page = visit.view("gallery")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.suffix == ".jsonl"
    requests.delete(f"{pair.url}/samples", timeout=TIMEOUT_S)
    page.set_input_files("#gallery-import", file)
    expect(page.locator("#gallery-done")).to_have_text("2 samples imported, 0 already there.")
    expect(page.locator("#gallery-list li")).to_have_count(2)
    assert enrolled(pair) == ["ann", "bob"]


def test_a_damaged_file_is_refused(browser: Browser, pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text("no gallery")
    with visiting(browser, pair.url, forgiven="status of 400") as visit:
        page = visit.view("gallery")
        page.set_input_files("#gallery-import", tmp_path / "notes.jsonl")
        expect(page.locator("#gallery-message")).not_to_be_empty()
        expect(page.locator("#gallery-summary")).to_have_text("Nobody is enrolled yet.")


# --- compare


def test_compare(visit: Visit, photographs: Photographs, pair: Pair) -> None:
    one, same, other = photographs["madonna"][0], photographs["madonna"][1], photographs["ben_afflek"][0]
    page = visit.view("compare")
    page.get_by_label("Choose picture 1").set_input_files(one)
    page.get_by_label("Choose picture 2").set_input_files(same)
    result = page.locator("#compare-result")
    expect(result.get_by_role("heading")).to_have_text("Same person")
    told = requests.post(
        f"{pair.url}/verify",
        files={"image1": one.read_bytes(), "image2": same.read_bytes()},
        timeout=TIMEOUT_S,
    ).json()
    expect(result.get_by_role("img")).to_have_accessible_name(
        f"Distance {told['distance']:.2f} on a scale from 0 to 20; the same person below 9"
    )
    scale, limit = (page.locator(place).bounding_box() for place in (".scale", ".limit"))
    assert scale and limit
    assert limit["x"] - scale["x"] == pytest.approx(9 / 20 * scale["width"], abs=1.5)
    for picture in page.locator(".slot .stage").all():  # shown in its own shape
        shown, size = (
            picture.bounding_box(),
            picture.locator("img").evaluate("i => [i.naturalWidth, i.naturalHeight]"),
        )
        assert shown
        assert shown["width"] / shown["height"] == pytest.approx(size[0] / size[1], rel=0.01)
    hand_over(page, "drop", ".slot:nth-child(2)", [other])
    expect(result.get_by_role("heading")).to_have_text("Different people")
    expect(page.locator(".box.unknown")).to_have_count(2)


def test_compare_says_which_picture_has_no_face(
    browser: Browser, pair: Pair, photographs: Photographs, tmp_path: Path
) -> None:
    with visiting(browser, pair.url, forgiven="status of 400") as visit:
        page = visit.view("compare")
        hand_over(page, "drop", "main", [photographs["madonna"][0], grey(tmp_path / "wall.png")])
        expect(page.locator("#compare-message")).to_contain_text("image2: No face was found")


# --- hostile and unlucky


HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


def test_names_are_text(visit: Visit, pair: Pair, photographs: Photographs, tmp_path: Path) -> None:
    enrol(pair, {HOSTILE: photographs["madonna"][0]})
    page = visit.view("gallery")
    expect(page.locator("#gallery-list h2")).to_have_text(HOSTILE)
    expect(page.locator("#gallery-list .id")).to_have_text(HOSTILE)
    page.get_by_role("button", name="Delete <img").click()
    expect(page.get_by_role("dialog")).to_contain_text(HOSTILE)
    page.keyboard.press("Escape")
    page = visit.view("recognise")
    page.set_input_files("#recognise-file", photographs["madonna"][0])
    expect(page.locator("#faces h2")).to_have_text(HOSTILE)
    expect(page.locator(".box")).to_contain_text(HOSTILE)
    page = visit.view("enrol")
    page.set_input_files(
        "#enrol-files", named(tmp_path, HOSTILE.replace("/", "")[:60] + ".jpg", photographs["madonna"][0])
    )
    expect(page.locator("#enrol-list li .file")).to_contain_text("<img src=x")
    assert page.title() == "Enrol · Faces"
    assert page.locator("img[src=x]").count() == 0


def test_the_embedding_service_is_down_and_comes_back(
    browser: Browser, pair: Pair, photographs: Photographs
) -> None:
    with visiting(browser, pair.url, forgiven="status of 503") as visit:
        page = visit.view("recognise")
        pair.extraction.stop()
        try:
            page.set_input_files("#recognise-file", photographs["madonna"][0])
            expect(page.get_by_role("alert").first).to_contain_text("The embedding service cannot be reached")
            expect(page.locator("#server")).to_have_text("Not ready")
            page.get_by_role("button", name="Try again").click()
            expect(page.locator("#server")).to_have_text("Not ready")
            page.get_by_role("link", name="Enrol").click()
            page.set_input_files("#enrol-files", photographs["madonna"][:4])
            page.get_by_role("button", name="Enrol 4 pictures").click()
            # two are under way at once, and the others are not tried in vain
            expect(page.locator("#enrol-summary")).to_have_text("2 failed, 2 not tried.")
        finally:
            pair.extraction.start()
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#server")).to_have_text("Ready · Facenet")
        expect(page.locator("#alert")).to_be_empty()
        page.get_by_role("button", name="Enrol 4 pictures").click()
        expect(page.locator("#enrol-summary")).to_have_text("4 enrolled.")


def test_a_server_that_is_back_is_ready_without_being_asked_to(
    browser: Browser, pair: Pair, photographs: Photographs
) -> None:
    with visiting(browser, pair.url, forgiven="ERR_FAILED") as visit:
        page = visit.view("recognise")
        expect(page.locator("#server")).to_have_text("Ready · Facenet")
        page.route("**/face-recognition", lambda route: route.abort(), times=1)
        page.set_input_files("#recognise-file", photographs["madonna"][0])
        expect(page.locator("#alert")).to_contain_text("The server does not answer")
        expect(page.locator("#server")).to_have_text("Not ready")
        visit.screenshot("recognise-unreachable")
        assert visit.faults() == []
        page.set_input_files("#recognise-other", photographs["madonna"][0])
        expect(page.locator("#summary")).to_have_text("1 face: unknown")
        expect(page.locator("#server")).to_have_text("Ready · Facenet")
        expect(page.locator("#alert")).to_be_empty()


def test_a_busy_server_is_asked_again(browser: Browser, pair: Pair, photographs: Photographs) -> None:
    with visiting(browser, pair.url, forgiven="status of 429") as visit:
        page = visit.view("recognise")
        refuse(page, "face-recognition", 429, "overloaded", times=1, retry_after_s=1)
        page.set_input_files("#recognise-file", photographs["madonna"][0])
        expect(page.locator("#alert")).to_have_text("The server is busy; trying again in 1 s.")
        expect(page.locator("#summary")).to_have_text("1 face: unknown")
        expect(page.locator("#alert")).to_be_empty()


def test_a_limit_that_lasts_long_is_told_at_once(
    browser: Browser, pair: Pair, photographs: Photographs
) -> None:
    with visiting(browser, pair.url, forgiven="status of 429") as visit:
        page = visit.view("recognise")
        refuse(page, "face-recognition", 429, "rate_limited", times=1, retry_after_s=60)
        page.set_input_files("#recognise-file", photographs["madonna"][0])
        expect(page.locator("#alert")).to_contain_text("Too many requests within a minute")


def test_a_server_that_does_not_answer(browser: Browser, pair: Pair) -> None:
    with visiting(browser, pair.url, forgiven="ERR_FAILED") as visit:
        visit.page.route("**/ready", lambda route: route.abort(), times=1)
        page = visit.view("recognise")
        expect(page.locator("#alert")).to_contain_text("The server does not answer")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#server")).to_have_text("Ready · Facenet")


def test_a_503_is_told_in_the_words_of_the_service(
    browser: Browser, pair: Pair, photographs: Photographs
) -> None:
    detail = "The disk with the gallery is full."
    with visiting(browser, pair.url, forgiven="status of 503") as visit:
        page = visit.view("recognise")
        page.set_input_files("#recognise-file", photographs["madonna"][0])
        for code in ("gallery_unavailable", "audit_unavailable", "one_of_tomorrow"):
            refuse(page, "update-samples", 503, code, times=1, detail=detail)
            page.locator("#faces").get_by_role("combobox").fill("Madonna")
            page.get_by_role("button", name="Name this face").click()
            expect(page.locator("#alert")).to_contain_text(detail)
            expect(page.locator("#faces .message")).to_have_text(detail)
            page.get_by_role("button", name="Try again").click()
            expect(page.locator("#alert")).to_be_empty()
        page = visit.view("enrol")
        refuse(page, "update-samples", 503, "gallery_unavailable", times=2, detail=detail)
        page.set_input_files("#enrol-files", photographs["madonna"][:4])
        page.get_by_role("button", name="Enrol 4 pictures").click()
        expect(page.locator("#alert")).to_contain_text(detail)
        expect(page.locator("#enrol-list .failed").first).to_contain_text(f"Not enrolled: {detail}")
        expect(page.locator("#enrol-summary")).to_have_text("2 failed, 2 not tried.")


@pytest.mark.parametrize(
    ("answer", "shown"),
    [({"status": "ok", "version": "1.2.3"}, "Version 1.2.3"), ({"status": "ok"}, "")],
    ids=["told", "not told"],
)
def test_the_footer_says_the_version(visit: Visit, answer: dict[str, str], shown: str) -> None:
    visit.page.route("**/health", lambda route: route.fulfill(json=answer))
    with visit.page.expect_response("**/health"):
        visit.page.goto(visit.url)
    expect(visit.page.locator("#version")).to_have_text(shown)


def test_everything_by_keyboard(visit: Visit) -> None:
    page = visit.view("recognise")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    for name in ("Recognise", "Enrol", "People", "Events", "Gallery"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name=name)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Gallery")).to_be_focused()
    expect(page.get_by_role("link", name="Gallery")).to_have_attribute("aria-current", "page")
    page.keyboard.press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.go_back()
    expect(page.get_by_role("heading", name="Recognise")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose pictures").first).to_be_focused()
