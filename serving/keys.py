"""API keys: who may do what. `python -m serving.keys NAME SCOPE[,SCOPE]` makes one and shows it once."""

from __future__ import annotations

import argparse
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

RECOGNISE, ENROL, MONITOR, ADMIN = SCOPES = ("recognise", "enrol", "monitor", "admin")

# What a route may ask for beside a scope. `monitor` opens just the routes of ANY.
OPEN = "open"  # no key at all
ANY = "any"  # a key, of whatever scope

KEY_BYTES = 32
ENTRY = re.compile(r"([A-Za-z0-9._-]{1,64}):([a-z,]+):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key: whose it is, what it opens, and its SHA-256.

    The hash is plain, without salt or stretching. Those make it expensive to guess words; a key is no word
    but 256 random bits, which nobody guesses whatever a guess costs, and every request pays for the hash.
    """

    name: str
    scopes: frozenset[str]
    digest: bytes = field(repr=False)

    def opens(self, scope: str) -> bool:
        """Tell whether the key may call a route that asks for this scope; `admin` may call every one."""
        return scope == ANY or scope in self.scopes or ADMIN in self.scopes

    def entry(self) -> str:
        """Render what API_KEYS holds of it: `NAME:SCOPE[,SCOPE]:SHA256`."""
        return f"{self.name}:{','.join(sorted(self.scopes))}:{self.digest.hex()}"


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
        raise ValueError(f"entry {number} is not NAME:SCOPE[,SCOPE]:SHA256, as serving.keys prints it")
    name, scopes, digest = matched.groups()
    if not set(scopes.split(",")) <= set(SCOPES):
        raise ValueError(f"entry {number} has a scope other than {', '.join(SCOPES)}")
    return Key(name, frozenset(scopes.split(",")), bytes.fromhex(digest))


def find(keys: Sequence[Key], presented: str) -> Key | None:
    """Return the key that was presented, or None; it takes as long whichever it is."""
    wanted = digest(presented)
    match = None
    for key in keys:
        if hmac.compare_digest(key.digest, wanted):
            match = key
    return match


def new(name: str, scopes: str) -> tuple[str, Key]:
    """Make a random key for `scopes`, separated by commas; returns it and what is to be kept of it.

    Raises:
        ValueError: the name or the scopes are not what an entry can hold.
    """
    presented = secrets.token_urlsafe(KEY_BYTES)
    (key,) = parse(f"{name}:{scopes}:{digest(presented).hex()}")
    return presented, key


def digest(presented: str) -> bytes:
    """Return what is kept of a key: its SHA-256."""
    return hashlib.sha256(presented.encode()).digest()


def main() -> None:
    """Print a new key and its entry."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.keys", description="Make an API key. It is shown once."
    )
    parser.add_argument("name", help="who will use it; stands in the log")
    parser.add_argument("scopes", help=f"one or more of {', '.join(SCOPES)}, separated by commas")
    arguments = parser.parse_args()
    try:
        presented, key = new(arguments.name, arguments.scopes)
    except ValueError:
        parser.error(f"NAME has up to 64 letters, digits and . _ -; SCOPE is one of {', '.join(SCOPES)}")
    print(f"key, for the caller alone:        {presented}")
    print(f"entry, for API_KEYS or its file:  {key.entry()}")


if __name__ == "__main__":
    main()
