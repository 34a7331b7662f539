"""`keys`: API keys for callers of the service."""

from __future__ import annotations

import click

from recognition.cli.session import JSON, OrderedGroup, show
from serving.keys import SCOPES
from serving.keys import new as new_key


@click.group(cls=OrderedGroup)
def keys() -> None:
    """Make keys that let callers use the service."""


@keys.command()
@click.argument("name")
@click.argument("scopes", metavar="SCOPE[,SCOPE]")
@JSON
def new(name: str, scopes: str, as_json: bool) -> None:
    """Make a key and show it once.

    NAME says who will use it; it appears in the log. The scopes are recognise, enrol, monitor and admin.
    Give the key to the caller, and add the entry to API_KEYS or to the file that API_KEYS_FILE names.
    """
    try:
        presented, key = new_key(name, scopes)
    except ValueError as e:
        raise click.UsageError(
            f"NAME has up to 64 letters, digits and . _ -; SCOPE is one of {', '.join(SCOPES)}."
        ) from e
    show(
        as_json,
        {"key": presented, "entry": key.entry()},
        [
            f"key, for the caller alone:        {presented}",
            f"entry, for API_KEYS or its file:  {key.entry()}",
        ],
    )
