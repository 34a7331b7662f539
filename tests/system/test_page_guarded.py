"""The web page of a service that asks for keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from browsing import visiting
from running import Pair, running_pair
from serving import keys

ADMIN, ADMIN_KEY = keys.new("the-admin", "admin")
DOOR, DOOR_KEY = keys.new("the-door", "recognise")


@pytest.fixture(scope="module")
def guarded(browser: Browser, tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Pair]:
    entries = f"{ADMIN_KEY.entry()} {DOOR_KEY.entry()}"
    with running_pair(tmp_path_factory.mktemp("pair"), models_dir, API_KEYS=entries) as pair:
        yield pair


def test_the_key_is_asked_for_and_stays_in_the_tab(browser: Browser, guarded: Pair) -> None:
    with visiting(browser, guarded.url, forgiven="status of 401") as visit:
        page = visit.page
        page.goto(f"{guarded.url}/#gallery")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("This server requires a key")
        expect(page.get_by_role("textbox", name="Key")).to_be_focused()
        visit.screenshot("key")
        assert visit.faults() == []
        page.get_by_role("textbox", name="Key").fill("a wrong one")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("That key was not accepted.")
        page.get_by_role("textbox", name="Key").fill(ADMIN)
        page.get_by_role("button", name="Use key").click()
        expect(page.locator("#server")).to_have_text("Ready · Facenet")
        expect(page.locator("#gallery-summary")).to_have_text("Nobody is enrolled yet.")
        assert ADMIN in page.evaluate("Object.values(sessionStorage)")
        assert page.evaluate("localStorage.length + document.cookie.length") == 0
        assert ADMIN not in page.content()

        page.reload()  # it is remembered
        expect(page.locator("#gallery-summary")).to_have_text("Nobody is enrolled yet.")
        expect(dialog).to_be_hidden()
        other = page.context.new_page()  # but not in another tab
        other.goto(guarded.url)
        expect(other.get_by_role("dialog")).to_be_visible()

        page.get_by_role("button", name="Forget key").click()
        expect(dialog).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0


def test_without_a_key_the_page_says_so(browser: Browser, guarded: Pair) -> None:
    with visiting(browser, guarded.url, forgiven="status of 401") as visit:
        page = visit.page
        page.goto(guarded.url)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#server")).to_have_text("Not ready")
        expect(page.locator("#alert")).to_contain_text("This server requires a key.")
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("dialog")).to_be_visible()


def test_a_key_that_opens_not_everything(
    browser: Browser, guarded: Pair, photographs: dict[str, list[Path]]
) -> None:
    with visiting(browser, guarded.url, forgiven="status of 40") as visit:
        page = visit.page
        page.goto(guarded.url)
        page.get_by_role("textbox", name="Key").fill(DOOR)
        page.keyboard.press("Enter")
        page.set_input_files("#recognise-file", photographs["madonna"][0])
        expect(page.locator("#summary")).to_have_text("1 face: unknown")
        page.locator("#faces").get_by_role("combobox").fill("Madonna")
        page.get_by_role("button", name="Name this face").click()
        expect(page.locator("#faces")).to_contain_text("This key does not have the scope enrol.")
        page.get_by_role("link", name="Gallery").click()
        expect(page.locator("#gallery-message")).to_have_text("This key does not have the scope enrol.")
