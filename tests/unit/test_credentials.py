"""What is shown of addresses that have a password in them."""

from __future__ import annotations

import logging
import sys

import pytest

from serving.credentials import without_credentials
from serving.logs import Lines

SECRET = "geheim"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:geheim@127.0.0.1:9/x", "rtsp://***@127.0.0.1:9/x"),
        ("rtsp://user:a@geheim@127.0.0.1:9/x", "rtsp://***@127.0.0.1:9/x"),
        ("rtsp://user:a/geheim@127.0.0.1/x", "rtsp://***@127.0.0.1/x"),
        ("rtsp://user:12/geheim@127.0.0.1/x", "rtsp://***@127.0.0.1/x"),
        ("rtsp://:geheim@h", "rtsp://***@h"),
        ("https://geheim@h", "https://***@h"),  # a token in the place of a user
        ("postgresql+psycopg://u:geheim@h/db", "postgresql+psycopg://***@h/db"),
        ("user:geheim@h:6337", "***@h:6337"),
        ("File 'user:geheim@h' is not there.", "File '***@h' is not there."),
        ("'http://u:geheim@a', \"http://v:geheim@b\"", "'http://***@a', \"http://***@b\""),
        ("http://h/x?user=a&password=geheim&y=1", "http://h/x?user=a&password=***&y=1"),
        ("http://h/x?API_KEY=geheim", "http://h/x?API_KEY=***"),
        ("rtsp://h/user=admin_password=geheim_channel=1", "rtsp://h/user=admin_password=***"),
        ("postgresql://h/db?sslpassword=geheim", "postgresql://h/db?sslpassword=***"),
    ],
)
def test_the_password_is_not_shown(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://127.0.0.1:6337/samples",
        "http://[::1]:6337",
        "an@example.org writes",
        "2026-01-01T12:00:00 INFO request key=door caller=door route=/samples",
        "sqlite:////data/gallery.sqlite3",
        "C:\\pictures",
    ],
)
def test_what_has_none_stays(text: str) -> None:
    assert without_credentials(text) == text


@pytest.mark.parametrize("as_json", [True, False])
def test_the_log_has_none_whatever_a_library_quotes(as_json: bool) -> None:
    try:
        raise ValueError("Failed to parse: http://u:geheim@h:1")
    except ValueError:
        record = logging.LogRecord(
            "x", logging.ERROR, "", 1, "%s is down", ("http://u:geheim@h:1",), sys.exc_info()
        )
    line = Lines(as_json).format(record)
    assert SECRET not in line
    assert "http://***@h:1 is down" in line and "ValueError: Failed to parse: http://***@h:1" in line
