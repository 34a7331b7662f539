"""Whom a gallery knows: the people of a name, and their vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recognition.archive.searching import Measure, from_people, from_samples
from recognition.cli.archives import Workshop
from recognition.errors import NotCalibrated
from recognition.faces import Person, Search
from recognition.gallery import Gallery, people, transfer
from recognition.gallery.weighing import NOBODY_TO_COMPARE_WITH
from recognition.matching import calibration
from recognition.matching.people import templates
from recognition.names import key_of
from serving.errors import NotFound

PAGE = 1000


def people_of(gallery: Gallery, who: str) -> list[Person]:
    """Return the person of an id, or all of a name.

    Raises:
        NotFound: there is nobody.
    """
    try:
        return [people.get(gallery, who)]
    except NotFound:
        pass
    found: list[Person] = []
    after = None
    while True:
        page = people.page(gallery, limit=PAGE, after=after, q=who)
        found += [person for person in page.persons if key_of(person.name) == key_of(who.strip())]
        after = page.next
        if after is None:
            break
    if not found:
        raise NotFound("There is no person of this name or id in the gallery, and no such file.")
    return found


def samples_of(gallery: Gallery, person: str | None) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Read the vectors of the samples of a person, or of everybody, but those that have expired.

    Returns:
        float32 (n, d), and whose each is, int (n,): the first one's person is 0, the next one's 1.
    """
    if not gallery.count():
        return np.empty((0, 0), np.float32), np.empty(0, np.intp)
    header = transfer.header(gallery)
    vectors: list[NDArray[np.float32]] = []
    owners: dict[str | None, int] = {}
    whose = []
    after, moment = None, gallery.moment()
    while records := transfer.records(gallery, header, after, expired_by=moment, person=person):
        for sample, vector in records:
            vectors.append(vector)
            whose.append(owners.setdefault(sample.person, len(owners)))
        after = records[-1][0].id
    return np.stack(vectors) if vectors else np.empty((0, 0), np.float32), np.array(whose, np.intp)


def measure_of(
    here: Workshop, search: Search, vectors: NDArray[np.float32], owners: NDArray[np.intp]
) -> tuple[Measure, float]:
    """Tell how far faces are from people, and how far is too far to be one of them.

    search: what decides, as `Service.decided` returns it.
    vectors, owners: of their samples, one or more, as `samples_of` returns them.

    Raises:
        NotCalibrated: a wish cannot be fulfilled, as there is nobody to compare with.
    """
    if search.max_distance is not None:
        return from_samples(vectors), search.max_distance
    known = here.gallery.calibration(here.fingerprint)
    if known is None:
        raise NotCalibrated(NOBODY_TO_COMPARE_WITH)
    wish = search.max_false_match or 0.0
    least = calibration.score_at(known.tails, wish, known.people)
    return from_people(templates(vectors, owners), known.background.centres), -least
