"""Pages from elsewhere, in a real Chromium, against services without keys: they wipe, plant and read nothing.

The service is reached in two ways: by 127.0.0.1, which Chromium trusts and tells where requests come from, or
by a name over plain HTTP, as on a home network, where it says much less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from browsing import enrol, enrolled, running_chromium
from running import Pair, running_pair, serving_requests, wait_until

TIMEOUT_S = 60
EVIL, DOOR, FACES = "evil.example", "door.example", "faces.example"
NAMES = ", ".join(f"MAP {name} 127.0.0.1" for name in (EVIL, DOOR, FACES, "faces"))


class BlankPage(BaseHTTPRequestHandler):
    """A page of whatever host it is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A page</title><body>")

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Scene:
    """The services, a port that serves blank pages, and a gallery's export to plant."""

    pair: Pair
    pages: int
    planted: str

    def url(self, host: str) -> str:
        """The service under a name."""
        return f"http://{host}:{self.pair.detection.port}"

    def page_of(self, host: str) -> str:
        return f"http://{host}:{self.pages}/"

    def answered(self, since: int) -> list[tuple[str, str, int]]:
        """Method, route and status of the requests of which the log tells after this many characters."""
        lines = self.pair.detection.log.read_text()[since:].splitlines(keepends=True)
        told = [json.loads(line) for line in lines if line.endswith("\n")]
        return [(line["method"], line["route"], line["status"]) for line in told if "route" in line]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium(f"--host-resolver-rules={NAMES}") as browser:
        yield browser


@pytest.fixture(scope="module")
def whole_scene(
    tmp_path_factory: pytest.TempPathFactory, models_dir: Path, photographs: dict[str, list[Path]]
) -> Iterator[Scene]:
    with serving_requests(BlankPage) as pages:
        port = urlsplit(pages).port
        assert port is not None
        settings = {
            "ALLOWED_HOSTS": FACES,
            "CORS_ORIGINS": f"http://{DOOR}:{port}",
            "LOG_FORMAT": "json",
            "WORKERS": "1",
        }
        with running_pair(tmp_path_factory.mktemp("pair"), models_dir, **settings) as pair:
            enrol(pair, {"eve": photographs["mindy_kaling"][0]})
            planted = requests.get(f"{pair.url}/export", timeout=TIMEOUT_S).text
            assert requests.get(f"{pair.url}/clear-samples", timeout=TIMEOUT_S).ok  # as programs always could
            enrol(pair, {"madonna": photographs["madonna"][0]})
            yield Scene(pair, port, planted)


@pytest.fixture
def scene(whole_scene: Scene, photographs: dict[str, list[Path]]) -> Scene:
    if enrolled(whole_scene.pair) != ["madonna"]:
        assert requests.delete(f"{whole_scene.pair.url}/samples", timeout=TIMEOUT_S).ok
        enrol(whole_scene.pair, {"madonna": photographs["madonna"][0]})
    return whole_scene


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


