"""What workers of Ray do: they see faces in pictures, or make vectors of kept faces, with their own models.

A worker reads the settings of the machine that it is on, as to where its models lie and what runs them. What
decides what is seen is told to it, and nothing that is secret: no key, and no database.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedding import config as embedding_config
from recognition import config
from recognition.app import decoding_here, load_decoder, load_detector, make_sight
from recognition.archive.entries import File, Outcome, Refused
from recognition.archive.looking import Looker
from recognition.archive.updating import Look, chunks
from recognition.changing import EmbedAll, vectors_of
from recognition.cli.cluster import LOCAL, Workers, WorkersUnavailable, joined
from recognition.cli.local import load_embedder
from recognition.cli.session import FREE_ACCESS
from recognition.config import Settings
from recognition.gallery.changes import Lacking
from recognition.seeing import fingerprint_of
from serving.model import Model
from serving.models import prepare
from serving.version import VERSION

BATCH = 32  # pictures: seconds of work, and few enough to be lost with a worker
READERS = 2  # threads of a worker, so that one reads while the other one's picture is searched
# What decides what is seen, beside the model; the rest is each machine's own affair.
SEEING = (
    "detector",
    "min_face_px",
    "detection_max_side_px",
    "max_faces",
    "min_quality",
    "small_faces",
    "max_image_pixels",
    "max_body_bytes",
)

Part = TypeVar("Part")


class About(NamedTuple):
    """The version of a worker's program, and the model of its vectors."""

    version: str
    model: Model


@dataclass(frozen=True, slots=True)
class Wish:
    """What workers are to see.

    settings: those of SEEING.
    embedding_model: the services' own; model: the one of the vectors, None: the same.
    portraits, keep_faces: as in Looker.
    """

    settings: dict[str, Any]
    embedding_model: str
    model: str | None
    portraits: bool = False
    keep_faces: bool = False


class Worker:
    """Sees faces and makes vectors, on one core."""

    def __init__(self, wish: Wish) -> None:
        """Load what that takes.

        Raises:
            WorkersUnavailable: something cannot be loaded here.
        """
        own = {"embedding_model": wish.embedding_model, "embedding_threads": 1}
        self._settings = _loaded(config.read, **FREE_ACCESS, **wish.settings, detection_threads=1)
        embedding = _loaded(embedding_config.read, **own)
        self._embedder = _loaded(load_embedder, embedding)
        self._model = self._embedder.model(wish.model)
        self._decode = _loaded(load_decoder, self._settings) or decoding_here(self._settings)
        self._wish = wish
        self._looker: Looker | None = None

    def about(self) -> About:
        """Tell what the vectors will be of."""
        return About(VERSION, self._model)

    def see(self, files: Sequence[File]) -> list[Outcome]:
        """See what is in files, in their order."""
        if self._looker is None:
            sight = make_sight(
                self._settings, self._decode, _loaded(load_detector, self._settings), self._embedder
            )
            self._looker = Looker(
                sight,
                ThreadPoolExecutor(READERS, "archive"),
                READERS,
                self._model,
                self._settings.max_body_bytes,
                portraits=self._wish.portraits,
                keep_faces=self._wish.keep_faces,
            )
        return list(self._looker(files))

    def embed(self, samples: Sequence[Lacking]) -> list[NDArray[np.float32] | None]:
        """Make vectors of kept faces: float32 (d,) each; None: its picture cannot be read."""
        return vectors_of([each.face for each in samples], self._model, self._decode, self._embedder)


def _loaded(load: Callable[..., Part], *arguments: Any, **named: Any) -> Part:
    """Load something, and pass on why that fails: what services say as they leave."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return load(*arguments, **named)
    except SystemExit as e:
        raise WorkersUnavailable(said.getvalue().strip()) from e


def wish(
    settings: Settings, model: str | None, small_faces: bool | None = None, *, portraits: bool = False
) -> Wish:
    """Put together what workers are to see, from the settings of the services.

    model: of the vectors; None: the services' own. small_faces, portraits: as in Looker.
    """
    wanted = {each: getattr(settings, each) for each in SEEING}
    wanted |= {} if small_faces is None else {"small_faces": small_faces}
    own = embedding_config.read().embedding_model
    return Wish(wanted, own, model, portraits, portraits and settings.keep_faces)


@contextmanager
def seeing(address: str, jobs: int | None, settings: Settings, wish: Wish) -> Iterator[tuple[Model, Look]]:
    """Let workers see faces; `address` and `jobs` as for `joined`.

    Yields:
        The model of the vectors, and what sees faces in files.
    """
    with _working(address, jobs, settings, wish) as workers:

        def look(files: Iterable[File]) -> Iterator[Outcome]:
            for _, outcomes in workers.each(chunks(files, BATCH), "see", _given_up):
                yield from outcomes

        yield workers.about().model, look


@contextmanager
def embedding(address: str, jobs: int | None, settings: Settings, model: Model) -> Iterator[EmbedAll]:
    """Let workers make vectors of kept faces; `address` and `jobs` as for `joined`.

    model: that the embedding service has told of, which the workers must have, too.
    """
    with _working(address, jobs, settings, wish(settings, model.name)) as workers:
        if fingerprint_of(workers.about().model) != fingerprint_of(model):
            raise WorkersUnavailable(f"Workers have another {model.name} than the embedding service.")

        def embed_all(
            parts: Iterable[Sequence[Lacking]],
        ) -> Iterator[tuple[Sequence[Lacking], Sequence[NDArray[np.float32] | None]]]:
            return workers.each(parts, "embed", lambda lacking: None)

        yield embed_all


@contextmanager
def _working(address: str, jobs: int | None, settings: Settings, wish: Wish) -> Iterator[Workers]:
    if address == LOCAL:
        prepare(settings.models_dir)
    with joined(address, jobs) as (ray, number):
        workers = Workers(ray, Worker, number, wish)
        if (version := workers.about().version) != VERSION:
            raise WorkersUnavailable(
                f"Workers have version {version} of this program, and here is {VERSION}."
            )
        yield workers


def _given_up(file: File) -> Outcome:
    return Refused(file, "worker_died", "A worker of Ray died at it, time and again.", passing=True)
