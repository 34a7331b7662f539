"""The pictures of a request, and what it is asked for: files of a form, or base64 text in JSON."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request

from recognition.compreface import json_bodies, options
from recognition.compreface.failures import Code, Refused
from recognition.compreface.options import Options
from recognition.faces import Encoded
from serving import bodies

EXTENSIONS = ("tif", "tiff", "jpg", "jpeg", "png", "bmp", "ico", "gif", "webp")
BASE64 = re.compile(r"[A-Za-z0-9+/_=\s-]*", re.ASCII)  # of either alphabet, with line breaks


@dataclass(frozen=True, slots=True)
class Sent:
    """A request for work on pictures that has arrived, and is not looked at yet.

    names: of the parts, or of the fields, that have the pictures.
    files: what each is called, and what is in it; None: they are in `body`, which is JSON.
    """

    names: Sequence[str]
    files: Sequence[tuple[str, bytes]] | None
    body: bytes = b""

    def read(self, known: Collection[str] = options.OF_PICTURES) -> tuple[list[Encoded], Options]:
        """Return the pictures, and the options. `known`: see `options.parsed`.

        Raises:
            Unreadable, Refused: in the order in which CompreFace comes upon what is wrong.
        """
        asked = options.parsed(known)
        if self.files is None:
            pictures = _texts(json_bodies.an_object(json_bodies.parsed(self.body)), self.names)
            asked.check()
            for text in pictures:
                _check_base64(text)
            asked.check_threshold()
            return [*pictures], asked
        asked.check()
        for name, _ in self.files:
            _check_extension(name)
        asked.check_threshold()
        return [data for _, data in self.files], asked


def received(*names: str) -> Sent:
    """Receive a request that has pictures in parts of a form, or in fields of JSON, of these names.

    Raises:
        Refused: the form has no such part.
    """
    if not bodies.is_form():
        return Sent(names, None, bodies.whole())
    for name in names:
        if name not in request.files:
            raise Refused(Code.MISSING_PART, f"Required part {name} is missing")
    files = [request.files[name] for name in names]
    return Sent(names, [(file.filename or "", bodies.taken(file)) for file in files])


def _texts(sent: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    texts = {name: json_bodies.text(sent.get(name)) for name in names}
    return [json_bodies.given(texts[name], name) for name in names]


def _check_base64(text: str) -> None:
    if BASE64.fullmatch(text) is None:
        raise Refused(Code.BAD_FILE, "Provided value is not Base64")


def _check_extension(name: str) -> None:
    """Refuse what is not called like a picture, as CompreFace does; what it is, its bytes tell."""
    _, dot, extension = name.lower().rpartition(".")
    if not dot or extension not in EXTENSIONS:
        raise Refused(Code.BAD_FILE, f"File [{name}] has an unavailable extension")
