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
    "resumes": False,
    "trouble": None,
}
UNDER_WAY = {
    "to": "MobileFaceNet",
    "other": "MobileFaceNet",
    "has_other": True,
    "running": True,
    "resumes": True,
}
STOPPED = {**UNDER_WAY, "running": False, "resumes": False}
WAITING = {**STOPPED, "trouble": "without_face", "waiting": 2}


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


def test_one_that_nobody_goes_on_with_has_stopped(visit: Visit) -> None:
    held_up = {**STOPPED, "resumes": True, "trouble": "embedding_unavailable"}
    tell(visit, held_up, {**STOPPED, "trouble": "interrupted"})
    page = visit.view("gallery")
    page.get_by_text("Embedding model").click()
    status = page.locator("#model-status")
    expect(status).to_have_text(
        "Changing to MobileFaceNet … It is held up (embedding_unavailable), and tried again."
    )
    expect(status).to_have_text(
        "The change to MobileFaceNet has stopped (interrupted). Change again to go on with it."
    )
    expect(page.get_by_label("Change to")).to_have_value("MobileFaceNet")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    assert not visit.faults() and visit.fits()


def test_it_is_looked_after_although_an_answer_is_missing(browser: Browser, pair: Pair) -> None:
    done = {"model": "MobileFaceNet", "other": "Facenet", "has_other": True, "done": 3}
    with visiting(browser, pair.url, forgiven="status of 500") as visit:
        answers = [UNDER_WAY, None, done]

        def answer(route: Route) -> None:
            told = answers.pop(0) if len(answers) > 1 else answers[0]
            route.fulfill(status=500) if told is None else route.fulfill(json=STATUS | told)

        visit.page.route("**/model-change", answer)
        page = visit.view("gallery")
        page.get_by_text("Embedding model").click()
        expect(page.locator("#model-now")).to_have_text("The gallery has MobileFaceNet.")


@pytest.fixture
def visit(browser: Browser, pair: Pair) -> Any:
    with visiting(browser, pair.url, viewport=NARROW) as visit:
        yield visit


def test_a_model_that_the_server_lacks_is_no_outage(browser: Browser, pair: Pair) -> None:
    with visiting(browser, pair.url, forgiven="status of 400") as visit:
        page = visit.view("gallery")
        page.get_by_text("Embedding model").click()
        expect(page.locator("#model-now")).to_contain_text("The gallery has")
        page.get_by_label("Change to").fill("nonesuch")
        page.get_by_role("button", name="Change the model").click()
        page.get_by_role("button", name="Change", exact=True).click()
        expect(page.locator("#model-message")).to_contain_text("has not prepared it")
        expect(page.locator("#server")).to_contain_text("Ready")
        visit.screenshot("model-lacking")
