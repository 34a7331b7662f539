"""The web page changes the gallery's model: how far it is, what waits for a picture, stop, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from browsing import NARROW, Visit, enrol, visiting
from running import Pair

Photographs = dict[str, list[Path]]
STATUS: dict[str, Any] = {
    "model": None,
    "other": None,
    "has_other": False,
    "samples": 3,
    "done": 0,
    "waiting": 0,
    "waiting_samples": [],
    "to": None,
    "without_face": None,
    "running": False,
    "trouble": None,
}
UNDER_WAY = {"to": "MobileFaceNet", "other": "MobileFaceNet", "has_other": True, "running": True}
WAITING = {**UNDER_WAY, "running": False, "trouble": "without_face", "waiting": 2}


@pytest.fixture(autouse=True)
def somebody(pair: Pair, photographs: Photographs) -> None:
    enrol(pair, {"1": photographs["madonna"][0]}, {"1": "Ann"})


def tell(visit: Visit, *answers: dict[str, Any]) -> list[tuple[str, Any]]:
    """Have the service tell this, one after the other, and the last one for ever. Returns what is sent."""
    left = list(answers)
    sent: list[tuple[str, Any]] = []

    def answer(route: Route) -> None:
        if route.request.method != "GET":
            sent.append((route.request.method, route.request.post_data_json))
        route.fulfill(json=STATUS | (left.pop(0) if len(left) > 1 else left[0]))

    visit.page.route("**/model-change", answer)
    return sent


def test_it_changes_and_goes_back(visit: Visit) -> None:
    done = {"model": "MobileFaceNet", "other": "Facenet", "has_other": True, "done": 3}
    sent = tell(visit, {}, UNDER_WAY, UNDER_WAY | {"done": 2}, done, done, {"model": "Facenet"})
    page = visit.view("gallery")
    page.get_by_text("Embedding model").click()
    expect(page.locator("#model-now")).to_have_text("The gallery has the server’s own model.")
    page.get_by_label("Change to").fill("MobileFaceNet")
    page.get_by_role("button", name="Change the model").click()
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.locator("#model-status")).to_have_text("Changing to MobileFaceNet …")
    expect(page.get_by_label("Samples with a vector of the new model")).to_have_js_property("value", 2)
    assert not visit.faults()
    expect(page.locator("#model-now")).to_have_text("The gallery has MobileFaceNet.")
    expect(page.locator("#model-progress")).to_be_hidden()
    assert sent == [("POST", {"model": "MobileFaceNet", "without_face": "wait"})]
    assert not visit.faults()
    page.get_by_role("button", name="Go back to Facenet").click()
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.locator("#model-now")).to_have_text("The gallery has Facenet.")
    assert sent[1:] == [("POST", {"model": "Facenet", "without_face": "wait"})]


def test_samples_without_a_face_are_told(visit: Visit) -> None:
    waiting = WAITING | {"waiting_samples": ["a/1", "<b>"]}
    tell(visit, waiting)
    page = visit.view("gallery")
    page.get_by_text("Embedding model").click()
    expect(page.locator("#model-status")).to_contain_text("2 samples have no face that could be read")
    page.get_by_text("Their ids").click()
    expect(page.locator("#model-waiting-list li")).to_have_text(["a/1", "<b>"])
    expect(page.get_by_label("Change to")).to_have_value("MobileFaceNet")
    assert not visit.faults() and visit.fits()
    visit.screenshot("model")


def test_it_is_stopped(visit: Visit) -> None:
    sent = tell(visit, UNDER_WAY, {})
    page = visit.view("gallery")
    page.get_by_text("Embedding model").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#model-stop")).to_be_hidden()
    assert sent == [("DELETE", None)]


@pytest.fixture
def visit(browser: Browser, pair: Pair) -> Any:
    with visiting(browser, pair.url, viewport=NARROW) as visit:
        yield visit


def test_a_model_that_the_server_lacks_is_no_outage(browser: Browser, pair: Pair) -> None:
    with visiting(browser, pair.url, forgiven="status of 503") as visit:
        page = visit.view("gallery")
        page.get_by_text("Embedding model").click()
        expect(page.locator("#model-now")).to_contain_text("The gallery has")
        page.get_by_label("Change to").fill("nonesuch")
        page.get_by_role("button", name="Change the model").click()
        page.get_by_role("button", name="Change", exact=True).click()
        expect(page.locator("#model-message")).to_contain_text("does not have that model")
        expect(page.locator("#server")).to_contain_text("Ready")
        visit.screenshot("model-lacking")
