"""What is seen in a picture: its faces, how good they are, and their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count as counting
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recognition.errors import NoFace
from recognition.faces import Choice, Encoded, Face, KeptFace, Quality
from recognition.pictures import crops
from recognition.pictures.choice import by_size, chosen
from recognition.pictures.encoded import from_base64
from recognition.pictures.keeping import keep_face
from recognition.pictures.quality import SIDE_PX, assess
from recognition.results import Found, Largest
from serving.attributes import PER_CALL, SIDE, Attributes
from serving.hangup import check_client
from serving.model import Model
from serving.remarks import Picture, Remark
from serving.stages import count, stage, used

CROPS_PER_CALL = 32  # of the embedding service, between which others may go first
SEARCHES_PER_TURN = 8  # of one picture for its faces, after which those go first who wait

Decode = Callable[[bytes], Picture]
Detector = Callable[[NDArray[np.uint8]], list[Face]]


class Finder(Protocol):
    """Leads a detector over a picture."""

    def __call__(self, detector: Detector, picture: NDArray[np.uint8], *, small_faces: bool) -> Found:
        """Find the faces of a picture: uint8 (H, W, 3), RGB; small_faces: search all of it at full size."""
        ...


class Embedder(Protocol):
    """Turns crops into vectors."""

    def model(self, name: str | None = None) -> Model:
        """Describe a model; None: its own. Raises ModelUnknown."""
        ...

    def embed(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        """Turn uint8 (n, S, S, 3) RGB into float32 (n, d)."""
        ...

    def attributes(self, crops: NDArray[np.uint8]) -> list[Attributes | None]:
        """Guess age and gender of uint8 (n, 224, 224, 3) RGB crops; None: it does not."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class OneFace:
    """A face, its crop, uint8 (S, S, 3), its quality, of how many in its picture, and remarks on that.

    kept: the picture of it that is to be kept, if one is.
    """

    face: Face
    crop: NDArray[np.uint8]
    quality: Quality
    of: int
    remarks: tuple[Remark, ...]
    kept: KeptFace | None


