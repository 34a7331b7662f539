"""Talks to a running face_detection service: enrol a folder of pictures, recognise one, clear.

Without a command it enrols the demo photographs and recognises others of the same people:

    python3 test_request.py
    python3 test_request.py enrol FOLDER
    python3 test_request.py recognise PICTURE
    python3 test_request.py clear

A service with keys wants one with the scopes that these take, enrol, recognise or admin, in API_KEY.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import os
import re
import sys
import unicodedata
import uuid
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

VENV = Path(__file__).resolve().parent / ".venv"
missing = [name for name in ("requests", "tqdm") if importlib.util.find_spec(name) is None]
if missing and VENV.exists() and Path(sys.prefix).resolve() != VENV.resolve():
    python = str(VENV / "bin" / "python")
    os.execv(python, [python, *sys.argv])  # `make run` has installed them there

import requests  # noqa: E402
from tqdm import tqdm  # noqa: E402

DEMO = Path(__file__).resolve().parent / (os.environ.get("MODELS_DIR") or "models") / "demo"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
BATCH = 16  # pictures in one request
TIMEOUT_S = 120

service = requests.Session()  # one connection for all requests


def main() -> int:
    """Run the command line. Returns 0, or 1 if something was refused or not recognised."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--host", default="http://127.0.0.1:6337", help="address of the service (%(default)s)"
    )
    parser.add_argument(
        "--min-distance", type=float, default=9.0, help="the largest distance of a match (%(default)s)"
    )
    commands = parser.add_subparsers(dest="command", metavar="enrol | recognise | clear")
    enrol_command = commands.add_parser("enrol", help="enrol a folder: FOLDER/NAME/*.jpg, or FOLDER/NAME.jpg")
    enrol_command.add_argument("folder", type=Path)
    recognise_command = commands.add_parser("recognise", help="say who is in a picture")
    recognise_command.add_argument("picture", type=Path)
    commands.add_parser("clear", help="remove every enrolled sample")
    arguments = parser.parse_args()
    service.auth = add_key  # without which `requests` takes a password from ~/.netrc
    try:
        if arguments.command == "enrol":
            return enrol(arguments.host, arguments.folder)
        if arguments.command == "recognise":
            return show(recognise(arguments.host, arguments.picture, arguments.min_distance))
        if arguments.command == "clear":
            print(ask(arguments.host, "POST", "/clear-samples")["success"])
            return 0
        return demo(arguments.host, arguments.min_distance)
    except requests.ConnectionError:
        shown = without_password(arguments.host)
        print(f"Nothing answers at {shown}; is the service running (make run)?", file=sys.stderr)
    except (requests.RequestException, OSError, ValueError) as e:
        print(without_password(str(e)), file=sys.stderr)
    return 1


def without_password(text: str) -> str:
    """Return a text with `***` where a URL in it has a user and a password."""
    return re.sub(r"(?<=://)\S*@", "***@", text)


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures below a folder, in a stable order. Raises ValueError if there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"There are no pictures in {folder}.")
    return found


def name_of(path: Path, folder: Path) -> str:
    """Name the person of a picture: its own folder, or the file's name when it lies in `folder` itself."""
    name = path.stem if path.parent == folder else path.parent.name
    return unicodedata.normalize("NFC", name).strip()  # macOS takes letters and accents apart


def enrol(host: str, folder: Path) -> int:
    """Enrol the pictures below a folder, some at a time, and list what was refused."""
    pictures = pictures_in(folder)
    ids: dict[tuple[str, str], str] = {}  # of what is enrolled already
    for name in sorted({name_of(path, folder) for path in pictures}):
        ids |= enrolled(host, name)
    refused: dict[str, Any] = {}
    with tqdm(total=len(pictures), desc="enrolling", unit="picture") as bar:
        for start in range(0, len(pictures), BATCH):
            body = [sample_of(path, folder, ids) for path in pictures[start : start + BATCH]]
            errors = ask(host, "POST", "/update-samples", json=body)["errors"]
            refused |= {
                sample["metadata"]["path"]: errors[sample["id"]] for sample in body if sample["id"] in errors
            }
            bar.update(len(body))
    print(f"{len(pictures) - len(refused)} of {len(pictures)} pictures enrolled.")
    for path, error in refused.items():
        print(f"  {path}: {error['detail']}")
    return 1 if refused else 0


