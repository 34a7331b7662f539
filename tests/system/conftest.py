"""A browser, for those of these tests that want one, and do not need one with switches of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from running import Pair

if TYPE_CHECKING:  # the others load no Playwright
    from playwright.sync_api import Browser

    from browsing import Visit


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from browsing import running_chromium

    with running_chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, pair: Pair) -> Iterator[Visit]:
    """A window on the page of the running services, whose gallery is empty."""
    from browsing import visiting

    with visiting(browser, pair.url) as visit:
        yield visit
