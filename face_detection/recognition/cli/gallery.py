"""`gallery`: the database itself, which no service needs to run for."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recognition.cli.cluster import JOBS, RAY
from recognition.cli.session import (
    FAILED,
    INTERRUPTED,
    JSON,
    WITH_FACES,
    OrderedGroup,
    check_processor,
    fail,
    progress,
    read_settings,
    show,
    without_name,
)
from recognition.errors import GalleryModelMismatch
from serving.errors import Failure

if TYPE_CHECKING:  # SQLAlchemy and NumPy: half a second
    from recognition.gallery import Gallery
    from recognition.results import WithoutFace

GALLERY = click.option(
    "--gallery",
    "name",
    metavar="NAME",
    default="default",
    help="The gallery in the database; default: `default`.",
)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _moment(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    try:
        moment = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    if moment is not None and moment.tzinfo is None:
        raise click.BadParameter("not a time in ISO 8601 with its offset from UTC")
    return moment


def _numbers(
    _context: click.Context, _parameter: click.Parameter, values: tuple[float, ...]
) -> tuple[float, ...]:
    if any(math.isnan(value) for value in values):
        raise click.BadParameter("not a number")
    return values


@click.group(cls=OrderedGroup, short_help="Move, back up and check the database itself.")
@click.option("--database", metavar="URL", help="The gallery; default: DATABASE_URL of the settings.")
@click.pass_context
def gallery(context: click.Context, database: str | None) -> None:
    """Move, back up, count and check the galleries, straight in their database.

    Services may go on using it meanwhile. `samples` has what goes through a running service.
    """
    check_processor()
    context.obj = database


@gallery.command("export", short_help="Write all samples from the database into a file.")
@click.argument("file", type=NEW_FILE)
@GALLERY
@WITH_FACES
@JSON
@click.pass_obj
def export(database: str | None, file: Path, name: str, faces: bool, as_json: bool) -> None:
    """Write all samples of a gallery from the database into FILE; `samples export` asks a service.

    If it is interrupted, the same command goes on where it stopped. Samples that are stored meanwhile may be
    missing. FILE holds biometric data: only its owner can read it.
    """
    from recognition.gallery.transfer import export_to

    with opened_gallery(database) as opened:
        count = export_to(opened.of(name), file, progress, faces=faces)
    show(as_json, {"exported": count}, [f"{count} samples exported."])


@gallery.command("import", short_help="Store the samples of a file in the database.")
@click.argument("file", type=EXISTING_FILE)
@GALLERY
@JSON
@click.pass_obj
def import_(database: str | None, file: Path, name: str, as_json: bool) -> None:
    """Store the samples of FILE in a gallery of the database; `samples import` asks a service.

    FILE must be complete and of the gallery's model. Samples that are there in the same or a newer state stay
    as they are, so an interrupted import can be started again. With KEEP_FACES=0 its faces are left out.
    """
    from recognition.gallery.transfer import import_file

    keep_faces = read_settings().keep_faces
    with opened_gallery(database, create=True) as opened, file.open("rb") as stream:
        imported, unchanged, unnamed = import_file(
            opened.of(name), stream, _check_prepared, progress, keep_faces=keep_faces
        )
    show(
        as_json,
        {"imported": imported, "unchanged": unchanged, **({"unnamed": unnamed} if unnamed else {})},
        [
            f"{imported} of {imported + unchanged} samples imported; the others were there already.",
            *without_name(unnamed),
        ],
    )


@gallery.command("backup", short_help="Copy a SQLite gallery as it is at this moment.")
@click.argument("file", type=NEW_FILE)
@JSON
@click.pass_obj
def backup(database: str | None, file: Path, as_json: bool) -> None:
    """Copy a SQLite database as it is at this moment, with all galleries, into FILE, which must be new.

    FILE is checked, and is itself a gallery. It holds biometric data: only its owner can read it.
    """
    from recognition.gallery.backup import backup as copy

    with opened_gallery(database) as opened:
        if opened.engine.dialect.name != "sqlite":
            raise click.UsageError("This gallery is in PostgreSQL: pg_dump makes a backup of it.")
        count = copy(opened, file)
    show(as_json, {"backed_up": count}, [f"{count} samples backed up."])


@gallery.command("replay-erasures", short_help="Erase again what an old backup has brought back.")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=EXISTING_FILE)
@click.option("--since", metavar="TIME", callback=_moment, help="Pass over what was erased before: ISO 8601.")
@click.option("--dry-run", is_flag=True, help="Erase nothing, and say what would be.")
@JSON
@click.pass_obj
def replay_erasures(
    database: str | None, files: tuple[Path, ...], since: datetime | None, dry_run: bool, as_json: bool
) -> None:
    """Erase again, in all galleries, what a restored backup, or an import, has brought back.

    FILE is an audit log, also one that was rotated and compressed (.gz), or has receipts, a line each; the
    default is AUDIT_LOG. Name all that reach back to the backup. Samples that were enrolled anew after they
    were erased stay. It can be done again at any time.

    Exit status 1: of some the files do not tell whether they are to be erased.
    """
    from recognition.cli.erasing import replayed

    with opened_gallery(database) as opened:
        unclear = replayed(opened, files, since, dry_run=dry_run, as_json=as_json)
    if unclear:
        sys.exit(FAILED)


@gallery.command("forget-faces")
@click.confirmation_option(prompt="Delete all kept faces?")
@JSON
@click.pass_obj
def forget_faces(database: str | None, as_json: bool) -> None:
    """Delete the pictures that are kept of faces, in all galleries; samples, vectors and events stay.

    Those of visits to cameras, too. With KEEP_FACES=0 no others come.
    """
    from recognition.gallery.faces import forget
    from recognition.gallery.galleries import names

    with opened_gallery(database) as opened:
        count = sum(forget(opened.of(name)) for name in names(opened))
    show(as_json, {"forgotten": count}, [f"{count} faces deleted."])


@gallery.command("count")
@GALLERY
@JSON
@click.pass_obj
def count(database: str | None, name: str, as_json: bool) -> None:
    """Print the number of samples in a gallery."""
    with opened_gallery(database) as opened:
        number = opened.of(name).count()
    show(as_json, {"samples": number}, [str(number)])


@gallery.command("verify")
@click.argument("file", required=False, type=EXISTING_FILE)
@JSON
@click.pass_obj
def verify(database: str | None, file: Path | None, as_json: bool) -> None:
    """Check an exported FILE, or the database.

    Of a file: every line, the order and the checksum. Of a database: its own integrity check, and whether
    vectors, revisions and deletions fit together, in all galleries.
    """
    from recognition.gallery import portable, transfer

    faults: list[str] = []
    if file:
        with failing(), file.open("rb") as stream, progress("checking", None) as advance:
            _, number = portable.check(stream, advance)
        outcome = f"{number} samples, undamaged."
    else:
        with opened_gallery(database) as opened:
            faults += transfer.faults(opened)
            number = opened.total()
        outcome = f"Faults: {len(faults)}." if faults else f"{number} samples, no faults."
    show(as_json, {"samples": number, "faults": faults}, [*faults, outcome])
    if faults:
        sys.exit(FAILED)


@gallery.command("migrate", short_help="Make the tables, or bring them up to date, before services start.")
@click.option("--check", is_flag=True, help="Change nothing; fail unless the tables are of this version.")
@JSON
@click.pass_obj
def migrate(database: str | None, check: bool, as_json: bool) -> None:
    """Make the tables of the database, or bring those of an older version up to date.

    Services and other commands do so by themselves. This is for a deployment in which new services wait until
    it is done, however long it takes. Services of an older version answer 503 afterwards.

    Exit status 3: it could not be done; with --check, it has not been done yet, or by a newer version.
    """
    with opened_gallery(database, create=not check, migrate=not check):
        show(as_json, {"up_to_date": True}, ["The tables are up to date."])


@gallery.command("reindex", short_help="Make PostgreSQL's index of vectors anew while services go on.")
@click.option("--drop", is_flag=True, help="Drop it instead, before a bulk load; the next run makes it.")
@GALLERY
@JSON
@click.pass_obj
def reindex(database: str | None, drop: bool, name: str, as_json: bool) -> None:
    """Make PostgreSQL's index of a gallery's vectors anew, beside the old one, while services go on.

    With GALLERY_HALFVEC=1 it holds 16-bit floats. If it is interrupted, start it again. PostgreSQL's own
    settings come in PGOPTIONS: '-c maintenance_work_mem=2GB' is to be more than the index.

    With --drop there is none, and each search compares all samples, before this command makes one.
    """
    from recognition.gallery.reindexing import drop_index
    from recognition.gallery.reindexing import reindex as make_anew

    with opened_gallery(database, create=drop) as opened:
        if opened.engine.dialect.name != "postgresql":
            raise click.UsageError("This gallery is in SQLite, whose searches need no index.")
        of = opened.of(name)
        if drop:
            drop_index(of)
            return show(as_json, {"indexed": None}, ["The index is dropped: each sample is compared."])
        made = make_anew(of)
    if made is None:
        show(as_json, {"indexed": None}, ["The gallery is small: each sample is compared, without an index."])
        return
    floats = "16-bit floats" if made.half else "32-bit floats"
    line = f"Indexed: {made.dimension} values as {floats}, {made.bytes / 1e6:.1f} MB."
    show(as_json, {"indexed": made.dimension, "halfvec": made.half, "bytes": made.bytes}, [line])


@gallery.command("doctor", short_help="Find labels that may be wrong, people that are alike, and doubles.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=100, help="Show so many findings; 0: all. Default: 100."
)
@GALLERY
@JSON
@click.pass_obj
def doctor(database: str | None, limit: int, name: str, as_json: bool) -> None:
    """Find samples whose label may be wrong, people that are alike, doubles, and people with too little.

    Each sample is compared with all others. That takes about two minutes for 100,000, and four times as long
    for twice as many. The surest findings come first, each with the commands that would put it right; they
    are for the gallery of the settings. Nothing is changed. With --json all findings are printed.
    """
    from recognition.cli.findings import findings_of, lines_of, value_of

    with opened_gallery(database) as opened:
        found = findings_of(opened.of(name), read_settings())
    for finding in found if as_json or not limit else found[:limit]:
        show(as_json, value_of(finding), lines_of(finding))
    if not as_json:
        hidden = f", of which {limit} are shown" if 0 < limit < len(found) else ""
        click.echo(f"{len(found)} findings{hidden}.")


@gallery.command("change-model", short_help="Change the embedding model without enrolling again.")
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("--back", is_flag=True, help="Change to the model that the gallery had before.")
@click.option("--leave", is_flag=True, help="Change although samples have no face; they wait for a picture.")
@click.option("--drop", is_flag=True, help="Delete samples that have no face once the gallery has changed.")
@click.option("--status", is_flag=True, help="Say which models there are, and how far a change is.")
@click.option("--list", "list_", is_flag=True, help="List the ids of samples that wait for a picture.")
@click.option("--stop", is_flag=True, help="Stop a change, in whichever process; what is done is kept.")
@click.option("--forget", is_flag=True, help="Remove the vectors of the model that is not used.")
@RAY
@JOBS
@GALLERY
@JSON
@click.pass_obj
def change_model(
    database: str | None,
    /,
    model: str | None,
    ray: str | None,
    jobs: int | None,
    name: str,
    as_json: bool,
    **asked: bool,
) -> None:
    """Change a gallery to MODEL, which the embedding service has: vectors are made of the kept faces.

    Services go on meanwhile, with the old model, and use the new one as soon as all is done. The same command
    goes on with what was interrupted. The vectors of before stay, so that --back takes moments; --forget
    removes them.

    Samples of which no face is kept, or none that can be read, need a picture: the command lists them and
    does not change over, unless --leave or --drop says what becomes of them. Enrol them anew, under their
    ids, and start it again.

    Exit status 1: the gallery has not changed.
    """
    from recognition.cli.changing import LOOKS, changed, lines_of, value_of

    what = [each for each in ("back", "status", "list_", "stop", "forget") if asked[each]]
    if len(what) + (model is not None) != 1:
        raise click.UsageError("Name a model, or one of --back, --status, --list, --stop and --forget.")
    if asked["leave"] and asked["drop"]:
        raise click.UsageError("--leave and --drop exclude each other.")
    if jobs is not None and ray is None:
        raise click.UsageError("--jobs goes with --ray.")
    with opened_gallery(database) as opened:
        of = opened.of(name)
        if model is None and what != ["back"]:
            value, lines = LOOKS[what[0]](of)
            return show(as_json, value, lines)
        without_face: WithoutFace = "leave" if asked["leave"] else "drop" if asked["drop"] else "wait"
        outcome = changed(of, model, without_face, ray, jobs)
    show(as_json, value_of(outcome), lines_of(outcome))
    if not outcome.changed:
        sys.exit(FAILED)


@gallery.command("calibrate", short_help="Tell how many strangers and people enrolled a wish concerns.")
@click.option(
    "--wish",
    "wishes",
    multiple=True,
    type=click.FloatRange(min=0, max=0.5, min_open=True),
    callback=_numbers,
    help="A max_false_match; may be repeated. Default: from 0.1 to 0.001.",
)
@GALLERY
@JSON
@click.pass_obj
def calibrate(database: str | None, wishes: tuple[float, ...], name: str, as_json: bool) -> None:
    """Tell what max_false_match means in a gallery at its present size, and what it costs.

    For each wish it shows which share of the faces of people enrolled would get no name, judged by their own
    samples where there are enough. Nothing is changed.
    """
    from recognition.cli.wishes import decisions_of, lines_of, value_of

    with opened_gallery(database) as opened:
        decisions = decisions_of(opened.of(name), wishes)
    show(as_json, value_of(decisions), lines_of(decisions))


def _check_prepared(fingerprint: str, dimension: int) -> None:
    """Hold a file against the models that are prepared here: no other check is there for an empty gallery."""
    from embedding.network import prepared_models

    model = prepared_models(read_settings().models_dir).get(
        fingerprint.partition("-")[0]  # without the version of the crops
    )
    if model is not None and model.dimension != dimension:
        raise GalleryModelMismatch("The file's vectors have another number of values than its model makes.")


@contextmanager
def opened_gallery(database: str | None, *, create: bool = False, migrate: bool = True) -> Iterator[Gallery]:
    """Open the gallery for one command; what fails meanwhile ends it with one sentence."""
    from recognition.cli.opening import open_named_gallery

    settings = read_settings(**({"database_url": database} if database else {}))
    opened = open_named_gallery(settings, create=create, migrate=migrate)
    try:
        with failing():
            yield opened
    finally:
        opened.close()


@contextmanager
def failing() -> Iterator[None]:
    """End the command with one sentence where something fails that may."""
    try:
        yield
    except Failure as e:
        fail(FAILED, {"code": e.code, "detail": e.detail})
    except OSError as e:
        fail(FAILED, {"code": "file", "detail": str(e)})
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
