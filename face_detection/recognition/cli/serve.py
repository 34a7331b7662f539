"""`serve`: starts both services, says where they are, and stops both on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import click

from recognition.cli.addresses import embedding_url, listens_everywhere, local_url, obstacle
from recognition.cli.session import FAILED, UNAVAILABLE, check_processor
from serving.variables import SettingsError

STOP_LIMIT_S = 40.0  # gunicorn gives requests under way 30 s
POLL_S = 0.1

READY = """
  face recognition   {recognition}
  embeddings         {embedding}

Open {recognition} in a browser, or try in another terminal:
  curl -F file=@me.jpg -F include_unknown=true {recognition}/face-recognition
"""
REACHED = "Other machines reach it at this machine's address, port {port}."
STOP = "Ctrl-C stops both."


@dataclass(frozen=True)
class Place:
    """A service to start: its name for people, its package, and where it listens."""

    name: str
    package: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        return local_url(self.host, self.port)


@click.command(short_help="Start both services; prepare the models if need be.")
def serve() -> None:
    """Start both services; prepare the models first if they are missing.

    The page and the API are then at http://127.0.0.1:6337, or where FACE_DETECTION_HOST and
    FACE_DETECTION_PORT say. Ctrl-C stops both services.
    """
    check_processor()
    # The settings take a quarter of a second to import.
    from embedding import config as embedding_config
    from recognition import config
    from serving.models import prepare

    try:
        settings, embedding_settings = config.read(), embedding_config.read()
    except SettingsError as e:
        click.echo(f"Error: {e}", err=True)
        sys.exit(UNAVAILABLE)
    embedding = Place(
        "feature_extraction",
        "embedding",
        embedding_settings.feature_extraction_host,
        embedding_settings.feature_extraction_port,
    )
    recognition = Place(
        "face_detection", "recognition", settings.face_detection_host, settings.face_detection_port
    )
    for place in (embedding, recognition):
        if reason := obstacle(place.host, place.port):
            variable = place.name.upper()
            advice = f"{variable}_HOST and {variable}_PORT set where it listens"
            click.echo(f"{place.name} cannot start: {reason}; {advice}", err=True)
            sys.exit(FAILED)
    # The services inherit it.
    os.environ["FEATURE_EXTRACTION_URL"] = embedding_url(settings, embedding.host, embedding.port)
    with _interrupted_by_signals():
        prepare(settings.models_dir)
        sys.exit(_run(embedding, recognition))


def _run(embedding: Place, recognition: Place) -> int:
    """Run both services until Ctrl-C, or until one of them ends. Returns the exit status."""
    services: list[subprocess.Popen[bytes]] = []
    try:
        services += [_start(embedding), _start(recognition)]
        while not all(_answers(place.url) for place in (embedding, recognition)):
            if any(service.poll() is not None for service in services):
                return FAILED
            time.sleep(POLL_S)
        click.echo(READY.format(recognition=recognition.url, embedding=embedding.url))
        if listens_everywhere(recognition.host):
            click.echo(REACHED.format(port=recognition.port))
        click.echo(STOP)
        sys.stdout.flush()
        while all(service.poll() is None for service in services):
            time.sleep(POLL_S)
        return FAILED
    finally:
        _stop(services)


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Take SIGTERM, and SIGHUP of a closed terminal, as Ctrl-C; each ends the program with success."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for stopping in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stopping, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(0)


def _start(place: Place) -> subprocess.Popen[bytes]:
    """Start gunicorn in a session of its own, so that Ctrl-C reaches this program alone."""
    configuration, app = f"python:{place.package}.gunicorn_conf", f"{place.package}.wsgi:app"
    command = [sys.executable, "-m", "gunicorn", "-c", configuration, app]
    return subprocess.Popen(command, start_new_session=True)


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stop(services: list[subprocess.Popen[bytes]]) -> None:
    """Stop the services, the one that callers talk to first, each within STOP_LIMIT_S."""
    for service in reversed(services):
        service.terminate()
    for service in services:
        try:
            service.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            service.kill()
