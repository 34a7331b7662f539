"""`migrate-compreface`: CompreFace's services, subjects and examples come over."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from recognition.cli.session import (
    FAILED,
    INTERRUPTED,
    JSON,
    UNAVAILABLE,
    check_processor,
    fail,
    file_error,
    opened_for_owner,
    printable,
    show,
)


@click.command("migrate-compreface", short_help="Take over what CompreFace has: subjects, examples, keys.")
@click.argument("source")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="[NAME=]KEY",
    envvar="COMPREFACE_KEY",
    help="Of an address: the key of a recognition service, and what to call that; default: COMPREFACE_KEY.",
)
@click.option(
    "--email",
    envvar="COMPREFACE_EMAIL",
    help="Of an address: who logs in to its web page; all services of theirs come. The password is that of "
    "COMPREFACE_PASSWORD, or is asked for.",
)
@click.option(
    "--service",
    "--only",
    "only",
    multiple=True,
    metavar="NAME",
    help="Only this service, or APPLICATION/NAME.",
)
@click.option("--gallery", "into", metavar="NAME", help="Where the one recognition service's examples go.")
@click.option(
    "--take-all",
    is_flag=True,
    help="Take even faces too poor to recognise, now and in new services later on.",
)
@click.option("--guessable", is_flag=True, help="Take services, too, whose keys others can guess.")
@click.option("--dry-run", is_flag=True, help="Change nothing, and say what there is to take.")
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what became of everything into this file, as JSON.",
)
@JSON
def migrate_compreface(
    source: str,
    keys: tuple[str, ...],
    email: str | None,
    only: tuple[str, ...],
    into: str | None,
    take_all: bool,
    guessable: bool,
    dry_run: bool,
    report_file: Path | None,
    as_json: bool,
) -> None:
    """Take over the services, subjects and examples that CompreFace has.

    SOURCE is its address (http://HOST:8000) with --key or --email; or its database
    (postgresql://USER:PASSWORD@HOST/frs); or a file that pg_dump has made of that, as SQL or in pg_dump's own
    formats. Nothing is ever written there.

    Keys open the same services here, each recognition service has a gallery of its own, subjects become
    people, and examples keep their ids. Their pictures are looked at anew, by the gallery's model; of one
    with several faces the largest is taken. It all goes straight into the database, which services may use
    meanwhile.

    What is there already is passed over, so that the same command goes on with what was interrupted, and
    catches up with what has come since.

    Exit status 1: some could not be taken; the report says which, and why.
    """
    check_processor()
    from recognition.cli.migration import Outcome, Request, migrated

    asked = Request(source, keys, email, frozenset(only), into, take_all, guessable, dry_run)
    outcome: Outcome = migrated(asked)
    report = outcome.report
    if report_file is not None:
        error = {} if outcome.error is None else {"error": outcome.error}
        try:
            with opened_for_owner(report_file) as stream:
                stream.write(json.dumps(report.value() | error, indent=1).encode() + b"\n")
        except OSError as e:
            click.echo(printable(f"Error: {file_error(e)['detail']}"), err=True)
            sys.exit(FAILED)
    if report.begun or outcome.error is None:
        show(as_json, report.value(), report.lines())
    if outcome.interrupted:
        click.echo("Interrupted: start the same command again to go on.", err=True)
        sys.exit(INTERRUPTED)
    if outcome.error is not None:
        fail(FAILED if report.begun else UNAVAILABLE, outcome.error)
    if not report.complete():
        sys.exit(FAILED)
