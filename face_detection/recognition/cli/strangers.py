"""The unknown people of an index: its faces that are nobody's in the gallery, listed, named and so on.

They are answered for in the form that a service has for its own, so that the commands are the same.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np

from recognition import backgrounds
from recognition.archive import strangers
from recognition.archive.entries import Refused
from recognition.archive.finding import NO_LANDMARKS
from recognition.archive.index import Index
from recognition.archive.strangers import Faces, Group, Shown
from recognition.archive.walking import read
from recognition.cli import archives
from recognition.cli.archives import Options, Workshop
from recognition.cli.known import measure_of, people_of, samples_of
from recognition.cli.local import parts_of
from recognition.client import Client
from recognition.errors import AmbiguousName
from recognition.faces import Enrolment, Face, Search, bbox
from recognition.gallery import people
from recognition.matching.grouping import least_likeness
from recognition.matching.varied import varied
from recognition.pictures.keeping import keep_face
from serving.errors import Failure, NotFound

BEST = 3  # faces that show who is meant
SAMPLES = 10  # at most, that somebody gets who is named
TRIED = 40  # faces, the best and most varied ones, of which these are taken: some pictures may be gone
MANY = 20_000  # faces without a group, from which on it takes a while


@dataclass(frozen=True, slots=True)
class Strangers:
    """The unknown people of an index as they are now.

    faces: all that are nobody's, each in a group; groups: what was said of these.
    """

    here: Workshop
    kept: Index
    faces: Faces
    groups: dict[int, Group]

    def unknowns(self, *, ignored: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the groups of whom nobody knows who they are, the largest first, or those who are ignored."""
        keys, sizes = np.unique(self.faces.groups, return_counts=True)
        wanted = [
            int(keys[place])
            for place in np.lexsort((keys, -sizes))
            if (group := self.groups[int(keys[place])]).ignored == ignored and group.person is None
        ]
        best = {key: self._best(key, BEST) for key in wanted}
        shown = strangers.shown(self.kept, self.faces, [place for some in best.values() for place in some])
        for key in wanted:
            yield self._value(key, best[key], shown)

    def unknown(self, unknown_id: str) -> dict[str, Any]:
        """Return one group with all its faces, the best first.

        Raises:
            NotFound.
        """
        key = self._key(unknown_id)
        places = self.faces.of(key).tolist()
        best = self._best(key, BEST)
        shown = strangers.shown(self.kept, self.faces, places)
        seen = [self._face(place, shown) for place in places if place in shown]
        return self._value(key, best, shown) | {"seen": seen}

    def name_unknown(self, unknown_id: str, name: str | None, *, person: str | None = None) -> dict[str, Any]:
        """Enrol the best faces of a group as samples of a person, out of the pictures.

        name, person: a name, of one person or a new one, or the id of a person.

        Raises:
            NotFound, AmbiguousName; Failure: none of the faces can be enrolled.
        """
        key = self._key(unknown_id)
        if person is not None:
            people.get(self.here.gallery, person)
        else:
            person = self._person_of(name or "")
        enrolments = self._enrolments(key, None if person else name, person)
        report = self.here.service.enrol(enrolments)
        if not report.enrolled:
            raise next(iter(report.failed.values()))
        whose = next(iter(report.enrolled.values())).person
        strangers.settle(self.kept, {key: replace(self.groups[key], person=whose, ignored=False)})
        return {"success": [str(key)], "person": whose, "samples": list(report.enrolled)}

    def merge_unknown(self, unknown_id: str, into: str) -> dict[str, Any]:
        """Give the faces of a group to another one. Raises NotFound."""
        strangers.merge(self.kept, self._key(unknown_id), self._key(into))
        return {"success": [into]}

    def ignore_unknown(self, unknown_id: str) -> dict[str, Any]:
        """List a group no more, nor who joins it. Raises NotFound."""
        key = self._key(unknown_id)
        strangers.settle(self.kept, {key: replace(self.groups[key], ignored=True)})
        return {"success": [str(key)]}

    def forget_unknown(self, unknown_id: str) -> None:
        """Erase the faces of a group. Raises NotFound."""
        strangers.forget(self.kept, self.faces, [self._key(unknown_id)])

    def forget_unknowns(self) -> int:
        """Erase all faces that are nobody's, also of those who are ignored. Returns of how many groups."""
        keys = np.unique(self.faces.groups).tolist()
        strangers.forget(self.kept, self.faces, keys)
        return len(keys)

    def pictures(self, unknown_id: str) -> Iterator[bytes]:
        """Yield pictures of the best faces of a group, JPEGs, out of those of its files that can be read."""
        sight = self.here.service.sight
        for shown, data in self._read(self._key(unknown_id)):
            try:
                picture = sight.decoded(data)
            except Failure:
                continue
            yield keep_face(picture.pixels, Face(shown.box, 1.0, NO_LANDMARKS)).jpeg

    def _key(self, unknown_id: str) -> int:
        key = int(unknown_id) if unknown_id.isascii() and unknown_id.isdigit() else 0
        group = self.groups.get(key)
        if group is None or group.person is not None or not len(self.faces.of(key)):
            raise NotFound(f"There is no unknown person with the id {unknown_id}.")
        return key

    def _person_of(self, name: str) -> str | None:
        """Return the id of the one person of a name; None: there is none."""
        try:
            found = people_of(self.here.gallery, name)
        except NotFound:
            return None
        if len(found) > 1:
            raise AmbiguousName(f"Several people are called {name}; name one of them by the id.")
        return found[0].id

    def _enrolments(self, key: int, name: str | None, person: str | None) -> list[Enrolment]:
        found = []
        for shown, data in islice(self._read(key), SAMPLES):
            box = shown.box
            centre = box.x + box.w / 2, box.y + box.h / 2
            found.append(Enrolment(str(uuid.uuid4()), name, data, face=centre, person=person))
        if not found:
            raise NotFound("None of the pictures is as it was when it was indexed: run `recognition index`.")
        return found

    def _read(self, key: int) -> Iterator[tuple[Shown, bytes]]:
        """Read the files with the best faces of a group, as far as they are as they were."""
        places = self._best(key, TRIED)
        shown = strangers.shown(self.kept, self.faces, places)
        for place in places:
            if place in shown:
                data = read(shown[place].file, self.here.settings.max_body_bytes)
                if not isinstance(data, Refused):
                    yield shown[place], data

    def _best(self, key: int, most: int) -> list[int]:
        places = self.faces.of(key)
        chosen = varied(self.faces.vectors[places], self.faces.qualities[places], most)
        return [int(places[place]) for place in chosen]

    def _value(self, key: int, best: Sequence[int], shown: dict[int, Shown]) -> dict[str, Any]:
        places = self.faces.of(key)
        return {
            "id": str(key),
            "faces": len(places),
            "pictures": len(np.unique(self.faces.keys[places, 0])),
            "best": [self._face(place, shown) for place in best if place in shown],
            "ignored": self.groups[key].ignored,
        }

    def _face(self, place: int, shown: dict[int, Shown]) -> dict[str, Any]:
        face = shown[place]
        return {
            "picture": os.fsdecode(face.file.path),
            "face": face.number,
            "bbox": bbox(face.box),
            "quality": float(self.faces.qualities[place]),
        }


