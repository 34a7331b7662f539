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
@click.option("--gallery", metavar="NAME", help="The only gallery that the key opens; default: all of them.")
@JSON
def new(name: str, scopes: str, gallery: str | None, as_json: bool) -> None:
    """Make a key and show it once.

    NAME says who will use it; it appears in the log. The scopes are recognise, enrol, monitor and admin.
    Give the key to the caller, and add the entry to API_KEYS or to the file that API_KEYS_FILE names.
    """
    try:
        presented, key = new_key(name, scopes, gallery)
    except ValueError as e:
        raise click.UsageError(
            "NAME and the gallery's have up to 64 letters, digits and . _ -; "
            f"SCOPE is one of {', '.join(SCOPES)}."
        ) from e
    show(
        as_json,
        {"key": presented, "entry": key.entry()},
        [
            f"key, for the caller alone:        {presented}",
            f"entry, for API_KEYS or its file:  {key.entry()}",
        ],
    )
