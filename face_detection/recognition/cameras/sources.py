"""What is watched: cameras, streams and files, and their names. An address is shown nowhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from urllib.parse import urlsplit

from recognition.names import normalised
from serving.credentials import without_credentials

MAX_NAME = 100  # characters
# Before the first = of an argument; an address has a colon or a slash before any.
NAMED = re.compile(r"([^=/\\:?&#@]+)=(.*)", re.DOTALL)
LIVE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class WrongSource(Exception):
    """A source has no name that can be used, or one that another one has. What it says has no address."""


@dataclass(frozen=True, slots=True)
class Source:
    """One camera, stream or file.

    name: what events call it.
    address: with its passwords: a device's number, a URL, or a path.
    """

    name: str
    address: str = field(repr=False)

    @property
    def live(self) -> bool:
        """Whether it goes on by itself, so that frames which nobody takes are gone; a file waits."""
        return self.address.isdecimal() or LIVE.match(self.address) is not None


def sources_of(texts: Collection[str], is_file: Collection[str] = ()) -> list[Source]:
    """Read sources, `NAME=SOURCE` or `SOURCE`.

    is_file: those of the texts that are the path of a file as they stand, although they have a `=`.

    Raises:
        WrongSource.
    """
    sources: list[Source] = []
    names: set[str] = set()
    for text in texts:
        named = None if text in is_file else NAMED.fullmatch(text)
        source = Source(*named.groups()) if named else Source("", text)
        if not source.address:
            raise WrongSource("A source is empty.")
        name = _given(source.name) if named else _free(_derived(source), names)
        if name in names:
            raise WrongSource(f"Two sources are called {name}.")
        names.add(name)
        sources.append(replace(source, name=name))
    return sources


def _given(name: str) -> str:
    try:
        name = normalised(name)
    except ValueError:
        name = ""
    if not 0 < len(name) <= MAX_NAME:
        raise WrongSource(f"The name of a source has 1 to {MAX_NAME} characters that can be seen.")
    return name


def _derived(source: Source) -> str:
    """Name a source after its host, file or number: whatever else stands in an address may be secret."""
    if source.address.isdecimal():
        return f"camera {source.address}"
    shown = without_credentials(source.address)  # part of a password with @ and / would be the host
    if not source.live:
        name = PurePath(shown).name
    else:
        try:
            name = urlsplit(shown).hostname or ""
        except ValueError:
            name = ""
    try:
        return normalised(name)[:MAX_NAME]
    except ValueError:
        return "camera"


def _free(name: str, names: Collection[str]) -> str:
    number = 1
    free = name
    while free in names:
        number += 1
        free = f"{name[: MAX_NAME - 5]} {number}"
    return free