@contextmanager
def of_index(service: Client, file: Path | None) -> Iterator[Strangers]:
    """Group the faces of an index that are nobody's, and keep the groups there.

    service: what `open_client` has opened in this process; file: the index; None: the usual one.

    Raises:
        SystemExit: something is not there; stderr says what.
    """
    parts = parts_of(service)
    if parts is None:
        raise click.UsageError("--index works without --host: a service has no index.")
    options = Options(file, service.gallery)
    with (
        archives.failing(),
        archives.workshop(parts, options) as here,
        archives.opened(here.settings, file) as kept,
    ):
        yield _grouped(here, kept)


def _grouped(here: Workshop, kept: Index) -> Strangers:
    decided = here.service.decided(Search(), here.model)
    samples, owners = samples_of(here.gallery, None)
    nobodys: strangers.Nobodys = lambda vectors: np.ones(len(vectors), bool)  # noqa: E731
    if len(samples):
        measure, reach = measure_of(here, decided, samples, owners)
        nobodys = lambda vectors: measure(vectors) >= reach  # noqa: E731
    here.service.audit("search", [])
    min_quality = here.service.sight.min_quality
    before = strangers.nobodys_faces(kept, here.fingerprint, here.model.dimension, min_quality, nobodys)
    groups = strangers.groups_of(kept)
    gone = {key: replace(group, person=None) for key, group in groups.items() if _is_gone(here, group)}
    if gone:
        strangers.settle(kept, gone)
    groups |= gone
    if (new := int((before.groups == 0).sum())) >= MANY:
        click.echo(f"{new:,} faces are put into groups, which takes a while, once.", err=True)
    background = backgrounds.shipped(here.fingerprint)
    settled = [key for key, group in groups.items() if group.settled]
    least = least_likeness(here.model, background)
    faces = strangers.store(kept, before, strangers.regrouped(before, settled, background, least))
    return Strangers(here, kept, faces, strangers.groups_of(kept))


def _is_gone(here: Workshop, group: Group) -> bool:
    """Tell whether the gallery no longer has the person that a group was said to be."""
    if group.person is None:
        return False
    try:
        people.get(here.gallery, group.person)
    except NotFound:
        return True
    return False