@dataclass(frozen=True, slots=True)
class Sight:
    """Decoder, detector and embedder put to use.

    find: leads the detector over each picture.
    small_faces: whether it does so at full size where a caller does not say.
    max_faces: of one picture are recognised or listed, the largest.
    min_quality: a face below it tells nobody apart.
    give_way: lets others go first; called in between where a picture takes many searches.
    """

    decode: Decode
    detector: Detector
    find: Finder
    small_faces: bool
    embedder: Embedder
    max_faces: int
    min_quality: float
    give_way: Callable[[], None]

    def one_face(
        self,
        picture: Picture,
        model: Model,
        small_faces: bool | None,
        give_way: Callable[[], None] = lambda: None,
        *,
        choice: Choice = "largest",
        keep: bool = False,
        surer_than: float | None = None,
    ) -> OneFace:
        """Find the one face that is meant.

        keep: make the picture of it that is kept.
        surer_than: faces count of which the detector is surer than this; None: all that it finds.

        Raises:
            ClientGone; NoFace, SeveralFaces: see `chosen`.
        """
        found = self.found(picture, small_faces, give_way)
        if surer_than is not None:
            found = replace(found, faces=[face for face in found.faces if face.confidence > surer_than])
        if not found.faces and found.shrunk:
            raise NoFace(f"No face was found in the picture. {found.shrunk.detail}")
        face = chosen(found.faces, choice)
        cut = self.cut(picture, [face], model)
        quality = self.assessed(picture, [face], cut, model)[0]
        with stage("crop"):
            kept = keep_face(picture.pixels, face) if keep else None
        return OneFace(face, cut[0], quality, len(found.faces), picture.remarks + found.remarks, kept)

    def assessed(
        self,
        picture: Picture,
        faces: Sequence[Face],
        cut: NDArray[np.uint8] | None = None,
        model: Model | None = None,
    ) -> list[Quality]:
        """Tell how good faces are. `cut`: their crops for a model, used if they are of the right kind."""
        if cut is None:
            with stage("crop"):
                cut = crops.crop_faces(picture.pixels, faces, SIDE_PX)
        with stage("assess"):
            if model and (model.template, model.input_size) != ("facenet", SIDE_PX):
                cut = crops.crop_faces(picture.pixels, faces, SIDE_PX)
            return assess(picture.pixels.shape[:2], faces, cut)

    def tells(self, quality: Quality) -> bool:
        """Whether a face is good enough to tell people apart."""
        return quality.value >= self.min_quality

    def model(self, name: str | None) -> Model:
        """Describe the embedder's model of a name, and tell the log of it; None: its own."""
        model = self.embedder.model(name)
        used(model.name, model.fingerprint)
        return model

    def largest(self, picture: Picture, faces: list[Face]) -> Largest[Face]:
        """Take as many faces of a picture as one may have, of those that come largest first."""
        return Largest(faces[: self.max_faces], max(0, len(faces) - self.max_faces), picture.remarks)

    def decoded(self, picture: Encoded) -> Picture:
        """Turn an encoded picture into pixels.

        Raises:
            InvalidImage, ImageTooLarge, ClientGone.
        """
        check_client()
        with stage("decode"):
            return self.decode(from_base64(picture) if isinstance(picture, str) else picture)

    def all_faces(self, picture: Picture, small_faces: bool | None) -> tuple[Picture, list[Face]]:
        """Find the faces, largest first, and remark on the picture what is worth knowing of the search."""
        found = self.found(picture, small_faces, self.give_way)
        remarks = (*found.remarks, *((found.shrunk,) if found.shrunk else ()))
        return replace(picture, remarks=picture.remarks + remarks), found.faces

    def found(self, picture: Picture, small_faces: bool | None, give_way: Callable[[], None]) -> Found:
        """Find the faces, largest first.

        give_way: lets others go first; called in between where a picture takes many searches.
        """
        searches = counting()

        def search(pixels: NDArray[np.uint8]) -> list[Face]:
            check_client()
            if (number := next(searches)) and number % SEARCHES_PER_TURN == 0:
                give_way()
            return self.detector(pixels)

        with stage("detect"):
            found = self.find(search, picture.pixels, small_faces=self.at_full_size(small_faces))
        count("faces", len(found.faces))
        return replace(found, faces=by_size(found.faces))

    def at_full_size(self, small_faces: bool | None) -> bool:
        """Tell whether a picture is searched at full size, for which a caller may ask."""
        return self.small_faces if small_faces is None else small_faces

    def cut(self, picture: Picture, faces: Sequence[Face], model: Model) -> NDArray[np.uint8]:
        """Cut faces out for a model: uint8 (n, S, S, 3), RGB, S its input size."""
        with stage("crop"):
            return crops.crop_faces(picture.pixels, faces, model.input_size, model.template)

    def embedded(self, cut: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        """Turn crops, one or more, into vectors: float32 (n, d)."""
        vectors = []
        for start in range(0, len(cut), CROPS_PER_CALL):
            check_client()
            with stage("embed"):
                vectors.append(self.embedder.embed(cut[start : start + CROPS_PER_CALL], model))
        return np.concatenate(vectors)

    def attributes(self, picture: Picture, faces: Sequence[Face]) -> list[Attributes | None]:
        """Guess age and gender of each face of a picture; None: the embedder does not."""
        with stage("crop"):
            cut = crops.crop_faces(picture.pixels, faces, SIDE, "box")
        guesses: list[Attributes | None] = []
        for start in range(0, len(cut), PER_CALL):
            check_client()
            with stage("attributes"):
                guesses += self.embedder.attributes(cut[start : start + PER_CALL])
        return guesses


def fingerprint_of(model: Model) -> str:
    """Name what makes a vector of a picture: the model, and how its crops were cut."""
    return f"{model.fingerprint}-{crops.ALIGNMENTS[model.template].version}"
