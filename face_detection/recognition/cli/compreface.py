"""`compreface`: what clients that were written for CompreFace may use, and with which keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from recognition.cli.gallery import opened_gallery
from recognition.cli.session import FAILED, JSON, OrderedGroup, check_processor, fail, read_settings, show

if TYPE_CHECKING:  # NumPy and SQLAlchemy
    from recognition.client_keys import ClientService
    from recognition.config import Settings

KIND = click.Choice(["recognition", "detection", "verification"])
GUESSABLE = "Others can guess the key of this service"


@click.group(cls=OrderedGroup, short_help="Let CompreFace's clients in, and see to their keys.")
@click.option("--database", metavar="URL", help="The gallery; default: DATABASE_URL of the settings.")
@click.pass_context
def compreface(context: click.Context, database: str | None) -> None:
    """Let clients that were written for CompreFace use this service, each with a key of its own.

    Services go on meanwhile. Those that run know new keys at once, if they answer such clients at all: with
    COMPREFACE=1, or if there was a key when they started.
    """
    check_processor()
    context.obj = database


@compreface.group(cls=OrderedGroup)
def services() -> None:
    """List, add and remove services: what a key of a client opens."""


@services.command("list")
@JSON
@click.pass_obj
def list_(database: str | None, as_json: bool) -> None:
    """List services: name, kind, gallery and id, those of the settings first.

    Keys are not shown: only their digests are kept.
    """
    from recognition.gallery import services as stored

    with opened_gallery(database) as opened:
        listed = [*_configured().values(), *stored.listed(opened)]
    for service in listed:
        show(as_json, _value_of(service), _lines_of(service))


@services.command()
@click.argument("name")
@click.option("--kind", type=KIND, default="recognition", help="What it does. Default: recognition.")
@click.option(
    "--gallery",
    "gallery_name",
    metavar="NAME",
    help="The gallery of a recognition service, made if need be. Default: one of the service's name.",
)
@click.option("--take-all", is_flag=True, help="Enrol faces however poor they are, as CompreFace does.")
@click.option("--key", metavar="UUID", help="A key that clients have already. Default: a random one.")
@click.option("--guessable", is_flag=True, help="Take a key though others can guess it.")
@click.option(
    "--entry", "as_entry", is_flag=True, help="Print an entry for COMPREFACE_SERVICES, add nothing."
)
@JSON
@click.pass_obj
def add(
    database: str | None,
    /,
    name: str,
    kind: Any,
    gallery_name: str | None,
    take_all: bool,
    key: str | None,
    guessable: bool,
    as_entry: bool,
    as_json: bool,
) -> None:
    """Add a service, and show its key once.

    NAME says what it is for. Give the key to the client. A recognition service has a gallery; two services of
    one gallery see the same people.

    Exit status 1: there is a service with this name or key, or others can guess the key.
    """
    from recognition import client_keys

    if kind != "recognition" and (gallery_name is not None or take_all):
        raise click.UsageError("Only a recognition service has a gallery, and enrols.")
    key = client_keys.new() if key is None else key.lower()
    guessed = _checked(key, allowed=guessable)
    if kind == "recognition":
        gallery_name = _gallery_name(gallery_name, name)
    if as_entry:
        if take_all:
            raise click.UsageError("--take-all: an entry cannot say it; add the service to the database.")
        return _print_entry(name, kind, key, gallery_name, as_json=as_json)
    from recognition.gallery import services as stored

    settings = read_settings()
    digest = client_keys.digest(key)
    if digest in settings.compreface_services:
        fail(
            FAILED, {"code": "service_exists", "detail": "There is a service with this key in the settings."}
        )
    with opened_gallery(database, create=True) as opened:
        is_first = not stored.listed(opened)
        service = stored.add(
            opened, name, kind, digest, guessable=guessed, take_all=take_all, gallery_name=gallery_name
        )
    show(as_json, {**_value_of(service), "key": key}, [f"key, for the client alone:  {key}"])
    tell_when(settings, is_first=is_first)


@services.command()
@click.argument("which", metavar="NAME|ID")
@JSON
@click.pass_obj
def remove(database: str | None, which: str, as_json: bool) -> None:
    """Remove a service: its key opens nothing any more. Its gallery stays, with all that is in it.

    Exit status 1: there is none with this name or id, or there are several.
    """
    from recognition.gallery import services as stored

    with opened_gallery(database) as opened:
        service = _meant(which, stored.listed(opened))
        stored.remove(opened, service.id)
    value = {"removed": service.id, "gallery": service.gallery}
    kept = "" if service.gallery is None else f"; the gallery {service.gallery} stays"
    show(as_json, value, [f"{service.name} removed{kept}."])


@compreface.command("forget-logins")
@click.confirmation_option(prompt="Remove whoever has registered, and all sessions?")
@JSON
@click.pass_obj
def forget_logins(database: str | None, as_json: bool) -> None:
    """Remove whoever has registered for the admin calls, and end all sessions; services and keys stay.

    Somebody can then register anew, as after a forgotten password.
    """
    from recognition.gallery import logins

    with opened_gallery(database) as opened:
        count = logins.forget(opened)
    show(as_json, {"forgotten": count}, [f"{count} logins removed."])


def _configured() -> Mapping[bytes, ClientService]:
    return read_settings().compreface_services


def _checked(key: str, *, allowed: bool) -> bool:
    """Tell whether others can guess a key, and refuse it then unless it is allowed."""
    from recognition import client_keys

    try:
        guessed = client_keys.is_guessable(key)
    except ValueError as e:
        raise click.UsageError("--key: not a UUID") from e
    if guessed and not allowed:
        detail = "Others can guess this key. Use a random one, or take this one with --guessable."
        fail(FAILED, {"code": "guessable_key", "detail": detail})
    if guessed:
        click.echo("Warning: others can guess this key; whoever reaches the service can use it.", err=True)
    return guessed


def _gallery_name(given: str | None, name: str) -> str:
    from recognition import client_keys

    if client_keys.HAS_GALLERY.fullmatch(given or name) is None:
        told = "--gallery" if given is not None else "NAME can be no gallery's: name one with --gallery; it"
        raise click.UsageError(f"{told} has up to 64 letters, digits and . _ -, and begins with none of . -")
    return given or name


def _print_entry(name: str, kind: Any, key: str, gallery: str | None, *, as_json: bool) -> None:
    from recognition import client_keys

    try:
        entry = client_keys.entry(name, kind, key, gallery if gallery != name else None)
    except ValueError as e:
        raise click.UsageError("NAME has up to 64 letters, digits and . _ -") from e
    show(
        as_json,
        {"key": key, "entry": entry},
        [f"key, for the client alone:      {key}", f"entry, for COMPREFACE_SERVICES: {entry}"],
    )


def tell_when(settings: Settings, *, is_first: bool) -> None:
    """Tell what it takes until those who have a new service's key are answered. is_first: it is the first."""
    if settings.compreface is False:
        click.echo("COMPREFACE=0 is set: no key is asked for, and no such client answered.", err=True)
    elif is_first and not settings.compreface and not settings.compreface_services:
        click.echo("This is the first service: those that run answer its clients once restarted.", err=True)


