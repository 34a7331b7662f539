"""Sees the faces of many pictures: several pictures at once, and the vectors of many faces in one call."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.archive.entries import File, Outcome, Portrait, Refused, Seen, SeenFace
from recognition.archive.walking import read
from recognition.enrolling import ahead
from recognition.faces import Face, Quality
from recognition.pictures.digest import digest
from recognition.pictures.keeping import keep_face
from recognition.seeing import CROPS_PER_CALL, Sight
from serving.errors import ImageTooLarge, InvalidImage
from serving.model import Model

# Pictures that wait for vectors at most: where they have no faces, nothing else fills a call.
MOST_WAITING = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """A picture whose faces have no vectors yet. crops: uint8 (n, S, S, 3), RGB."""

    file: File
    width: int
    height: int
    orientation: int
    faces: Sequence[Face]
    qualities: Sequence[Quality]
    crops: NDArray[np.uint8]
    portrait: Portrait | None


@dataclass(frozen=True, slots=True)
class Looker:
    """Sees what is in files.

    sight: sees faces in pictures.
    pool: reads and decodes files, and finds their faces; at_once: so many threads it has.
    model: makes the vectors.
    max_bytes: a larger file is refused.
    small_faces: as in Search.
    portraits: whether what a sample needs is made of the largest face of each picture.
    keep_faces: whether the face is to be kept of it.
    """

    sight: Sight
    pool: Executor
    at_once: int
    model: Model
    max_bytes: int
    small_faces: bool | None = None
    portraits: bool = False
    keep_faces: bool = False

    def __call__(self, files: Iterable[File]) -> Iterator[Outcome]:
        """Yield what is seen in each file, in their order. At no time are many pictures in memory."""
        with closing(self._cut(files)) as outcomes:
            waiting: list[_Cut | Refused] = []
            crops = 0
            for outcome in outcomes:
                waiting.append(outcome)
                crops += 0 if isinstance(outcome, Refused) else len(outcome.crops)
                if crops >= CROPS_PER_CALL or len(waiting) == MOST_WAITING:
                    yield from self._embedded(waiting)
                    waiting, crops = [], 0
            yield from self._embedded(waiting)

    def _cut(self, files: Iterable[File]) -> Generator[_Cut | Refused, None, None]:
        # So much ahead that the pool has work while vectors are made of one call's crops.
        return ahead(self.pool, self._faces_of, files, CROPS_PER_CALL + 2 * self.at_once)

    def _faces_of(self, file: File) -> _Cut | Refused:
        data = read(file, self.max_bytes)
        if isinstance(data, Refused):
            return data
        try:
            decoded = self.sight.decoded(data)
        except (InvalidImage, ImageTooLarge) as e:
            return Refused(file, e.code, e.detail)
        height, width, _ = decoded.pixels.shape
        picture, every = self.sight.all_faces(decoded, self.small_faces)
        faces = self.sight.largest(picture, every).faces
        cut = self.sight.cut(picture, faces, self.model)
        qualities = self.sight.assessed(picture, faces, cut, self.model)
        portrait = None
        if self.portraits and faces:
            kept = keep_face(picture.pixels, faces[0]) if self.keep_faces else None
            portrait = Portrait(kept, digest(picture.pixels), hashlib.sha256(data).hexdigest())
        return _Cut(file, width, height, decoded.orientation, faces, qualities, cut, portrait)

    def _embedded(self, outcomes: Sequence[_Cut | Refused]) -> Iterator[Outcome]:
        cut = [each.crops for each in outcomes if isinstance(each, _Cut) and len(each.crops)]
        vectors = iter(self.sight.embedded(np.concatenate(cut), self.model) if cut else ())
        for each in outcomes:
            if isinstance(each, Refused):
                yield each
                continue
            faces = tuple(
                SeenFace(face.box, face.confidence, quality.value, next(vectors))
                for face, quality in zip(each.faces, each.qualities, strict=True)
            )
            yield Seen(each.file, each.width, each.height, each.orientation, faces, each.portrait)
