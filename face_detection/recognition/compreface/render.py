"""Values to JSON as CompreFace writes it: what is not there is left out, and never null. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recognition.compreface import plugins
from recognition.compreface.options import Options
from recognition.compreface.similarity import similarity
from recognition.faces import Face, Match
from recognition.results import Compared, Example, Probe, Probed
from serving.model import Model

DIGITS = 5  # of probabilities
# What each plugin's time is spent in, by the names of stages; the others take none.
STAGES = {"detector": "detect", "calculator": "embed", "age": "attributes", "gender": "attributes"}

CALLED = {"calculator": "embedding"}  # what plugins tell, where it is not called as they are

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What was asked for, and what is told of how it was done if `status` was.

    detector: its name, as DETECTOR has it.
    took: seconds, by stage.
    """

    asked: Options
    detector: str
    took: Mapping[str, float]


def detection(probed: Probed, work: Work) -> Json:
    """Render the faces of a picture."""
    took_part = _took_part(work, probed.probes, vectors=probed.model is not None)
    faces = [_face(probe, work, took_part, len(probed.probes)) for probe in probed.probes]
    return {"result": faces, **_versions(work, took_part, probed.model)}


def recognition(probed: Probed, work: Work) -> Json:
    """Render the faces of a picture, each with the subjects of the examples nearest to it."""
    answer = detection(probed, work)
    for face, matches in zip(answer["result"], probed.matches, strict=True):
        face["subjects"] = subjects(matches, probed.model)
    return answer


def subjects(matches: Sequence[Match], model: Model | None) -> list[Json]:
    """Render the examples nearest to a face; there is a model where there are any."""
    if model is None or not matches:
        return []
    alike = similarities([match.distance for match in matches], model)
    return [
        {"subject": match.sample.name, "similarity": one} for match, one in zip(matches, alike, strict=True)
    ]


def verification_of_example(compared: Compared[Example], work: Work) -> Json:
    """Render the faces of a picture, and how alike each is to an example."""
    took_part = _took_part(work, compared.probes)
    faces = _compared(compared, work, took_part, len(compared.probes))
    for face in faces:
        face["subject"] = compared.other.subject
    return {"result": faces, **_versions(work, took_part, compared.model)}


def verification(compared: Compared[Probe], work: Work) -> Json:
    """Render the only face of one picture, and how alike each face of another is to it."""
    took_part, of = _took_part(work, compared.probes), 1 + len(compared.probes)
    result = {
        "source_image_face": _face(compared.other, work, took_part, of),
        "face_matches": _compared(compared, work, took_part, of),
        **_versions(work, took_part, compared.model),
    }
    return {"result": [result]}


def recognised_vectors(
    vectors: Sequence[Sequence[float]], found: Sequence[Sequence[Match]], model: Model
) -> Json:
    """Render vectors as they were sent, each with the subjects of the examples nearest to it."""
    return {
        "result": [
            {"embedding": vector, "similarities": subjects(matches, model)}
            for vector, matches in zip(vectors, found, strict=True)
        ]
    }


def verified_vectors(vectors: Sequence[Sequence[float]], distances: Sequence[float], model: Model) -> Json:
    """Render vectors as they were sent, the most similar first."""
    alike = similarities(distances, model)
    order = sorted(range(len(vectors)), key=lambda place: distances[place])  # similarities are rounded
    return {"result": [{"embedding": vectors[place], "similarity": alike[place]} for place in order]}


def similarities(distances: Sequence[float], model: Model) -> list[float]:
    """Return what distances are on CompreFace's scale."""
    alike: list[float] = similarity(np.array(distances, np.float64), model).tolist()
    return alike


def _took_part(work: Work, probes: Sequence[Probe], *, vectors: bool = True) -> list[str]:
    """Name the plugins that have told something. `vectors`: the faces have some."""
    silent = frozenset() if any(probe.attributes for probe in probes) else plugins.ATTRIBUTES
    asked = [name for name in work.asked.plugins if name not in silent]
    return list(dict.fromkeys([*(["calculator"] if vectors else []), *asked]))


def _compared(compared: Compared[Any], work: Work, took_part: Sequence[str], of: int) -> list[Json]:
    """Render faces, and how alike each is to what it was compared with."""
    alike = similarities(compared.distances, compared.model)
    return [
        {**_face(probe, work, took_part, of), "similarity": one}
        for probe, one in zip(compared.probes, alike, strict=True)
    ]


def _face(probe: Probe, work: Work, took_part: Sequence[str], of: int) -> Json:
    """Render a face: its box, and what the plugins say. `of`: how many faces shared the time it took."""
    told = {name: _told(name, probe) for name in work.asked.plugins}
    face = {
        "box": _box(probe.face),
        **{CALLED.get(name, name): value for name, value in told.items() if value},
    }
    if work.asked.status:
        face["execution_time"] = {
            name: round(1000 * work.took.get(STAGES.get(name, ""), 0) / of)
            for name in ["detector", *took_part]
            if name in plugins.WORKERS
        }
    return face


def _told(plugin: str, probe: Probe) -> Any:
    """Return what a plugin says of a face; None: nothing."""
    guess = probe.attributes
    if plugin == "landmarks":
        return plugins.landmarks(probe.face)
    if plugin == "pose":
        return plugins.pose(probe.face)
    if plugin == "calculator":
        return None if probe.vector is None else plugins.calculator(probe.vector)
    if guess is None:
        return None
    if plugin == "age":
        years = guess.age_range
        return {"low": years.low, "high": years.high, "probability": round(years.probability, DIGITS)}
    return {"value": guess.gender.value, "probability": round(guess.gender.probability, DIGITS)}


def _box(face: Face) -> Json:
    """Render a box in whole pixels, at least 1 x 1, and how sure the detector is."""
    box = face.box
    left, top = round(box.x), round(box.y)
    return {
        "probability": round(face.confidence, DIGITS),
        "x_max": max(round(box.x + box.w), left + 1),
        "y_max": max(round(box.y + box.h), top + 1),
        "x_min": left,
        "y_min": top,
    }


def _versions(work: Work, took_part: Sequence[str], model: Model | None) -> Json:
    """Tell what has done the work, if that was asked for."""
    if not work.asked.status:
        return {}
    return {"plugins_versions": plugins.versions(took_part, work.detector, model.name if model else "")}
