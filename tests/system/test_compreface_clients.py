"""CompreFace's own clients against the services: every call of theirs, refusals included.

They are installed in environments of their own: `compreface-sdk` needs a urllib3 that is too old for ours.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import requests
from PIL import Image

from running import ROOT, Pair, running_pair, serving_requests
from squares import KEYS, RECOGNITION, SERVICES, UNKNOWN

DRIVERS = Path(__file__).resolve().parents[1] / "compreface_clients"
FOR_PYTHON = ("compreface-sdk==0.6.0", "compreface-sdk-python==1.0.6", "urllib3<2")
FOR_JAVASCRIPT = "@exadel/compreface-js-sdk@1.0.0"
INSTALL_LIMIT_S = 300
TIMEOUT_S = 60
LOW, SURE = 0.5, 0.6  # similarity: the middle, and what double-take takes for a match by default
NOBODY = "00000000-0000-4000-8000-000000000000"
NO_FACE = {"message": "No face is found in the given image", "code": 28}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Pair]:
    with running_pair(
        tmp_path_factory.mktemp("compreface"), models_dir, COMPREFACE_SERVICES=SERVICES
    ) as pair:
        yield pair


@pytest.fixture
def url(services: Pair) -> str:
    """Where the services are, whose collection is empty."""
    api = f"{services.url}/api/v1/recognition"
    assert requests.delete(f"{api}/subjects", headers={"x-api-key": RECOGNITION}, timeout=TIMEOUT_S).ok
    return services.url


@dataclass(frozen=True)
class Pictures:
    """Files: two of one person, another person, two people beside each other, and nobody."""

    ann: str
    ann_later: str
    bob: str
    both: str
    nobody: str

    def text(self, name: str) -> str:
        return base64.b64encode(self.data(name)).decode()

    def data(self, name: str) -> bytes:
        return Path(getattr(self, name)).read_bytes()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, list[Path]]) -> Pictures:
    folder = tmp_path_factory.mktemp("pictures")
    ann, ann_later = photographs["madonna"][1:3]
    bob = photographs["jerry_seinfeld"][1]
    beside = [Image.open(path).convert("RGB").resize((300, 300)) for path in (ann, bob)]  # about as they are
    Image.fromarray(np.hstack([np.asarray(each) for each in beside])).save(folder / "both.png")
    Image.new("RGB", (200, 200), "white").save(folder / "nobody.jpg")
    for name, path in (("ann", ann), ("ann_later", ann_later), ("bob", bob)):
        shutil.copy(path, folder / f"{name}.jpg")
    return Pictures(
        *(str(folder / name) for name in ("ann.jpg", "ann_later.jpg", "bob.jpg", "both.png", "nobody.jpg"))
    )


@dataclass
class Client:
    """A client in a process of its own, and which of its calls were made."""

    process: subprocess.Popen[str]
    calls: set[str]
    made: set[str] = field(default_factory=set)

    def answer(self, name: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        stdin, stdout = streams(self.process)
        stdin.write(json.dumps([name, arguments, options]) + "\n")
        stdin.flush()
        self.made.add(name)
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer

    def __call__(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Make a call, and return what the client makes of the answer."""
        answer = self.answer(name, *arguments, **options)
        assert set(answer) == {"result"}, answer
        return answer["result"]


