"""Where settings stand: in one file, which services and commands share, and in the environment over it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dotenv import dotenv_values

from serving.home import HOME, IN_CHECKOUT

NAMED_BY = "RECOGNITION_SETTINGS"
PLACES = (*([HOME / "settings.env"] if IN_CHECKOUT else []), Path("/etc/face-recognition.env"))


class SettingsError(Exception):
    """A setting has a value that cannot be used; the text names the variable."""


def settings_file(environ: Mapping[str, str] = os.environ, places: Sequence[Path] = PLACES) -> Path | None:
    """Return the settings file: what RECOGNITION_SETTINGS names, or the first of `places`; None: no file."""
    if environ.get(NAMED_BY, "").strip():
        return Path(environ[NAMED_BY])
    return next((path for path in places if path.exists()), None)


def variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of the settings file, and over them those of `environ`.

    Raises:
        SettingsError: the file cannot be read.
    """
    file = settings_file(environ)
    if file is None:
        return dict(environ)
    try:
        with file.open(encoding="utf-8") as stream:
            in_file = dotenv_values(stream=stream, interpolate=False)
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError(f"{file}: the settings file cannot be read: {why(e)}") from e
    return {name: value for name, value in in_file.items() if value is not None} | dict(environ)


def why(error: OSError | UnicodeDecodeError) -> str:
    """Say in a few words why a file cannot be read."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not text"
