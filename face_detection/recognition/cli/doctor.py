"""`doctor`: finds out why the services do not start or do not answer."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from recognition.cli.check import Check
from recognition.cli.session import FAILED, JSON, show
from serving import processor


@click.command()
@click.option("--host", metavar="URL", help="Check only this running service.")
@click.option("--key", envvar="API_KEY", help="The service's key; default: API_KEY.")
@JSON
def doctor(host: str | None, key: str | None, as_json: bool) -> None:
    """Check the installation and say what to do.

    It checks the settings, models, processor, gallery, disk space, ports and both services. A service that is
    not running is no fault. An older gallery is brought up to date, as the services do it.

    Exit status 1: a check failed.
    """
    if reason := processor.lacking(processor.SERVING):
        check = Check("processor", False, reason, processor.ADVICE)
        show(as_json, asdict(check), check.lines())
        sys.exit(FAILED)  # the other checks would be killed
    # Settings, and what reads them, take a quarter of a second to import.
    from recognition.cli.checks import checks

    passed = True
    for check in checks(host, key):
        show(as_json, asdict(check), check.lines())
        passed = passed and check.ok
    if not passed:
        sys.exit(FAILED)