# What a page may do without asking: `url` is the service's, `planted` an export of a gallery.
SCRIPTS = """
const element = (kind, properties) => Object.assign(document.createElement(kind), properties);
const make = (kind, properties) => document.body.appendChild(element(kind, properties));
const form = (path, enctype, fields = {}) => {
    const made = make("form", { method: "POST", action: url + path, enctype });
    for (const [name, value] of Object.entries(fields)) {
        made.append(element("input", { name, value }));
    }
    return made;
};
const asFile = () => new File([planted], "gallery.jsonl", { type: "application/x-ndjson" });
const asForm = () => { const data = new FormData(); data.append("file", asFile()); return data; };
const post = (path, more) =>
    fetch(url + path, { method: "POST", mode: "no-cors", ...more }).catch(() => null);
const sample = JSON.stringify([{ id: "eve", name: "eve", image: "AAAA" }]);
"""
CLEAR, IMPORT, UPDATE, UPLOAD = "/clear-samples", "/import", "/update-samples", "/samples"
NO_ROUTE = "none"  # as the log has it
ATTACKS: dict[str, tuple[str, str, str]] = {
    "picture": ("GET", CLEAR, 'make("img", { src: url + "/clear-samples" })'),
    "link": ("GET", CLEAR, 'make("a", { href: url + "/clear-samples" }).click()'),
    "link that hides its page": (
        "GET",
        CLEAR,
        'make("a", { href: url + "/clear-samples", rel: "noreferrer" }).click()',
    ),
    "form by GET": ("GET", CLEAR, 'make("form", { action: url + "/clear-samples" }).submit()'),
    "frame": ("GET", CLEAR, 'make("iframe", { src: url + "/clear-samples" })'),
    "prefetch": ("GET", CLEAR, 'make("link", { rel: "prefetch", href: url + "/clear-samples" })'),
    "script": ("GET", CLEAR, 'make("script", { src: url + "/clear-samples" })'),
    "style sheet": ("GET", CLEAR, 'make("link", { rel: "stylesheet", href: url + "/clear-samples" })'),
    "fetch by GET": ("GET", CLEAR, 'void post("/clear-samples", { method: "GET" })'),
    "fetch by GET in other words": (
        "GET",
        CLEAR,
        'void post("/clear-samples", { method: "GET", referrerPolicy: "no-referrer",'
        ' headers: { "Accept-Language": "*", "Accept": "*/*" } })',
    ),
    "fetch by GET that may read": (
        "GET",
        CLEAR,
        'void post("/clear-samples", { method: "GET", mode: "cors" })',
    ),
    "fetch by HEAD": ("HEAD", NO_ROUTE, 'void post("/clear-samples", { method: "HEAD" })'),
    "form": ("POST", CLEAR, 'form("/clear-samples", "application/x-www-form-urlencoded").submit()'),
    "form as text": ("POST", CLEAR, 'form("/clear-samples", "text/plain").submit()'),
    "form in parts": ("POST", CLEAR, 'form("/clear-samples", "multipart/form-data").submit()'),
    "form that hides its page": (
        "POST",
        CLEAR,
        'make("meta", { name: "referrer", content: "no-referrer" });'
        ' form("/clear-samples", "text/plain").submit()',
    ),
    "form in a sandbox": (
        "POST",
        CLEAR,
        'make("iframe", { sandbox: "allow-scripts allow-forms", srcdoc:'
        ' `<form method="POST" action="${url}/clear-samples"></form>'
        "<script>document.forms[0].submit()</scr` + `ipt>` })",
    ),
    "fetch": ("POST", CLEAR, 'void post("/clear-samples")'),
    "fetch that may read": ("POST", CLEAR, 'void post("/clear-samples", { mode: "cors" })'),
    "fetch that outlives its page": ("POST", CLEAR, 'void post("/clear-samples", { keepalive: true })'),
    "beacon": ("POST", CLEAR, 'navigator.sendBeacon(url + "/clear-samples")'),
    "form that plants": (
        "POST",
        IMPORT,
        'const made = form("/import", "multipart/form-data"); const data = new DataTransfer();'
        " data.items.add(asFile());"
        ' made.append(element("input", { type: "file", name: "file", files: data.files })); made.submit()',
    ),
    "fetch that plants": ("POST", IMPORT, 'void post("/import", { body: asForm() })'),
    "beacon that plants": ("POST", IMPORT, 'navigator.sendBeacon(url + "/import", asForm())'),
    "text that enrols": ("POST", UPDATE, 'void post("/update-samples", { body: sample })'),
    "form that enrols": ("POST", UPDATE, 'form("/update-samples", "text/plain", { x: sample }).submit()'),
    "form that uploads": (
        "POST",
        UPLOAD,
        'form("/samples", "multipart/form-data", { name: "eve" }).submit()',
    ),
    "fetch that uploads": ("POST", UPLOAD, 'void post("/samples", { body: asForm() })'),
    "form that corrects": (
        "POST",
        "/corrections",
        'form("/corrections", "multipart/form-data",'
        ' { name: "eve", wrong_sample: "madonna", then: "remove" }).submit()',
    ),
    "text that makes people": ("POST", "/persons", 'void post("/persons", { body: `{"name": "eve"}` })'),
    "text that makes galleries": (
        "POST",
        "/galleries",
        'void post("/galleries", { body: `{"name": "eve"}` })',
    ),
    "deletion": ("OPTIONS", "/samples", 'void post("/samples", { method: "DELETE", mode: "cors" })'),
    "JSON that enrols": (
        "OPTIONS",
        UPDATE,
        'void post("/update-samples", { mode: "cors", body: sample,'
        ' headers: { "Content-Type": "application/json" } })',
    ),
}
WAYS = {
    "another site": (EVIL, "127.0.0.1"),
    "another port": ("127.0.0.1", "127.0.0.1"),
    "another site, over plain HTTP": (EVIL, FACES),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_other_pages_change_nothing(attack: str, way: str, scene: Scene, page: Page) -> None:
    (host, service), (method, path, script) = WAYS[way], ATTACKS[attack]
    page.goto(scene.page_of(host))
    detection = scene.pair.detection
    since = len(detection.log.read_text())
    page.evaluate(
        f"({{ url, planted }}) => {{ {SCRIPTS} {script} }}",
        {"url": scene.url(service), "planted": scene.planted},
    )

    def statuses() -> list[int]:
        return [status for *asked, status in scene.answered(since) if asked == [method, path]]

    wait_until(lambda: bool(statuses()), detection.process, detection.log)
    assert enrolled(scene.pair) == ["madonna"]
    if method == "OPTIONS":  # the browser has asked, and been told of no origin that may
        assert {by for by, *_ in scene.answered(since)} <= {"OPTIONS", "GET"}
    else:
        assert set(statuses()) == {405 if method == "HEAD" else 403}


LOOK = """([url, credentials]) => new Promise((done) => {
    const image = Object.assign(new Image(), credentials ? {} : { crossOrigin: "anonymous" });
    image.onload = () => done("shown");
    image.onerror = () => done("refused");
    image.src = url;
})"""


@pytest.mark.parametrize("way", WAYS)
def test_other_pages_do_not_learn_who_has_a_face_here(way: str, scene: Scene, page: Page) -> None:
    """A page may show pictures of anywhere; that there is one would tell that the sample is there."""
    host, service = WAYS[way]
    page.goto(scene.page_of(host))
    for sample in ("madonna", "nobody"):
        for credentials in (True, False):
            asked = [f"{scene.url(service)}/samples/{sample}/face", credentials]
            assert page.evaluate(LOOK, asked) == "refused"
    page.goto(scene.url(service))
    assert page.evaluate(LOOK, [f"{scene.url(service)}/samples/madonna/face", True]) == "shown"


REBOUND = {
    "reads the gallery": ("detection", "GET", "/export", None),
    "reads the names": ("detection", "GET", "/samples", None),
    "reads the people": ("detection", "GET", "/persons", None),
    "reads a face": ("detection", "GET", "/samples/madonna/face", None),
    "deletes a gallery": ("detection", "DELETE", "/galleries/default", None),
    "wipes": ("detection", "POST", "/clear-samples", None),
    "wipes by GET": ("detection", "GET", "/clear-samples", None),
    "deletes": ("detection", "DELETE", "/samples", None),
    "plants": ("detection", "POST", "/import", "application/x-ndjson"),
    "reads the model": ("extraction", "GET", "/model", None),
}


@pytest.mark.parametrize("deed", REBOUND)
def test_a_page_whose_name_leads_here_is_told_nothing(deed: str, scene: Scene, page: Page) -> None:
    """DNS rebinding: the page came from elsewhere, and its name now is the address of the service."""
    service, method, path, media = REBOUND[deed]
    # Any document of that name will do for the page. If it came from elsewhere, Chromium itself would
    # keep it from a loopback address; other browsers would not.
    page.goto(f"http://{EVIL}:{getattr(scene.pair, service).port}/health")
    answer: dict[str, Any] = page.evaluate(
        """async ([path, method, media, planted]) => {
            const options = media ? { headers: { "Content-Type": media }, body: planted } : {};
            const answer = await fetch(path, { method, ...options });
            return { status: answer.status, text: await answer.text() };
        }""",
        [path, method, media, scene.planted],
    )
    assert (answer["status"], json.loads(answer["text"])["code"]) == (421, "misdirected_request")
    assert "madonna" not in answer["text"]
    assert enrolled(scene.pair) == ["madonna"]


CALL = "([path, method]) => fetch(path, { method }).then((answer) => answer.status)"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "faces", FACES])
def test_the_services_own_page_does_everything(host: str, scene: Scene, page: Page, tmp_path: Path) -> None:
    page.goto(f"{scene.url(host)}/#gallery")
    expect(page.locator("#gallery-list")).to_contain_text("madonna")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    exported = tmp_path / "gallery.jsonl"
    download.value.save_as(exported)
    assert page.evaluate(CALL, ["clear-samples", "POST"]) == 200
    assert enrolled(scene.pair) == []
    with page.expect_response("**/import"):  # the list still shows whom it showed before
        page.set_input_files("#gallery-import", exported)
    assert enrolled(scene.pair) == ["madonna"]
    by_get = page.evaluate(CALL, ["clear-samples", "GET"])  # as /docs sends it
    assert by_get == (200 if host in ("127.0.0.1", "localhost") else 403)
    assert page.evaluate(CALL, ["samples", "DELETE"]) == 200
    assert enrolled(scene.pair) == []


def test_a_page_that_is_named_may_call(scene: Scene, page: Page) -> None:
    page.goto(scene.page_of(DOOR))
    for host in ("127.0.0.1", FACES):
        assert page.evaluate(CALL, [f"{scene.url(host)}/samples/count", "GET"]) == 200
        assert page.evaluate(CALL, [f"{scene.url(host)}/samples", "DELETE"]) == 200
    assert enrolled(scene.pair) == []


def test_an_address_that_is_typed_does_not_clear(scene: Scene, page: Page) -> None:
    for host in ("127.0.0.1", "localhost", FACES):
        answer = page.goto(f"{scene.url(host)}/clear-samples")
        assert answer is not None
        assert (answer.status, answer.json()["code"]) == (403, "cross_origin")
    assert enrolled(scene.pair) == ["madonna"]


def test_the_start_says_what_is_open_to_whom(scene: Scene) -> None:
    told = [line for line in scene.pair.detection.log.read_text().splitlines() if "no keys are set" in line]
    assert len(told) == 1
    for part in (f"127.0.0.1:{scene.pair.detection.port}", "clear, export and import", "API_KEYS"):
        assert part in told[0]
