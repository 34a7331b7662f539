"""`serve` and `doctor`: start the services, and find out why they do not start."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import click

from recognition.cli.session import JSON, REFUSED, tell

SERVE = str(Path(__file__).resolve().parents[3] / "serve.py")


@click.command()
def serve() -> None:
    """Start both services, preparing the models first if they are missing; Ctrl-C stops both."""
    os.execv(sys.executable, [sys.executable, SERVE])


@click.command()
@click.option("--host", metavar="URL", help="Look at this running service only.")
@click.option("--key", envvar="API_KEY", help="The service's key; API_KEY if absent.")
@JSON
def doctor(host: str | None, key: str | None, as_json: bool) -> None:
    """Look at models, processor, database, ports and both services, and say what to do.

    It opens the database as the services do, which brings an older one up to date. That a service does not
    run is no fault.

    Exit status 1: something is at fault.
    """
    well = True
    # Settings, and what reads them, take a quarter of a second to import, which --help has no use for.
    for check in import_module("recognition.cli.checks").checks(host, key):
        tell(as_json, asdict(check), check.lines())
        well = well and check.well
    if not well:
        sys.exit(REFUSED)
