"""The web page's check of the gallery: what may be wrong is shown, the surest first, and put right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Route, expect

from browsing import NARROW, TIMEOUT_S, Visit, enrol, refuse, samples, visiting
from running import Pair

Photographs = dict[str, list[Path]]


@pytest.fixture
def whose(pair: Pair, photographs: Photographs) -> dict[str, str]:
    """Three people and whose each sample is: one of Ann's is Bea's, and Anne is Ann."""
    hers, other = photographs["madonna"], photographs["ben_afflek"]
    pictures = {"1": hers[0], "2": hers[1], "3": other[0], "4": other[1], "5": hers[2]}
    enrol(pair, pictures, {"1": "Ann", "2": "Ann", "3": "Ann", "4": "Bea", "5": "Anne"})
    return {sample["id"]: sample["person"] for sample in samples(pair)}


def finding(
    whose: dict[str, str], ids: str, what: str, sure: float, action: str, into: str | None = None
) -> dict[str, Any]:
    """A finding as the service tells it, of samples, and what to do with the first one or whose it is."""
    names = {"1": "Ann", "2": "Ann", "3": "Ann", "4": "Bea", "5": "Anne"}
    return {
        "id": f"{what} {ids}",
        "what": what,
        "sure": sure,
        "detail": f"{what} of {ids}",
        "samples": [
            {"id": each, "person": whose[each], "name": names[each], "quality": None} for each in ids
        ],
        "distance": None,
        "own": None,
        "advice": [
            {
                "action": action,
                "person": whose[ids[0]],
                "sample": ids[0] if "sample" in action else None,
                "into": into and whose[into],
            }
        ],
    }


def tell(visit: Visit, *parts: list[dict[str, Any]]) -> None:
    """Have the service find this, part by part."""

    def answer(route: Route) -> None:
        number = int(route.request.url.partition("after=")[2] or 0)
        after = str(number + 1) if number + 1 < len(parts) else None
        route.fulfill(json={"findings": parts[number], "examined": 5, "total": 5 * len(parts), "next": after})

    visit.page.route("**/doctor?*", answer)


def people(pair: Pair) -> dict[str, int]:
    answer = requests.get(f"{pair.url}/persons", timeout=TIMEOUT_S).json()
    return {person["name"]: person["samples"] for person in answer["persons"]}


def test_what_is_found_is_put_right(visit: Visit, pair: Pair, whose: dict[str, str]) -> None:
    wrong = finding(whose, "34", "unlike_own", 0.9, "move_sample", "4")
    alike = finding(whose, "51", "looks_like", 0.5, "merge_persons", "1")
    twin = finding(whose, "21", "same_picture", 0.6, "delete_sample")
    single = finding(whose, "4", "few_samples", 0.1, "enrol_more")
    tell(visit, [alike, single, wrong | {"sure": 0.2}], [wrong, twin])
    page = visit.view("people")
    page.get_by_role("link", name="Look for mistakes").click()
    page.get_by_role("button", name="Check the gallery").click()
    expect(page.locator("#check-summary")).to_have_text("10 faces checked, 4 findings.")
    listed = page.locator("#check-list > li")
    expect(listed.locator("p:first-child")).to_have_text(
        ["unlike_own of 34", "same_picture of 21", "looks_like of 51", "few_samples of 4"]
    )
    visit.screenshot("check")
    assert visit.faults() == []
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    assert visit.fits()

    page.get_by_role("button", name="Merge Anne into Ann").click()
    expect(listed).to_have_count(3)
    expect(page.locator("#undo")).to_contain_text("Anne was merged into Ann.")
    page.get_by_role("button", name="Move the face to Bea").click()
    expect(listed).to_have_count(2)
    page.get_by_role("button", name="Remove Ann’s face").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Remove Ann’s face").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(listed).to_have_count(1)
    expect(listed.get_by_role("link", name="Enrol more pictures of Bea")).to_be_visible()
    assert people(pair) == {"Ann": 2, "Bea": 2}


def test_a_face_under_a_wrong_name_is_found_and_moved(
    visit: Visit, pair: Pair, photographs: Photographs
) -> None:
    hers, other = photographs["madonna"], photographs["ben_afflek"]
    pictures = {"1": hers[0], "2": hers[1], "3": hers[2], "wrong": other[0], "4": other[1], "5": other[2]}
    enrol(pair, pictures, dict.fromkeys(pictures, "Ann") | {"4": "Bea", "5": "Bea"})
    page = visit.view("check")
    page.get_by_role("button", name="Check the gallery").click()
    expect(page.locator("#check-summary")).to_contain_text("6 faces checked")
    first = page.locator("#check-list > li").first
    expect(first.locator("img")).to_have_count(2)
    first.get_by_role("button", name="Move the face to Bea").click()
    expect(page.get_by_role("heading", name="Check")).to_be_focused()
    assert people(pair) == {"Ann": 3, "Bea": 3}


def test_what_cannot_be_done_is_told(browser: Browser, pair: Pair, whose: dict[str, str]) -> None:
    with visiting(browser, pair.url, forgiven="status of 4") as visit:
        tell(visit, [finding(whose, "34", "unlike_own", 0.9, "move_sample", "4")])
        page = visit.view("check")
        page.get_by_role("button", name="Check the gallery").click()
        requests.delete(f"{pair.url}/samples/3", timeout=TIMEOUT_S)
        page.get_by_role("button", name="Move the face to Bea").click()
        expect(page.locator("#check-list .message")).to_contain_text("There is no sample with this id.")
        refuse(page, "doctor?*", 403, "forbidden", times=1, detail="This key does not have the scope enrol.")
        page.get_by_role("button", name="Check the gallery").click()
        expect(page.locator("#check-message")).to_have_text("This key does not have the scope enrol.")


def test_many_findings_are_shown_little_by_little_and_a_check_can_be_stopped(
    visit: Visit, pair: Pair, whose: dict[str, str]
) -> None:
    found = finding(whose, "34", "unlike_own", 0.9, "move_sample", "4")
    tell(visit, [found | {"id": str(number), "sure": number / 1000} for number in range(1000)])
    page = visit.view("check")
    page.get_by_role("button", name="Check the gallery").click()
    expect(page.locator("#check-summary")).to_have_text("5 faces checked, 1,000 findings.")
    expect(page.locator("#check-list > li")).to_have_count(30)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#check-list > li")).to_have_count(60)
    held: list[Route] = []
    page.route("**/doctor?*", lambda route: held.append(route))
    page.get_by_role("button", name="Check the gallery").click()
    expect(page.locator("#check-summary")).to_have_text("Checking …")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Check the gallery")).to_be_visible()
    expect(page.locator("#check-summary")).to_have_text("Stopped. 0 findings so far.")
    held[0].abort()
