"""A browser, and services that keep unknown faces, for those of these tests that want them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from running import Pair, running_pair

if TYPE_CHECKING:  # the others load no Playwright
    from playwright.sync_api import Browser

    from browsing import Visit


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Pair]:
    """Services with KEEP_UNKNOWN=1, whose gallery may have what tests before have left."""
    with running_pair(tmp_path_factory.mktemp("keeping"), models_dir, KEEP_UNKNOWN="1") as pair:
        yield pair


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
