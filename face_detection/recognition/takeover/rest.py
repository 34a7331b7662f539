"""CompreFace's own HTTP calls, of which only those are made that change nothing."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice
from typing import Any
from urllib.parse import urlencode

import urllib3

from recognition.client_keys import Kind
from recognition.takeover.source import (
    NO_PICTURE,
    TOO_LARGE,
    UUID,
    Choose,
    Example,
    Read,
    Service,
    SourceFailure,
    Trouble,
)

KINDS: dict[str, Kind] = {
    "RECOGNITION": "recognition",
    "DETECTION": "detection",
    "VERIFY": "verification",
    "VERIFICATION": "verification",
}
# What its own web page logs in with; it is the same everywhere, and no secret.
CLIENT = urllib3.util.make_headers(basic_auth="CommonClientId:password")
SESSION = "CFSESSION"

CONNECT_S, SILENCE_S, WHOLE_ANSWER_S = 10.0, 30.0, 120.0
RETRIES = 5  # of what was not answered, with pauses from BACKOFF_S, each twice as long
BACKOFF_S = 0.5
TRIES = 3  # of what broke off
MAX_RETRY_AFTER_S = 60
PAGE = 1000  # examples; CompreFace gives at most 2,000
PASSES = 3  # through pages that do not show all that there is
THREADS = 4  # that fetch pictures
PICTURES_AHEAD = 8  # that are fetched before those before them are taken
FAILURES_IN_A_ROW = 10  # of pictures, after which the rest is not tried

GONE, FAILED = "gone", "source_failed"  # codes
BUSY = (429, 502, 503, 504)

# Beyond these a source is not believed.
MAX_JSON_BYTES = 64 * 2**20
MAX_LISTED = 1000  # applications, and services of each
MAX_EXAMPLES = 10_000_000


class Rest:
    """A running CompreFace; see `Source`.

    It is asked for its pages in the order of ids: without one, they show some examples twice, and others not
    at all. What they show is counted, and they are gone through again where that is not all.
    """

    def __init__(self, url: str, services: Sequence[Service], max_picture_bytes: int) -> None:
        """Ask nothing yet.

        Args:
            url: `http://HOST:8000`, with /api/v1 or without.
            services: whose keys open it.
            max_picture_bytes: of a larger picture no more is read.
        """
        self.troubles: list[Trouble] = []
        self._services, self._max_bytes = list(services), max_picture_bytes
        self._calls = _Calls(url)

    def services(self) -> list[Service]:
        """Return its services."""
        return self._services

    def log_in(self, email: str, password: str) -> None:
        """Find out the services, and their keys, of all applications that somebody may see."""
        form = {"grant_type": "password", "scope": "all", "username": email, "password": password}
        headers = {**CLIENT, "Content-Type": "application/x-www-form-urlencoded"}
        answer, head = self._calls.ask_json(
            "POST", "/admin/oauth/token", headers=headers, body=urlencode(form), what="the login"
        )
        session = _cookie(head.get("Set-Cookie", "")) or _field(answer, "access_token")
        if re.fullmatch(r"[!-:<-~]+", session) is None:  # what a cookie can hold, RFC 6265, but for `;`
            raise SourceFailure("The source gives no session for the login.")
        signed = {"Cookie": f"{SESSION}={session}"}
        for app in self._listed("/admin/apps", signed):
            path = f"/admin/app/{_id(app)}/models"
            for model in self._listed(path, signed):
                self._add(_field(app, "name"), model)

    def subjects(self, service: Service) -> Iterator[str]:
        """Return the names of a recognition service's subjects."""
        answer = self._get(service, "/recognition/subjects", "the subjects")
        names = answer.get("subjects") if isinstance(answer, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _nonsense("the subjects")
        yield from names

    def count(self, services: Sequence[Service]) -> int:
        """Return how many examples these recognition services say that they have."""
        return sum(_total(self._page(service, 0, 1)) for service in services)

    def examples(self, services: Sequence[Service], choose: Choose) -> Iterator[Read]:
        """Show all examples of these services, and give those that are chosen."""
        with ThreadPoolExecutor(THREADS, "pictures") as pool:
            yield from self._fetched(pool, self._chosen(services, choose))

    def close(self) -> None:
        """Let go of the connections."""
        self._calls.close()

    def _listed(self, path: str, headers: Mapping[str, str]) -> list[Any]:
        answer, _ = self._calls.ask_json("GET", path, headers=headers, what="the services")
        if not isinstance(answer, list) or len(answer) > MAX_LISTED:
            raise _nonsense("the services")
        return answer

    def _add(self, app: str, model: Any) -> None:
        name, key, kind = _field(model, "name"), _field(model, "apiKey"), _field(model, "type")
        if kind in KINDS and key:
            self._services.append(Service(name, KINDS[kind], key, app))
        else:
            why = f"its type, {kind!r}, is none that is known" if key else "its key is not shown to this user"
            self.troubles.append(Trouble("no_service", f"{name} of {app}: {why}."))

    def _chosen(self, services: Sequence[Service], choose: Choose) -> Iterator[Example]:
        for service in services:
            for some in self._examples_of(service):
                chosen = choose(some)
                yield from (each for each in some if each.id in chosen)

    def _examples_of(self, service: Service) -> Iterator[list[Example]]:
        """Give the examples of one service page by page, each once."""
        seen: set[bytes] = set()  # ids
        for _ in range(PASSES):
            shown = nameless = total = 0
            for number in count():
                page = self._page(service, number, PAGE)
                total = _total(page)
                some = [
                    Example(_field(row, "image_id").lower(), _field(row, "subject"), service)
                    for row in page["faces"]
                ]
                new = {
                    each.id: each for each in some if UUID.fullmatch(each.id) and _packed(each.id) not in seen
                }
                seen.update(map(_packed, new))
                if new:
                    yield list(new.values())
                shown += len(some)
                nameless += sum(UUID.fullmatch(each.id) is None for each in some)
                if not some or shown >= total:
                    break
            if len(seen) + nameless >= total:
                break
        if len(seen) < total:
            detail = f"{service.name}: the source says that it has {total} examples, and shows {len(seen)}."
            self.troubles.append(Trouble("not_shown", detail))

    def _page(self, service: Service, number: int, size: int) -> dict[str, Any]:
        query = urlencode({"page": number, "size": size, "sort": "id"})
        page = self._get(service, f"/recognition/faces?{query}", "the examples")
        if not isinstance(page, dict) or not isinstance(page.get("faces"), list):
            raise _nonsense("the examples")
        return page

    def _get(self, service: Service, path: str, what: str) -> Any:
        headers = {"x-api-key": service.key}
        answer, _ = self._calls.ask_json(
            "GET", f"/api/v1{path}", headers=headers, what=f"{what} of {service.name}"
        )
        return answer

    def _fetched(self, pool: ThreadPoolExecutor, chosen: Iterator[Example]) -> Iterator[Read]:
        under_way: deque[tuple[Example, Future[bytes | Trouble]]] = deque()
        failures = 0
        try:
            while True:
                for example in islice(chosen, 1 + PICTURES_AHEAD - len(under_way)):
                    under_way.append((example, pool.submit(self._picture, example)))
                if not under_way:
                    return
                example, future = under_way.popleft()
                picture = future.result()
                yield example, picture
                if not isinstance(picture, Trouble) or picture.code != FAILED:
                    failures = 0
                elif (failures := failures + 1) == FAILURES_IN_A_ROW:
                    raise SourceFailure(f"The source gives no pictures any more. {picture.detail}")
        finally:
            for _, future in under_way:
                future.cancel()

    def _picture(self, example: Example) -> bytes | Trouble:
        path = f"/api/v1/recognition/faces/{example.id}/img"
        status, data, _ = self._calls.ask(
            "GET", path, headers={"x-api-key": example.service.key}, most=self._max_bytes
        )
        if status == 404:
            return Trouble(GONE, "The source has it no more.")
        if status != 200:
            return Trouble(FAILED, f"The source answers with status {status} where its picture should be.")
        if len(data) > self._max_bytes:
            return TOO_LARGE
        return data or NO_PICTURE


class _Calls:
    """Calls of one host, tried again where that may help. No error has a key, or what was asked for it."""

    def __init__(self, url: str) -> None:
        parsed = urllib3.util.parse_url(url)
        self._path = (parsed.path or "").rstrip("/").removesuffix("/api/v1")
        retries = urllib3.Retry(
            RETRIES,
            redirect=False,
            status_forcelist=BUSY,
            allowed_methods=("GET",),
            backoff_factor=BACKOFF_S,
            retry_after_max=MAX_RETRY_AFTER_S,
            raise_on_status=False,
        )
        self._pool = urllib3.connectionpool.connection_from_url(
            f"{parsed.scheme}://{parsed.netloc}",
            maxsize=THREADS + 1,
            retries=retries,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=SILENCE_S),
        )

    def ask_json(
        self, method: str, path: str, *, headers: Mapping[str, str], what: str, body: str | None = None
    ) -> tuple[Any, Mapping[str, str]]:
        """Return what an answer says, and its headers. `what` is asked for, in words."""
        status, data, head = self.ask(method, path, headers=headers, most=MAX_JSON_BYTES, body=body)
        if status in (400, 401, 403, 404):
            raise SourceFailure(f"The source refuses {what} (status {status}): is the key or login right?")
        if 300 <= status < 400:
            raise SourceFailure(
                "The source is somewhere else by now (it redirects): name its address of now."
            )
        if status != 200:
            raise SourceFailure(f"The source answers with status {status} where {what} should be.")
        try:
            if len(data) > MAX_JSON_BYTES:
                raise ValueError("more than can be believed")
            return json.loads(data), head
        except (ValueError, RecursionError) as e:
            raise _nonsense(what) from e

    def ask(
        self, method: str, path: str, *, headers: Mapping[str, str], most: int, body: str | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Return status, body and headers of an answer. Of a body of more than `most` bytes a little more."""
        for left in reversed(range(TRIES)):
            try:
                return self._answer(method, path, headers, most, body)
            except urllib3.exceptions.TimeoutError as e:
                raise SourceFailure("The source does not answer in time.") from e
            except urllib3.exceptions.MaxRetryError as e:
                raise SourceFailure(f"The source cannot be reached{_because(e)}.") from e
            except urllib3.exceptions.HTTPError as e:
                if not left or method != "GET":
                    raise SourceFailure("The source breaks off in the middle of its answers.") from e
        raise AssertionError("the last try returns or raises")

    def _answer(
        self, method: str, path: str, headers: Mapping[str, str], most: int, body: str | None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        deadline = time.monotonic() + WHOLE_ANSWER_S
        answer = self._pool.request(
            method,
            self._path + path,
            headers={**headers, "Accept-Encoding": "identity"},
            body=body,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        parts, size = [], 0
        try:
            while size <= most and (part := answer.read1(2**16)):
                parts.append(part)
                size += len(part)
                if time.monotonic() > deadline:
                    raise urllib3.exceptions.TimeoutError
            return answer.status, b"".join(parts), answer.headers
        finally:
            if answer.length_remaining != 0:
                answer.close()  # what is left of it must not stand before the next answer
            answer.release_conn()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


def _because(error: urllib3.exceptions.MaxRetryError) -> str:
    return ": its certificate is not trusted" if isinstance(error.reason, urllib3.exceptions.SSLError) else ""


def _packed(example_id: str) -> bytes:
    return bytes.fromhex(example_id.replace("-", ""))


def _cookie(header: str) -> str:
    for part in header.replace(",", ";").split(";"):
        name, _, value = part.strip().partition("=")
        if name == SESSION:
            return value
    return ""


def _field(row: Any, name: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    return value if isinstance(value, str) else ""


def _id(app: Any) -> str:
    if not UUID.fullmatch(_field(app, "id").lower()):
        raise _nonsense("the services")
    return _field(app, "id")


def _total(page: Mapping[str, Any]) -> int:
    total = page.get("total_elements", len(page["faces"]))
    if type(total) is not int or not 0 <= total <= MAX_EXAMPLES:
        raise _nonsense("the examples")
    return total


def _nonsense(what: str) -> SourceFailure:
    return SourceFailure(f"The source's answer is nonsense where {what} should be: is this a CompreFace?")
