"""What `index` and `find` do: folders looked through in this process, and faces found in the index."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from recognition.app import create_service, decoding_here, load_decoder
from recognition.archive import finding, updating
from recognition.archive.entries import IndexUnavailable
from recognition.archive.index import Index, Summary, open_index
from recognition.archive.looking import Looker
from recognition.archive.searching import Hit, best_of_each_picture
from recognition.cli.local import Parts, load
from recognition.cli.pace import paced
from recognition.cli.session import (
    FAILED,
    INTERRUPTED,
    UNAVAILABLE,
    GalleryNeed,
    cell,
    fail,
    opened_for_owner,
    printable,
    read_settings,
    show,
)
from recognition.config import Settings
from recognition.errors import NoFace
from recognition.faces import Person, Search, bbox
from recognition.gallery import Gallery, people, transfer
from recognition.names import key_of
from recognition.results import Detection, Recognition
from recognition.seeing import fingerprint_of
from recognition.service import Service
from serving.errors import Failure, ImageTooLarge, InvalidImage, NotFound
from serving.model import Model

FILE = "archive.sqlite3"
PAGE = 1000
SHOWN = 3  # files of each reason for a refusal
COLUMNS = ("picture", "distance", "false_match", "face", "bbox", "quality")


@dataclass(frozen=True, slots=True)
class Options:
    """What both commands are told.

    index: the file; None: the usual one.
    gallery: its name; None: `default`.
    small_faces: as in Search.
    jobs: how many pictures are looked at at once; None: as many as there are cores.
    """

    index: Path | None = None
    gallery: str | None = None
    small_faces: bool | None = None
    jobs: int | None = None


@dataclass(frozen=True, slots=True)
class Workshop:
    """What sees faces in this process, with the model of the gallery."""

    settings: Settings
    service: Service
    gallery: Gallery
    model: Model
    looker: Looker

    @property
    def fingerprint(self) -> str:
        """Of the gallery's model."""
        return fingerprint_of(self.model)


@contextmanager
def failing() -> Iterator[None]:
    """End the command with one sentence where something fails that may."""
    try:
        yield
    except IndexUnavailable as e:
        fail(UNAVAILABLE, {"code": "index_unavailable", "detail": str(e)})
    except (NotFound, NoFace, InvalidImage, ImageTooLarge) as e:
        fail(FAILED, {"code": e.code, "detail": e.detail})
    except Failure as e:
        fail(UNAVAILABLE, {"code": e.code, "detail": e.detail})
    except BrokenPipeError:
        raise  # click ends quietly
    except OSError as e:
        fail(FAILED, {"code": "file", "detail": f"{e.filename}: {e.strerror}"})
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def file_of(settings: Settings) -> Path:
    """Return where the index usually lies: beside a gallery that is a file, or else in the data folder."""
    return settings.data_folder / FILE


def opened(settings: Settings, file: Path | None, *, create: bool = False) -> closing[Index]:
    """Open the index of the settings, or of a file.

    Raises:
        IndexUnavailable, OSError: as `open_index` does.
    """
    key = settings.gallery_key.get_secret_value() if settings.gallery_key else None
    return closing(open_index(file or file_of(settings), create=create, key=key))


@contextmanager
def loaded(need: GalleryNeed) -> Iterator[Parts]:
    """Load models, detector and gallery, as the services do, and close the gallery at the end.

    Raises:
        SystemExit: something cannot be loaded; stderr says what.
    """
    parts = load(need)
    try:
        yield parts
    finally:
        if parts.gallery:
            parts.gallery.close()


@contextmanager
def workshop(parts: Parts, options: Options) -> Iterator[Workshop]:
    """Put to use what was loaded, with a process of its own that decodes pictures, as the service has it.

    Raises:
        NotFound: there is no such gallery; GalleryUnavailable, ModelUnknown.
        SystemExit: decoding cannot be started; stderr says why.
    """
    assert parts.gallery is not None
    settings = parts.settings
    jobs = options.jobs or cores()
    with ExitStack() as stack:
        if (decoder := load_decoder(settings)) is not None:
            stack.callback(decoder.close)
        service = create_service(
            settings,
            detector=parts.detector,
            embedder=parts.embedder,
            gallery=parts.gallery,
            decode=decoder or decoding_here(settings),
        )
        gallery = parts.gallery
        if options.gallery is not None:
            gallery = gallery.of(options.gallery)
            service = replace(service, gallery=gallery, audit=gallery.audit, read=gallery.audit.read)
        gallery.check_there()
        model = service.sight.model(gallery.model_name)
        pool = ThreadPoolExecutor(jobs, "archive")
        stack.callback(pool.shutdown, cancel_futures=True)
        looker = Looker(service.sight, pool, jobs, model, settings.max_body_bytes, options.small_faces)
        yield Workshop(settings, service, gallery.of_model(gallery.model_name), model, looker)


