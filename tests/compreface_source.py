"""A CompreFace to migrate from: what it has, its database by the published schema, dumps, its HTTP calls."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import psycopg
import simplejpeg

from galleries import PostgreSQL

# What db.changelog-0.0.1 to 0.2.7 of CompreFace 1.2.0 leave of the tables that matter, and one that does not.
SCHEMA = """
CREATE TABLE app (
    id bigint CONSTRAINT pk_app PRIMARY KEY,
    name varchar(255) NOT NULL,
    guid varchar(36) NOT NULL CONSTRAINT app_guid_uindex UNIQUE,
    api_key varchar(36) NOT NULL CONSTRAINT app_api_key_uindex UNIQUE
);
CREATE TABLE model (
    id bigint CONSTRAINT pk_model PRIMARY KEY,
    name varchar(255) NOT NULL,
    guid varchar(36) NOT NULL CONSTRAINT model_guid_uindex UNIQUE,
    app_id bigint NOT NULL CONSTRAINT fk_app_id REFERENCES app ON DELETE CASCADE ON UPDATE CASCADE,
    api_key varchar(36) NOT NULL CONSTRAINT model_api_key_uindex UNIQUE,
    type varchar(1) NOT NULL,
    created_date timestamp,
    CONSTRAINT app_name_app_id_uindex UNIQUE (name, app_id)
);
CREATE TABLE subject (
    id uuid CONSTRAINT pk_subject PRIMARY KEY,
    api_key varchar(36) CONSTRAINT fk_subject_model_api_key REFERENCES model (api_key)
        ON DELETE CASCADE ON UPDATE CASCADE,
    subject_name varchar(255),
    CONSTRAINT api_key_subject_name_uindex UNIQUE (api_key, subject_name)
);
CREATE TABLE img (id uuid CONSTRAINT pk_img PRIMARY KEY, content bytea NOT NULL);
CREATE TABLE embedding (
    id uuid CONSTRAINT pk_embedding PRIMARY KEY,
    subject_id uuid CONSTRAINT fk_subject_id REFERENCES subject ON DELETE CASCADE ON UPDATE CASCADE,
    embedding float8[] NOT NULL,
    calculator varchar(255) NOT NULL,
    img_id uuid CONSTRAINT fk_img_id REFERENCES img
);
CREATE TABLE "user" (id bigint CONSTRAINT pk_user PRIMARY KEY, email varchar(63) NOT NULL);
INSERT INTO "user" VALUES (0, E'COPY img (id, content) FROM stdin;\\nINSERT INTO img VALUES (''');
"""


def an_id(number: int) -> str:
    """A UUID like those that Java draws."""
    return str(uuid.UUID(int=number << 96 | 0x4FEE_89AB_4567_89AB_CDEF_0123))


def a_key(number: int) -> str:
    """A key like those that Java draws: random, so that nobody can guess it."""
    return str(uuid.UUID(bytes=hashlib.sha256(bytes([number])).digest()[:16], version=4))


def grey(level: int, side: int = 16) -> bytes:
    """A picture of one colour."""
    return simplejpeg.encode_jpeg(
        np.full((side, side, 3), level, np.uint8), quality=98, colorsubsampling="444"
    )


@dataclass(frozen=True)
class Row:
    """An example. content: of its picture; None: it has none."""

    id: str
    subject: str
    content: bytes | None


@dataclass(frozen=True)
class Service:
    name: str
    key: str
    kind: str = "R"
    app: str = "Home"
    subjects: tuple[str, ...] = ()
    examples: tuple[Row, ...] = ()


LONG = "Bürgermeister von und zu " + 9 * "Oberammergau " + "der Ältere"
INVISIBLE = "\u200b\u2060"
ODD = (
    "Anna",
    "anna",
    LONG,
    r"a;b/c\d",
    INVISIBLE,
    "two\nlines\tand a tab",
    'O\'Hara; "x" \\. \\N',
    "김 🧑‍🚒",
    "Nobody",
)
REFUSED = {1: "invalid_image", 2: "no_face", 3: "no_picture"}  # codes of examples of DOOR, by number


def door() -> Service:
    """A service with odd subjects, of whom one has no examples, and examples that cannot be taken."""
    rows = [
        Row(an_id(1), "Anna", b"no picture"),
        Row(an_id(2), "Anna", grey(0)),  # no face
        Row(an_id(3), "Anna", None),
        *(Row(an_id(10 + place), subject, grey(20 + 5 * place)) for place, subject in enumerate(ODD[:-1])),
        Row(an_id(30), "Anna", grey(250)),  # two faces
    ]
    return Service("Door", a_key(100), subjects=ODD, examples=tuple(rows))


def home() -> list[Service]:
    """All kinds of services, two of one name, and one whose key is the same everywhere."""
    return [
        door(),
        Service("Look", a_key(101), "D"),
        Service("Same?", a_key(102), "V"),
        Service(
            "Door", a_key(103), app="Büro", subjects=("Anna",), examples=(Row(an_id(40), "Anna", grey(90)),)
        ),
        Service(
            "Demo",
            "00000000-0000-0000-0000-000000000002",
            app="Demo app",
            subjects=("Will Smith",),
            examples=(Row(an_id(50), "Will Smith", grey(100)),),
        ),
    ]


def many(number: int, content: Callable[[int], bytes] = lambda place: grey(20 + place % 200)) -> Service:
    """A service with many examples, ten of each subject."""
    rows = [Row(an_id(1000 + place), f"subject {place // 10}", content(place)) for place in range(number)]
    names = tuple(dict.fromkeys(row.subject for row in rows))
    return Service("Many", a_key(104), subjects=names, examples=tuple(rows))


def fill(connection: psycopg.Connection[Any], services: Sequence[Service], *, stray: bool = True) -> None:
    """Make the tables, and put services into them; and rows that belong nowhere."""
    connection.execute(SCHEMA)
    apps = {name: number for number, name in enumerate(dict.fromkeys(each.app for each in services))}
    for name, number in apps.items():
        connection.execute(
            "INSERT INTO app VALUES (%s, %s, %s, %s)",
            [number, name, an_id(200 + number), an_id(300 + number)],
        )
    vector = [0.25] * 8
    for number, service in enumerate(services):
        row = [number, service.name, an_id(400 + number), apps[service.app], service.key, service.kind]
        connection.execute("INSERT INTO model VALUES (%s, %s, %s, %s, %s, %s, now())", row)
        ids = {name: uuid.uuid4() for name in service.subjects}
        with connection.cursor() as cursor:
            subjects = [(each, service.key, name) for name, each in ids.items()]
            cursor.executemany("INSERT INTO subject VALUES (%s, %s, %s)", subjects)
            images = [(uuid.uuid4(), row.content) for row in service.examples]
            kept = [image for image in images if image[1] is not None]
            cursor.executemany("INSERT INTO img VALUES (%s, %s)", kept)
            examples = [
                (row.id, ids[row.subject], vector, "facenet", image if content is not None else None)
                for row, (image, content) in zip(service.examples, images, strict=True)
            ]
            cursor.executemany("INSERT INTO embedding VALUES (%s, %s, %s, %s, %s)", examples)
    if stray:
        connection.execute("INSERT INTO img VALUES (%s, %s)", [an_id(60), grey(1)])
        connection.execute(
            "INSERT INTO embedding VALUES (%s, NULL, %s, 'facenet', NULL)", [an_id(61), vector]
        )
    connection.commit()


@contextmanager
def database(server: PostgreSQL, services: Sequence[Service], *, stray: bool = True) -> Iterator[str]:
    """CompreFace's database: its URL as libpq takes it."""
    with server.database() as name:
        url = server.url(name).replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            fill(connection, services, stray=stray)
        yield url


