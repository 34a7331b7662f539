"""The options that say where events go, and whose come in: MQTT, webhooks, files, Frigate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recognition.cli.session import UNAVAILABLE, fail, printable, read_settings
from recognition.client import Client, ServiceError
from recognition.visits import Event, from_json
from serving.credentials import without_credentials

if TYPE_CHECKING:  # --help does without them
    from recognition.events.address import Address
    from recognition.events.delivery import Outlet
    from recognition.events.mqtt import Mqtt
    from recognition.events.outlets import Outlets

FILE = "events.sqlite3"
FILE_TYPE = click.Path(dir_okay=False, path_type=Path)
NO_PAHO = "MQTT needs the extra `mqtt`: pip install 'face-recognition-service[mqtt]'"
OPTIONS = (
    click.option(
        "--events",
        "files",
        metavar="FILE",
        multiple=True,
        type=FILE_TYPE,
        help="Append each event to this file, as a line of JSON.",
    ),
    click.option(
        "--webhook",
        "webhooks",
        metavar="URL",
        multiple=True,
        help="Post each event to this address; may be repeated.",
    ),
    click.option(
        "--webhook-secret-file",
        "secret_file",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Sign what webhooks get with the secret in this file; default: WEBHOOK_SECRET, or unsigned.",
    ),
    click.option(
        "--mqtt",
        metavar="URL",
        envvar="MQTT_URL",
        help="Publish events at this broker: mqtt://HOST:1883/PREFIX, or with TLS mqtts://...; "
        "default: MQTT_URL. MQTT_USER and MQTT_PASSWORD let in.",
    ),
    click.option(
        "--mqtt-ca",
        "ca_file",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Trust brokers whose certificates are signed by those in this file, PEM.",
    ),
    click.option(
        "--home-assistant",
        is_flag=True,
        help="Have Home Assistant show cameras and people, with pictures, by MQTT discovery.",
    ),
    click.option(
        "--discovery-prefix",
        metavar="PREFIX",
        default="homeassistant",
        show_default=True,
        help="Home Assistant's prefix for discovery.",
    ),
    click.option(
        "--queue",
        metavar="FILE",
        type=FILE_TYPE,
        help=f"Where events wait; default: {FILE} beside the gallery's file, or else in the data folder.",
    ),
    click.option(
        "--frigate",
        metavar="URL",
        help="Take the events of the Frigate at this broker: mqtt://HOST:1883/frigate.",
    ),
    click.option(
        "--frigate-url",
        metavar="URL",
        help="Where that Frigate answers: http://HOST:5000.",
    ),
)


@dataclass(frozen=True, slots=True)
class OutletOptions:
    """What was said on the command line of where events go, and whose come in."""

    files: tuple[Path, ...] = ()
    webhooks: tuple[str, ...] = ()
    key: bytes | None = None
    mqtt: Address | None = None
    ca_file: Path | None = None
    discovery: str | None = None
    queue: Path | None = None
    frigate: Address | None = None
    frigate_url: str | None = None

    @property
    def any(self) -> bool:
        """Whether events go anywhere."""
        return bool(self.files or self.webhooks or self.mqtt)


def outlet_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; its function gets them as `outlets`, an OutletOptions."""

    @wraps(function)
    def command(*arguments: Any, **more: Any) -> Any:
        names = (
            *("files", "webhooks", "secret_file", "mqtt", "ca_file", "home_assistant", "discovery_prefix"),
            *("queue", "frigate", "frigate_url"),
        )
        return function(*arguments, outlets=_checked(**{name: more.pop(name) for name in names}), **more)

    for option in reversed(OPTIONS):
        command = option(command)
    return command


def _checked(
    *,
    files: tuple[Path, ...],
    webhooks: tuple[str, ...],
    secret_file: Path | None,
    mqtt: str | None,
    ca_file: Path | None,
    home_assistant: bool,
    discovery_prefix: str,
    queue: Path | None,
    frigate: str | None,
    frigate_url: str | None,
) -> OutletOptions:
    """Read addresses and secrets.

    Raises:
        click.UsageError: one is wrong, or goes with another one that is missing.
    """
    from recognition.events import address
    from recognition.events import frigate as frigates
    from recognition.events import webhooks as posts

    if home_assistant and not mqtt:
        raise click.UsageError("--home-assistant goes with --mqtt.")
    if bool(frigate) != bool(frigate_url):
        raise click.UsageError("--frigate and --frigate-url go together.")
    way_in = os.environ.get("MQTT_USER") or None, os.environ.get("MQTT_PASSWORD") or None
    try:
        for url in webhooks:
            posts.check_url(url)
        if frigate_url:
            frigates.check_url(frigate_url)
        secret = secret_file.read_text("utf-8") if secret_file else os.environ.get("WEBHOOK_SECRET")
        return OutletOptions(
            tuple(dict.fromkeys(file.absolute() for file in files)),
            tuple(dict.fromkeys(webhooks)),
            posts.key_of(secret) if webhooks and secret else None,
            address.address_of(mqtt, "recognition", *way_in) if mqtt else None,
            ca_file,
            address.prefix_of(discovery_prefix) if home_assistant else None,
            queue,
            address.address_of(frigate, frigates.PREFIX, *way_in) if frigate else None,
            frigate_url,
        )
    except (ValueError, posts.WrongSecret) as e:
        raise click.UsageError(str(e)) from None


