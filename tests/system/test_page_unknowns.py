"""Unknown people on the web page: shown in groups, named, put together, ignored and forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from browsing import NARROW, TIMEOUT_S, WIDE, Visit, check, enrol, visiting
from running import Pair

Photographs = dict[str, list[Path]]


@pytest.fixture
def kept(keeping: Pair, photographs: Photographs) -> Pair:
    """Three pictures of one, two of another."""
    for path in ("samples", "unknowns"):
        requests.delete(f"{keeping.url}/{path}", timeout=TIMEOUT_S).raise_for_status()
    for path in (*photographs["madonna"][:3], *photographs["ben_afflek"][:2]):
        recognise(keeping, path)
    return keeping


def recognise(pair: Pair, path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        answer = requests.post(f"{pair.url}/face-recognition", files={"file": file}, timeout=TIMEOUT_S)
    found: list[dict[str, Any]] = answer.json()
    return found


def unknowns(pair: Pair, **query: Any) -> list[dict[str, Any]]:
    answer = requests.get(f"{pair.url}/unknowns", params=query, timeout=TIMEOUT_S)
    found: list[dict[str, Any]] = answer.json()["unknowns"]
    return found


def shown(visit: Visit) -> Page:
    page = visit.view("unknowns")
    expect(page.get_by_role("heading", level=1)).to_have_text("Unknown people")
    return page


def test_they_are_shown_and_named(browser: Browser, kept: Pair, photographs: Photographs) -> None:
    assert [each["faces"] for each in unknowns(kept)] == [3, 2]
    with visiting(browser, kept.url) as visit:
        page = visit.view("people")
        page.get_by_role("link", name="People nobody has named").click()
        expect(page.get_by_role("link", name="People", exact=True)).to_have_attribute("aria-current", "page")
        expect(page.locator("#unknowns-summary")).to_have_text("2 unknown people")
        expect(page.locator("#unknowns-list .check")).to_have_text(["3 faces", "2 faces"])
        expect(page.locator("#unknowns-list li").first.locator("img")).to_have_count(3)
        page.get_by_role("combobox", name="Name of unknown person 1").fill("Madonna")
        page.get_by_role("button", name="Name", exact=True).first.click()
        expect(page.locator("#unknowns-done")).to_have_text("The best 3 faces are enrolled now: Madonna")
        expect(page.locator("#unknowns-list li")).to_have_count(1)
        page.get_by_role("link", name="Madonna").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Madonna")
        expect(page.locator("#person-faces img")).to_have_count(3)
    (face,) = recognise(kept, photographs["madonna"][4])
    assert face["name"] == "Madonna"


def test_who_was_enrolled_since_is_offered(browser: Browser, kept: Pair, photographs: Photographs) -> None:
    enrol(kept, {"1": photographs["ben_afflek"][3]}, {"1": "Ben"})
    with visiting(browser, kept.url) as visit:
        page = shown(visit)
        expect(page.get_by_text("Looks like Ben")).to_have_count(1)
        page.get_by_role("button", name="Ben is unknown person 2").click()
        expect(page.locator("#unknowns-done")).to_contain_text("The best 2 faces are enrolled now")
    answer = requests.get(f"{kept.url}/samples/count", params={"name": "Ben"}, timeout=TIMEOUT_S)
    assert answer.json() == {"count": 3}


def test_some_are_put_together_others_ignored_and_forgotten(browser: Browser, kept: Pair) -> None:
    with visiting(browser, kept.url) as visit:
        page = shown(visit)
        page.get_by_role("checkbox", name="Choose unknown person 1").check()
        expect(page.locator("#unknowns-merge")).to_be_hidden()
        page.get_by_role("checkbox", name="Choose unknown person 2").check()
        page.get_by_role("button", name="These 2 are one person").click()
        page.get_by_role("button", name="Put together").click()
        expect(page.locator("#unknowns-list .check")).to_have_text(["5 faces"])
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        page.get_by_role("button", name="Forget unknown person 1").click()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#unknowns-list li")).to_have_count(1)
        page.get_by_role("button", name="Ignore unknown person 1").click()
        page.get_by_role("button", name="Ignore", exact=True).click()
        expect(page.locator("#unknowns-done")).to_have_text("This person is ignored from now on.")
        expect(page.locator("#unknowns-summary")).to_have_text("Nobody unknown has been kept.")
    assert [each["faces"] for each in unknowns(kept, ignored="1")] == [0]


def test_who_has_gone_meanwhile_is_told(browser: Browser, kept: Pair) -> None:
    with visiting(browser, kept.url, forgiven="404") as visit:
        page = shown(visit)
        expect(page.locator("#unknowns-list li")).to_have_count(2)
        requests.delete(f"{kept.url}/unknowns", timeout=TIMEOUT_S).raise_for_status()
        page.get_by_role("button", name="Forget unknown person 1").click()
        page.get_by_role("button", name="Forget", exact=True).click()
        expect(page.locator("#unknowns-list .message").first).to_have_text(
            "There is no unknown person with this id."
        )


def test_it_is_told_where_none_are_kept(visit: Visit, pair: Pair) -> None:
    page = shown(visit)
    expect(page.get_by_text("KEEP_UNKNOWN is off")).to_be_visible()
    assert visit.faults() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
def test_how_it_looks(
    browser: Browser, kept: Pair, photographs: Photographs, scheme: str, size: dict[str, int]
) -> None:
    enrol(kept, {"1": photographs["ben_afflek"][3]}, {"1": "Ben"})
    recognise(kept, photographs["jerry_seinfeld"][0])
    with visiting(browser, kept.url, viewport=size, color_scheme=scheme) as visit:
        page = shown(visit)
        expect(page.locator("#unknowns-list img")).to_have_count(6)
        check(visit, f"unknowns-{'wide' if size is WIDE else 'narrow'}-{scheme}")
