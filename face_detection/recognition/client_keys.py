"""Keys of clients that were written for CompreFace, UUIDs kept as SHA-256 only, and what they open. Pure.

Apart from results.py, which takes NumPy: settings are read without it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal, get_args

from serving import keys

Kind = Literal["recognition", "detection", "verification"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ENTRY = re.compile(rf"([A-Za-z0-9._-]{{1,64}}):([a-z]+):([0-9a-f]{{64}})(?::({keys.GALLERY}))?")
HAS_GALLERY = re.compile(keys.GALLERY)
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# How many different hexadecimal digits, and differences of neighbouring ones, a random key has at least. Of
# the 30 random digits of a UUID of version 4, fewer than 8 are different once in five million: 16 over 7
# times (7/16)^30. So no key that was drawn is taken for one that was made up.
LEAST_DIFFERENT = 8
SHOWN = 10  # names in a warning
RANDOM_VERSIONS = (4, 7)  # of UUIDs, RFC 9562; the others tell a time, a machine, or a name


@dataclass(frozen=True, slots=True)
class ClientService:
    """What a key of clients that were written for CompreFace opens. The key itself is kept nowhere.

    id: a UUID.
    gallery: the name of the one that it recognises and enrols in; None: its kind needs none.
    take_all: whether it enrols faces however poor they are.
    app: the id of the application that it belongs to; None: to none.
    created: in UTC; None: it stands in the settings.
    guessable: whether others can guess its key.
    """

    id: str
    name: str
    kind: Kind
    gallery: str | None
    take_all: bool = False
    app: str | None = None
    created: datetime | None = None
    guessable: bool = False


def digest(key: str) -> bytes:
    """Return what is kept of a key: the SHA-256 of its usual form, in small letters.

    Raises:
        ValueError: it is no UUID. It does not quote it.
    """
    return keys.digest(str(_parsed(key)))


def new() -> str:
    """Make a random key."""
    return str(uuid.uuid4())


def is_guessable(key: str) -> bool:
    """Tell whether others can guess a key, as it is not random: counted up, written by hand, or of no chance.

    Raises:
        ValueError: it is no UUID.
    """
    parsed = _parsed(key)
    digits = [int(digit, 16) for digit in parsed.hex]
    steps = {(after - before) % 16 for before, after in pairwise(digits)}
    varied = min(len(set(digits)), len(steps)) >= LEAST_DIFFERENT
    return not varied or parsed.version not in RANDOM_VERSIONS


def _parsed(key: str) -> uuid.UUID:
    # `uuid.UUID` alone takes much more, such as braces, and hyphens anywhere.
    if UUID.fullmatch(key) is None:
        raise ValueError("not a UUID")
    return uuid.UUID(key)


# Of keys in the settings only the digest is known; these are the ones that examples and demonstrations use:
# 00000000-0000-0000-0000-000000000002 and the like, or one digit throughout.
_DIGITS = "0123456789abcdef"
WELL_KNOWN = frozenset(
    digest(str(uuid.UUID(digits)))
    for digit in _DIGITS
    for digits in ("0" * 31 + digit, "0" * 12 + "40008" + "0" * 14 + digit, digit * 32)
)


def entry(name: str, kind: Kind, key: str, gallery: str | None = None) -> str:
    """Render what COMPREFACE_SERVICES holds of a service: `NAME:KIND:SHA256[:GALLERY]`.

    Raises:
        ValueError: the key is no UUID, or the rest is not what an entry can hold.
    """
    rendered = f"{name}:{kind}:{digest(key).hex()}" + ("" if gallery is None else f":{gallery}")
    _service(rendered, 1)
    return rendered


def parse(text: str) -> dict[bytes, ClientService]:
    """Read entries as `entry` renders them, between white space; `#` starts a comment.

    A recognition service without a gallery has the one that is called as it is.

    Returns:
        The services, by the digests of their keys.

    Raises:
        ValueError: an entry is not one, or there is none, or two share a name or a key. It quotes no entry.
    """
    entries = [entry for line in text.splitlines() for entry in line.partition("#")[0].split()]
    services = [_service(entry, number) for number, entry in enumerate(entries, 1)]
    if not services:
        raise ValueError("there is no service in it")
    by_digest = dict(services)
    if len({service.name for _, service in services}) < len(services) or len(by_digest) < len(services):
        raise ValueError("two entries have the same name or the same key")
    return by_digest


def warning(services: Iterable[ClientService]) -> str:
    """Say which services have keys that others can guess; an empty text: none has."""
    names = [service.name for service in services if service.guessable]
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f"Others can guess the keys of these services: {shown}." if names else ""


def _service(entry: str, number: int) -> tuple[bytes, ClientService]:
    matched = ENTRY.fullmatch(entry)
    if matched is None:
        raise ValueError(
            f"entry {number} is not NAME:KIND:SHA256[:GALLERY], "
            "as `recognition compreface services add --entry` prints it"
        )
    name, word, sha256, gallery = matched.groups()
    kind = next((each for each in KINDS if each == word), None)
    if kind is None:
        raise ValueError(f"entry {number} has a kind other than {', '.join(KINDS)}")
    if kind == "recognition":
        gallery = gallery or name
        if HAS_GALLERY.fullmatch(gallery) is None:
            raise ValueError(f"entry {number} needs a gallery: its name cannot be one's")
    elif gallery is not None:
        raise ValueError(f"entry {number} has a gallery, which only recognition needs")
    key = bytes.fromhex(sha256)
    # Of no use to anybody but for being the same at every start.
    service_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name}:{sha256}"))
    return key, ClientService(service_id, name, kind, gallery, guessable=key in WELL_KNOWN)
