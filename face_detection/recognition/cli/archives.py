"""What commands about archives share: the index, and what sees faces in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from recognition.app import create_service, decoding_here, load_decoder
from recognition.archive import buckets, finding
from recognition.archive.entries import IndexUnavailable
from recognition.archive.index import Index, open_index
from recognition.archive.looking import Looker
from recognition.cli.local import Parts, load
from recognition.cli.session import (
    FAILED,
    INTERRUPTED,
    UNAVAILABLE,
    GalleryNeed,
    fail,
    file_error,
    printable,
)
from recognition.config import Settings
from recognition.errors import NoFace
from recognition.faces import Search
from recognition.gallery import Gallery
from recognition.results import Detection, Recognition
from recognition.seeing import fingerprint_of
from recognition.service import Service
from serving.errors import Failure, ImageTooLarge, InvalidImage, NotFound
from serving.model import Model

FILE = "archive.sqlite3"
PAGE = 1000
SHOWN = 3  # files of each reason for a refusal
COLUMNS = ("picture", "distance", "false_match", "face", "bbox", "quality")


@dataclass(frozen=True, slots=True)
class Options:
    """What both commands are told.

    index: the file; None: the usual one.
    gallery: its name; None: `default`.
    small_faces: as in Search.
    jobs: how many pictures are looked at at once; None: as many as there are cores.
    ray: where workers look at them, as for `joined`; None: this process does.
    """

    index: Path | None = None
    gallery: str | None = None
    small_faces: bool | None = None
    jobs: int | None = None
    ray: str | None = None


@dataclass(frozen=True, slots=True)
class Workshop:
    """What sees faces in this process, with the model of the gallery."""

    settings: Settings
    service: Service
    gallery: Gallery
    model: Model
    looker: Looker

    @property
    def fingerprint(self) -> str:
        """Of the gallery's model."""
        return fingerprint_of(self.model)


@contextmanager
def failing() -> Iterator[None]:
    """End the command with one sentence where something fails that may."""
    try:
        yield
    except IndexUnavailable as e:
        fail(UNAVAILABLE, {"code": "index_unavailable", "detail": str(e)})
    except (NotFound, NoFace, InvalidImage, ImageTooLarge) as e:
        fail(FAILED, {"code": e.code, "detail": e.detail})
    except Failure as e:
        fail(UNAVAILABLE, {"code": e.code, "detail": e.detail})
    except BrokenPipeError:
        raise  # click ends quietly
    except OSError as e:
        fail(FAILED, file_error(e))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def file_of(settings: Settings) -> Path:
    """Return where the index usually lies: beside a gallery that is a file, or else in the data folder."""
    return settings.data_folder / FILE


def opened(settings: Settings, file: Path | None, *, create: bool = False) -> closing[Index]:
    """Open the index of the settings, or of a file.

    Raises:
        IndexUnavailable, OSError: as `open_index` does.
    """
    key = settings.gallery_key.get_secret_value() if settings.gallery_key else None
    return closing(open_index(file or file_of(settings), create=create, key=key))


@contextmanager
def loaded(need: GalleryNeed) -> Iterator[Parts]:
    """Load models, detector and gallery, as the services do, and close the gallery at the end.

    Raises:
        SystemExit: something cannot be loaded; stderr says what.
    """
    parts = load(need)
    try:
        yield parts
    finally:
        if parts.gallery:
            parts.gallery.close()


@contextmanager
def workshop(parts: Parts, options: Options, *, portraits: bool = False) -> Iterator[Workshop]:
    """Put to use what was loaded, with a process of its own that decodes pictures, as the service has it.

    portraits: as in Looker.

    Raises:
        NotFound: there is no such gallery; GalleryUnavailable, ModelUnknown.
        SystemExit: decoding cannot be started; stderr says why.
    """
    assert parts.gallery is not None
    settings = parts.settings
    jobs = options.jobs or cores()
    with ExitStack() as stack:
        if (decoder := load_decoder(settings)) is not None:
            stack.callback(decoder.close)
        service = create_service(
            settings,
            detector=parts.detector,
            embedder=parts.embedder,
            gallery=parts.gallery,
            decode=decoder or decoding_here(settings),
        )
        gallery = parts.gallery
        if options.gallery is not None:
            gallery = gallery.of(options.gallery)
            service = replace(service, gallery=gallery, audit=gallery.audit, read=gallery.audit.read)
        gallery.check_there()
        model = service.sight.model(gallery.model_name)
        pool = ThreadPoolExecutor(jobs, "archive")
        stack.callback(pool.shutdown, cancel_futures=True)
        looker = Looker(
            service.sight,
            pool,
            jobs,
            model,
            settings.max_body_bytes,
            options.small_faces,
            portraits=portraits,
            keep_faces=settings.keep_faces,
        )
        yield Workshop(settings, service, gallery.of_model(gallery.model_name), model, looker)


def cores() -> int:
    """Count the processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def path_of(folder: Path | str) -> bytes:
    """Return the absolute path of a folder without links in it, by which an index knows it; or that in S3.

    Raises:
        click.BadParameter: it is no name in S3, though it begins like one.
    """
    name = os.fsencode(folder)
    if not buckets.is_in_one(name):
        return os.fsencode(Path(folder).resolve())
    if not buckets.is_name(name):
        raise click.BadParameter(f"{printable(str(folder))}: names in S3 are like s3://BUCKET/FOLDER.")
    return name.rstrip(b"/")


def exists(folder: str) -> bool:
    """Tell whether there is such a folder or file.

    Raises:
        IndexUnavailable, OSError: as `buckets.exists` does.
    """
    path = path_of(folder)
    return buckets.exists(path) if buckets.is_in_one(path) else Path(folder).exists()


def identifying(here: Workshop, search: Search) -> finding.Identify:
    """Return what tells whose faces are, by the gallery as it is by then."""
    search = here.service.decided(search, here.model)

    def identify(seen: Sequence[Detection], vectors: NDArray[np.float32]) -> list[Recognition]:
        return here.service.identified(seen, vectors, search, here.gallery, here.model)

    return identify
