"""API keys: who may do what. `recognition keys new` makes one."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

RECOGNISE, ENROL, MONITOR, ADMIN = SCOPES = ("recognise", "enrol", "monitor", "admin")

# What a route may ask for instead of a scope. A key with only `monitor` opens just the routes of ANY.
OPEN = "open"  # no key at all
ANY = "any"  # a key, of whatever scope

KEY_BYTES = 32
# Of a gallery, in entries and everywhere else: what needs no quoting, in a shell, a path and a query.
GALLERY = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
ENTRY = re.compile(rf"([A-Za-z0-9._-]{{1,64}}):([a-z,]+):([0-9a-f]{{64}})(?::({GALLERY}))?")


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key: whose it is, what it opens, and where, and its SHA-256.

    gallery: the only one that the key opens; None: it opens all of them.

    The hash is plain, without salt or stretching. Those make it expensive to guess words; a key is no word
    but 256 random bits, beyond guessing however cheap a guess is, and every request pays for the hash.
    """

    name: str
    scopes: frozenset[str]
    digest: bytes = field(repr=False)
    gallery: str | None = None

    def opens(self, scope: str) -> bool:
        """Tell whether the key may call a route that asks for this scope; `admin` may call every one."""
        return scope == ANY or scope in self.scopes or ADMIN in self.scopes

    def entry(self) -> str:
        """Render what API_KEYS holds of it: `NAME:SCOPE[,SCOPE]:SHA256[:GALLERY]`."""
        bound = "" if self.gallery is None else f":{self.gallery}"
        return f"{self.name}:{','.join(sorted(self.scopes))}:{self.digest.hex()}{bound}"


def parse(text: str) -> tuple[Key, ...]:
    """Read entries as `Key.entry` renders them, between white space; `#` starts a comment.

    Raises:
        ValueError: an entry is not one, or there is none, or two share a name or a key. It quotes no entry.
    """
    entries = [entry for line in text.splitlines() for entry in line.partition("#")[0].split()]
    keys = tuple(_key(entry, number) for number, entry in enumerate(entries, 1))
    if not keys:
        raise ValueError("there is no key in it")
    if len({key.name for key in keys}) < len(keys) or len({key.digest for key in keys}) < len(keys):
        raise ValueError("two entries have the same name or the same key")
    return keys


def _key(entry: str, number: int) -> Key:
    matched = ENTRY.fullmatch(entry)
    if matched is None:
        raise ValueError(
            f"entry {number} is not NAME:SCOPE[,SCOPE]:SHA256[:GALLERY], as `recognition keys new` prints it"
        )
    name, scopes, digest, gallery = matched.groups()
    if not set(scopes.split(",")) <= set(SCOPES):
        raise ValueError(f"entry {number} has a scope other than {', '.join(SCOPES)}")
    return Key(name, frozenset(scopes.split(",")), bytes.fromhex(digest), gallery)


def find(keys: Sequence[Key], presented: str) -> Key | None:
    """Return the key that was presented, or None; it takes as long whichever it is."""
    wanted = digest(presented)
    match = None
    for key in keys:
        if hmac.compare_digest(key.digest, wanted):
            match = key
    return match


def new(name: str, scopes: str, gallery: str | None = None) -> tuple[str, Key]:
    """Make a random key for `scopes`, separated by commas; returns it and what is to be kept of it.

    gallery: the only one that it opens; None: all of them.

    Raises:
        ValueError: the name, the scopes or the gallery are not what an entry can hold.
    """
    presented = secrets.token_urlsafe(KEY_BYTES)
    bound = "" if gallery is None else f":{gallery}"
    (key,) = parse(f"{name}:{scopes}:{digest(presented).hex()}{bound}")
    return presented, key


def digest(presented: str) -> bytes:
    """Return what is kept of a key: its SHA-256."""
    return hashlib.sha256(presented.encode()).digest()
