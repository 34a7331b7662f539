"""How the web page looks, every view, filled, on phones and desktops, in light and dark; who can use it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, expect

from browsing import NARROW, SCREENSHOTS, TIMEOUT_S, WIDE, Visit, see, vectors, visiting
from running import Pair

Photographs = dict[str, list[Path]]

SMALLEST = {"width": 320, "height": 640}  # what WCAG 2.2, 1.4.10 asks for


def check(visit: Visit, name: str) -> None:
    visit.screenshot(name)
    assert visit.faults() == []
    widest = visit.page.viewport_size
    assert visit.fits()
    visit.page.set_viewport_size(SMALLEST)  # type: ignore[arg-type]
    for font_px in (16, 20):  # fonts differ in width, and people choose larger ones
        visit.page.evaluate(f"document.documentElement.style.fontSize = '{font_px}px'")
        assert visit.fits()
    visit.page.evaluate("document.documentElement.style.fontSize = ''")
    visit.page.set_viewport_size(widest)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
def test_every_view(
    browser: Browser,
    pair: Pair,
    photographs: Photographs,
    tmp_path: Path,
    scheme: str,
    size: dict[str, int],
) -> None:
    kind = f"{'wide' if size is WIDE else 'narrow'}-{scheme}"
    files = []
    for person in ("ben_afflek", "elton_john", "jerry_seinfeld"):
        (tmp_path / person).mkdir()
        for i in (0, 1):
            files.append(tmp_path / person / f"{i}.jpg")
            shutil.copy(photographs[person][i], files[-1])
    unreadable = tmp_path / "a_very_long_name_without_any_room_to_break_it_anywhere_at_all.jpg"
    unreadable.write_text("no picture")
    with visiting(browser, pair.url, viewport=size, color_scheme=scheme) as visit:
        page = visit.view("recognise")
        check(visit, f"recognise-empty-{kind}")
        page = visit.view("enrol")
        page.set_input_files("#enrol-folder", tmp_path)
        page.locator("#enrol-start").click()
        expect(page.locator("#enrol-summary")).to_have_text("6 enrolled, 1 failed.")
        check(visit, f"enrol-{kind}")
        page = visit.view("recognise")
        for person, summary in (("ben_afflek", "1 face: ben_afflek"), ("mindy_kaling", "1 face: unknown")):
            page.locator("#recognise-file, #recognise-other").last.set_input_files(photographs[person][3])
            expect(page.locator("#summary")).to_have_text(summary)
            check(visit, f"recognise-{person}-{kind}")
        page.get_by_role("radio", name="Share of strangers").check()
        expect(page.locator("#summary")).to_have_text("1 face: unknown")
        page.get_by_role("slider").press("Home")
        check(visit, f"recognise-strangers-{kind}")
        page.get_by_role("radio", name="Distance").check()
        page.set_input_files("#recognise-other", [*files, unreadable])
        expect(page.locator("#strip-done")).to_have_text("6 recognised, 1 failed.")
        check(visit, f"recognise-several-{kind}")
        page.locator("#strip").get_by_role("radio").first.check()
        page.get_by_role("button", name="Not ben_afflek?").click()
        page.keyboard.type("o")
        expect(page.get_by_role("option").first).to_be_visible()
        check(visit, f"recognise-correction-{kind}")
        page = visit.view("people")
        expect(page.locator("#people-list li")).to_have_count(3)
        check(visit, f"people-{kind}")
        page.get_by_role("link", name="ben_afflek").click()
        expect(page.locator("#person-faces > li")).to_have_count(2)
        page.get_by_role("button", name="Move ben_afflek/0.jpg", exact=True).click()
        check(visit, f"person-{kind}")
        page = visit.view("events")
        long = "A camera with a long name " * 2 + "and_a_word_without_any_room_to_break"
        for minute, (person, camera) in enumerate([("ben_afflek", "Door"), ("mindy_kaling", long)]):
            picture = photographs[person][0]
            see(pair, vectors(pair.url, picture), minute, picture, camera=camera)
        page.get_by_role("button", name="Show the newest").click()
        expect(page.locator("#events-list li")).to_have_count(2)
        check(visit, f"events-{kind}")
        requests.delete(f"{pair.url}/events", timeout=TIMEOUT_S)
        page = visit.view("gallery")
        expect(page.locator("#gallery-list li")).to_have_count(6)
        check(visit, f"gallery-{kind}")
        page.get_by_role("button", name="Delete all").click()
        check(visit, f"gallery-clear-{kind}")
        page.keyboard.press("Escape")
        page = visit.view("compare")
        check(visit, f"compare-empty-{kind}")
        page.get_by_label("Choose picture 1").set_input_files(files[0])
        page.get_by_label("Choose picture 2").set_input_files(files[1])
        expect(page.locator("#compare-result h2")).to_have_text("Same person")
        check(visit, f"compare-{kind}")
    assert (SCREENSHOTS / f"compare-{kind}.png").stat().st_size > 0
