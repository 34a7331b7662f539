"""What the commands share: settings, what they print, and their exit status."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recognition.client import ServiceError
from serving import processor
from serving.credentials import without_credentials
from serving.variables import SettingsError

if TYPE_CHECKING:
    from recognition.config import Settings

FAILED = 1  # a part of what was asked for: a picture, a sample, a check
UNAVAILABLE = 3  # nothing was done: no service, no gallery, a wrong key
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a cell of CSV begins with that spreadsheets compute

TERMINAL = Console(stderr=True)

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, for programs.")
WITH_FACES = click.option("--faces", is_flag=True, help="With the pictures that are kept of the faces.")

# What a command without a service needs of the gallery: nothing, one that exists, or one that it may make.
GalleryNeed = Literal["none", "existing", "new"]


class OrderedGroup(click.Group):
    """A group whose help lists the commands in the order in which they were added, not by name.

    What it says of wrong arguments has no passwords.
    """

    def list_commands(self, _context: click.Context) -> list[str]:
        """Name the commands."""
        return list(self.commands)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the arguments."""
        with _without_credentials():
            return super().make_context(*args, **more)

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        with _without_credentials():
            return super().invoke(context)


@contextmanager
def _without_credentials() -> Iterator[None]:
    """Take passwords out of what click says of wrong arguments: it quotes them."""
    try:
        yield
    except click.ClickException as e:
        e.message = without_credentials(e.message)  # type: ignore[misc]  # final, but all that is shown
        raise


# Whoever reads the database and the models needs no key, and no limit applies.
FREE_ACCESS: dict[str, Any] = {"api_keys": (), "api_keys_file": (), "rate_limit_per_minute": 0}


def read_settings(**fixed: Any) -> Settings:
    """Read the settings of the service, but those of its callers; `fixed` ones have the values given here.

    Raises:
        SystemExit: with UNAVAILABLE, where one is wrong.
    """
    from recognition import config  # pydantic: a quarter of a second

    try:
        return config.read(**FREE_ACCESS, **fixed)
    except SettingsError as e:
        fail(UNAVAILABLE, {"code": "settings", "detail": str(e)})


def check_processor() -> None:
    """Make sure that the processor can run what a command is about to import.

    Raises:
        SystemExit: with UNAVAILABLE, where it cannot: it would be killed without a word.
    """
    if reason := processor.lacking(processor.SERVING):
        fail(UNAVAILABLE, {"code": "processor", "detail": f"{reason}; {processor.ADVICE}"})


def error_of(error: ServiceError | OSError) -> dict[str, str]:
    """Render what went wrong with one picture or request."""
    if isinstance(error, OSError):
        return {"code": "file", "detail": error.strerror or str(error)}
    fields = {"code": error.code, "detail": error.detail, "request_id": error.request_id}
    return {name: value for name, value in fields.items() if value}


def file_error(error: OSError) -> dict[str, str]:
    """Render what went wrong with a file, or with something else that has no name, as a full pipe."""
    reason = error.strerror or str(error) or type(error).__name__
    name = error.filename
    if name is None:
        return {"code": "file", "detail": reason}
    return {"code": "file", "detail": f"{os.fsdecode(name) if isinstance(name, bytes) else name}: {reason}"}


def fail(status: int, error: dict[str, str]) -> NoReturn:
    """Say on stderr why the command fails, as JSON if it was asked for, and exit."""
    error = error | {"detail": without_credentials(error["detail"])}
    as_json = click.get_current_context().params.get("as_json")
    click.echo(json.dumps({"error": error}) if as_json else printable(f"Error: {error['detail']}"), err=True)
    sys.exit(status)


def show(as_json: bool, value: object, lines: Iterable[str]) -> None:
    """Print a value, as JSON on one line or as text."""
    if as_json:
        click.echo(json.dumps(value))
    else:
        for line in lines:
            click.echo(printable(line))


def without_name(count: int) -> list[str]:
    """Tell how many samples of an imported file have a name that cannot be seen."""
    return [f"{count} have no name that can be seen, and are called `unnamed (ID)`."] if count else []


def printable(text: str) -> str:
    """Replace what a terminal would obey instead of showing it: names and ids come from anywhere."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def cell(text: str) -> str:
    """Render a cell of CSV that a spreadsheet shows and never computes: names and ids come from anywhere."""
    return f"'{printable(text)}" if text.startswith(FORMULA) else printable(text)


@contextmanager
def opened_for_owner(file: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that nobody else can read, and that is there only once all is written."""
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def save_picture(fetch: Callable[[], bytes], file: Path) -> None:
    """Write a picture that the service keeps into a file that only its owner can read.

    Raises:
        SystemExit: with FAILED, where there is none.
        ServiceError: it cannot be had for another reason.
    """
    try:
        jpeg = fetch()
    except ServiceError as e:
        if e.code != "not_found":
            raise
        fail(FAILED, error_of(e))
    with opened_for_owner(file) as stream:
        stream.write(jpeg)


@contextmanager
def opened_as_text(file: Path) -> Iterator[IO[str]]:
    """Open a file for writing, which is there once all is written, or the standard output for `-`."""
    if str(file) == "-":
        yield sys.stdout
        return
    with opened_for_owner(file) as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
        yield text


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, nothing elsewhere; call what is yielded with the number done in each step."""
    columns = TextColumn(description), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=TERMINAL, disable=not TERMINAL.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.advance(task, done)
