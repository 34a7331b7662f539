"""How YuNet comes into models/."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
import pytest

import yunets
from preparation import PrepareError, yunet
from preparation.main import add_yunet
from preparation.manifest import write_manifest
from preparation.source import Pip
from running import ROOT

OTHERS = {"format": 1, "networks": {"facenet": {"file": "facenet.onnx"}}, "demo": None}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return yunets.random(tmp_path_factory.mktemp("published") / "made.onnx")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    write_manifest(folder, OTHERS)
    return folder


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, bytes], str]]:
    """Serve one answer, and return its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers: list[tuple[http.server.HTTPServer, threading.Thread]] = []

    def start(status: int, body: bytes) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):  # of whoever has had enough
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/yunet.onnx"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def manifest_of(folder: Path) -> dict[str, Any]:
    networks = json.loads((folder / "manifest.json").read_text())["networks"]
    assert networks["facenet"] == {"file": "facenet.onnx"}
    return dict(networks["yunet"])


def no_internet() -> Pip:
    pytest.fail("reaches for the internet")


def test_it_is_added_to_what_is_there_and_made_once(
    models: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_yunet(models, published)
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    about = manifest_of(models)
    weights = {"source": "YUNET_WEIGHTS", "license": None, "sha256": digest}
    assert weights.items() < about["weights"].items()
    assert about["sha256"] == hashlib.sha256((models / "yunet.onnx").read_bytes()).hexdigest()
    assert f"yunet's weights are not those that this project knows: {published}, sha256 {digest}" in (
        capsys.readouterr().err
    )
    assert {path.name for path in models.iterdir()} == {"manifest.json", "yunet.onnx", ".lock"}
    made = (models / "yunet.onnx").stat().st_mtime_ns
    add_yunet(models, published)
    add_yunet(models, None, pip_config=no_internet)
    assert (models / "yunet.onnx").stat().st_mtime_ns == made


def test_damage_and_other_weights_are_reasons_to_make_it_again(
    models: Path, published: Path, tmp_path: Path
) -> None:
    add_yunet(models, published)
    whole = (models / "yunet.onnx").read_bytes()
    (models / "yunet.onnx").write_bytes(b"damaged")
    add_yunet(models, published)
    assert (models / "yunet.onnx").read_bytes() == whole
    add_yunet(models, yunets.random(tmp_path / "other.onnx", seed=5))
    assert (models / "yunet.onnx").read_bytes() != whole


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no network", "cannot be read as YuNet: "),
        (b"", "cannot be read as YuNet: it has no two convolutions before an output cls_8"),
        (None, "which is not a file"),
    ],
)
def test_weights_that_are_none_are_one_sentence_and_leave_what_was_there(
    models: Path, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    weights = tmp_path / "weights.onnx"
    if content is not None:
        weights.write_bytes(content)
    before = (models / "manifest.json").read_bytes()
    with pytest.raises(PrepareError, match=reason) as caught:
        add_yunet(models, weights)
    assert "\n" not in str(caught.value)
    assert (models / "manifest.json").read_bytes() == before
    assert not (models / "yunet.onnx").exists()


def test_a_network_of_another_form_is_refused(published: Path, tmp_path: Path) -> None:
    model = onnx.load(published)
    for node in model.graph.node:
        if node.output[0] == "obj_16":
            node.output[0] = "something"
    with pytest.raises(ValueError, match="before an output obj_16"):
        yunet.rearranged(model)


def test_results_that_differ_are_refused(published: Path, tmp_path: Path) -> None:
    yunet.make(tmp_path, published, Pip())
    other = onnx.load(yunets.random(tmp_path / "other.onnx", seed=7))
    with pytest.raises(PrepareError, match="as published and as served differ by"):
        yunet.compare(other, tmp_path / "yunet.onnx")


def test_a_download_is_checked(
    serve: Callable[[int, bytes], str], published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = published.read_bytes()
    url = serve(200, content)
    with pytest.raises(PrepareError, match=r"it sends a file with a wrong sha256\); YUNET_WEIGHTS=/path/to"):
        yunet.make(tmp_path, None, Pip(), url)
    monkeypatch.setattr(yunet, "SHA256", hashlib.sha256(content).hexdigest())
    about = yunet.make(tmp_path, None, Pip(), url)
    assert {"source": url, "license": "MIT", "sha256": yunet.SHA256}.items() < about["weights"].items()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, b"", "it answers with status 404"),
        (200, b"version https://git-lfs.github.com/spec/v1", "wrong sha256"),
        (200, bytes(yunet.SIZE + 5_000_000), "wrong sha256"),
    ],
)
def test_a_hopeless_download_is_one_sentence(
    serve: Callable[[int, bytes], str], tmp_path: Path, status: int, body: bytes, reason: str
) -> None:
    with pytest.raises(PrepareError, match=reason) as caught:
        yunet.make(tmp_path, None, Pip(), serve(status, body))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_zoo_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(PrepareError, match=r"\(it cannot be reached\); YUNET_WEIGHTS=/path/to/"):
        yunet.make(tmp_path, None, Pip(), "http://127.0.0.1:9/yunet.onnx")


@pytest.fixture
def copied(models_dir: Path, tmp_path: Path) -> Path:
    """The prepared models without YuNet."""
    folder = tmp_path / "copied"
    folder.mkdir()
    for path in models_dir.iterdir():
        if path.name not in ("yunet.onnx", "manifest.json", ".lock"):
            (folder / path.name).symlink_to(path)
    manifest = json.loads((models_dir / "manifest.json").read_text())
    manifest["networks"].pop("yunet", None)
    write_manifest(folder, manifest)
    return folder


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"DETECTOR": "yunet"}, True),
        ({"MODELS": "fast", "EMBEDDING_MODEL": "Facenet"}, True),
        ({"MODELS": "fast", "EMBEDDING_MODEL": "Facenet", "DETECTOR": "mtcnn"}, False),
        ({}, False),
    ],
)
def test_it_is_made_where_the_settings_ask_for_it(
    copied: Path, published: Path, settings: dict[str, str], asked: bool
) -> None:
    def prepare(weights: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            str(ROOT / "prepare_models.py"),
            "--if-missing",
            "--models-dir",
            str(copied),
        ]
        environment = os.environ | settings | {"YUNET_WEIGHTS": weights, "FACENET_WEIGHTS": ""}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    nowhere = prepare("/nowhere/yunet.onnx")
    said = "prepare_models: error: YUNET_WEIGHTS names /nowhere/yunet.onnx, which is not a file\n"
    assert (nowhere.returncode, nowhere.stderr) == ((1, said) if asked else (0, ""))
    assert prepare(str(published)).returncode == 0
    assert (copied / "yunet.onnx").is_file() == asked
