"""A gallery's change to another embedding model: vectors are made anew of the faces that are kept.

Services go on meanwhile. Whatever is enrolled, corrected or removed is caught up with, round by round, until
so little is left that the rest can be done in the transaction that changes over.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from itertools import count as counting
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recognition.errors import ChangeStopped, ChangeUnderWay, ModelUnknown
from recognition.faces import KeptFace
from recognition.gallery import Gallery, changes, models
from recognition.gallery.changes import Job, Lacking, Orphan
from recognition.pictures import crops
from recognition.results import WithoutFace
from recognition.seeing import CROPS_PER_CALL, Decode, Embedder, fingerprint_of
from serving.errors import Failure, ImageTooLarge, InvalidImage, InvalidRequest, NotFound
from serving.model import Model

BEAT_S = 5.0
# Rounds in which those who have come meanwhile are caught up with, before the last few are done while nobody
# else can write: that many people hardly ever enrol one after the other just then.
ROUNDS = 8
WITHOUT_FACE = "without_face"  # as a change's trouble

Vectors = Sequence[NDArray[np.float32] | None]
# Makes vectors of kept faces, some at a time: yields them with those that they are of, in any order.
EmbedAll = Callable[[Iterable[Sequence[Lacking]]], Iterable[tuple[Sequence[Lacking], Vectors]]]
Made = list[tuple[Lacking, NDArray[np.float32]]]


class Changed(NamedTuple):
    """How a change ended.

    changed: whether the gallery has the new model now.
    embedded: how many vectors were made; dropped: how many samples were removed.
    waiting: how many samples lack a vector of the new model.
    """

    changed: bool
    embedded: int
    dropped: int
    waiting: int


class Changer:
    """Changes galleries in the background, each in a thread of its own, in this process or in another one.

    Whichever process finds a change that nobody is at any more goes on with it.
    """

    def __init__(self, decode: Decode, embedder: Embedder) -> None:
        self._decode, self._embedder = decode, embedder

    def begin(self, gallery: Gallery, name: str, without_face: WithoutFace) -> None:
        """Begin to change a gallery to a model, or go on with that.

        Raises:
            InvalidRequest: the embedding service does not have the model.
            ChangeUnderWay: somebody is at a change already.
            NotFound, EmbeddingUnavailable, GalleryUnavailable, AuditUnavailable.
        """
        try:
            job = _job(name, self._embedder.model(name))
        except ModelUnknown as e:  # which no waiting mends
            raise InvalidRequest("model: the embedding service has not prepared it.") from e
        if models.status(gallery).running:
            raise ChangeUnderWay(models.UNDER_WAY)
        if changes.claim(gallery, job, without_face, unattended=True) or without_face == "drop":
            self._go_on(gallery, Orphan(name, without_face, job.worker))
        else:
            changes.release(gallery, job.worker)

    def look_after(self, gallery: Gallery) -> None:
        """Go on with a change of this gallery that a process has left behind, if there is one.

        Raises:
            NotFound, GalleryUnavailable.
        """
        if (orphan := changes.orphaned(gallery)) is not None:
            self._go_on(gallery, orphan)

    def _go_on(self, gallery: Gallery, orphan: Orphan) -> None:
        name, without_face, worker = orphan

        def run() -> None:
            try:
                change(
                    gallery, name, self._decode, self._embedder, without_face=without_face, unattended=True
                )
            except Failure as e:
                with suppress(Failure):  # unless it has been claimed, and says so itself
                    changes.pause(gallery, worker, e.code, give_up=False)

        # In the context of the request, so that the audit log tells whose it was.
        work = partial(copy_context().run, run)
        threading.Thread(target=work, daemon=True, name=f"change of the model of {gallery.name}").start()


def change(
    gallery: Gallery,
    name: str,
    decode: Decode,
    embedder: Embedder,
    *,
    without_face: WithoutFace = "wait",
    unattended: bool = False,
    embed_all: EmbedAll | None = None,
    advance: Callable[[int], object] = lambda samples: None,
) -> Changed:
    """Bring a gallery to another model, or go on with that.

    Args:
        gallery: that changes.
        name: of the model, as the embedding service knows it.
        decode, embedder: turn kept faces into vectors.
        without_face: samples of which no face is kept, or none that can be read, are waited for, left without
            a vector, or dropped once the gallery has changed.
        unattended: whether any service may go on with it if this process dies.
        embed_all: makes the vectors in the place of decoder and embedder, with the very same model.
        advance: is told the number of samples of each step.

    Raises:
        ModelUnknown: the embedding service does not have the model.
        ChangeStopped: somebody has stopped it, or goes on with it elsewhere.
        NotFound: there is no such gallery.
        EmbeddingUnavailable, GalleryUnavailable, AuditUnavailable: what is done is kept, and gone on with the
            next time.
    """
    model = embedder.model(name)
    job = _job(name, model)
    before = _name_of_own(gallery, embedder)
    made = 0

    def one_by_one(parts: Iterable[Sequence[Lacking]]) -> Iterator[tuple[Sequence[Lacking], Vectors]]:
        for some in parts:
            yield some, vectors_of([each.face for each in some], model, decode, embedder)

    def counted(parts: Iterable[Sequence[Lacking]]) -> Iterator[tuple[int, Made]]:
        nonlocal made
        for some, vectors in (embed_all or one_by_one)(parts):
            pairs = zip(some, vectors, strict=True)
            vectors_made = [(each, vector) for each, vector in pairs if vector is not None]
            made += len(vectors_made)
            yield len(some), vectors_made

    dropped = 0
    left = changes.claim(gallery, job, without_face, unattended=unattended)
    with _telling(gallery, job, unattended=unattended):
        if left and not _changed(gallery, job, before, counted, advance, wait=without_face == "wait"):
            return Changed(False, made, 0, models.waiting(gallery, 0)[1])
        while without_face == "drop" and (removed := models.drop_some(gallery, job.worker, job.fingerprint)):
            dropped += removed
    changes.release(gallery, job.worker)
    return Changed(True, made, dropped, models.waiting(gallery, 0)[1])


def _job(name: str, model: Model) -> Job:
    return Job(name, fingerprint_of(model), model.dimension, secrets.token_hex(8))


def _changed(
    gallery: Gallery,
    job: Job,
    before: str | None,
    embed: Callable[[Iterable[Sequence[Lacking]]], Iterator[tuple[int, Made]]],
    advance: Callable[[int], object],
    *,
    wait: bool,
) -> bool:
    """Catch up round by round, and change over. Returns whether that was done: else some have no face."""
    changes.make_room(gallery, job)
    since = -1
    for number in counting():
        until = changes.revision_of(gallery)
        for samples, vectors in embed(_parts(gallery, job, since)):
            changes.store(gallery, job, vectors)
            advance(samples)
        if number == 0:
            changes.index(gallery, job)
        if wait and changes.any_left(gallery, job, since, until):
            break
        last = (
            (lambda some: [pair for _, pairs in embed([some]) for pair in pairs])
            if number >= ROUNDS
            else None
        )
        changed = changes.change_over(gallery, job, until, before, last, wait=wait)
        if changed is None:
            break
        if changed:
            return True
        since = until
    changes.pause(gallery, job.worker, WITHOUT_FACE, give_up=True)
    return False


def _parts(gallery: Gallery, job: Job, since: int) -> Iterator[list[Lacking]]:
    """Yield those that lack a vector of the new model, and changed last after a revision, some at a time."""
    after: int | None = 0
    while after is not None:
        some, after = changes.lacking(gallery, job, after, since, CROPS_PER_CALL)
        if some:
            yield some


def vectors_of(
    faces: Sequence[KeptFace], model: Model, decode: Decode, embedder: Embedder
) -> list[NDArray[np.float32] | None]:
    """Make vectors of kept faces: float32 (d,) each; None: its picture cannot be read.

    They are tried twice: a decoder may have died, or been too slow under a heavy load.
    """
    cut: list[NDArray[np.uint8]] = []
    whose: list[int] = []
    failed: list[int] = []
    for attempt in (range(len(faces)), failed):
        for place in attempt:
            try:
                picture = decode(faces[place].jpeg)
            except (InvalidImage, ImageTooLarge):
                if attempt is not failed:
                    failed.append(place)
                continue
            crop = crops.crop_faces(picture.pixels, [faces[place].face], model.input_size, model.template)
            cut.append(crop[0])
            whose.append(place)
    vectors: list[NDArray[np.float32] | None] = [None] * len(faces)
    if whose:
        for place, vector in zip(whose, embedder.embed(np.stack(cut), model), strict=True):
            vectors[place] = vector
    return vectors


def _name_of_own(gallery: Gallery, embedder: Embedder) -> str | None:
    """Return the name of the embedding service's own model, if the gallery's vectors are of it."""
    own = embedder.model()
    with gallery.reading() as (_, current):
        return own.name if current.fingerprint == fingerprint_of(own) else None


@contextmanager
def _telling(gallery: Gallery, job: Job, *, unattended: bool) -> Iterator[None]:
    """Say all the time that somebody is at it, and what it fails with, if it does."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(BEAT_S):
            try:
                changes.beat(gallery, job)
            except (ChangeStopped, NotFound):  # as they learn who work on it
                return
            except Failure:  # the database may be there again the next time
                continue

    thread = threading.Thread(target=tell, daemon=True, name="change of the model")
    thread.start()
    try:
        yield
    except ChangeStopped:
        raise
    except BaseException as e:
        unforeseen = "internal_error" if isinstance(e, Exception) else "interrupted"
        trouble = e.code if isinstance(e, Failure) else unforeseen
        with suppress(Failure):
            changes.pause(gallery, job.worker, trouble, give_up=not unattended)
        raise
    finally:
        over.set()
        thread.join()
