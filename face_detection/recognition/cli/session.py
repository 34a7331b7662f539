"""What the commands share: the service they talk to, what they print, and their exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recognition.client import Client, ServiceError

REFUSED = 1  # something of what was asked for: a picture, a sample, a check
UNAVAILABLE = 3  # nothing was done: no service, no key, another model
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

TERMINAL = Console(stderr=True)

JSON = click.option("--json", "as_json", is_flag=True, help="Print a JSON object on each line, for programs.")


def talking(function: Callable[..., bool]) -> Callable[..., None]:
    """Make a command of a function: its first argument is the service, the second whether JSON is wanted.

    It returns whether all went well. Adds --host, --key and --json.
    """

    @JSON
    @click.option("--key", envvar="API_KEY", help="The service's key; API_KEY if absent.")
    @click.option(
        "--host",
        metavar="URL",
        help="A running service, http://127.0.0.1:6337; without it this process does the work.",
    )
    @wraps(function)
    def command(host: str | None, key: str | None, as_json: bool, **arguments: Any) -> None:
        try:
            with (
                Client(host, key=key)
                if host
                else import_module("recognition.cli.local").open_client() as service
            ):
                well = function(service, as_json, **arguments)
        except ServiceError as e:
            fail(UNAVAILABLE, as_json, fault(e))
        except BrokenPipeError:
            raise  # click ends quietly
        except OSError as e:
            fail(REFUSED, as_json, {"code": "file", "detail": f"{e.filename}: {e.strerror}"})
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        if not well:
            sys.exit(REFUSED)

    return command


def fault(error: ServiceError | OSError) -> dict[str, str]:
    """Render what went wrong with one picture or request."""
    if isinstance(error, OSError):
        return {"code": "file", "detail": error.strerror or str(error)}
    told = {"code": error.code, "detail": error.detail, "request_id": error.request_id}
    return {name: value for name, value in told.items() if value}


def fail(status: int, as_json: bool, error: dict[str, str]) -> NoReturn:
    """Say on stderr what went wrong, and leave."""
    click.echo(json.dumps({"error": error}) if as_json else plain(f"Error: {error['detail']}"), err=True)
    sys.exit(status)


def tell(as_json: bool, value: object, lines: Iterable[str]) -> None:
    """Print a value, as JSON on one line or as text."""
    if as_json:
        click.echo(json.dumps(value))
    else:
        for line in lines:
            click.echo(plain(line))


def plain(text: str) -> str:
    """Replace what a terminal would obey instead of showing it: names and ids come from anywhere."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, nothing elsewhere; what is yielded takes the number done in each step."""
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=TERMINAL, disable=not TERMINAL.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