def dump(server: PostgreSQL, url: str, file: Path, *options: str) -> Path:
    """What pg_dump makes of a database."""
    command = [server.programs / "pg_dump", f"--dbname={url}", f"--file={file}", *options]
    subprocess.run(command, check=True)
    return file


def packed(file: Path) -> Path:
    other = file.with_suffix(".gz")
    other.write_bytes(gzip.compress(file.read_bytes()))
    return other


@dataclass
class Behaviour:
    """How the HTTP calls answer, if not as they should.

    unordered: pages show some examples twice, and others not at all, for so many passes.
    broken: what to answer in place of what it should, by path, each a few times: a status, or bytes; None
        closes the connection in the middle.
    """

    unordered: int = 0
    broken: dict[str, list[int | bytes | None]] = field(default_factory=dict)
    total: Any = None
    page_cap: int = 2000
    redirect: str | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)  # methods and paths
    headers: list[dict[str, str]] = field(default_factory=list)


EMAIL, PASSWORD, SESSION = "admin@example.org", "pass word&=%", "session-of-the-login"


@contextmanager
def answering(services: Sequence[Service], behaviour: Behaviour | None = None) -> Iterator[str]:
    """CompreFace's HTTP calls, by its documentation: its address."""
    behave = behaviour or Behaviour()
    by_key = {each.key: each for each in services if each.kind == "R"}
    apps = {name: an_id(200 + number) for number, name in enumerate(dict.fromkeys(s.app for s in services))}
    kinds = {"R": "RECOGNITION", "D": "DETECTION", "V": "VERIFY"}
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with lock:
                behave.asked.append((self.command, self.path))
                behave.headers.append(dict(self.headers))
                faults = behave.broken.get(urlsplit(self.path).path)
                fault: Any = faults.pop(0) if faults else ...
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if behave.redirect:
                return self._answer(302, b"", Location=behave.redirect)
            if fault is None:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"[")
                self.close_connection = True
                return None
            if isinstance(fault, int):
                return self._answer(fault, b"{}", **{"Retry-After": "0"})
            if isinstance(fault, bytes):
                return self._answer(200, fault)
            return self._as_it_should(body)

        do_POST = do_GET

        def _as_it_should(self, body: bytes) -> None:
            url = urlsplit(self.path)
            if self.path == "/admin/oauth/token":
                return self._token(body)
            if url.path.startswith("/admin/"):
                return self._admin(url.path)
            service = by_key.get(self.headers.get("x-api-key", ""))
            if service is None:
                return self._json({"message": "...", "code": 10}, 404)
            parts = url.path.removeprefix("/api/v1/recognition/").split("/")
            if parts == ["subjects"]:
                return self._json({"subjects": service.subjects})
            if parts == ["faces"]:
                return self._json(self._page(service, parse_qs(url.query)))
            found = [row for row in service.examples if parts == ["faces", row.id, "img"]]
            return self._answer(200, (found[0].content if found else None) or b"")

        def _page(self, service: Service, query: dict[str, list[str]]) -> dict[str, Any]:
            number, size = (
                int(query.get("page", ["0"])[0]),
                min(int(query.get("size", ["20"])[0]), behave.page_cap),
            )
            rows = sorted(service.examples, key=lambda row: row.id)
            shown = rows[number * size : (number + 1) * size]
            if behave.unordered and size > 1:
                shown = shown[:-1] + shown[:1] if len(shown) > 1 else shown
                if (number + 1) * size >= len(rows):
                    behave.unordered -= 1
            total = len(rows) if behave.total is None else behave.total
            return {
                "faces": [{"image_id": row.id, "subject": row.subject} for row in shown],
                "page_number": number,
                "page_size": size,
                "total_pages": -(-len(rows) // size),
                "total_elements": total,
            }

        def _token(self, body: bytes) -> None:
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            right = {"grant_type": "password", "scope": "all", "username": EMAIL, "password": PASSWORD}
            basic = "Basic Q29tbW9uQ2xpZW50SWQ6cGFzc3dvcmQ="
            if form != right or self.headers.get("Authorization") != basic:
                return self._json({"error": "invalid_grant", "error_description": "Bad credentials"}, 400)
            cookie = f"CFSESSION={SESSION}; Path=/admin; HttpOnly; Expires=Wed, 21 Oct 2037 07:28:00 GMT"
            return self._json({"access_token": SESSION}, **{"Set-Cookie": cookie})

        def _admin(self, path: str) -> None:
            if self.headers.get("Cookie") != f"CFSESSION={SESSION}":
                return self._json({}, 401)
            if path == "/admin/apps":
                return self._json([{"id": each, "name": name} for name, each in apps.items()])
            app = next(name for name, each in apps.items() if path == f"/admin/app/{each}/models")
            return self._json(
                [
                    {"id": an_id(1), "name": s.name, "apiKey": s.key, "type": kinds[s.kind]}
                    for s in services
                    if s.app == app
                ]
            )

        def _json(self, value: Any, status: int = 200, **headers: str) -> None:
            self._answer(status, json.dumps(value).encode(), **headers)

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # whoever asked was killed

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def without(service: Service, *ids: str) -> Service:
    """The same service without some examples."""
    return replace(service, examples=tuple(row for row in service.examples if row.id not in ids))
