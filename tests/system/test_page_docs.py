"""/docs of both services in a real Chromium: the interface to read and to try, from the service alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from browsing import NARROW, WIDE, running_chromium, visiting
from running import Pair


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
                assert answer.value.json() == {"status": "ok"}
                expect(call.locator(".live-responses-table")).to_contain_text('"status": "ok"')


def test_what_people_look_for_stands_at_the_top(pair: Pair) -> None:
    with running_chromium() as browser, visiting(browser, pair.url) as visit:
        visit.page.goto(f"{visit.url}/docs")
        expect(visit.page.locator("h3[id^=operations-tag]").first).to_contain_text("recognise")
        call = visit.page.locator("#operations-recognise-post_face_recognition")
        call.locator("button").first.click()
        with visit.page.expect_response("**/face-recognition*") as answer:
            call.get_by_role("button", name="Execute").click()
        assert answer.value.ok  # the example is a picture that can be sent as it is
