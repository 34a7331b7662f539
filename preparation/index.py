"""Fetches one file from the package indexes that pip is configured for, with the library pypi-simple."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from pypi_simple import (
    DigestMismatchError,
    DistributionPackage,
    NoSuchProjectError,
    PyPISimple,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
)
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from preparation import PrepareError, say
from preparation.source import Pip, Source

DOWNLOADS = 4  # tries for one file


def fetch(source: Source, target: Path, pip: Pip) -> None:
    """Put the source's archive into `target`, from the first of pip's indexes that has it.

    Raises:
        PrepareError: no index gave it; the message has each one's reason.
        OSError: it cannot be written.
    """
    reasons = [] if pip.indexes else ["pip is configured without an http index"]
    for index in pip.indexes:
        try:
            with PyPISimple(index, session=session_for(index, pip)) as client:
                download(client, find(client, source), source, target)
        except PrepareError as error:
            reasons.append(f"{urlsplit(index).hostname}: {error}")
        else:
            return
    raise PrepareError(f"{source.file} could not be fetched ({'; '.join(reasons)})")


def session_for(index: str, pip: Pip) -> requests.Session:
    """Make a session that reaches an index as pip does, and gives its user and password to its host alone."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, PipAdapter(pip))
    user, password = get_auth_from_url(index)
    host = _host(index)

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        return HTTPBasicAuth(user, password)(request) if _host(request.url or "") == host else request

    if user:
        session.auth = authorize
    return session


class PipAdapter(HTTPAdapter):
    """Sends each request as pip is configured: an adapter, because it is asked for redirects, too."""

    def __init__(self, pip: Pip) -> None:
        super().__init__()
        self._pip = pip

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        """Send a request; pip's options win over those of the environment, which `requests` knows itself."""
        return super().send(request, **options | request_options(request.url or "", self._pip))


def request_options(url: str, pip: Pip) -> dict[str, Any]:
    """Return what pip's configuration says of a request to a URL, as keyword arguments of `requests.get`."""
    parts = urlsplit(url)
    options: dict[str, Any] = {"timeout": pip.timeout_s}
    if {parts.hostname, parts.netloc.rpartition("@")[2]} & set(pip.trusted_hosts):
        options["verify"] = False
    elif pip.cert:
        options["verify"] = pip.cert
    if pip.client_cert:
        options["cert"] = pip.client_cert
    if pip.proxy:
        options["proxies"] = {"http": pip.proxy, "https": pip.proxy}
    return options


def find(client: PyPISimple, source: Source) -> DistributionPackage:
    """Return the source's archive as an index lists it.

    Raises:
        PrepareError: the index cannot be reached, is not one, or has no such file with this digest.
    """
    try:
        packages = client.get_project_page(source.project).packages
    except NoSuchProjectError:
        packages = []
    except requests.RequestException as error:
        raise PrepareError(why(error)) from error
    except (ValueError, KeyError, UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
        raise PrepareError("what it answers is not a package index") from error
    for package in packages:
        if package.filename == source.file and package.digests.get("sha256", source.sha256) == source.sha256:
            package.digests = {"sha256": source.sha256}  # which the download is held against
            return package
    raise PrepareError("it does not have the file")


def download(client: PyPISimple, package: DistributionPackage, source: Source, target: Path) -> None:
    """Download the source's archive. `target` stays only when it is whole and right.

    Raises:
        PrepareError: it failed DOWNLOADS times, or the server says that there is no point in asking again.
        OSError: it cannot be written.
    """
    say(f"downloading {source.file} ({source.size / 1e6:.0f} MB)")
    reason = ""
    for attempt in range(DOWNLOADS):
        if reason:
            say(f"{source.file}: {reason}; trying again")
            time.sleep(0.2 * attempt)
        try:
            client.download_package(
                package,
                target,
                progress=lambda _length: Bar(source),
                # A server that sends .tar.gz as a "gzip encoded" tar would have requests unpack it.
                headers={"Accept-Encoding": "identity"},
            )
        except DigestMismatchError:
            reason = "it sent a file with a wrong sha256"
        except requests.RequestException as error:
            reason = why(error)
            if 400 <= _status(error) < 500 and _status(error) not in (408, 429):
                break
        else:
            return
    raise PrepareError(reason)


class Bar:
    """Shows a download on a terminal, and ends one that is too long; what pypi_simple calls a tracker."""

    def __init__(self, source: Source) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(source.file, total=source.size)
        self._left = source.size

    def __enter__(self) -> Self:
        """Begin to show it."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it as it is."""
        self._progress.stop()

    def update(self, received: int) -> None:
        """Count bytes. Raises PrepareError when they are too many."""
        self._left -= received
        if self._left < 0:
            raise PrepareError("it sends more bytes than the file has")
        self._progress.advance(self._task, received)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _status(error: requests.RequestException) -> int:
    return 0 if error.response is None else int(error.response.status_code)


def why(error: requests.RequestException) -> str:
    """Say in a few words why a request failed; requests' own text is long and may hold the URL's password."""
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