def streams(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin and process.stdout
    return process.stdin, process.stdout


@contextmanager
def running_client(
    command: list[str], url: str, *, cwd: str, of: str = "", keys: dict[str, str] = KEYS
) -> Iterator[Client]:
    host, _, port = url.rpartition(":")
    arguments = [*command, *([of] if of else []), host, port, json.dumps(keys)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd)
    stdin, stdout = streams(process)
    try:
        yield Client(process, set(json.loads(stdout.readline())))
    finally:
        stdin.close()
        process.wait(TIMEOUT_S)
        stdout.close()


def installed(what: str, *commands: list[str]) -> None:
    for command in commands:
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
        except (OSError, subprocess.TimeoutExpired) as e:
            pytest.skip(f"{what} cannot be installed: {e}")
        if made.returncode:
            pytest.skip(f"{what} cannot be installed: {made.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def python_driver(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clients") / "env"
    python = str(folder / "bin" / "python")
    uv = [sys.executable, "-m", "uv", "--quiet"]
    installed(
        "CompreFace's clients for Python",
        [*uv, "venv", "--python", sys.executable, str(folder)],
        [*uv, "pip", "install", "--python", python, *FOR_PYTHON],
    )
    return [python, "-W", "ignore", str(DRIVERS / "driver.py")]


@pytest.fixture(scope="module")
def javascript_driver(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        pytest.skip("CompreFace's client for JavaScript cannot be installed: there is no node, or no npm")
    folder = tmp_path_factory.mktemp("client")
    (folder / "package.json").write_text("{}")
    options = [
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefer-offline",
        f"--prefix={folder}",
    ]
    installed("CompreFace's client for JavaScript", [npm, "install", *options, FOR_JAVASCRIPT])
    shutil.copy(DRIVERS / "driver.mjs", folder)
    return [node, str(folder / "driver.mjs")]


def subject_of(answer: dict[str, Any]) -> str:
    """As careless programs read an answer: the first subject of the first face."""
    face = answer["result"][0]
    assert face["subjects"][0]["similarity"] > SURE
    subject: str = face["subjects"][0]["subject"]
    return subject


def both_are_right(answer: dict[str, Any]) -> bool:
    names = sorted(face["subjects"][0]["subject"] for face in answer["result"])
    return names == ["Ann", "Bob"]


def test_every_call_of_compreface_sdk(url: str, python_driver: list[str], pictures: Pictures) -> None:
    with running_client(python_driver, url, of="compreface-sdk", cwd="/") as sdk:
        # subjects
        assert sdk("subjects.add", "Ann") == {"subject": "Ann"}
        assert sdk("subjects.add", "ann") == {"message": "Subject already exists", "code": 43}
        assert sdk("subjects.add", "a/b")["code"] == 36
        assert sdk("subjects.list") == {"subjects": ["Ann"]}
        assert sdk("subjects.update", "Ann", "Ann Lee") == {"updated": True}
        assert sdk("subjects.update", "Nobody", "X") == {"message": "Subject Nobody not found", "code": 42}
        assert sdk("subjects.delete", "Ann Lee") == {"subject": "Ann Lee"}
        assert sdk("subjects.delete", "Ann Lee")["code"] == 42

        # examples: from a path and from bytes
        added = sdk("faces.add", pictures.ann, "Ann")
        assert added == {"image_id": str(uuid.UUID(added["image_id"])), "subject": "Ann"}
        other = sdk("faces.add", {"bytes": pictures.text("bob")}, "Bob", {"det_prob_threshold": 0.8})
        assert sdk("faces.add", pictures.both, "Both")["code"] == 31
        assert sdk("faces.add", pictures.nobody, "X") == NO_FACE
        listed = sdk("faces.list")
        assert sorted(face["subject"] for face in listed["faces"]) == ["Ann", "Bob"]
        (compared,) = sdk("faces.verify", pictures.ann_later, added["image_id"], {"limit": 1})["result"]
        assert compared["subject"] == "Ann" and compared["similarity"] > SURE
        assert sdk("faces.verify", pictures.bob, NOBODY) == {"message": "Image Id is incorrect", "code": 44}

        # recognise
        assert subject_of(sdk("recognition.recognize", pictures.ann_later)) == "Ann"
        assert subject_of(sdk("recognition.recognize", {"bytes": pictures.text("ann_later")})) == "Ann"
        assert both_are_right(sdk("recognition.recognize", pictures.both))
        options = {
            "limit": 1,
            "det_prob_threshold": 0.8,
            "prediction_count": 2,
            "face_plugins": "calculator,age,gender,landmarks,mask",
            "status": True,
        }
        full = sdk("recognition.recognize", pictures.ann_later, options)
        (face,) = full["result"]
        assert [found["subject"] for found in face["subjects"]] == ["Ann", "Bob"]
        assert face["subjects"][1]["similarity"] < LOW
        assert len(face["landmarks"]) == 5 and len(face["embedding"]) == 128
        assert {"detector", "calculator"} <= set(full["plugins_versions"])
        assert sdk("recognition.recognize", pictures.nobody) == NO_FACE

        # detect, verify
        assert len(sdk("detection.detect", pictures.both)["result"]) == 2
        detected = sdk("detection.detect", pictures.ann, {"face_plugins": "landmarks", "status": "true"})
        assert set(detected["result"][0]) == {"box", "landmarks", "execution_time"}
        (same,) = sdk("verification.verify", pictures.ann, pictures.ann_later, {"status": True})["result"]
        assert same["face_matches"][0]["similarity"] > SURE and same["plugins_versions"]
        (strangers,) = sdk(
            "verification.verify", pictures.bob, {"bytes": pictures.text("both")}, {"limit": 0}
        )["result"]
        assert sorted(match["similarity"] > SURE for match in strangers["face_matches"]) == [False, True]
        assert sdk("verification.verify", pictures.both, pictures.bob)["code"] == 31

        # delete
        assert sdk("faces.delete", added["image_id"]) == added
        assert sdk("faces.delete", added["image_id"])["code"] == 44
        assert sdk("faces.delete_all", "Bob") == {"deleted": 1}
        assert sdk("faces.delete_all", "Bob") == {"deleted": 0}
        assert sdk("subjects.list") == {"subjects": ["Ann"]}
        assert sdk("subjects.delete_all") == {"deleted": 1}
        assert sdk.made == sdk.calls and other["subject"] == "Bob"


def test_what_compreface_sdk_says_with_the_wrong_key(
    url: str, python_driver: list[str], pictures: Pictures
) -> None:
    keys = dict.fromkeys(KEYS, UNKNOWN)
    with running_client(python_driver, url, of="compreface-sdk", cwd="/", keys=keys) as sdk:
        for kind, answer in (
            ("Recognition", sdk("recognition.recognize", pictures.ann)),
            ("Detection", sdk("detection.detect", pictures.ann)),
            ("Verification", sdk("verification.verify", pictures.ann, pictures.ann)),
        ):
            assert answer == {"message": f"{kind} service with API Key {UNKNOWN} not found", "code": 10}


@pytest.mark.parametrize("prefix", ["", "async_"])
def test_every_call_of_compreface_sdk_python(
    url: str, python_driver: list[str], pictures: Pictures, prefix: str, tmp_path: Path
) -> None:
    with running_client(python_driver, url, of="compreface-sdk-python", cwd=str(tmp_path)) as client:

        def sdk(name: str, *arguments: Any, **options: Any) -> Any:
            return client(f"{prefix}{name}", *arguments, **options)

        # subjects
        assert sdk("recognition.add_a_subject", "Ann") == {"subject": "Ann"}
        assert sdk("recognition.add_a_subject", "")["code"] == 26
        assert sdk("recognition.list_all_subjects") == {"subjects": ["Ann"]}
        assert sdk("recognition.rename_a_subject", "Ann", "Eve") == {"updated": True}
        assert sdk("recognition.delete_a_subject", "Eve") == {"subject": "Eve"}
        assert sdk("recognition.delete_a_subject", "Eve")["code"] == 42

        # examples, by file and by base64
        first = sdk("recognition.add_a_img", "Ann", pictures.ann)
        second = sdk("recognition.add_a_img_by_64", "Bob", pictures.text("bob"))
        third = sdk("recognition.add_a_img", "Ann", pictures.ann_later)
        assert [each["subject"] for each in (first, second, third)] == ["Ann", "Bob", "Ann"]
        refused = sdk("recognition.add_a_img_by_64", "X", f"data:image/jpeg;base64,{pictures.text('bob')}")
        assert refused == {"message": "Provided value is not Base64", "code": 21}
        page = sdk("recognition.list_saved_img_subject", page=1, size=2)
        assert (page["page_number"], page["page_size"], page["total_pages"], page["total_elements"]) == (
            1,
            2,
            2,
            3,
        )
        assert len(page["faces"]) == 1
        assert len(sdk("recognition.list_saved_img_subject", subject="Ann")["faces"]) == 2

        # pictures
        shown = [
            sdk("recognition.download_a_img", first["image_id"], "one.jpg"),
            sdk("recognition.direct_download_img", first["image_id"], "two.jpg"),
        ]
        for path in shown:
            with Image.open(path) as face:
                assert max(face.size) <= 256
        assert Path(shown[0]).read_bytes() == Path(shown[1]).read_bytes()
        assert Path(sdk("recognition.download_a_img", NOBODY, "none.jpg")).read_bytes() == b""

        # recognise, verify
        assert both_are_right(sdk("recognition.recognize", pictures.both))
        options = {"limit": 1, "prediction_count": 3, "face_plugins": "landmarks,pose", "status": True}
        by_file = sdk("recognition.recognize", pictures.ann, **options)
        by_text = sdk("recognition.recognize_by_64", pictures.text("ann"), **options)
        for answer in (by_file, by_text):
            (face,) = answer["result"]
            assert [found["subject"] for found in face["subjects"]] == ["Ann", "Ann", "Bob"]
            assert set(face) == {"box", "subjects", "landmarks", "pose", "execution_time"}
        assert sdk("recognition.recognize", pictures.nobody) == NO_FACE
        cropped = sdk("recognition.recognize", pictures.ann, detect_faces=False)
        assert len(cropped["result"]) == 1
        for compared in (
            sdk("recognition.verify", pictures.ann_later, first["image_id"]),
            sdk("recognition.verify_by_64", pictures.text("ann_later"), first["image_id"]),
        ):
            assert compared["result"][0]["subject"] == "Ann" and compared["result"][0]["similarity"] > SURE
        for detected in (
            sdk("detection.detect", pictures.both, face_plugins="calculator"),
            sdk("detection.detect_by_64", pictures.text("both"), face_plugins="calculator"),
        ):
            assert [len(face["embedding"]) for face in detected["result"]] == [128, 128]
        for same in (
            sdk("verification.verify", pictures.ann, pictures.ann_later),
            sdk("verification.verify_by_64", pictures.text("ann"), pictures.text("ann_later")),
        ):
            assert same["result"][0]["face_matches"][0]["similarity"] > SURE

        # delete
        assert sdk("recognition.delete_a_img", first["image_id"]) == first
        assert sdk("recognition.delete_multiple_img", [third["image_id"], NOBODY]) == [third]
        assert sdk("recognition.delete_saved_img_by_subject", "Bob") == {"deleted": 1}
        assert sdk("recognition.delete_all_subjects") == {"deleted": 1}
        assert client.made == {call for call in client.calls if call.startswith("async_") == bool(prefix)}


@contextmanager
def showing(data: bytes) -> Iterator[str]:
    """A picture at an address, from which the client for JavaScript fetches it to pass it on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with serving_requests(Handler) as url:
        yield f"{url}/picture.jpg"


def test_every_call_of_compreface_js_sdk(url: str, javascript_driver: list[str], pictures: Pictures) -> None:
    folder = str(Path(pictures.ann).parent)
    here = {
        name: f"./{Path(getattr(pictures, name)).name}"
        for name in ("ann", "ann_later", "bob", "both", "nobody")
    }
    with (
        running_client(javascript_driver, url, cwd=folder) as sdk,
        showing(pictures.data("ann_later")) as elsewhere,
    ):
        # subjects
        assert sdk("subjects.add", "Ann") == {"subject": "Ann"}
        assert sdk.answer("subjects.add", "ANN") == {
            "refused": {"message": "Subject already exists", "code": 43}
        }
        assert sdk("subjects.list") == {"subjects": ["Ann"]}
        assert sdk("subjects.rename", "Ann", "Eve") == {"updated": True}
        assert sdk("subjects.delete", "Eve") == {"subject": "Eve"}
        assert sdk("subjects.deleteAll") == {"deleted": 0}

        # examples: from a path, an address and base64
        first = sdk("faces.add", here["ann"], "Ann")
        second = sdk("faces.add", elsewhere, "Ann")
        third = sdk("faces.add", pictures.text("bob"), "Bob")
        assert [each["subject"] for each in (first, second, third)] == ["Ann", "Ann", "Bob"]
        assert sdk.answer("faces.add", here["both"], "X")["refused"]["code"] == 31
        assert sdk.answer("faces.add", here["nobody"], "X") == {"refused": NO_FACE}
        assert sdk("faces.list")["total_elements"] == 3

        # recognise, verify, detect
        options = {"limit": 0, "prediction_count": 1, "face_plugins": "landmarks", "status": True}
        assert both_are_right(sdk("recognition.recognize", here["both"], {}))
        assert subject_of(sdk("recognition.recognize", elsewhere, {"limit": 1})) == "Ann"
        assert subject_of(sdk("recognition.recognize", pictures.text("bob"), {})) == "Bob"
        both = sdk("recognition.recognize", here["both"], {"limit": 1})
        assert len(both["result"]) == 1
        compared = sdk("faces.verify", here["ann_later"], first["image_id"], {"limit": 1})
        assert compared["result"][0]["similarity"] > SURE
        wrong = sdk.answer("faces.verify", here["ann_later"], NOBODY, {})
        assert wrong == {"refused": {"message": "Image Id is incorrect", "code": 44}}
        assert len(sdk("detection.detect", here["both"], {"limit": 0})["result"]) == 2
        assert len(sdk("detection.detect", elsewhere, {})["result"]) == 1
        for source, target in (
            (here["ann"], here["ann_later"]),
            (here["ann"], elsewhere),
            (elsewhere, elsewhere),
            (pictures.text("ann"), pictures.text("ann_later")),
        ):
            (same,) = sdk("verification.verify", source, target, {"limit": 1})["result"]
            assert same["face_matches"][0]["similarity"] > SURE
        assert sdk.answer("verification.verify", here["both"], here["ann"], {})["refused"]["code"] == 31

        # of several options without a limit it makes one: it puts a question mark before each
        odd = sdk.answer("detection.detect", here["ann"], {"det_prob_threshold": 0.8, **options, "limit": -1})
        assert "refused" in odd

        # delete
        assert sdk("faces.delete", first["image_id"]) == first
        assert sdk.answer("faces.delete", first["image_id"])["refused"]["code"] == 44
        assert sdk("faces.delete_multiple_images", [second["image_id"], NOBODY]) == [second]
        assert sdk("faces.delete_all_subject", "Bob") == {"deleted": 1}
        sdk("faces.add", here["bob"], "Bob")
        assert sdk("faces.delete_all") == {"deleted": 1}
        assert sdk("subjects.list") == {"subjects": []}
        assert sdk.made == sdk.calls


# --- double-take, at the wire: what its public source sends, and what it does with answers


def double_take(url: str, method: str, path: str, picture: bytes | None = None) -> Any:
    """Send what axios and form-data send: a form in chunks, of which nobody says how long it is."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
    headers = {
        "Accept": "application/json, text/plain, */*",
        "x-api-key": RECOGNITION,
        "User-Agent": "axios/0.21.4",
    }
    boundary = "--------------------------150851205425361418361421"
    body: Any = None
    if picture is not None:
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="4f1c.jpg"\r\n'
        pieces = [f"{head}Content-Type: image/jpeg\r\n\r\n".encode()]
        pieces += [picture[start : start + 65536] for start in range(0, len(picture), 65536)]
        body = iter([*pieces, f"\r\n--{boundary}--\r\n".encode()])
    connection.request(method, f"/api/v1/recognition/{path}", body, headers, encode_chunked=body is not None)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return json.loads(data)


def seen_by_double_take(answer: dict[str, Any]) -> list[tuple[str, bool]]:
    """Names and matches, as it makes them of an answer; code 28 is a picture of nobody."""
    if "result" not in answer:
        assert answer["code"] == 28, answer["message"]  # it shows anything else as an error
        return []
    found = []
    for face in answer["result"]:
        best = face["subjects"][0] if face["subjects"] else {"subject": "unknown", "similarity": 0}
        box = face["box"]
        assert box["x_max"] > box["x_min"] and box["y_max"] > box["y_min"]
        found.append((best["subject"], round(100 * best["similarity"], 2) >= 100 * SURE))
    return found


def test_what_double_take_does(url: str, pictures: Pictures) -> None:
    recognise = "recognize?face_plugins={}&det_prob_threshold=0.8"
    plugins = ("undefined", "mask,gender,age", "")
    for name in plugins:
        answer = double_take(url, "POST", recognise.format(name), pictures.data("ann"))
        assert seen_by_double_take(answer) == [("unknown", False)]
    for subject, name in (("Ann Lee", "ann"), ("Bob", "bob")):
        quoted = subject.replace(" ", "+")  # as axios does
        added = double_take(url, "POST", f"faces?subject={quoted}", pictures.data(name))
        assert added["subject"] == subject and added["image_id"]
    for name in plugins:
        answer = double_take(url, "POST", recognise.format(name), pictures.data("both"))
        assert sorted(seen_by_double_take(answer)) == [("Ann Lee", True), ("Bob", True)]
    answer = double_take(url, "POST", recognise.format("mask"), pictures.data("nobody"))
    assert seen_by_double_take(answer) == []
    assert double_take(url, "DELETE", "faces?subject=Bob") == {"deleted": 1}
    answer = double_take(url, "POST", recognise.format("undefined"), pictures.data("bob"))
    assert seen_by_double_take(answer) == [("Ann Lee", False)]  # a stranger has the nearest one


# --- other ways of sending


def test_a_client_that_waits_to_be_told_to_go_on(url: str, pictures: Pictures) -> None:
    """As curl does with larger bodies, and .NET with every one: `Expect: 100-continue`."""
    curl = shutil.which("curl")
    if not curl:
        pytest.skip("curl is not installed")
    large = pictures.data("ann") + bytes(
        5 * 2**20 - len(pictures.data("ann"))
    )  # what CompreFace promises to take
    path = Path(pictures.ann).with_name("large.jpg")
    path.write_bytes(large)
    for more in ([], ["-H", "Transfer-Encoding: chunked"]):
        command = [
            curl,
            "-sS",
            "-m",
            str(TIMEOUT_S),
            "-H",
            f"x-api-key: {KEYS['detection']}",
            "-H",
            "Expect: 100-continue",
        ]
        sent = subprocess.run(
            [*command, *more, "-F", f"file=@{path}", f"{url}/api/v1/detection/detect/"], capture_output=True
        )
        assert len(json.loads(sent.stdout)["result"]) == 1, sent


@pytest.mark.parametrize("form", ["JPEG", "PNG", "ICO", "BMP", "GIF", "TIFF", "WEBP"])
def test_real_decoders_take_every_promised_format(url: str, pictures: Pictures, form: str) -> None:
    """Under the name that clients give to bytes, whatever they are."""
    stream = io.BytesIO()
    with Image.open(pictures.ann) as image:
        square = image.convert("RGB").resize((256, 256))
    square.save(stream, form, **({"sizes": [(256, 256)]} if form == "ICO" else {}))
    answer = requests.post(
        f"{url}/api/v1/detection/detect",
        files={"file": ("image.jpg", stream.getvalue())},
        headers={"x-api-key": KEYS["detection"]},
        timeout=TIMEOUT_S,
    )
    assert len(answer.json()["result"]) == 1


# --- the page


def kinds(value: Any) -> Any:
    """What stays the same from run to run: names and types."""
    if isinstance(value, dict):
        return {name: kinds(inside) for name, inside in value.items()}
    return [kinds(inside) for inside in value] if isinstance(value, list) else type(value)


def test_what_the_page_shows_is_answered(url: str, pictures: Pictures) -> None:
    page = (ROOT / "docs" / "compreface.md").read_text(encoding="utf-8")
    example = re.findall(r"^\$ (curl .*)\n(.*)$", page, re.MULTILINE)
    assert len(example) == 2
    (key,) = set(re.findall(r"x-api-key: ([0-9a-f-]{36})", page))
    meant = {key: RECOGNITION, "http://127.0.0.1:6337": url, "@me.jpg": f"@{pictures.ann}"}
    meant["@other.jpg"] = f"@{pictures.ann_later}"
    for command, shown in example:
        for written, real in meant.items():
            command = command.replace(written, real)
        printed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=TIMEOUT_S)
        assert kinds(json.loads(printed.stdout)) == kinds(json.loads(shown)), printed
