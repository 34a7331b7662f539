"""deploy/tls-nginx.conf and deploy/Caddyfile in real proxies: a face is recognised over HTTPS."""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from running import ROOT, Pair, free_port, wait_until

PATH = f"{os.environ['PATH']}:/usr/sbin"
NGINX, CADDY = shutil.which("nginx", path=PATH), shutil.which("caddy", path=PATH)
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "certificate.pem", folder / "key.pem"


@contextmanager
def proxy(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """Run a proxy until its port takes connections."""
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"HOME": str(folder)}, stdout=stream, stderr=stream
        )
    try:
        wait_until(lambda: takes_connections(port), process, log)
        yield
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def nginx(pair: Pair, certificate: tuple[Path, Path], folder: Path) -> Iterator[tuple[int, int]]:
    """deploy/tls-nginx.conf, included as Debian's nginx.conf does it: its ports for HTTPS and for HTTP."""
    tls, plain = free_port(), free_port()
    text = (ROOT / "deploy" / "tls-nginx.conf").read_text(encoding="utf-8")
    text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)
    for example, here in (
        ("listen 443", f"listen 127.0.0.1:{tls}"),
        ("listen 80", f"listen 127.0.0.1:{plain}"),
        ("faces.example.com;", "localhost;"),
        ("/etc/letsencrypt/live/faces.example.com/fullchain.pem", str(certificate[0])),
        ("/etc/letsencrypt/live/faces.example.com/privkey.pem", str(certificate[1])),
        ("http://127.0.0.1:6337", pair.url),
    ):
        assert example in text
        text = text.replace(example, here)
    temporary = "".join(
        f"{name}_temp_path {folder};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; events {{}} http {{ {temporary} access_log {folder}/access.log; {text} }}"
    )
    user = "user root; " if os.geteuid() == 0 else ""
    command = [
        str(NGINX), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", f"{user}daemon off;"
    ]  # fmt: skip
    with proxy(command, tls, folder):
        yield tls, plain


@contextmanager
def caddy(pair: Pair, certificate: tuple[Path, Path], folder: Path) -> Iterator[tuple[int, int]]:
    """deploy/Caddyfile with a certificate that is there already: its ports for HTTPS and for HTTP."""
    tls, plain = free_port(), free_port()
    text = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    for example, here in (
        ("faces.example.com {", f"localhost {{\n\tbind 127.0.0.1\n\ttls {certificate[0]} {certificate[1]}"),
        ("127.0.0.1:6337", f"127.0.0.1:{pair.detection.port}"),
    ):
        assert example in text
        text = text.replace(example, here)
    options = (
        f"{{\n\tadmin off\n\thttp_port {plain}\n\thttps_port {tls}\n\tstorage file_system {folder}\n}}\n"
    )
    (folder / "Caddyfile").write_text(options + text)
    command = [str(CADDY), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    with proxy(command, tls, folder):
        yield tls, plain


@pytest.mark.parametrize(
    "front",
    [
        pytest.param(nginx, marks=pytest.mark.skipif(NGINX is None, reason="nginx is not installed")),
        pytest.param(caddy, marks=pytest.mark.skipif(CADDY is None, reason="Caddy is not installed")),
    ],
)
def test_a_face_is_recognised_over_https(
    front: object,
    pair: Pair,
    certificate: tuple[Path, Path],
    photographs: dict[str, list[Path]],
    tmp_path: Path,
) -> None:
    enrolled, probe = photographs["madonna"][:2]
    with front(pair, certificate, tmp_path) as (tls, plain), requests.Session() as session:  # type: ignore[operator]
        session.trust_env = False  # a proxy, or other certificates
        session.verify = str(certificate[0])
        url = f"https://localhost:{tls}"
        sample = {"id": "m", "name": "madonna", "image": base64.b64encode(enrolled.read_bytes()).decode()}
        answer = session.post(f"{url}/update-samples", json=[sample], timeout=TIMEOUT_S)
        assert answer.json()["success"] == ["m"]
        with probe.open("rb") as file:
            answer = session.post(f"{url}/face-recognition", files={"file": file}, timeout=TIMEOUT_S)
        assert [face["name"] for face in answer.json()] == ["madonna"]
        large = {"file": bytes(8 * 1024 * 1024)}  # more than proxies let through unless they are told to
        answer = session.post(f"{url}/detect", files=large, timeout=TIMEOUT_S)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_image")
        assert session.get(f"{url}/export", timeout=TIMEOUT_S).ok  # for this machine, without keys
        page = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
        assert session.delete(f"{url}/samples", headers=page, timeout=TIMEOUT_S).ok
        other = session.delete(f"{url}/samples", headers={"Origin": "https://localhost"}, timeout=TIMEOUT_S)
        assert (other.status_code, other.json()["code"]) == (403, "cross_origin")
        answer = session.get(f"http://localhost:{plain}/samples", allow_redirects=False, timeout=TIMEOUT_S)
        assert answer.status_code in (301, 308)
        assert answer.headers["Location"].startswith("https://localhost")
    assert not (tmp_path / "access.log").exists() or (tmp_path / "access.log").read_text() == ""
