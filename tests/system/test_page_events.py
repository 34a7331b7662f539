"""Events on the web page: whom cameras saw, found by camera and person, page by page, and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from browsing import TIMEOUT_S, Visit, enrol, see, vectors, visiting
from running import Pair, running_pair
from serving import keys

Photographs = dict[str, list[Path]]

PAGE = 24
RECOGNISER, RECOGNISER_KEY = keys.new("the-door", "recognise")


@pytest.fixture(autouse=True)
def nothing_seen(pair: Pair) -> None:
    assert requests.delete(f"{pair.url}/events", timeout=TIMEOUT_S).ok


@pytest.fixture
def ann(pair: Pair, photographs: Photographs) -> dict[str, Any]:
    """Ann is enrolled; what a camera makes of her."""
    enrol(pair, {"1": photographs["madonna"][0]}, {"1": "Ann <b>"})
    return vectors(pair.url, photographs["madonna"][1])


@pytest.fixture
def stranger(pair: Pair, photographs: Photographs) -> dict[str, Any]:
    return vectors(pair.url, photographs["ben_afflek"][0])


def names(page: Page) -> Any:
    return page.locator("#events-list h2")


def test_nobody_was_seen(visit: Visit) -> None:
    page = visit.view("events")
    expect(page.locator("#events-summary")).to_have_text("No camera has seen anybody yet.")
    expect(page.get_by_role("link", name="Events", exact=True)).to_have_attribute("aria-current", "page")
    assert page.title() == "Events · Faces"
    assert visit.faults() == []


def test_the_newest_come_first_with_their_pictures(
    visit: Visit, pair: Pair, photographs: Photographs, ann: dict[str, Any], stranger: dict[str, Any]
) -> None:
    face = photographs["madonna"][1]
    see(pair, ann, 1, face)
    see(pair, stranger, 2, face, camera="<i>Garden</i>", until=None)
    page = visit.view("events")
    expect(names(page)).to_have_text(["Unknown", "Ann <b>"])
    first, second = page.locator("#events-list li").all()
    expect(first).to_contain_text("<i>Garden</i>")
    expect(first).to_contain_text("still there")
    expect(first.locator("img")).to_have_count(0)
    expect(first.get_by_role("link")).to_have_count(0)
    expect(second).to_contain_text("for 12\u00a0s")
    expect(second.locator("img")).to_be_visible()
    assert second.locator("img").evaluate("image => image.naturalWidth") > 0
    expect(page.locator("#events-summary")).to_have_text("2 visits")
    visit.screenshot("events")
    assert visit.faults() == []
    second.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ann <b>")
    page.get_by_role("link", name="Seen by cameras").click()
    expect(names(page)).to_have_text(["Ann <b>"])
    expect(page.get_by_role("combobox", name="Person", exact=True)).to_have_value("Ann <b>")


def test_they_are_found_by_camera_and_person(
    visit: Visit, pair: Pair, ann: dict[str, Any], stranger: dict[str, Any]
) -> None:
    see(pair, ann, 1)
    see(pair, stranger, 2, camera="Garden")
    see(pair, ann, 3, camera="Garden")
    page = visit.view("events")
    expect(names(page)).to_have_text(["Ann <b>", "Unknown", "Ann <b>"])
    page.get_by_role("combobox", name="Camera").select_option("Garden")
    expect(names(page)).to_have_text(["Ann <b>", "Unknown"])
    person = page.get_by_role("combobox", name="Person", exact=True)
    person.press_sequentially("an")
    page.get_by_role("option", name="Ann").click()
    expect(names(page)).to_have_text(["Ann <b>"])
    page.get_by_role("combobox", name="Camera").select_option("Front door")
    expect(page.locator("#events-list li")).to_contain_text("Front door")
    page.get_by_role("combobox", name="Camera").select_option("")
    expect(names(page)).to_have_text(["Ann <b>", "Ann <b>"])
    person.fill("")
    expect(names(page)).to_have_count(3)
    person.fill("nobody of this name")
    page.get_by_role("button", name="Show the newest").click()
    expect(page.locator("#events-message")).to_have_text("Choose a person from the list.")
    person.fill("")
    see(pair, stranger, 4)
    page.get_by_role("button", name="Show the newest").click()
    expect(names(page)).to_have_text(["Unknown", "Ann <b>", "Unknown", "Ann <b>"])
    expect(page.locator("#events-message")).to_be_empty()


def test_a_camera_that_is_chosen_stays_though_all_its_events_go(
    visit: Visit, pair: Pair, stranger: dict[str, Any]
) -> None:
    event = see(pair, stranger, 1, camera="Garden")
    see(pair, stranger, 2)
    page = visit.view("events")
    page.get_by_role("combobox", name="Camera").select_option("Garden")
    expect(names(page)).to_have_count(1)
    requests.delete(f"{pair.url}/events/{event}", timeout=TIMEOUT_S)
    page.get_by_role("button", name="Show the newest").click()
    expect(page.locator("#events-summary")).to_have_text("No such visit was seen.")
    expect(page.get_by_role("combobox", name="Camera")).to_have_value("Garden")


def test_page_by_page(visit: Visit, pair: Pair, stranger: dict[str, Any]) -> None:
    for minute in range(PAGE + 3):
        see(pair, stranger, minute, camera=f"Camera {minute}")
    page = visit.view("events")
    expect(page.locator("#events-summary")).to_have_text(f"{PAGE + 3} visits, 1 to {PAGE} shown")
    expect(page.locator("#events-list li").first).to_contain_text(f"Camera {PAGE + 2}")
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("#events-list li")).to_have_count(3)
    expect(page.locator("#events-list li").last).to_contain_text("Camera 0")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    page.get_by_role("button", name="Previous page").click()
    expect(page.locator("#events-list li")).to_have_count(PAGE)


def test_an_event_is_removed(visit: Visit, pair: Pair, ann: dict[str, Any]) -> None:
    see(pair, ann, 1)
    kept = see(pair, ann, 2)
    page = visit.view("events")
    page.get_by_role("button", name="Delete Ann <b>, Front door").last.click()
    expect(page.locator("#confirm-text")).to_contain_text("Ann <b>, Front door")
    page.get_by_role("button", name="Cancel").click()
    expect(names(page)).to_have_count(2)
    page.get_by_role("button", name="Delete Ann <b>, Front door").last.click()
    page.locator("#confirm-yes").click()
    expect(names(page)).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    listed = requests.get(f"{pair.url}/events", timeout=TIMEOUT_S).json()["events"]
    assert [event["id"] for event in listed] == [kept]


def test_whoever_is_gone_was_never_seen(browser: Browser, pair: Pair, stranger: dict[str, Any]) -> None:
    see(pair, stranger, 1)
    with visiting(browser, pair.url, forgiven="status of 404") as visit:
        page = visit.view("events/nobody")
        expect(page.locator("#events-summary")).to_have_text("No such visit was seen.")


def test_a_key_that_may_not_list_them_says_so(browser: Browser, tmp_path: Path, models_dir: Path) -> None:
    with (
        running_pair(tmp_path, models_dir, API_KEYS=RECOGNISER_KEY.entry()) as guarded,
        visiting(browser, guarded.url, forgiven="status of 40") as visit,
    ):
        visit.page.goto(f"{guarded.url}/#events")
        visit.page.get_by_label("Key", exact=True).fill(RECOGNISER)
        visit.page.get_by_role("button", name="Use key").click()
        expect(visit.page.locator("#events-message")).to_contain_text("enrol")
