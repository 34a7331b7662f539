"""Draws docs/page.png, the README's picture of the web page: python docs/screenshot.py

Both services run on free ports with a gallery of their own. The portrait is the one that the service comes
with, of the astronaut Eileen Collins, by NASA, in the public domain; a small and dark copy of it is enrolled.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path

import requests
from PIL import Image, ImageEnhance

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

from browsing import expect, running_chromium, visiting  # noqa: E402
from running import running_pair  # noqa: E402

PORTRAIT = ROOT / "face_detection" / "recognition" / "static" / "ready.jpg"
WINDOW = {"width": 1080, "height": 660}
COPY_PX, COPY_BRIGHTNESS = 96, 0.6


def main() -> None:
    """Enrol the copy, recognise the portrait, and keep what the page shows."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_pair(Path(folder), ROOT / "models") as pair,
        running_chromium() as browser,
        visiting(browser, pair.url, viewport=WINDOW) as visit,
    ):
        body = [{"id": "astronaut/1", "name": "Eileen Collins", "image": copy()}]
        answer = requests.post(f"{pair.url}/update-samples", json=body, timeout=60)
        assert answer.json()["success"] == ["astronaut/1"], answer.text
        page = visit.view("recognise")
        page.set_input_files("#recognise-file", PORTRAIT)
        expect(page.locator("#summary")).to_have_text("1 face: Eileen Collins")
        page.screenshot(path=ROOT / "docs" / "page.png")


def copy() -> str:
    """Return the portrait, smaller and darker, as base64 text."""
    with Image.open(PORTRAIT) as portrait:
        small = ImageEnhance.Brightness(portrait.resize((COPY_PX, COPY_PX))).enhance(COPY_BRIGHTNESS)
    stream = io.BytesIO()
    small.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


if __name__ == "__main__":
    main()