def _meant(which: str, listed: list[ClientService]) -> ClientService:
    meant = [each for each in listed if which in (each.id, each.name)]
    if len(meant) == 1:
        return meant[0]
    if meant:
        ids = ", ".join(each.id for each in meant)
        fail(
            FAILED, {"code": "ambiguous_name", "detail": f"Several services have this name; use an id: {ids}"}
        )
    if any(each.name == which for each in _configured().values()):
        detail = "This service stands in COMPREFACE_SERVICES; take it out there."
        fail(FAILED, {"code": "invalid_request", "detail": detail})
    fail(FAILED, {"code": "not_found", "detail": "There is no service with this name or id."})


def _value_of(service: ClientService) -> dict[str, Any]:
    return {
        "id": service.id,
        "name": service.name,
        "kind": service.kind,
        "gallery": service.gallery,
        "take_all": service.take_all,
        "app": service.app,
        "created": None if service.created is None else service.created.isoformat(),
        "guessable": service.guessable,
    }


def _lines_of(service: ClientService) -> list[str]:
    where = "COMPREFACE_SERVICES" if service.created is None else service.id
    lines = ["  ".join((service.name, service.kind, service.gallery or "-", where))]
    if service.take_all:
        lines.append("  takes all faces")
    if service.guessable:
        lines.append(f"  {GUESSABLE}: add another one, and remove this one.")
    return lines
