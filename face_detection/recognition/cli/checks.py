"""What `doctor` looks at: is everything there that the services need, and if not, what to do."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from recognition import config
from recognition.client import Client, ServiceError
from serving.runtimes import import_openvino

ASK_S = 30.0  # how long a service may take to say that it is ready

ADVICE = {
    "unauthorized": "name its key: --key, or API_KEY",
    "embedding_unavailable": "start feature_extraction, or let FEATURE_EXTRACTION_URL name it",
    "gallery_unavailable": "see to the database that DATABASE_URL names",
    "gallery_model_mismatch": "set EMBEDDING_MODEL as it was at enrolment, or clear the samples",
    "no_face": "take DETECTOR or MIN_FACE_PX back to its default",
    "overloaded": "it is busy: ask again later",
    "rate_limited": "ask again later, or raise RATE_LIMIT_PER_MINUTE",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. advice: what to do, where not all is well."""

    check: str
    well: bool
    found: str
    advice: str = ""

    def lines(self) -> Iterator[str]:
        """Render it as text."""
        yield f"{'ok   ' if self.well else 'FAULT'} {self.check}: {self.found}"
        if self.advice:
            yield f"      {self.advice}"


def checks(host: str | None, key: str | None) -> Iterator[Check]:
    """Look at one thing after the other: the service at `host`, or all of this machine where that is None."""
    if host:
        yield _service("service", host, key, None)
    else:
        yield from _all(key)


def _all(key: str | None) -> Iterator[Check]:
    yield _python()
    try:
        other: Any = import_module("recognition.cli.local").embedding_config
    except ImportError as e:
        yield Check("packages", False, f"{e.name} is missing", "pip install -r requirements.txt")
        return
    try:
        settings, extraction = config.read(), other.read()
    except (config.SettingsError, other.SettingsError) as e:
        yield Check("settings", False, str(e), "docs/settings.md lists what each may be")
        return
    yield Check("settings", True, f"{extraction.embedding_model}, {settings.detector}")
    yield _models(settings.models_dir)
    yield _processor(settings.workers)
    yield _database(settings)
    port, address = extraction.feature_extraction_port, settings.feature_extraction_url
    if address == config.Settings.feature_extraction_url:  # then both are started together
        address = f"http://127.0.0.1:{port}"
    secret = extraction.embedding_secret
    yield _service("feature_extraction", address, secret.get_secret_value() if secret else None, port)
    port = settings.face_detection_port
    yield _service("face_detection", f"http://127.0.0.1:{port}", key, port)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    well = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check("Python", well, version, "" if well else "take 3.11, 3.12 or 3.13: make PYTHON=python3.12")


def _models(folder: Path) -> Check:
    advice = "`make run` prepares them, or `python prepare_models.py`"
    try:
        networks = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["networks"].values()
        harmed = [about["file"] for about in networks if not _is(folder / about["file"], about["sha256"])]
    except (OSError, ValueError, LookupError, TypeError):
        return Check("models", False, f"none in {folder}", advice)
    if harmed:
        return Check("models", False, f"not as they were made: {', '.join(harmed)}", advice)
    return Check("models", True, f"{len(networks)} networks in {folder}")


def _is(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _processor(workers: int) -> Check:
    able = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    cores = os.cpu_count() or 1
    kind = "bfloat16" if "BF16" in able else "no bfloat16, so that embedding takes longer"
    advice = f"WORKERS={cores} would use all of them" if cores > workers else ""
    return Check("processor", True, f"{cores} cores, {kind}", advice)


def _database(settings: config.Settings) -> Check:
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    if settings.database_url.startswith("sqlite") and not path.exists():
        return Check("database", True, "none yet; the first start makes it")
    gallery, errors = import_module("recognition.gallery"), import_module("recognition.errors")
    try:
        opened = gallery.open_gallery(settings.database_url, settings.gallery_lock_timeout_s)
        count = opened.count()
        opened.close()
    except (errors.GalleryUnavailable, OSError) as e:
        cause = str(e.__cause__ or "").partition("\n")[0]
        return Check("database", False, f"{e} {cause}".strip(), ADVICE["gallery_unavailable"])
    return Check("database", True, f"{count} samples")


def _service(name: str, url: str, key: str | None, port: int | None) -> Check:
    """Ask a service whether it is ready.

    port: where it would listen on this machine, which must be free if it does not run; None: it must run.
    """
    with Client(url, key=key, timeout_s=ASK_S, retries=0) as client:
        try:
            ours = client.health() == {"status": "ok"}
        except ServiceError as e:
            if e.code == "unreachable" and port is None:
                return Check(name, False, e.detail, "start it: python -m recognition serve")
            if e.code == "unreachable" and _free(port or 0):
                return Check(name, True, f"not running; port {port} is free")
            if e.code == "timeout":
                return Check(name, False, e.detail, "it hangs, or is busy: its log tells")
            ours = False
        if not ours:
            advice = f"stop it, or choose another: {name.upper()}_PORT" if port else ""
            return Check(name, False, f"another program has {url}", advice)
        try:
            ready = client.ready()
        except ServiceError as e:
            return Check(name, False, f"{e.code}: {e.detail}", ADVICE.get(e.code, ""))
    samples = f", {ready['gallery']['samples']} samples" if "gallery" in ready else ""
    return Check(name, True, f"ready at {url}: {ready['model']}{samples}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
