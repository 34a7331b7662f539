"""The service that a command talks to: a running one, or both services in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from recognition.cli.session import (
    FAILED,
    INTERRUPTED,
    JSON,
    UNAVAILABLE,
    GalleryNeed,
    check_processor,
    error_of,
    fail,
    file_error,
)
from recognition.client import RETRIES, Client, ServiceError

GALLERY = click.option(
    "--gallery",
    "name_of_gallery",
    metavar="NAME",
    help="The gallery; default: that of the key, or `default`.",
)


def service_command(
    gallery: GalleryNeed, *, retries: int = RETRIES
) -> Callable[[Callable[..., bool]], Callable[..., None]]:
    """Make a command of a function: its first argument is the service, the second whether JSON is asked for.

    It returns whether everything succeeded. Adds --host, --key and --json, and --gallery if it needs one.

    gallery: what it needs where no service is named.
    retries: how often a running one is asked again that is busy.
    """

    def decorate(function: Callable[..., bool]) -> Callable[..., None]:
        @JSON
        @click.option("--key", envvar="API_KEY", help="The service's key; default: API_KEY.")
        @click.option(
            "--host",
            metavar="URL",
            help="A running service, such as http://127.0.0.1:6337; without it the command works by itself.",
        )
        @wraps(function)
        def command(
            host: str | None,
            key: str | None,
            as_json: bool,
            name_of_gallery: str | None = None,
            **arguments: Any,
        ) -> None:
            try:
                with Client(host, key=key, retries=retries) if host else _local_client(gallery) as service:
                    service.gallery = name_of_gallery
                    succeeded = function(service, as_json, **arguments)
            except ServiceError as e:
                fail(UNAVAILABLE, error_of(e))
            except BrokenPipeError:
                raise  # click ends quietly
            except OSError as e:
                fail(FAILED, file_error(e))
            except KeyboardInterrupt:
                sys.exit(INTERRUPTED)
            if not succeeded:
                sys.exit(FAILED)

        return command if gallery == "none" else GALLERY(command)

    return decorate


def _local_client(gallery: GalleryNeed) -> Client:
    check_processor()
    from recognition.cli.local import open_client  # both services: a second and more

    return open_client(gallery)
