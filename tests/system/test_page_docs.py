"""/docs of both services in a real Chromium: the interface to read and to try, from the service alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Response, expect

from browsing import NARROW, WIDE, Visit, running_chromium, visiting
from recognition.client import Client
from running import Pair
from serving.version import VERSION


@pytest.mark.parametrize("service", ["detection", "extraction"])
def test_the_interface_is_read_and_tried_offline(pair: Pair, service: str) -> None:
    with running_chromium() as browser:
        for size, kind in ((WIDE, "wide"), (NARROW, "narrow")):
            with visiting(browser, getattr(pair, service).url, viewport=size) as visit:
                page = visit.page
                page.goto(f"{visit.url}/docs")
                expect(page.get_by_role("link", name="openapi.json")).to_be_visible()
                visit.screenshot(f"docs-{service}-{kind}")
                assert visit.fits()
                call = page.locator("#operations-open-get_health, #operations-default-get_health")
                call.locator("button").first.click()
                with page.expect_response("**/health") as answer:
                    call.get_by_role("button", name="Execute").click()
                assert answer.value.json() == {"status": "ok", "version": VERSION}
                expect(call.locator(".live-responses-table")).to_contain_text('"status": "ok"')


def opened(visit: Visit, operation: str) -> Locator:
    """Open one of the calls."""
    call = visit.page.locator(f"#operations-{operation}")
    call.locator("button").first.click()
    return call


def executed(visit: Visit, call: Locator, path: str) -> Response:
    """Send what stands in the fields of a call, and wait until its answer is shown."""
    with visit.page.expect_response(f"**{path}") as answer:
        call.get_by_role("button", name="Execute").click()
    expect(call.locator(".live-responses-table")).to_be_visible()
    return answer.value


def test_what_people_look_for_stands_at_the_top(pair: Pair) -> None:
    with running_chromium() as browser, visiting(browser, pair.url) as visit:
        visit.page.goto(f"{visit.url}/docs")
        expect(visit.page.locator("h3[id^=operations-tag]").first).to_contain_text("recognise")


def test_the_examples_enrol_and_recognise_as_they_stand(pair: Pair) -> None:
    with running_chromium() as browser, visiting(browser, pair.url) as visit:
        visit.page.goto(f"{visit.url}/docs")
        enrolled = executed(visit, opened(visit, "enrol-post_update_samples"), "/update-samples")
        assert enrolled.json()["success"] == ["astronaut/1"]
        call = opened(visit, "recognise-post_face_recognition")
        (face,) = executed(visit, call, "/face-recognition").json()
        assert face["name"] == face["candidates"][0]["name"] == "Eileen Collins"
        expect(call.locator(".live-responses-table")).to_contain_text("Eileen Collins")
        shown = executed(visit, opened(visit, "enrol-get_samples_sample_id"), "/samples/astronaut*")
        assert shown.json()["id"] == "astronaut/1"


@pytest.mark.parametrize("operation", ["post_face_recognition", "post_draw"])
def test_a_picture_is_all_that_the_form_needs(
    pair: Pair, photographs: dict[str, list[Path]], operation: str
) -> None:
    first, other = photographs["madonna"][:2]
    with Client(pair.url) as client:
        client.enrol("1", "Madonna", first)
    with running_chromium() as browser, visiting(browser, pair.url) as visit:
        visit.page.goto(f"{visit.url}/docs")
        call = opened(visit, f"recognise-{operation}")
        call.get_by_label("Request content type").select_option("multipart/form-data")
        call.locator('input[type="file"]').set_input_files(other)
        expect(call.locator('[data-property-name="min_distance"]')).to_contain_text("a maximum")
        expect(call.locator('[data-property-name="min_distance"] input')).to_have_value("")
        visit.screenshot(f"docs-form-{operation}")
        answer = executed(visit, call, operation.removeprefix("post").replace("_", "-").replace("-", "/", 1))
        assert answer.ok
        if operation == "post_draw":
            expect(call.locator(".live-responses-table img")).to_be_visible()
            return
        assert [face["name"] for face in answer.json()] == ["Madonna"]
        expect(call.locator(".live-responses-table")).to_contain_text("Madonna")
