"""The program `recognition`: enrol, recognise and look after a gallery, with a running service or without."""

from __future__ import annotations

import atexit
import gc

import click

from recognition.cli.archive import find, index
from recognition.cli.compreface import compreface
from recognition.cli.doctor import doctor
from recognition.cli.enrol import enrol
from recognition.cli.events import events
from recognition.cli.galleries import galleries
from recognition.cli.gallery import gallery
from recognition.cli.keys import keys
from recognition.cli.migrate import migrate_compreface
from recognition.cli.models import models
from recognition.cli.people import people
from recognition.cli.recognise import detect, recognise, verify
from recognition.cli.samples import samples
from recognition.cli.serve import serve
from recognition.cli.session import OrderedGroup
from recognition.cli.watch import watch
from serving.version import VERSION

# In the order of the help: what people do first comes first.
COMMANDS = (
    serve,
    doctor,
    enrol,
    recognise,
    index,
    find,
    verify,
    detect,
    watch,
    events,
    people,
    samples,
    galleries,
    gallery,
    models,
    migrate_compreface,
    keys,
    compreface,
)

# Nothing is left for Python to look through when it exits, which takes a quarter of a short command's time.
atexit.register(gc.freeze)


@click.group(cls=OrderedGroup)
@click.version_option(VERSION, message="recognition %(version)s")
def cli() -> None:
    """Recognise faces: run the services, enrol people, find out who is in a picture.

    With --host URL a running service does the work. Without it the command does the work itself, with the
    settings and the gallery of this machine's service.

    \b
    Exit status:
      0    success
      1    part of it failed: a picture was refused, a sample does not exist, a check failed
      2    the command line is wrong
      3    nothing was done: no service, no gallery, a wrong key or setting
      130  stopped with Ctrl-C
    """


for command in COMMANDS:
    cli.add_command(command)