def cores() -> int:
    """Count the processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def path_of(folder: Path) -> bytes:
    """Return the absolute path of a folder without links in it, by which an index knows it."""
    return os.fsencode(folder.resolve())


def index(
    options: Options, folders: Sequence[Path], *, again: bool, refused: Path | None, as_json: bool
) -> bool:
    """Bring the index up to date with folders, and report. Returns whether nothing was refused."""
    roots = updating.outermost(map(path_of, folders))
    with loaded("new") as parts, workshop(parts, options) as here:
        fingerprint = here.fingerprint
        with (
            opened(here.settings, options.index, create=True) as kept,
            kept.writing_alone(),
        ):
            click.echo(f"index: {printable(str(kept.file))}", err=True)
            due = updating.pending(kept, roots, fingerprint, again=again)
            interrupted, gone = False, 0
            try:
                with paced("looking at files", due.waiting) as advance:
                    gone = updating.update(kept, due, here.looker, fingerprint, again=again, advance=advance)
            except KeyboardInterrupt:
                interrupted = True
            summary = kept.summary(None, roots)
            if refused is not None:
                _write_refusals(kept, roots, refused)
            files = sum(due.files.values())
            value = {
                "files": files,
                "looked_at": due.waiting,
                "removed": gone,
                **_value_of(summary),
            }
            lines = [
                f"{files} files: {due.waiting} were new or had changed, {gone} have gone.",
                _line_of(summary),
                *_lines_of_refusals(kept, roots, summary),
            ]
    if interrupted:
        del value["looked_at"], value["removed"]
        stopped = "Interrupted: start the same command again to go on."
        show(as_json, value | {"interrupted": True}, [*lines[1:], stopped])
        sys.exit(INTERRUPTED)
    show(as_json, value, lines)
    return not summary.refused


def describe(file: Path | None, *, as_json: bool) -> None:
    """Say what is in an index."""
    with opened(read_settings(), file) as kept:
        summary = kept.summary(None)
        size = kept.file.stat().st_size
    value = {"index": str(kept.file), "bytes": size, **_value_of(summary)}
    show(as_json, value, [f"{kept.file}, {size / 2**20:.1f} MB", _line_of(summary)])


def forget(file: Path | None, folders: Sequence[Path], *, as_json: bool) -> None:
    """Erase what an index has of folders."""
    with opened(read_settings(), file) as kept, kept.writing_alone():
        number = sum(kept.forget(path_of(folder)) for folder in folders)
    show(as_json, {"forgotten": number}, [f"{number} files forgotten."])


def find(
    options: Options,
    who: str,
    folder: Path | None,
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
            hits = _hits_of_people(here, kept, _people(here.gallery, who), search, root)
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
    pages = kept.seen(here.fingerprint, root)
    return finding.of_face(pages, vector, max_distance, sight.min_quality)


def _hits_of_people(
    here: Workshop, kept: Index, somebody: Sequence[Person], search: Search, root: bytes | None
) -> list[Hit]:
    decided = here.service.decided(search, here.model)
    # Samples weighed together may be like a face that none of them is near to: then all faces are asked for.
    reach = np.inf if decided.max_distance is None else decided.max_distance
    hits: list[Hit] = []
    for person in somebody:
        samples = _vectors(here.gallery, person)
        if len(samples):
            pages = kept.seen(here.fingerprint, root)
            hits += finding.of_person(pages, person.id, samples, float(reach), identifying(here, decided))
    return best_of_each_picture(hits)


def identifying(here: Workshop, search: Search) -> finding.Identify:
    """Return what tells whose faces are, by the gallery as it is by then."""
    search = here.service.decided(search, here.model)

    def identify(seen: Sequence[Detection], vectors: NDArray[np.float32]) -> list[Recognition]:
        return here.service.identified(seen, vectors, search, here.gallery, here.model)

    return identify


def _people(gallery: Gallery, who: str) -> list[Person]:
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


def _vectors(gallery: Gallery, person: Person) -> NDArray[np.float32]:
    """Read the vectors of a person's samples: float32 (n, d)."""
    header = transfer.header(gallery)
    vectors: list[NDArray[np.float32]] = []
    after = None
    while records := transfer.records(gallery, header, after, person=person.id):
        vectors += [vector for _, vector in records]
        after = records[-1][0].id
    return np.stack(vectors) if vectors else np.empty((0, 0), np.float32)


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


def _value_of(summary: Summary) -> dict[str, Any]:
    refused = [
        {"code": code, "detail": detail, "files": number}
        for (code, detail), number in summary.refused.most_common()
    ]
    return {
        "pictures": summary.pictures,
        "faces": summary.faces,
        "others": summary.others,
        "refused": refused,
    }


def _line_of(summary: Summary) -> str:
    return (
        f"{summary.pictures} pictures with {summary.faces} faces in the index, "
        f"{summary.refused.total()} refused, {summary.others} other files."
    )


def _lines_of_refusals(kept: Index, roots: Sequence[bytes], summary: Summary) -> Iterator[str]:
    if not summary.refused:
        return
    examples: dict[tuple[str, str], list[str]] = {reason: [] for reason in summary.refused}
    missing = sum(min(SHOWN, number) for number in summary.refused.values())
    for each in kept.refusals(roots):
        some = examples.get((each.code, each.detail), [])
        if len(some) < SHOWN:
            some.append(os.fsdecode(each.file.path))
            missing -= 1
            if not missing:
                break
    for (code, detail), number in summary.refused.most_common():
        yield f"  {number} refused: {detail}"
        yield from (f"    {path}" for path in examples[code, detail])
        if number > SHOWN:
            yield f"    and {number - SHOWN} more"


def _write_refusals(kept: Index, roots: Sequence[bytes], file: Path) -> None:
    with opened_for_owner(file) as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("code", "detail", "picture"))
        for each in kept.refusals(roots):
            table.writerow((each.code, each.detail, cell(os.fsdecode(each.file.path))))
