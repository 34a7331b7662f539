"""A real Chromium, and what its pages do: complaints on the console, and requests to other hosts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LIMIT_MS = 60_000
WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 360, "height": 740}
SCREENSHOTS = Path(__file__).parent / "screenshots"

expect.set_options(timeout=LIMIT_MS)


def chromium_path() -> str:
    """Where the system's Chromium is; without one the test is skipped."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("NO BROWSER: the web page is not tested; install Chromium (apt-get install chromium)")
    return path


@contextmanager
def running_chromium(*switches: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(switches))
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page in a window of its own, and what it should not do."""

    page: Page
    url: str
    forgiven: str | None = None
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)  # paths of its requests

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        forgiven = self.forgiven is not None and self.forgiven in message.text
        if message.type in ("error", "warning") and not forgiven:
            self.complaints.append(f"{message.text} {message.location}")

    def _request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data"):
            self.hosts.add(parts.netloc)
            self.asked.append(f"{request.method} {parts.path}")

    def view(self, name: str) -> Page:
        """Open one of the page's views, and wait until the server has said how it is."""
        self.page.goto(f"{self.url}/#{name}")
        expect(self.page.locator("#server")).not_to_contain_text("Asking")
        return self.page

    def screenshot(self, name: str) -> None:
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def faults(self) -> list[str]:
        """What axe-core calls serious or critical in what is shown now."""
        violations = Axe().run(self.page).response["violations"]
        return [
            f"{violation['id']}: {node['html']} {node['failureSummary']}"
            for violation in violations
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    def fits(self) -> bool:
        """Whether nothing has to be scrolled sideways."""
        wide: bool = self.page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        return wide


@contextmanager
def visiting(browser: Browser, url: str, forgiven: str | None = None, **options: Any) -> Iterator[Visit]:
    """Open a window; afterwards nothing may have complained, and no other host have been asked.

    forgiven: what the console may say of a failure that the test brings about.
    """
    with browser.new_context(**{"viewport": WIDE, "locale": "en-GB"} | options) as context:
        context.set_default_timeout(LIMIT_MS)
        visit = Visit(context.new_page(), url, forgiven)
        yield visit
        assert visit.complaints == []
        assert visit.hosts == {urlsplit(url).netloc}
