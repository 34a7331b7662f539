"""Finds the pictures of an index in which somebody is, by a person of a gallery or by a face."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from recognition.archive.entries import Seen, SeenFace
from recognition.archive.searching import Hit, Measure, best_of_each_picture, candidates, from_samples
from recognition.faces import Face, Quality
from recognition.results import Detection, Recognition

NO_LANDMARKS = np.full((5, 2), np.nan, np.float32)

# Tells whose faces are, whose vectors are float32 (n, d).
Identify = Callable[[Sequence[Detection], NDArray[np.float32]], Sequence[Recognition]]


def of_person(
    pages: Iterable[Sequence[Seen]],
    person: str,
    measure: Measure,
    reach: float,
    identify: Identify,
) -> list[Hit]:
    """Find the pictures in which a gallery's person is, the best first.

    Args:
        pages: pictures with faces, some at a time.
        person: the id.
        measure: tells how far faces are from the person.
        reach: no face that is as far, or farther, is given the person's name.
        identify: asks the gallery.
    """

    def hits() -> Iterable[Hit]:
        for page in pages:
            near = candidates(page, measure, reach)
            some = near.faces()
            if not some:
                continue
            for place, recognition in enumerate(identify(*of_faces(some))):
                match = recognition.matches[0] if recognition.matches else None
                if match is not None and match.sample.person == person:
                    yield near.hit(place, match.distance, match.false_match)

    return best_of_each_picture(hits())


def of_face(
    pages: Iterable[Sequence[Seen]],
    vector: NDArray[np.float32],
    max_distance: float,
    min_quality: float,
) -> list[Hit]:
    """Find the pictures in which a face is, the best first.

    Args:
        pages: pictures with faces, some at a time.
        vector: of the face, float32 (d,).
        max_distance: one person's faces are nearer than this.
        min_quality: a face below it tells nobody apart.
    """
    measure = from_samples(vector[np.newaxis])
    hits = (
        near.hit(place, float(distance))
        for page in pages
        for near in [candidates(page, measure, max_distance)]
        for place, (distance, face) in enumerate(zip(near.distances, near.faces(), strict=True))
        if face.quality >= min_quality
    )
    return best_of_each_picture(hits)


def of_faces(faces: Sequence[SeenFace]) -> tuple[list[Detection], NDArray[np.float32]]:
    """Turn faces of an index, one or more, into what a gallery is asked with."""
    detections = [
        Detection(Face(each.box, each.confidence, NO_LANDMARKS), Quality(each.quality)) for each in faces
    ]
    return detections, np.stack([each.vector for each in faces])
