"""A small RTSP camera (RFC 2326) that sends JPEGs over its connection (section 10.12; RTP by RFC 2435)."""

from __future__ import annotations

import base64
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np

from fake_cameras import PASSWORD, USER, jpeg_of

JPEG_PAYLOAD = 26
CLOCK = 90_000
PACKET = 1200  # bytes of a picture
RATE = 25


class Rtsp(socketserver.ThreadingTCPServer):
    """Shows pictures to whoever has the password."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, show: Callable[[], np.ndarray]) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.show = show
        self.over = threading.Event()
        self.plays = 0
        self.broken = threading.Event()

    @property
    def address(self) -> str:
        return f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{self.server_address[1]}/door?secret={PASSWORD}"

    def handle_error(self, *_: object) -> None:
        pass


class Session(socketserver.StreamRequestHandler):
    server: Rtsp

    def handle(self) -> None:
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        while line := self.rfile.readline().decode():
            method = line.split()[0]
            headers = {}
            while (header := self.rfile.readline().decode().strip()) != "":
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            if method != "OPTIONS" and headers.get("authorization") != expected:
                self.answer("401 Unauthorized", headers, 'WWW-Authenticate: Basic realm="door"')
            elif method == "DESCRIBE":
                media = f"m=video 0 RTP/AVP {JPEG_PAYLOAD}\r\na=control:track1\r\n"
                sdp = f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=door\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n{media}"
                self.answer("200 OK", headers, "Content-Type: application/sdp", body=sdp)
            elif method == "SETUP":
                self.answer("200 OK", headers, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1")
            elif method == "PLAY":
                self.answer("200 OK", headers, "Session: 1", "Range: npt=0-")
                self.server.plays += 1
                with suppress(OSError):
                    self.play()
                return
            else:
                self.answer("200 OK", headers, "Public: DESCRIBE, SETUP, PLAY, TEARDOWN", "Session: 1")

    def answer(self, status: str, asked: dict[str, str], *headers: str, body: str = "") -> None:
        lines = [
            f"RTSP/1.0 {status}",
            f"CSeq: {asked.get('cseq', '0')}",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        self.wfile.write("\r\n".join([*lines, "", body]).encode())

    def play(self) -> None:
        sequence = 0
        number = 0
        while not self.server.over.is_set() and not self.server.broken.is_set():
            parts = list(payloads(jpeg_of(self.server.show())))
            for place, part in enumerate(parts):
                last = place == len(parts) - 1
                header = struct.pack(
                    ">BBHII", 0x80, JPEG_PAYLOAD | last << 7, sequence & 0xFFFF, number * CLOCK // RATE, 1
                )
                packet = header + part
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                sequence += 1
            number += 1
            self.server.over.wait(1 / RATE)


def payloads(jpeg: bytes) -> Iterator[bytes]:
    """Split a baseline JPEG into payloads of RFC 2435: its tables travel in the first one."""
    tables = b""
    at, kind = 2, 1
    width = height = 0
    while True:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4])
        segment = jpeg[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xDB:
            while segment:
                tables += segment[1:65]
                segment = segment[65:]
        elif marker == 0xC0:
            height, width = struct.unpack(">HH", segment[1:5])
            kind = 0 if segment[7] == 0x21 else 1  # 4:2:2, 4:2:0
        elif marker == 0xDA:
            break
    data = jpeg[at:-2]
    for offset in range(0, len(data), PACKET):
        header = struct.pack(">I", offset) + bytes([kind, 255, width // 8, height // 8])
        if offset == 0:
            header += struct.pack(">BBH", 0, 0, len(tables)) + tables
        yield header + data[offset : offset + PACKET]


@contextmanager
def rtsp(show: Callable[[], np.ndarray]) -> Iterator[Rtsp]:
    server = Rtsp(show)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