def enrolled(host: str, name: str) -> dict[tuple[str, str], str]:
    """Return the ids of a person's samples by name and SHA-256, or path where a sample has none, as old ones.

    So the same picture keeps its id, wherever it lies now, and another one of the same path gets its own.
    """
    ids: dict[tuple[str, str], str] = {}
    after = None
    while True:
        page = ask(host, "GET", "/samples", params={"name": name, "after": after, "limit": 1000})
        for sample in page["samples"]:
            metadata = sample["metadata"] if isinstance(sample["metadata"], dict) else {}
            ids[name, str(metadata.get("sha256") or metadata.get("path"))] = sample["id"]
        after = page["next"]
        if after is None:
            return ids


def sample_of(path: Path, folder: Path, ids: dict[tuple[str, str], str]) -> dict[str, Any]:
    """Return a picture as /update-samples takes it. A new id is random: ids stand in logs, names do not."""
    name, place, data = name_of(path, folder), path.relative_to(folder).as_posix(), path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return {
        "id": ids.get((name, digest)) or ids.pop((name, place), None) or str(uuid.uuid4()),
        "name": name,
        "image": base64.b64encode(data).decode("ascii"),
        "metadata": {"path": place, "sha256": digest},
    }


def recognise(host: str, picture: Path, min_distance: float) -> list[dict[str, Any]]:
    """Send one picture; returns its faces, unknown ones too, largest first."""
    body = {
        "image": base64.b64encode(picture.read_bytes()).decode("ascii"),
        "min_distance": min_distance,
        "include_unknown": True,
    }
    faces: list[dict[str, Any]] = ask(host, "POST", "/face-recognition", json=body)
    return faces


def show(faces: list[dict[str, Any]]) -> int:
    """Print the faces of one picture, a line each."""
    for face in faces:
        who = f"{face['name']} ({face['id']})" if face["id"] else "unknown"
        distance = "" if face["distance"] is None else f"  distance {face['distance']:.2f}"
        print(f"{who}  at {face['bbox']}{distance}")
    if not faces:
        print("No face was found.")
    return 0


def demo(host: str, min_distance: float) -> int:
    """Enrol the training photographs, recognise the others, and print who was recognised."""
    enrol(host, DEMO / "train")
    photographs = pictures_in(DEMO / "val")
    right: dict[str, list[bool]] = {}
    for path in tqdm(photographs, desc="recognising", unit="picture"):
        faces = recognise(host, path, min_distance)
        name = name_of(path, DEMO / "val")
        right.setdefault(name, []).append(bool(faces) and faces[0]["name"] == name)
    for line in table(right):
        print(line)
    return 0 if all(all(row) for row in right.values()) else 1


def table(right: dict[str, list[bool]]) -> Iterator[str]:
    """Render how many photographs of each person were recognised."""
    yield f"{'person':<20}recognised"
    for name, row in right.items():
        yield f"{name:<20}{sum(row):>3} of {len(row)}"
    total = [hit for row in right.values() for hit in row]
    yield f"{'all':<20}{sum(total):>3} of {len(total)}"


def ask(host: str, method: str, path: str, **more: Any) -> Any:
    """Return the JSON of an answer. Raises ValueError with the service's own words if it is an error."""
    name = urlsplit(host).hostname or ""
    # A proxy that the environment names would look for this machine's own addresses on its own machine.
    proxies = {"no_proxy": name} if is_loopback(name) else None
    response = service.request(method, f"{host}{path}", timeout=TIMEOUT_S, proxies=proxies, **more)
    body = response.json()
    if not response.ok:
        raise ValueError(f"{body['error']} {body['detail']}")
    return body


def is_loopback(name: str) -> bool:
    """Tell whether a host is this machine itself."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def add_key(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add API_KEY to a request, if it is set."""
    if os.environ.get("API_KEY"):
        request.headers["Authorization"] = f"Bearer {os.environ['API_KEY']}"
    return request


if __name__ == "__main__":
    sys.exit(main())
