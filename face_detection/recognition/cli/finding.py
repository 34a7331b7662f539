"""What `find` does: faces looked for in an index, and the pictures listed in which they are."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from recognition.archive import finding
from recognition.archive.index import Index
from recognition.archive.searching import Hit, best_of_each_picture
from recognition.cli.archives import Options, Workshop, identifying, loaded, opened, path_of, workshop
from recognition.cli.known import measure_of, people_of, samples_of
from recognition.cli.session import cell, show
from recognition.faces import Person, Search, bbox

COLUMNS = ("picture", "distance", "false_match", "face", "bbox", "quality")
# How much less than a wish takes a face may score and yet be looked at: of somebody with very many samples
# the gallery weighs the newest.
SLACK = 0.05
ROUNDING = 1e-6  # by which two ways to compute a distance may differ, as a share of it


def find(
    options: Options,
    who: str,
    folder: str | None,
    rule: tuple[float | None, float | None],
    *,
    as_csv: bool,
    as_json: bool,
) -> bool:
    """List the pictures in which somebody is. Returns whether it is clear who that is.

    rule: min_distance and max_false_match.
    """
    with (
        loaded("existing") as parts,
        workshop(parts, options) as here,
        opened(here.settings, options.index) as kept,
    ):
        root = None if folder is None else path_of(folder)
        search = Search(max_distance=rule[0], max_false_match=rule[1], small_faces=options.small_faces)
        picture = Path(who)
        if picture.is_file():
            hits = _hits_of_picture(here, kept, picture, search, root)
        else:
            hits = _hits_of_people(here, kept, people_of(here.gallery, who), search, root)
        if outdated := kept.summary(here.fingerprint).outdated:
            click.echo(
                f"{outdated} pictures were indexed with another model and are not searched: "
                "run `recognition index` on their folders.",
                err=True,
            )
    if as_csv:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(COLUMNS)
        for hit in hits:
            value = _value_of_hit(hit)
            table.writerow(["" if value[name] is None else cell(str(value[name])) for name in COLUMNS])
        return True
    for hit in hits:
        show(as_json, _value_of_hit(hit), [_line_of_hit(hit)])
    if not hits:
        click.echo("No picture.", err=True)
    return True


def _hits_of_picture(
    here: Workshop, kept: Index, picture: Path, search: Search, root: bytes | None
) -> list[Hit]:
    if search.max_false_match is not None:
        raise click.UsageError("--max-false-match: it is about people of the gallery; use --min-distance.")
    sight = here.service.sight
    one = sight.one_face(sight.decoded(picture.read_bytes()), here.model, search.small_faces)
    (vector,) = sight.embedded(one.crop[np.newaxis], here.model)
    here.service.audit("search", [])
    max_distance = search.max_distance or here.model.threshold
    pages = kept.seen(here.fingerprint, root, here.model.dimension)
    return finding.of_face(pages, vector, max_distance, sight.min_quality)


def _hits_of_people(
    here: Workshop, kept: Index, somebody: Sequence[Person], search: Search, root: bytes | None
) -> list[Hit]:
    decided = here.service.decided(search, here.model)
    slack = SLACK if decided.max_distance is None else ROUNDING * decided.max_distance
    hits: list[Hit] = []
    for person in somebody:
        samples, owners = samples_of(here.gallery, person.id)
        if len(samples):
            measure, reach = measure_of(here, decided, samples, owners)
            pages = kept.seen(here.fingerprint, root, here.model.dimension)
            hits += finding.of_person(pages, person.id, measure, reach + slack, identifying(here, decided))
    return best_of_each_picture(hits)


def _value_of_hit(hit: Hit) -> dict[str, Any]:
    return {
        "picture": os.fsdecode(hit.file.path),
        "distance": hit.distance,
        "false_match": hit.false_match,
        "face": hit.number,
        "bbox": bbox(hit.face.box),
        "quality": hit.face.quality,
    }


def _line_of_hit(hit: Hit) -> str:
    return f"{os.fsdecode(hit.file.path)}  distance {hit.distance:.2f}  at {bbox(hit.face.box)}"
