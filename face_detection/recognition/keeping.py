"""Keeping the faces of people whom nobody has named, where the service is set to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from recognition.gallery import Gallery, unknown_keeping
from recognition.pictures.digest import digest
from recognition.pictures.keeping import keep_face
from recognition.results import Recognition
from recognition.seeing import Sight, fingerprint_of
from recognition.strangers import Seen
from recognition.visits import Visit
from serving.model import Model
from serving.remarks import Picture
from serving.stages import stage


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps faces.

    sight: tells which are good enough.
    keep_faces: whether pictures of them are kept, too.
    kept_for: how long.
    """

    sight: Sight
    keep_faces: bool
    kept_for: timedelta

    def __call__(
        self,
        gallery: Gallery,
        picture: Picture,
        recognitions: Sequence[Recognition],
        vectors: NDArray[np.float32],
        model: Model,
    ) -> None:
        """Keep the faces of a picture that are like nobody's; whatever goes wrong, the log alone hears of it.

        recognitions: of its faces. One without a match is left out, too, if somebody is nearer than the
            model's threshold: then the caller, or the service, was stricter than that.
        vectors: float32 (n, d), row i for recognition i.
        """
        places = [place for place, each in enumerate(recognitions) if self._is_unknown(each, model)]
        if not places:
            return
        with stage("keep"):
            seen = [self._seen(picture, recognitions[place]) for place in places]
            unknown_keeping.keep(
                gallery, seen, vectors[places], fingerprint_of(model), model, kept_for=self.kept_for
            )

    def visit(
        self,
        gallery: Gallery,
        visit: Visit,
        picture: Picture | None,
        recognition: Recognition,
        vector: NDArray[np.float32],
        model: Model,
    ) -> str | None:
        """Keep the face of a visit that is over and is like nobody's, once.

        Args:
            gallery: where it was seen.
            visit: of which its id tells that it is kept already.
            picture: the face with a margin; None: there is none.
            recognition: of it.
            vector: float32 (d,), the mean of the visit's.
            model: of the vector.

        Returns:
            The id of the group that it is in; None: it is not kept.
        """
        if visit.until is None or not self._is_unknown(recognition, model):
            return None
        with stage("keep"):
            kept = None
            if picture is not None and self.keep_faces:
                _, faces = self.sight.all_faces(picture, None)
                kept = keep_face(picture.pixels, faces[0]) if faces else None
            seen = Seen(visit.quality, f"visit {visit.id}".encode(), kept, visit.camera)
            (group,) = unknown_keeping.keep(
                gallery, [seen], vector[None], fingerprint_of(model), model, kept_for=self.kept_for
            )
        return group

    def _is_unknown(self, each: Recognition, model: Model) -> bool:
        far = each.distance is None or each.distance >= model.threshold
        return not each.matches and far and self.sight.tells(each.quality)

    def _seen(self, picture: Picture, each: Recognition) -> Seen:
        kept = keep_face(picture.pixels, each.face) if self.keep_faces else None
        x, y, w, h = (max(0, round(side)) for side in astuple(each.face.box))
        # Of the face alone: that of a large picture would take longer than all the rest.
        mark = digest(picture.pixels[y : y + h + 1, x : x + w + 1]) + f"{x} {y}".encode()
        return Seen(each.quality.value, mark, kept)
