"""`models`: the networks that the services run, and where they are from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

from recognition.cli.session import JSON

MODELS_DIR = click.option(
    "--models-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of the models; MODELS_DIR if absent.",
)


@click.group()
def models() -> None:
    """Prepare the networks that the services run, and show what they are."""


@models.command()
@MODELS_DIR
@click.option("--if-missing", is_flag=True, help="Do nothing if the networks are there.")
def prepare(models_dir: Path | None, if_missing: bool) -> None:
    """Make the networks from the published weights, and fetch the demo photographs.

    What is there and whole stays. Each network is compared with the original.
    """
    command = [sys.executable, "-m", "preparation", "--models-dir", str(models_dir or _configured())]
    # A process of its own: TensorFlow takes its settings from the environment, and half a gigabyte.
    sys.exit(subprocess.run([*command, *(["--if-missing"] if if_missing else [])]).returncode)


@models.command()
@MODELS_DIR
@JSON
def show(models_dir: Path | None, as_json: bool) -> None:
    """Show each network: its source, licence and digest, and whether its file is as it was made.

    Exit status 1: there are none, or a file is missing or changed.
    """
    from preparation.manifest import is_as_made, read_manifest  # only this command needs them

    folder = models_dir or _configured()
    manifest = read_manifest(folder)
    if manifest is None:
        click.echo(f"Error: no models in {folder}; `recognition models prepare` makes them", err=True)
        sys.exit(1)
    intact = True
    for name, network in manifest["networks"].items():
        as_made = is_as_made(folder, network)
        intact = intact and as_made
        weights = network["weights"]
        row = {
            "name": name,
            "file": str(folder / network["file"]),
            "source": weights["source"],
            "license": weights["license"],
            "sha256": network["sha256"],
            "as_made": as_made,
        }
        if as_json:
            click.echo(json.dumps(row))
            continue
        click.echo(f"{name}: {'as it was made' if as_made else 'MISSING OR CHANGED'}")
        for key in ("file", "source", "license", "sha256"):
            click.echo(f"  {key:8}{row[key] or 'unknown'}")
    if not intact:
        sys.exit(1)


def _configured() -> Path:
    from recognition import config  # here: settings take a quarter of a second to import

    return config.from_environment().models_dir
