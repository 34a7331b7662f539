"""Mosquitto as a real process, its subscribers, and certificates for it."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from recognition.events.delivery import Pace
from recognition.faces import Box
from recognition.visits import Event
from running import free_port, wait_until

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
LIMIT_S = 30
AT_ONCE = Pace(0.01, 0.05)


@dataclass
class Mosquitto:
    """A broker that keeps what it knows in a file, as Debian's does; `start` may be called again."""

    folder: Path
    settings: tuple[str, ...] = ()
    remembers: bool = True
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"persistence {str(self.remembers).lower()}",
            f"persistence_location {self.folder}/",
            "max_inflight_messages 0",
            "max_queued_messages 0",
            f"user {'root' if os.geteuid() == 0 else ''}",
            *(self.settings or ("allow_anonymous true",)),
        ]
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text("\n".join(line for line in lines if not line.endswith("user ")))
        log = self.folder / "mosquitto.log"
        assert MOSQUITTO
        with log.open("ab") as stream:
            self.process = subprocess.Popen([MOSQUITTO, "-c", configuration], stdout=stream, stderr=stream)
        wait_until(lambda: takes_connections(self.port), self.process, log)

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(LIMIT_S)
            self.process = None


@contextmanager
def running_mosquitto(folder: Path, *settings: str, remembers: bool = True) -> Iterator[Mosquitto]:
    folder.mkdir(exist_ok=True)
    broker = Mosquitto(folder, settings, remembers)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Line:
    """A connection to a broker that can be cut, may not be there, and may speak MQTT 3.1.1 only."""

    def __init__(self, broker: Mosquitto, only_old: bool = False) -> None:
        self.broker, self.only_old = broker, only_old
        self.breaks_at_pubcomp = False  # once: the broker has delivered then, and the sender does not know
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.sockets: list[socket.socket] = []
        self.listener: socket.socket | None = None

    def open(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.broker.port))
                except OSError:
                    near.close()
                    continue
                self.sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self.forward, args=(source, sink), daemon=True).start()

    def forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self.only_old and b"\x00\x04MQTT\x05" in data:  # version 5, in a CONNECT
                    source.sendall(b"\x20\x02\x00\x01")  # CONNACK: unacceptable protocol version
                    break
                if self.breaks_at_pubcomp and data[:1] == b"\x70":
                    self.close()
                    break
                sink.sendall(data)
        self.hang_up(source, sink)

    def hang_up(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Break all connections; new ones may come."""
        self.hang_up(*self.sockets)

    def close(self) -> None:
        if self.listener is not None:
            self.hang_up(self.listener)
            self.listener.close()
            self.listener = None
        self.cut()
        for each in self.sockets:
            each.close()
        self.sockets.clear()


@contextmanager
def cuttable(broker: Mosquitto, **more: bool) -> Iterator[Line]:
    line = Line(broker, **more)
    line.open()
    try:
        yield line
    finally:
        line.close()


def takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Subscriber:
    """Somebody who reads topics, and misses nothing while the broker is away: a session that is kept."""

    def __init__(
        self, broker: Mosquitto, topic: str, qos: int = 2, user: str = "", password: str = ""
    ) -> None:
        self.changed = threading.Condition()
        self.messages: list[tuple[str, bytes]] = []
        self.kept: dict[str, bytes] = {}  # the newest of each topic, as a broker keeps them
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            f"subscriber-{free_port()}",
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        if user:
            self.client.username_pw_set(user, password)
        self.client.reconnect_delay_set(1, 1)
        self.subscriptions = 0
        self.client.on_connect = lambda client, *_: client.subscribe(topic, qos)
        self.client.on_subscribe = lambda *_: self.count()
        self.client.on_message = lambda _client, _data, message: self.take(message.topic, message.payload)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        self.wait(lambda home: home.subscriptions)

    def count(self) -> None:
        with self.changed:
            self.subscriptions += 1
            self.changed.notify_all()

    def take(self, topic: str, payload: bytes) -> None:
        with self.changed:
            self.messages.append((topic, payload))
            if payload and not topic.endswith("/events"):
                self.kept[topic] = payload
            else:
                self.kept.pop(topic, None)
            self.changed.notify_all()

    def wait(self, condition: Callable[[Subscriber], Any]) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), LIMIT_S), self.messages[-5:]

    def ids(self) -> Counter[str]:
        """How often each event was received."""
        return Counter(json.loads(body)["id"] for topic, body in self.messages if topic.endswith("/events"))

    def json(self, topic: str) -> Any:
        return json.loads(self.kept[topic])

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def subscribed(broker: Mosquitto, topic: str = "#", **more: Any) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker, topic, **more)
    try:
        yield subscriber
    finally:
        subscriber.close()


def an_event(number: int = 0, **more: Any) -> Event:
    """A visit of Ann's to the door."""
    fields: dict[str, Any] = {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "camera": "door",
        "since": datetime(2026, 11, 27, 3, 0, tzinfo=UTC),
        "until": datetime(2026, 11, 27, 3, 1, tzinfo=UTC),
        "frames": 5,
        "name": "Ann",
        "person": "ann",
        "sample": "sample",
        "distance": 4.5,
        "false_match": 1e-6,
        "box": Box(1, 2, 30, 40),
        "quality": 0.9,
        "picture": True,
    }
    return Event(**fields | more)


def certificates(folder: Path) -> dict[str, Path]:
    """An authority, and a certificate for 127.0.0.1 and localhost that it has signed."""
    now = datetime.now(UTC)

    def signed(name: str, key: Any, issuer: str, issuers_key: Any, *extensions: x509.ExtensionType) -> Any:
        def called(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        builder = x509.CertificateBuilder(
            called(issuer), called(name), key.public_key(), x509.random_serial_number()
        )
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(issuers_key, hashes.SHA256())

    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    other_uses = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    usage = dict.fromkeys((*other_uses, "key_agreement", "encipher_only", "decipher_only"), False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    files = {
        "ca": signed(
            "authority",
            authority,
            "authority",
            authority,
            x509.BasicConstraints(ca=True, path_length=0),
            x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True),
            identifier,
        ),
        "certificate": signed(
            "127.0.0.1", server, "authority", authority, x509.BasicConstraints(False, None), names, by
        ),
    }
    paths = {name: folder / f"{name}.pem" for name in (*files, "key")}
    for name, certificate in files.items():
        paths[name].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths["key"].write_bytes(
        server.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths
