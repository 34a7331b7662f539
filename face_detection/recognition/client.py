"""A client of the service. It needs `requests`, and hardly anything else of this package.

from recognition.client import Client

service = Client("http://127.0.0.1:6337")
service.enrol("1", "Me", "me.jpg")
for face in service.recognise("other.jpg"):
    print(face["name"], face["distance"])
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url
from urllib3 import Retry

from serving.credentials import without_credentials

Picture = str | Path | bytes  # where a picture is, or its bytes
Json = Any

RETRIES = 4  # of a request that a busy service refuses
PAGE = 1000  # samples in one answer, the most there may be
WITHOUT_GALLERY = {"detect", "verify", "health", "galleries"}  # first parts of paths that take none
CHUNK_BYTES = 1 << 16  # of an export; its last line is far shorter


class ServiceError(Exception):
    """The service refused a request, or gave no answer that makes sense.

    code: the error's in its answer; else `unreachable`, `timeout` or `unexpected_answer`.
    detail: what exactly, in words.
    request_id: under which the service's log has it; "" where it did not answer.
    """

    def __init__(self, code: str, detail: str, request_id: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.request_id = request_id


class Client:
    """Talks to one service over connections that stay open. Every call raises ServiceError when it fails.

    An answer 429 or 503 is waited out for as long as its Retry-After says, up to `retries` times.
    The proxy and the certificates that the environment names are used, but no proxy for this machine's own
    loopback addresses, and no password of ~/.netrc.
    """

    def __init__(
        self,
        host: str,
        *,
        key: str | None = None,
        gallery: str | None = None,
        timeout_s: float = 120,
        retries: int = RETRIES,
    ) -> None:
        """Open nothing yet.

        host: like `http://127.0.0.1:6337`; without a scheme it is http.
        key: sent with each request; None where the service asks for none, and for a user and a password in
            `host`, which a proxy in front of the service may ask for.
        gallery: that is searched and changed; None: the key's own, or `default`.
        timeout_s: the longest silence, in seconds.
        """
        self.gallery = gallery
        self.host = (host if "://" in host else f"http://{host}").rstrip("/")
        self._shown = without_credentials(self.host)
        self.timeout_s = timeout_s
        self.session = requests.Session()
        self.session.auth = _credentials(self.host, key)
        self._proxies = {"no_proxy": urlsplit(self.host).hostname or ""} if _is_loopback(self.host) else None
        # None of these requests does anything else when it is sent twice, so any method may be.
        patience = Retry(
            total=retries,
            connect=0,
            read=False,  # as 0, but a time-out stays one
            other=0,
            status_forcelist=(429, 503),
            allowed_methods=None,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(max_retries=patience))
        self.session.mount(f"{self.host}/ready", HTTPAdapter())  # whose 503 is the answer

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def enrol(self, sample_id: str, name: str, picture: Picture, **more: Json) -> Json:
        """Store the largest face of a picture as a sample; an id sent again replaces its sample.

        more: `person`, `metadata`, `action`, `expires_at`, `small_faces`, `face`, `accept_low_quality`,
            `strict`, as /update-samples has them; with `person`, the id of whose face it is, the name does
            not matter.

        Returns:
            What was seen: the id of the `person`, how many `faces`, the `bbox` of the one taken, its
            `quality` and `reasons`, and `warnings`.
        """
        answer = self.enrol_all([{"id": sample_id, "name": name, "picture": picture, **more}])
        for error in answer["errors"].values():
            raise ServiceError(error["code"], error["detail"])
        return answer["samples"][sample_id]

    def enrol_all(self, samples: Sequence[Mapping[str, Any]]) -> Json:
        """Enrol several in one request: each has `id`, `name`, `picture`, and what else `enrol` takes.

        Returns:
            `success` and `fail`, lists of ids; in `errors` a `code` and a `detail` for each id of `fail`; in
            `samples` what was seen, as `enrol` returns it, for each id of `success`.
        """
        body = [
            {
                **{field: value for field, value in sample.items() if field != "picture"},
                "image": base64.b64encode(_bytes(sample["picture"])).decode("ascii"),
            }
            for sample in samples
        ]
        return self._json("POST", "/update-samples", json=body)

    def recognise(
        self, picture: Picture, *, warnings: list[str] | None = None, **options: str | float | bool | None
    ) -> Json:
        """Return the faces of a picture, largest first.

        warnings: takes the codes of what is worth knowing of the picture, as X-Picture-Warnings has them.
        options: `min_distance`, `max_false_match`, `include_unknown`, `top_k`, `per`, `limit` and
            `small_faces`, as /face-recognition has them.
        """
        return self._faces("/face-recognition", picture, warnings, options)

    def draw(self, picture: Picture, **options: str | float | bool | None) -> bytes:
        """Return the picture with boxes and names, as a JPEG; the options are those of `recognise`."""
        answer = self._answer(
            "POST", "/face-recognition?draw=1", files={"file": _bytes(picture)}, data=_fields(options)
        )
        return answer.content

    def detect(
        self, picture: Picture, *, warnings: list[str] | None = None, small_faces: bool | None = None
    ) -> Json:
        """Return the faces of a picture with their landmarks, largest first; `warnings` as in `recognise`."""
        return self._faces("/detect", picture, warnings, {"small_faces": small_faces})

    def verify(
        self,
        picture1: Picture,
        picture2: Picture,
        min_distance: float | None = None,
        *,
        small_faces: bool | None = None,
    ) -> Json:
        """Compare the largest faces of two pictures."""
        return self._json(
            "POST",
            "/verify",
            files={"image1": _bytes(picture1), "image2": _bytes(picture2)},
            data=_fields({"min_distance": min_distance, "small_faces": small_faces}),
        )

    def embeddings(
        self,
        picture: Picture,
        *,
        warnings: list[str] | None = None,
        limit: int | None = None,
        small_faces: bool | None = None,
    ) -> Json:
        """Return the faces of a picture with their vectors, largest first, and what made these.

        warnings: as in `recognise`; limit: look only at so many faces.

        Returns:
            `faces`, as `detect` returns them, each with its `embedding`; `model` and `fingerprint`.
        """
        return self._faces("/embeddings", picture, warnings, {"limit": limit, "small_faces": small_faces})

    def record(self, visit: Mapping[str, Json], picture: Picture | None = None) -> Json:
        """Tell who a visit to a camera was of, and store it as an event; returns that.

        The code is `model_changed` where the vectors are of another model than the gallery's by now.

        visit: what /events takes: `id`, a UUID, under which it may be sent again; `camera`, `since`, `until`,
            `frames`, `bbox`, `quality`, `fingerprint`, `embeddings`, ...
        picture: of the face, with a margin.
        """
        sent = {} if picture is None else {"picture": base64.b64encode(_bytes(picture)).decode("ascii")}
        return self._json("POST", "/events", json={**visit, **sent})

    def events(
        self,
        *,
        camera: str | None = None,
        person: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Json]:
        """Yield visits to cameras, the newest first: of all, or of a camera, of a person's id, of a time.

        since, until: they began then or later, and before then: ISO 8601 with an offset from UTC.
        limit: so many at most.
        """
        query = {"camera": camera, "person": person, "since": since, "until": until}
        if limit is not None and limit < PAGE:
            return iter(self._json("GET", "/events", params={"limit": limit, **query})["events"])
        return islice(self._pages("/events", "events", query, None), limit)

    def event(self, event_id: str) -> Json:
        """Return one event; the code is `not_found` where there is none."""
        return self._json("GET", _event(event_id))

    def event_picture(self, event_id: str) -> bytes:
        """Return the picture that is kept of an event, a JPEG; the code is `not_found` where none is."""
        return self._answer("GET", f"{_event(event_id)}/picture").content

    def delete_event(self, event_id: str) -> None:
        """Remove one event; the code is `not_found` where there is none."""
        self._json("DELETE", _event(event_id))

    def delete_events(
        self,
        *,
        camera: str | None = None,
        person: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> int:
        """Remove all events, or those of a camera, of a person, of a time; returns how many there were."""
        query = {"camera": camera, "person": person, "since": since, "until": until}
        return int(self._json("DELETE", "/events", params=query)["deleted"])

    def samples(
        self, *, name: str | None = None, person: str | None = None, after: str | None = None
    ) -> Iterator[Json]:
        """Yield the samples by id, all or those of a name or of a person's id, from after `after`."""
        return self._pages("/samples", "samples", {"name": name, "person": person}, after)

    def sample(self, sample_id: str) -> Json:
        """Return one sample; the code is `not_found` where there is none."""
        return self._json("GET", f"/samples/{quote(sample_id, safe='')}")

    def face(self, sample_id: str) -> bytes:
        """Return the face that is kept of a sample, a JPEG; the code is `not_found` where none is."""
        return self._answer("GET", f"/samples/{quote(sample_id, safe='')}/face").content

    def delete(self, sample_id: str) -> None:
        """Remove one sample; the code is `not_found` where there is none."""
        if sample_id in (".", ".."):  # of an older service; paths lose them
            self._json("DELETE", "/samples", params={"id": sample_id})
        else:
            self._json("DELETE", f"/samples/{quote(sample_id, safe='')}")

    def delete_named(self, name: str) -> int:
        """Remove the samples of one name; returns how many there were."""
        return int(self._json("DELETE", "/samples", params={"name": name})["deleted"])

    def change_sample(self, sample_id: str, **changes: Json) -> Json:
        """Change some of `person`, `name`, `metadata`, `action`, `expires_at`; returns the sample.

        `person` moves it to the person with this id, `name` to the one of this name, made if need be.
        """
        return self._json("PATCH", f"/samples/{quote(sample_id, safe='')}", json=changes)

    def correct(self, picture: Picture, **options: Json) -> Json:
        """Enrol a face that was taken for somebody else's, and put right what it was taken for, or neither.

        options: `name` or `person`, whose face it is; `face`, as `enrol` has it; `wrong_sample`, the id of
            the sample that it was taken for, and `then`, what becomes of that: `keep`, `move` to the person,
            or `remove`; `wrong_person`, the id of the person whose that is, else nothing is done; further
            ones as /corrections has them.

        Returns:
            What was seen, as `enrol` returns it, the `id` of the new sample, and which were `moved` and
            `removed`.
        """
        options = {"id": str(uuid.uuid4()), **options}  # so that none is enrolled twice
        if "metadata" in options:
            options["metadata"] = json.dumps(options["metadata"])
        return self._json("POST", "/corrections", files={"file": _bytes(picture)}, data=_fields(options))

    def clear(self) -> None:
        """Remove every sample and every person."""
        self._json("DELETE", "/samples")

    def count(self, name: str | None = None, person: str | None = None) -> int:
        """Count the samples, or those of one name, or of one person's id."""
        return int(self._json("GET", "/samples/count", params={"name": name, "person": person})["count"])

    def people(self, q: str | None = None) -> Iterator[Json]:
        """Yield people by name: all, or those with a part in their names, whatever its case and accents."""
        return self._pages("/persons", "persons", {"q": q}, None)

    def person(self, person_id: str) -> Json:
        """Return one person; the code is `not_found` where there is none."""
        return self._json("GET", _person(person_id))

    def make_person(self, name: str, person_id: str | None = None, **more: Json) -> Json:
        """Make a person without samples; returns them.

        person_id: the caller's own; None makes one here, so that a request that is sent again makes nobody
            twice.
        more: `metadata`, `expires_at`.
        """
        body = {"id": person_id or str(uuid.uuid4()), "name": name, **more}
        return self._json("POST", "/persons", json=body)

    def change_person(self, person_id: str, **changes: Json) -> Json:
        """Change some of `name`, `metadata`, `expires_at`; returns the person."""
        return self._json("PATCH", _person(person_id), json=changes)

    def merge(self, person_id: str, into: str) -> Json:
        """Give all samples of one person to another, and remove the emptied one; returns the other.

        `merged` of what is returned takes it back: see `unmerge`.
        """
        return self._json("POST", f"{_person(person_id)}/merge", json={"into": into})

    def unmerge(self, into: str, merged: Json) -> Json:
        """Take a merge back, but for samples that were changed since: those are counted as `left`.

        merged: as `merge` has returned it; `into`: as it was sent there.

        Returns:
            The person who is there again.
        """
        return self._json("POST", f"{_person(into)}/unmerge", json=merged)

    def delete_person(self, person_id: str) -> Json:
        """Remove a person with all samples; returns the receipt: what was erased, where and when."""
        return self._json("DELETE", _person(person_id), params={"receipt": "1"})["receipt"]

    def export_person(self, person_id: str, file: BinaryIO) -> int:
        """Write all that is stored of a person, kept faces too, into a file; returns how many samples."""
        return self._export(file, f"{_person(person_id)}/export")

    def doctor(self, progress: Callable[[int, int], object] = lambda examined, total: None) -> list[Json]:
        """Look for what may be wrong in the gallery; returns all findings, the surest first.

        progress: is told how many samples each part has looked at, and how many there are.
        """
        findings: dict[str, Json] = {}
        after = None
        while True:
            part = self._json("GET", "/doctor", params={"limit": PAGE, "after": after})
            for finding in part["findings"]:
                known = findings.get(finding["id"])
                if known is None or known["sure"] < finding["sure"]:
                    findings[finding["id"]] = finding
            progress(part["examined"], part["total"])
            after = part["next"]
            if after is None:
                return sorted(findings.values(), key=lambda finding: (-finding["sure"], finding["id"]))

    def export(self, file: BinaryIO, *, faces: bool = False) -> int:
        """Write all people and samples, with vectors, into a file of JSON lines; returns how many samples.

        faces: with the pictures that are kept of their faces.
        """
        return self._export(file, "/export", **({"params": {"faces": "1"}} if faces else {}))

    def _export(self, file: BinaryIO, path: str, **more: Any) -> int:
        last = b""
        try:
            with self._answer("GET", path, stream=True, **more) as answer:
                for chunk in answer.iter_content(CHUNK_BYTES):
                    file.write(chunk)
                    last = (last + chunk)[-CHUNK_BYTES:]
            return int(json.loads(last.splitlines()[-1])["samples"])
        except (requests.RequestException, ValueError, LookupError, TypeError) as e:
            raise ServiceError("unexpected_answer", f"{self._shown} broke the export off.") from e

    def import_(self, file: BinaryIO) -> Json:
        """Store the samples of an exported file; returns how many were `imported`, and `unchanged`."""
        return self._json("POST", "/import", data=file, headers={"Content-Type": "application/x-ndjson"})

    def galleries(self) -> Json:
        """Return the galleries by name: `name`, `samples`, `persons`, `created` of each."""
        return self._json("GET", "/galleries")["galleries"]

    def make_gallery(self, name: str) -> Json:
        """Make an empty gallery; returns it. The code is `gallery_exists` where there is one."""
        return self._json("POST", "/galleries", json={"name": name})

    def delete_gallery(self, name: str) -> None:
        """Remove a gallery with all that is in it; the code is `not_found` where there is none."""
        self._json("DELETE", f"/galleries/{quote(name, safe='')}")

    def model_change(self) -> Json:
        """Return which models the gallery has vectors of, and how far a change of its model is."""
        return self._json("GET", "/model-change")

    def change_model(self, model: str, *, without_face: str = "wait") -> Json:
        """Change the gallery to another model, in the background; returns how far it is.

        without_face: samples of which no face is kept are waited for (`wait`), left without a vector
            (`leave`), or deleted (`drop`).
        """
        return self._json("POST", "/model-change", json={"model": model, "without_face": without_face})

    def stop_model_change(self) -> Json:
        """Stop such a change; the gallery stays with its model."""
        return self._json("DELETE", "/model-change")

    def health(self) -> Json:
        """Return what /health says."""
        return self._json("GET", "/health")

    def ready(self) -> Json:
        """Return what /ready says; an error tells why the service is not."""
        return self._json("GET", "/ready")

    def _faces(
        self,
        path: str,
        picture: Picture,
        warnings: list[str] | None,
        options: Mapping[str, str | float | bool | None],
    ) -> Json:
        answer = self._answer("POST", path, files={"file": _bytes(picture)}, data=_fields(options))
        if warnings is not None:
            codes = answer.headers.get("X-Picture-Warnings", "")
            warnings.extend(code.strip() for code in codes.split(",") if code)
        return self._parsed(answer)

    def _pages(
        self, path: str, kind: str, query: Mapping[str, str | None], after: str | None
    ) -> Iterator[Json]:
        more = True
        while more:
            page = self._json("GET", path, params={"limit": PAGE, **query, "after": after})
            yield from page[kind]
            after = page["next"]
            more = after is not None

    def _json(self, method: str, path: str, **more: Any) -> Json:
        return self._parsed(self._answer(method, path, **more))

    def _parsed(self, answer: requests.Response) -> Json:
        try:
            return answer.json()
        except requests.JSONDecodeError as e:
            raise self._unexpected(answer) from e

    def _answer(self, method: str, path: str, **more: Any) -> requests.Response:
        takes_gallery = path.split("/")[1] not in WITHOUT_GALLERY
        if self.gallery is not None and takes_gallery:
            more["params"] = {**more.get("params", {}), "gallery": self.gallery}
        try:
            answer = self.session.request(
                method,
                self.host + path,
                timeout=self.timeout_s,
                allow_redirects=False,
                proxies=self._proxies,
                **more,
            )
        except requests.Timeout as e:
            raise ServiceError("timeout", f"{self._shown} does not answer.") from e
        except requests.ConnectionError as e:
            raise ServiceError("unreachable", f"Nothing answers at {self._shown}; is it running?") from e
        except requests.RequestException as e:  # an address that is none, which the error quotes
            raise ServiceError("unreachable", without_credentials(f"{self.host}: {e}")) from None
        if answer.status_code == 200:
            return answer
        try:
            error = answer.json()
            raise ServiceError(error["code"], error["detail"], error["request_id"])
        except (requests.JSONDecodeError, KeyError, TypeError) as e:
            raise self._unexpected(answer) from e

    def _unexpected(self, answer: requests.Response) -> ServiceError:
        return ServiceError(
            "unexpected_answer",
            f"{self._shown} answers with status {answer.status_code}, but is not this service.",
        )


def _credentials(
    host: str, key: str | None
) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what adds the key to a request. Without such a function `requests` takes some from ~/.netrc."""
    try:
        user, password = get_auth_from_url(host)
    except ValueError:  # no address at all, as the first request will say
        user = password = ""

    def add(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        elif user:
            HTTPBasicAuth(user, password)(request)
        return request

    return add


def _person(person_id: str) -> str:
    return f"/persons/{quote(person_id, safe='')}"


def _event(event_id: str) -> str:
    return f"/events/{quote(event_id, safe='')}"


def _is_loopback(url: str) -> bool:
    """Tell whether this machine itself is meant: a proxy would look for the service on its own machine."""
    try:
        name = urlsplit(url).hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _bytes(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else Path(picture).read_bytes()


def _fields(options: Mapping[str, Json]) -> dict[str, str]:
    """Render options as form fields: whatever is no text as JSON has it; null is left out."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in options.items()
        if value is not None
    }
