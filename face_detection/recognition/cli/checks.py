"""What `doctor` checks: is everything there that the services need, and if not, what to do."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from embedding import config as embedding_config
from embedding.network import PREPARED
from preparation.manifest import is_as_made, read_manifest
from recognition import client_keys, config
from recognition.audit import Audit
from recognition.cli.addresses import embedding_url, local_url, obstacle
from recognition.cli.check import Check
from recognition.client import Client, ServiceError
from recognition.client_keys import ClientService
from recognition.errors import GalleryUnavailable
from recognition.gallery import LEAST_FREE_BYTES, Gallery, open_gallery, services, shown
from recognition.gallery.milvus import Milvus
from serving import processor
from serving.credentials import without_credentials
from serving.runtimes import import_openvino
from serving.variables import SettingsError, settings_file
from serving.version import VERSION

READY_LIMIT_S = 30.0  # how long a service may take to say that it is ready

ADVICE = {
    "unauthorized": "pass the service's key: --key, or API_KEY",
    "embedding_unavailable": "start feature_extraction, or set FEATURE_EXTRACTION_URL to where it is",
    "gallery_unavailable": "check the database that DATABASE_URL names",
    "gallery_model_mismatch": "set EMBEDDING_MODEL to what it was at enrolment, or see gallery change-model",
    "no_face": "set DETECTOR and MIN_FACE_PX back to their defaults",
    "overloaded": "it is busy: try again later",
    "rate_limited": "try again later, or raise RATE_LIMIT_PER_MINUTE",
}


def checks(host: str | None, key: str | None) -> Iterator[Check]:
    """Check one thing after the other: the service at `host`, or all of this machine where that is None."""
    if host:
        yield _service("service", host, key, None)
    else:
        yield from _installation(key)


def _installation(key: str | None) -> Iterator[Check]:
    yield Check("version", True, VERSION)
    yield _python()
    settings_path = settings_file()
    try:
        settings, embedding_settings = config.read(), embedding_config.read()
    except SettingsError as e:
        yield Check("settings", False, str(e), "docs/settings.md lists the values of each setting")
        return
    origin = f"from {settings_path} and the environment" if settings_path else "from the environment alone"
    yield Check("settings", True, f"{origin}: {embedding_settings.embedding_model}, {settings.detector}")
    own = embedding_settings.embedding_onnx
    model = None if own else PREPARED.get(embedding_settings.embedding_model)
    yield _models(settings.models_dir, {settings.detector, model})
    yield _processor(settings.workers)
    yield from _gallery(settings)
    yield _retention(settings)
    if file := _sqlite_file(settings):
        yield disk_space("gallery's disk", file)
    yield disk_space("temporary folder", Path(tempfile.gettempdir()))
    secret = embedding_settings.embedding_secret
    place = embedding_settings.feature_extraction_host, embedding_settings.feature_extraction_port
    url = embedding_url(settings, *place)
    yield _service("feature_extraction", url, secret.get_secret_value() if secret else None, place)
    place = settings.face_detection_host, settings.face_detection_port
    yield _service("face_detection", local_url(*place), key, place)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check("Python", ok, version, "" if ok else "use 3.11, 3.12 or 3.13: make PYTHON=python3.12")


def _models(folder: Path, chosen: Iterable[str | None]) -> Check:
    """Check what is prepared; of what the settings choose, `chosen`, as far as it is prepared at all."""
    advice = "`recognition models prepare` makes them, as do `serve` and `make run`"
    manifest = read_manifest(folder)
    if manifest is None:
        return Check("models", False, f"none in {folder}", advice)
    networks = manifest["networks"]
    changed = [network["file"] for network in networks.values() if not is_as_made(folder, network)]
    absent = {"yunet", *PREPARED.values()} - set(networks)
    changed += [f"{name}.onnx" for name in chosen if name in absent]
    if changed:
        return Check("models", False, f"missing or changed: {', '.join(changed)}", advice)
    return Check("models", True, f"{len(networks)} networks in {folder}")


def _processor(workers: int) -> Check:
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    cores = os.cpu_count() or 1
    kind = "bfloat16" if "BF16" in capabilities else "no bfloat16, which makes embedding slower"
    if processor.lacking(processor.PREPARING):
        kind = "no AVX, which makes all slower; models have to be prepared on another machine"
    advice = f"WORKERS={cores} would use all of them" if cores > workers else ""
    return Check("processor", True, f"{cores} cores, {kind}", advice)


def _gallery(settings: config.Settings) -> Iterator[Check]:
    """Check the database, and in it whether clients have keys that others can guess."""
    url = shown(settings.database_url)
    if (file := _sqlite_file(settings)) and not file.exists():
        advice = "if people are enrolled already, DATABASE_URL or the settings file is not the service's"
        yield Check("gallery", True, f"none yet at {url}; serve, enrol and import make one", advice)
        yield from _client_keys(settings, [])
        return
    try:
        opened = open_gallery(
            settings.database_url,
            settings.gallery_lock_timeout_s,
            key=settings.gallery_key.get_secret_value() if settings.gallery_key else None,
            audit=Audit(settings.audit_log),
            create=False,
            read_url=settings.database_read_url,
        )
        with closing(opened):
            count, stored, read = opened.total(), services.listed(opened), _replicas(opened, settings)
    except (GalleryUnavailable, OSError) as e:
        cause = without_credentials(str(e.__cause__ or "").partition("\n")[0])
        yield Check("gallery", False, f"{url}: {e} {cause}".strip(), ADVICE["gallery_unavailable"])
        return
    yield Check("gallery", True, f"{count} samples in {url}")
    yield from read
    if settings.gallery_index is not None and "://" in settings.gallery_index:  # a file is the service's own
        yield _index(settings.gallery_index, settings)
    yield from _client_keys(settings, stored)


def _replicas(gallery: Gallery, settings: config.Settings) -> list[Check]:
    """Check whether searches can run on the standbys that the settings name, if they name any."""
    if settings.database_read_url is None:
        return []
    place = shown(settings.database_read_url)
    try:
        gallery.check_replicas()
    except GalleryUnavailable as e:
        cause = without_credentials(str(e.__cause__ or "").partition("\n")[0])
        advice = "check DATABASE_READ_URL; the primary searches meanwhile"
        return [Check("replicas", False, f"{place}: {e} {cause}".strip(), advice)]
    return [Check("replicas", True, f"{place} has all that the primary has")]


def _index(address: str, settings: config.Settings) -> Check:
    """Check whether Milvus answers."""
    place = without_credentials(address)
    try:
        with closing(Milvus(address, settings.index_token, settings.gallery_lock_timeout_s)) as milvus:
            milvus.names("")
    except GalleryUnavailable as e:
        cause = without_credentials(str(e.__cause__ or "").partition("\n")[0])
        return Check("gallery index", False, f"{place}: {e} {cause}".strip(), "check GALLERY_INDEX")
    return Check("gallery index", True, f"Milvus at {place}")


def _client_keys(settings: config.Settings, stored: Sequence[ClientService]) -> Iterator[Check]:
    """Tell which services have keys that others can guess, if clients of CompreFace are answered at all."""
    every = (*settings.compreface_services.values(), *stored)
    if settings.compreface is not False and (warning := client_keys.warning(every)):
        yield Check("client keys", True, warning, "add services with keys of their own, and remove these")


def _retention(settings: config.Settings) -> Check:
    days = settings.default_expires_days
    limit = "no limit (DEFAULT_EXPIRES_DAYS is not set)" if days is None else f"{days} days"
    return Check("retention", True, f"{limit}, unless `expires_at` says otherwise")


def _sqlite_file(settings: config.Settings) -> Path | None:
    prefix = "sqlite:///"
    return (
        Path(settings.database_url.removeprefix(prefix)) if settings.database_url.startswith(prefix) else None
    )


def disk_space(name: str, path: Path, usage: Callable[[Path], Any] = shutil.disk_usage) -> Check:
    """Check the space on the disk of a file or folder, which need not exist yet.

    usage: returns the disk of a folder, with `free` in bytes.
    """
    folder = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.is_dir())
    free = usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < LEAST_FREE_BYTES:
        return Check(name, False, detail, "free some space, or enrolments and uploads will fail")
    return Check(name, True, detail)


def _service(name: str, url: str, key: str | None, place: tuple[str, int] | None) -> Check:
    """Ask a service whether it is ready.

    place: host and port where it would listen on this machine, which must be free if it does not run; None:
        it must run.
    """
    shown_url = without_credentials(url)
    in_the_way = obstacle(*place) if place else None
    if in_the_way is not None and "in use" not in in_the_way:  # an address elsewhere may never answer
        return Check(name, False, in_the_way, f"set {name.upper()}_HOST to an address of this machine")
    with Client(url, key=key, timeout_s=READY_LIMIT_S, retries=0) as client:
        try:
            health = client.health()
            is_ours = isinstance(health, dict) and health.get("status") == "ok"
        except ServiceError as e:
            if e.code == "timeout":
                return Check(name, False, e.detail, "it hangs or is busy: see its log")
            if e.code == "unreachable":
                if place is None:
                    return Check(name, False, e.detail, "start it: recognition serve")
                if in_the_way is None:
                    return Check(name, True, f"not running; port {place[1]} is free")
            is_ours = False
        if not is_ours:
            advice = f"stop it, or set {name.upper()}_PORT to another port" if place else ""
            return Check(name, False, f"another program answers at {shown_url}", advice)
        try:
            ready = client.ready()
        except ServiceError as e:
            return Check(name, False, f"{e.code}: {e.detail}", ADVICE.get(e.code, ""))
    samples = f", {ready['gallery']['samples']} samples" if "gallery" in ready else ""
    return Check(name, True, f"ready at {shown_url}: {ready['model']}{samples}")
