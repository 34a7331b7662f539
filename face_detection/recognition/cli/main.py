"""The command `recognition`: enrol, recognise and look after a gallery, with a running service or none."""

from __future__ import annotations

import click

from recognition.cli.doctor import doctor, serve
from recognition.cli.enrol import enrol
from recognition.cli.look import detect, recognise, verify
from recognition.cli.samples import samples
from recognition.cli.watch import watch


@click.group()
def cli() -> None:
    """Enrol faces, recognise them and look after what is enrolled.

    With --host URL a running service does the work; without it this process does, with the same settings and
    the same database.

    Exit status: 0, all went well; 1, something was refused or is not so; 2, the command line is wrong; 3, no
    service, or it refuses everything (its key, its gallery); 130, Ctrl-C.
    """


for command in (enrol, recognise, verify, detect, samples, watch, serve, doctor):
    cli.add_command(command)