@contextmanager
def opened_outlets(
    options: OutletOptions, cameras: Sequence[str], service: Client
) -> Iterator[Outlets | None]:
    """Open all outlets, and close them at the end; None: there are none.

    cameras: the names of all that are watched.
    service: is asked whether events are still there, by a thread of its own.

    Raises:
        SystemExit: one cannot be opened; stderr says why.
    """
    if not options.any:
        yield None
        return
    from recognition.events.lines import Lines
    from recognition.events.outlets import Outlets
    from recognition.events.spool import Spool, SpoolUnavailable
    from recognition.events.webhooks import Webhook

    try:
        spool = Spool(options.queue or read_settings().data_folder / FILE, say)
    except SpoolUnavailable as e:
        fail(UNAVAILABLE, {"code": "queue_unavailable", "detail": str(e)})
    outlets: list[Outlet] = [Lines(file) for file in options.files]
    shown: dict[str, int] = {}
    for url in options.webhooks:
        webhook = Webhook(url, options.key)
        # Two that differ only in what is not shown.
        shown[webhook.name] = shown.get(webhook.name, 0) + 1
        if shown[webhook.name] > 1:
            webhook.name = f"{webhook.name} ({shown[webhook.name]})"
        outlets.append(webhook)
    live = _opened_mqtt(options, cameras, spool.identity) if options.mqtt else None
    if live is not None:
        outlets.append(live)
    opened = Outlets(spool, outlets, say, live=live, event_of=_asking(service))
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def naming_frigates_events(
    options: OutletOptions, service: Client, rule: Mapping[str, Any]
) -> Iterator[None]:
    """Take Frigate's events in the background, if that was asked for.

    service: recognises for nobody else meanwhile.
    rule: options of `Client.recognise`.

    Raises:
        SystemExit: it cannot be begun; stderr says why.
    """
    if options.frigate is None or options.frigate_url is None:
        yield
        return
    from recognition.events.frigate import Frigate

    with ExitStack() as closing:
        frigate = Frigate(options.frigate_url, service, say, options=rule)
        closing.callback(frigate.close)
        with _mqtt_can_be_spoken(options.ca_file):
            from recognition.events.broker import Broker

            # A name of its own each time: nothing is to be kept for us while we are away.
            broker = Broker(
                options.frigate,
                f"recognition-frigate-{os.urandom(6).hex()}",
                say,
                ca_file=options.ca_file,
                subscriptions=[f"{options.frigate.prefix}/events"],
                received=frigate.take,
            )
        broker.open()
        closing.callback(broker.close)
        yield


def say(message: str) -> None:
    """Tell whoever runs the program, in a line on stderr without passwords."""
    click.echo(printable(without_credentials(message)), err=True)


def _opened_mqtt(options: OutletOptions, cameras: Sequence[str], identity: str) -> Mqtt:
    assert options.mqtt is not None
    with _mqtt_can_be_spoken(options.ca_file):
        from recognition.events.mqtt import Mqtt

        return Mqtt(
            options.mqtt,
            f"recognition-{identity}",
            cameras,
            say,
            ca_file=options.ca_file,
            discovery=options.discovery,
        )


@contextmanager
def _mqtt_can_be_spoken(ca_file: Path | None) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as e:
        if e.name is None or not e.name.startswith("paho"):
            raise
        fail(UNAVAILABLE, {"code": "not_installed", "detail": NO_PAHO})
    except OSError as e:  # ssl.SSLError is one
        fail(UNAVAILABLE, {"code": "file", "detail": f"{ca_file}: {e.strerror or 'no certificates'}"})


def _asking(service: Client) -> Callable[[str], Event | None]:
    """Return what asks for events as they are by now; that it cannot is said once."""
    said = False

    def event_of(event_id: str) -> Event | None:
        nonlocal said
        try:
            return from_json(service.event(event_id))
        except (LookupError, TypeError, ValueError) as e:
            raise OSError("The service says something else.") from e
        except ServiceError as e:
            if e.code == "not_found":
                return None
            if not said:
                said = True
                say(f"It cannot be told whether events that wait are still there: {e.detail}")
            raise OSError(e.detail) from e

    return event_of
