"""How a picture is searched: as it is and, where that shows no face for sure, turned or with more contrast.

Works with any detector. All faces of an answer are found in one view of the picture, with the detector's own
confidence; the views are compared on smaller copies of it. docs/accuracy.md has what was measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from recognition.detector.pyramid import bounded
from recognition.detector.tone import Tone, raised
from recognition.detector.views import Detector, Pixels, mirrored, shrinking, tiled, toned, turned
from recognition.faces import Face
from recognition.results import Found
from serving.remarks import Remark

# Chosen for MTCNN; YuNet's confidences are made such that they fit: docs/accuracy.md.
SURE = 0.99  # 91 % of LFW's pictures have a face that sure, and no other view of them is looked at
LIKELY = 0.9  # the mean confidence at which another view is taken,
LIKELY_TWICE = 0.95  # and at which one that is turned and has more contrast
SCOUT_PX = 512  # views are compared at half the size that is searched, no less than this, and in one piece
SMALLER = 0.8  # the size of the third look at a view
MOST_SURE = 1 - 1e-6  # some of deepface's detectors say 1 of every face
OVERLAP = 8  # tiles overlap by an eighth of their side


@dataclass(frozen=True, slots=True)
class View:
    """How a picture is looked at.

    quarters: of a turn, counterclockwise; tone: what changes its brightness.
    """

    quarters: int = 0
    tone: Tone | None = None
    in_mirror: bool = False

    def of(self, detector: Detector) -> Detector:
        """The detector that looks at pictures like this."""
        detector = mirrored(detector) if self.in_mirror else detector
        detector = toned(detector, self.tone) if self.tone else detector
        return turned(detector, self.quarters)

    def remarks(self) -> tuple[Remark, ...]:
        """What is worth knowing of a picture whose faces are seen like this."""
        remarks = []
        if self.quarters:
            degrees = 360 - 90 * self.quarters
            detail = f"The faces stand upright once the picture is turned by {degrees} degrees clockwise."
            remarks.append(Remark("turned", detail, {"clockwise_degrees": degrees}))
        if self.tone:
            detail = "The picture is dark, flat or lit from behind: its contrast was raised to find faces."
            remarks.append(Remark("contrast_raised", detail))
        return tuple(remarks)


def find(
    detector: Detector, picture: Pixels, *, small_faces: bool, max_side_px: int, min_face_px: int
) -> Found:
    """Find the faces of a picture: uint8 (H, W, 3), RGB.

    A sure face that stands upright ends the search at once.

    Args:
        detector: finds the faces of upright pictures, and may shrink those with a side over max_side_px.
        small_faces: search at full size, in tiles of max_side_px, instead of shrinking the picture to it.
        max_side_px: of what is searched at a time; 0 for no bound.
        min_face_px: the smallest face that the detector finds in what it searches.
    """
    longer = max(picture.shape[:2])
    searched_px = min(longer, max_side_px or longer)
    over: Callable[[Detector], Detector] = partial(shrinking, max_side_px=max_side_px)
    shrunk = None
    if searched_px == longer:
        faces = detector(picture)
    elif small_faces and min(picture.shape[:2]) >= min_face_px:
        overlap_px = max(max_side_px // OVERLAP, min(3 * min_face_px, max_side_px // 2))
        over = partial(tiled, side_px=max_side_px, overlap_px=overlap_px)
        faces, searched_px = over(detector)(picture), longer
    else:
        faces, shrunk = detector(picture), _shrunk(longer, searched_px, min_face_px)
    if _surest(faces) < SURE:
        scout_px = max(SCOUT_PX, searched_px // 2)
        small, _ = bounded(picture, min(scout_px, max_side_px or scout_px))
        view = _best(small, lambda view: over(view.of(detector)), found=bool(faces))
        if view != View() and (better := over(view.of(detector))(picture)):
            return Found(better, view.remarks(), shrunk)
    return Found(faces, (), shrunk)


def _best(small: Pixels, through: Callable[[View], Detector], *, found: bool) -> View:
    """The view in which most speaks for faces; the picture as it is where little does.

    small: the picture, or a smaller copy; found: whether it shows any faces as it is.
    """
    as_it_is = View()
    best, evidence = _most([View(quarters) for quarters in (1, 2, 3)], small, through)
    if not found and evidence < _needed(best) and (tone := raised(small)):
        best, evidence = _most([View(quarters, tone) for quarters in range(4)], small, through)
    if evidence < _needed(best) or (found and evidence <= _evidence(as_it_is, small, through)):
        return as_it_is
    return best


def _needed(view: View) -> float:
    return _logit(LIKELY_TWICE if view.quarters and view.tone else LIKELY)


def _most(views: Iterable[View], small: Pixels, through: Callable[[View], Detector]) -> tuple[View, float]:
    evidence = {view: _evidence(view, small, through) for view in views}
    best = max(evidence, key=evidence.__getitem__)
    return best, evidence[best]


def _evidence(view: View, picture: Pixels, through: Callable[[View], Detector]) -> float:
    """How much speaks for faces in a view: the mean log odds of the surest face in three looks at it.

    One look is not enough: MTCNN takes some faces that lie for upright ones, but seldom in the mirror, too.
    """
    if not (first := _surest(through(view)(picture))):
        return 0.0
    smaller, _ = bounded(picture, max(1, int(SMALLER * max(picture.shape[:2]))))
    others = through(replace(view, in_mirror=True))(picture), through(view)(smaller)
    return statistics.fmean(map(_logit, (first, *map(_surest, others))))


def _surest(faces: Iterable[Face]) -> float:
    """The confidence of the surest face that stands upright, 0 if there is none."""
    return max((face.confidence for face in faces if _stands(face)), default=0.0)


def _stands(face: Face) -> bool:
    """Whether the mouth is below the eyes, rather than beside them, as the face was seen; or nobody knows."""
    right, down = (face.landmarks[3:].mean(axis=0) - face.landmarks[:2].mean(axis=0)).tolist()
    seen = complex(right, down) / 1j**face.quarters
    return not seen.imag < abs(seen.real)


def _logit(confidence: float) -> float:
    """The log odds of a confidence, which are 0 where no face was found."""
    confidence = min(confidence, MOST_SURE)
    return math.log(confidence / (1 - confidence)) if confidence > 0 else 0.0


def _shrunk(longer: int, searched_px: int, min_face_px: int) -> Remark:
    smallest = -(-min_face_px * longer // searched_px)
    detail = (
        f"It was searched at {searched_px} instead of {longer} px, so faces below {smallest} px may be "
        "missing; small_faces searches it at full size."
    )
    return Remark("searched_shrunk", detail, {"searched_px": searched_px, "smallest_face_px": smallest})
