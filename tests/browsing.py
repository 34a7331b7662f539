"""A real Chromium: what its pages do and complain of, and what people and services hand over to them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from running import Pair

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LIMIT_MS = 60_000
TIMEOUT_S = 60
WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 360, "height": 740}
MORNING = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
NO_FACE = "/face"  # of a sample; that none is kept is an ordinary answer
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
        forgiven |= "status of 404" in message.text and message.location["url"].endswith(NO_FACE)
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
        expect(self.page.locator("#server")).not_to_contain_text("Connecting")
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


def opened(path: Path) -> Image.Image:
    """Read a photograph."""
    with Image.open(path) as photograph:
        return photograph.convert("RGB")


def enrol(pair: Pair, samples: dict[str, Path], names: dict[str, str] | None = None) -> None:
    """Enrol photographs by id; the id is the name, too, where there is no other."""
    body = [
        {
            "id": sample_id,
            "name": (names or {}).get(sample_id, sample_id),
            "image": base64.b64encode(path.read_bytes()).decode(),
        }
        for sample_id, path in samples.items()
    ]
    answer = requests.post(f"{pair.url}/update-samples", json=body, timeout=TIMEOUT_S)
    assert answer.json()["fail"] == []


def vectors(url: str, path: Path) -> dict[str, Any]:
    """What a camera makes of the largest face of a photograph."""
    picture = {"file": path.read_bytes()}
    answer = requests.post(f"{url}/embeddings", files=picture, timeout=TIMEOUT_S).json()
    return {"fingerprint": answer["fingerprint"], "embeddings": [answer["faces"][0]["embedding"]]}


def see(pair: Pair, made: dict[str, Any], minute: int, picture: Path | None = None, **more: Any) -> str:
    """Record a visit to a camera, so many minutes after MORNING; returns its id."""
    visit = {
        "id": str(uuid.uuid4()),
        "camera": "Front door",
        "since": (MORNING + timedelta(minutes=minute)).isoformat(),
        "until": (MORNING + timedelta(minutes=minute, seconds=12)).isoformat(),
        "frames": 9,
        "bbox": "10, 20, 80, 90",
        "quality": 0.9,
        "picture": picture and base64.b64encode(picture.read_bytes()).decode(),
        **made,
        **more,
    }
    answer = requests.post(f"{pair.url}/events", json=visit, timeout=TIMEOUT_S)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def samples(pair: Pair) -> list[dict[str, Any]]:
    page = requests.get(f"{pair.url}/samples", params={"limit": 1000}, timeout=TIMEOUT_S).json()
    found: list[dict[str, Any]] = page["samples"]
    return found


def enrolled(pair: Pair) -> list[str]:
    return sorted(sample["name"] for sample in samples(pair))


def named(folder: Path, name: str, path: Path) -> Path:
    """A copy of a photograph under a name of its own."""
    copy = folder / name
    copy.write_bytes(path.read_bytes())
    return copy


def grey(path: Path) -> Path:
    Image.fromarray(np.full((120, 160, 3), 127, np.uint8)).save(path)
    return path


def hand_over(page: Page, event: str, target: str, files: list[Path]) -> None:
    """Drop or paste files."""
    sent = [
        {"name": path.name, "data": base64.b64encode(path.read_bytes()).decode("ascii")} for path in files
    ]
    page.evaluate(
        """([event, target, files]) => {
            const data = new DataTransfer();
            for (const { name, data: text } of files) {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                data.items.add(new File([bytes], name, { type: "image/jpeg" }));
            }
            const options = { bubbles: true, cancelable: true };
            const made = event === "paste"
                ? new ClipboardEvent(event, { ...options, clipboardData: data })
                : new DragEvent(event, { ...options, dataTransfer: data });
            document.querySelector(target).dispatchEvent(made);
        }""",
        [event, target, sent],
    )


def refuse(
    page: Page, path: str, status: int, code: str, times: int, detail: str = "x", retry_after_s: int = 2
) -> None:
    """Have the page's next requests for a path refused."""
    body = {"error": "x", "code": code, "detail": detail, "request_id": "x"}
    page.route(
        f"**/{path}",
        lambda route: route.fulfill(
            status=status, headers={"Retry-After": str(retry_after_s)}, body=json.dumps(body)
        ),
        times=times,
    )
