"""Keys of CompreFace's clients: their digests, which of them can be guessed, and entries of the settings."""

from __future__ import annotations

import random
import uuid

import pytest

from recognition import client_keys
from recognition.client_keys import digest, entry, is_guessable, parse
from serving import keys

KEY = "5f2c0a9e-7d14-4b86-a3c1-9e0d7f6b2854"
OTHER = "0d9b7a35-c1f8-4e62-8a7d-3b5c94e1f206"


def test_the_digest_is_of_small_letters() -> None:
    assert digest(KEY.upper()) == digest(KEY) == keys.digest(KEY)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        KEY[:-1],
        f"{KEY}0",
        f"{{{KEY}}}",
        KEY.replace("-", ""),
        f"urn:uuid:{KEY}",
        f"{KEY}\n",
        f"５{KEY[1:]}",
    ],
)
def test_what_is_no_uuid(key: str) -> None:
    for call in (digest, is_guessable):
        with pytest.raises(ValueError, match=r"^not a UUID$"):
            call(key)


@pytest.mark.parametrize(
    "key",
    [
        *(f"00000000-0000-0000-0000-00000000000{digit}" for digit in "0234f"),
        "00000000-0000-4000-8000-000000000002",
        "11111111-1111-1111-1111-111111111111",
        "12345678-1234-1234-1234-123456789012",
        "12345678-1234-4234-8234-123456789abc",
        "01234567-89ab-cdef-0123-456789abcdef",
        "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
        "deadbeef-dead-4eef-8ead-beefdeadbeef",
        "19e9f74f-ea03-11f1-8005-0242ac110002",  # of version 1: a time and a machine
        str(uuid.uuid5(uuid.NAMESPACE_DNS, "compreface")),
    ],
)
def test_what_can_be_guessed(key: str) -> None:
    assert is_guessable(key) and is_guessable(key.upper())


def test_what_is_drawn_is_not_taken_for_it() -> None:
    drawn = random.Random(5)
    for _ in range(20_000):
        key = str(uuid.UUID(int=drawn.getrandbits(128), version=4))
        assert not is_guessable(key), key
    assert not is_guessable(client_keys.new())


def test_entries() -> None:
    text = f"""
    # of the cameras
    {entry("door", "recognition", KEY)} {entry("look", "detection", OTHER)}
    {entry("gate", "recognition", "00000000-0000-0000-0000-000000000002", "lobby")}  # an example's
    """
    services = parse(text)
    told = [(each.name, each.kind, each.gallery, each.guessable) for each in services.values()]
    assert told == [
        ("door", "recognition", "door", False),
        ("look", "detection", None, False),
        ("gate", "recognition", "lobby", True),
    ]
    assert list(services)[:2] == [digest(KEY), digest(OTHER)]
    assert [each.id for each in parse(text).values()] == [each.id for each in services.values()]
    assert {uuid.UUID(each.id).version for each in services.values()} == {5}
    assert all(each.created is None and each.app is None for each in services.values())


HASH = digest(KEY).hex()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no service"),
        ("# nothing", "there is no service"),
        (f"door:recognition:{KEY}", "entry 1 is not NAME:KIND"),
        (f"a:detection:{HASH} door:recognition", "entry 2 is not NAME:KIND"),
        (f"door:faces:{HASH}", "entry 1 has a kind other than recognition, detection, verification"),
        (f"-:recognition:{HASH}", "entry 1 needs a gallery"),
        (f"door:detection:{HASH}:door", "entry 1 has a gallery, which only recognition needs"),
        (f"door:recognition:{HASH}:../x", "entry 1 is not NAME:KIND"),
        (f"a:detection:{HASH} b:verification:{HASH}", "same name or the same key"),
        (f"a:detection:{HASH} a:verification:{'0' * 64}", "same name or the same key"),
    ],
)
def test_what_is_no_entry(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        parse(text)
    assert KEY not in str(raised.value) and HASH not in str(raised.value)


def test_what_no_entry_can_hold() -> None:
    for name, gallery in (("front door", None), ("door", "a b"), ("door", "a#b"), ("a:b", None)):
        with pytest.raises(ValueError, match="entry 1"):
            entry(name, "recognition", KEY, gallery)
