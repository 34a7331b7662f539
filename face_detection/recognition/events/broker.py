"""A connection to an MQTT broker that comes back by itself, by paho-mqtt.

It is an extra of this package, `mqtt`: the Eclipse Foundation's own client, without dependencies, and the one
that Home Assistant has. Only what talks to a broker imports this file.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from recognition.events.address import Address
from recognition.events.delivery import Failed, Pace, Say

KEEPALIVE_S = 30  # a broker that is silent for one and a half times as long is gone
CONNECT_TIMEOUT_S = 10.0
# For how long the broker keeps what it knows of a message half delivered.
SESSION_S = 24 * 3600
MAX_QUEUED = 10_000  # messages that paho holds for a broker that acknowledges none
PACE = Pace(1.0, 60.0)
ONLINE, OFFLINE = "online", "offline"  # what Home Assistant takes for available, unless told otherwise

Received = Callable[[str, bytes, bool], None]  # topic, payload, whether it was retained


class Broker:
    """One connection, kept by a thread of its own.

    A message of `deliver` arrives exactly once as long as broker and program both remember it: it has QoS 2,
    and the session outlives connections, and with `persistence true` also restarts of the broker. When either
    has forgotten, nobody can tell whether it has arrived. Then it is sent again, and its subscribers tell by
    the event's id that they have it.
    """

    def __init__(
        self,
        address: Address,
        client_id: str,
        say: Say,
        *,
        ca_file: Path | None = None,
        status_topic: str | None = None,
        subscriptions: Sequence[str] = (),
        connected: Callable[[], None] = lambda: None,
        received: Received = lambda topic, payload, retained: None,
        pace: Pace = PACE,
    ) -> None:
        """Do nothing yet but read certificates.

        Args:
            address: of the broker; its prefix does not matter here.
            client_id: the same over restarts, and nobody else's at this broker, which would throw one out.
            say: takes messages: that it cannot be reached, and that it can again.
            ca_file: certificates that the broker's is signed by, PEM; None: those of the system.
            status_topic: says online, and offline when we are gone however that comes; None: nothing does.
            subscriptions: topics that `received` gets; retained messages come after each connection.
            connected, received: called by the thread of the connection, which may not wait for `deliver`.
            pace: of tries to connect.

        Raises:
            OSError, ssl.SSLError: the file of certificates cannot be read.
        """
        self._address, self._client_id, self._say, self._pace = address, client_id, say, pace
        self._tls = ssl.create_default_context(cafile=ca_file) if address.tls else None
        self._status_topic, self._subscriptions = status_topic, subscriptions
        self._connected_now, self._received = connected, received
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._said: str | None = None
        self._up, self._down, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._reset = False  # whether the client has to be made anew, since its session is lost
        self._signals = queue.SimpleQueue[tuple[Client, int, ReasonCode | None] | None]()
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._keep_connected, daemon=True)

    def open(self) -> None:
        """Begin to connect; what `connected` and `received` need has to be there by now."""
        self._thread.start()

    def publish(self, topic: str, payload: str | bytes) -> None:
        """Have the broker keep a message for whoever subscribes; an empty one takes it away.

        Without a connection nothing is done: `connected` is the time to say everything again.
        """
        if self._up.is_set():
            self._client.publish(topic, payload, qos=1, retain=True)

    def wait_connected(self) -> None:
        """Return when there is a connection.

        Raises:
            Failed: `close` was called.
        """
        while not self._up.wait(1.0):
            if self._closed.is_set():
                raise Failed("it is not connected")

    def deliver(self, topic: str, payload: str) -> None:
        """Hand over a message to the broker for good, however long that takes.

        Raises:
            Failed: the broker has forgotten us meanwhile, or refuses; or `close` was called.
        """
        self.wait_connected()
        client = self._client
        sent = client.publish(topic, payload, qos=2)
        if sent.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise Failed("it acknowledges nothing")
        while (signal := self._signals.get()) is not None:
            sender, acknowledged, reason = signal
            if sender is client and reason is None:
                raise Failed("the broker has forgotten what was sent last")
            if sender is client and acknowledged == sent.mid:
                if reason is not None and reason.is_failure:
                    raise Failed(f"it refuses: {reason}")
                return
        raise Failed("it is not connected")

    def close(self) -> None:
        """Say that we are gone, and disconnect."""
        if self._up.is_set() and self._status_topic:
            # The connection may break right now; the last will says it then.
            with suppress(RuntimeError, ValueError):
                self._client.publish(self._status_topic, OFFLINE, qos=1, retain=True).wait_for_publish(1.0)
        self._closed.set()
        self._signals.put(None)
        self._client.disconnect()
        self._down.set()
        self._thread.join(CONNECT_TIMEOUT_S)

    def _new_client(self) -> Client:
        old = self._protocol != MQTTProtocolVersion.MQTTv5
        client = Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            clean_session=False if old else None,
            protocol=self._protocol,
            reconnect_on_failure=False,  # we say why it fails
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_queued_messages_set(MAX_QUEUED)
        client.username = self._address.user
        client.password = self._address.password
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if self._status_topic is not None:
            client.will_set(self._status_topic, OFFLINE, qos=1, retain=True)
        known = False  # whether this client has had a session with the broker before

        def on_connect(
            client: Client, _data: object, flags: ConnectFlags, reason: ReasonCode, _: Properties | None
        ) -> None:
            nonlocal known
            if reason.is_failure:
                if reason == "Unsupported protocol version" and not old:
                    self._protocol = MQTTProtocolVersion.MQTTv311
                    self._reset = True
                else:
                    self._trouble(str(reason))
                return
            if known and not flags.session_present:
                # paho would go on where it was, with half a message that the broker knows nothing of.
                self._reset = True
                client.disconnect()
                return
            known = True
            self._greet(client)

        def on_publish(
            client: Client, _data: object, mid: int, reason: ReasonCode, _: Properties | None
        ) -> None:
            self._signals.put((client, mid, reason))

        def on_message(_client: Client, _data: object, message: MQTTMessage) -> None:
            self._received(message.topic, bytes(message.payload), message.retain)

        def on_disconnect(
            _client: Client,
            _data: object,
            _flags: DisconnectFlags,
            reason: ReasonCode,
            _: Properties | None,
        ) -> None:
            if self._up.is_set() and not self._closed.is_set():
                broke = reason == "Unspecified error"  # so paho calls it
                self._trouble("the connection broke" if broke else str(reason))
            self._up.clear()
            self._down.set()

        client.on_connect, client.on_publish = on_connect, on_publish
        client.on_message, client.on_disconnect = on_message, on_disconnect
        return client

    def _greet(self, client: Client) -> None:
        """Do what every connection begins with."""
        if self._said is not None:
            self._say(f"{self._address.shown}: connected.")
            self._said = None
        for topic in self._subscriptions:
            client.subscribe(topic, qos=0)  # what comes while we are away is not kept for us
        if self._status_topic is not None:
            client.publish(self._status_topic, ONLINE, qos=1, retain=True)
        self._up.set()
        self._connected_now()

    def _keep_connected(self) -> None:
        failures = 0
        while not self._closed.is_set():
            self._down.clear()
            if self._connect():
                self._client.loop_start()
                self._down.wait()
                self._client.loop_stop()
                failures = 0 if self._said is None else failures
            if self._reset:
                self._reset = False
                lost, self._client = self._client, self._new_client()
                self._signals.put((lost, 0, None))
                continue
            failures += 1
            self._closed.wait(self._pace.delay_s(failures))

    def _connect(self) -> bool:
        more: dict[str, Any] = {}
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            session.SessionExpiryInterval = SESSION_S
            more = {"clean_start": False, "properties": session}
        try:
            # Before each try, also in vain, paho sets back what is half delivered; after two it sends anew
            # what the broker may have delivered already. So it is spared those in vain.
            socket.create_connection((self._address.host, self._address.port), CONNECT_TIMEOUT_S).close()
            code = self._client.connect(self._address.host, self._address.port, KEEPALIVE_S, **more)
        except ssl.SSLCertVerificationError as e:
            self._trouble(f"its certificate is not trusted: {e.verify_message}")
        except (OSError, UnicodeError) as e:  # the second one for a host that is no name
            self._trouble(getattr(e, "strerror", None) or str(e) or type(e).__name__)
        else:
            return code == MQTTErrorCode.MQTT_ERR_SUCCESS
        return False

    def _trouble(self, reason: str) -> None:
        """Say why there is no connection, once for each reason until there is one again."""
        if reason != self._said:
            self._said = reason
            self._say(f"{self._address.shown} cannot be used: {reason}. It is tried again.")
