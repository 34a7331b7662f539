"""`python -m recognition.gallery`: move a gallery between databases and machines, count it, check it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recognition.audit import Audit
from recognition.config import from_environment
from recognition.errors import RecognitionError
from recognition.gallery import Gallery, open_gallery, portable, transfer
from recognition.gallery.backup import backup
from serving.request_id import caller

TERMINAL = Console(stderr=True)


class _WrongKind(click.ClickException):
    exit_code = 2


@click.group()
@click.option("--database", metavar="URL", help="The gallery; DATABASE_URL if absent.")
@click.pass_context
def cli(context: click.Context, database: str | None) -> None:
    """Move a gallery between databases and machines, count it, check it.

    A service may go on working with it meanwhile.
    """
    settings = from_environment()
    caller.set(f"command of {getuser()}")
    with _failing():
        gallery = open_gallery(
            database or settings.database_url,
            settings.gallery_lock_timeout_s,
            settings.gallery_ef_search,
            create=context.invoked_subcommand == import_.name,
            key=settings.gallery_key.get_secret_value() if settings.gallery_key else None,
            audit=Audit(settings.audit_log),
        )
    context.obj = gallery
    context.call_on_close(gallery.close)


@cli.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def export_(gallery: Gallery, file: Path) -> None:
    """Write all samples with their vectors into FILE.

    An export that was broken off goes on where it stopped. What is stored meanwhile may be in it or not. FILE
    holds biometric data: only its owner can read it.
    """
    with _failing():
        count = transfer.export_to(gallery, file, _progress)
    click.echo(f"{count} samples exported.")


@cli.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def import_(gallery: Gallery, file: Path) -> None:
    """Store the samples of FILE, if it is whole and of the gallery's model.

    A sample that is there in the same or a newer state stays as it is, so an import that was broken off can
    simply be started again.
    """
    with _failing(), file.open("rb") as opened:
        imported, unchanged = transfer.import_file(gallery, opened, progress=_progress)
    click.echo(f"{imported} of {imported + unchanged} samples imported; the others were there already.")


@cli.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup_(gallery: Gallery, file: Path) -> None:
    """Copy the database as it is at one moment into FILE, which must not be there; SQLite only.

    FILE is a gallery of its own, and checked. It holds biometric data: only its owner can read it.
    """
    if gallery.engine.dialect.name != "sqlite":
        raise _WrongKind("This gallery is in PostgreSQL: pg_dump makes a backup of it.")
    with _failing():
        count = backup(gallery, file)
    click.echo(f"{count} samples backed up.")


@cli.command()
@click.pass_obj
def count(gallery: Gallery) -> None:
    """Print the number of samples."""
    with _failing():
        click.echo(gallery.count())


@cli.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def verify(gallery: Gallery, file: Path | None) -> None:
    """Check an exported FILE, or the database itself.

    Of a file: every line, the order and the checksum. Of a database: its own integrity check, and that
    vectors, revisions and deletions fit each other.
    """
    with _failing():
        if file:
            with file.open("rb") as opened, _progress("checking", None) as advance:
                _, count = portable.check(opened, advance)
            click.echo(f"{count} samples, unharmed.")
            return
        faults = 0
        for fault in transfer.faults(gallery.engine):
            faults += 1
            click.echo(fault)
    if faults:
        raise click.ClickException(f"{faults} faults.")
    click.echo(f"{gallery.count()} samples, no faults.")


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, nothing elsewhere; what is yielded takes the samples of each step."""
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=TERMINAL, disable=not TERMINAL.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda samples: progress.advance(task, samples)


@contextmanager
def _failing() -> Iterator[None]:
    """Turn what may go wrong into one sentence and exit status 1."""
    try:
        yield
    except RecognitionError as e:
        raise click.ClickException(e.detail) from e
    except OSError as e:
        raise click.ClickException(str(e)) from e


if __name__ == "__main__":
    cli()
