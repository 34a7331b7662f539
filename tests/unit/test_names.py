"""What is a name, how it is stored, and which names are the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognition.names import key_of, normalised, stored, unnamed


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Ann", "Ann"),
        ("José", "José"),
        ("Jose\u0301", "José"),
        (" José\t", "José"),
        ("\ufeffJosé", "José"),
        ("Jo\u200bs\u00adé\u2060", "José"),
        ("\u202eAnn\u202c\u200f", "Ann"),
        ("Ann\U000e0041\U000e007f", "Ann"),
        ("Ann\ufe0f \u3164Lee", "Ann Lee"),
        ("Ann \u00a0\u3000\n Lee", "Ann Lee"),
        ("Ann\u2800Lee", "Ann Lee"),
        ("Ann\x1b\x7f\x9f", "Ann"),
        ("A\u200dnn", "Ann"),
        ("안\u1160녕", "안녕"),
        ("-", "-"),
        ("\ue000", "\ue000"),  # private, but in a font of its owner
    ],
)
def test_a_name_is_stored_as_it_is_seen(sent: str, kept: str) -> None:
    assert normalised(sent) == kept


@pytest.mark.parametrize(
    "name",
    [
        "علی\u200cرضا",  # Persian: two parts of one name, that are not joined
        "अभिज्\u200dञान",  # after a virama
        "ന്\u200d",  # a Malayalam chillu of older texts
        "র\u200d্যাম",  # before one, as Bengali has it
        "葛\U000e0100城",  # a Japanese surname, whose first sign has variants
        "👩\u200d🚀",
        "❤\ufe0f",
        "ᠮᠣᠩᠭᠣᠯ",
        "שָׁלוֹם",
    ],
)
def test_what_writing_needs_stays(name: str) -> None:
    assert normalised(name) == unicodedata.normalize("NFC", name)


INVISIBLE = [
    "",
    "   ",
    "\u200b",
    "\u200c\u200d",
    "\u200e\u200f",
    "\u2060",
    "\ufeff",
    "\u00ad",
    "\u3164",
    "\u115f\u1160",
    "\uffa0",
    "\u2800",
    "\ufe0f",
    "\u202e",
    "\u2066",
    "\U000e0041",
    "\U000e0100",
    "\x07",
    "\u034f",
    "\u180e",
    "\u0301",
    "\u00a0 \u3000",
    "\ufff9",
    "\uffff",
    "\U0001d159",
    "\u2028",
]


@pytest.mark.parametrize("name", INVISIBLE)
def test_what_cannot_be_seen_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="nothing in it can be seen"):
        normalised(name)
    assert stored(name, "7") == unnamed("7") == "unnamed (7)"


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        normalised("Ann\ud800")


@given(st.text(st.one_of(st.characters(), st.sampled_from("ابক্\u0345\u0301eé \u200c\u200d\ufe0f\u2800"))))
def test_what_is_stored_stays_as_it_is(name: str) -> None:
    kept = stored(name, "id")
    assert normalised(kept) == kept == unicodedata.normalize("NFC", kept).strip()
    assert key_of(key_of(kept)) == key_of(kept) == key_of(unicodedata.normalize("NFD", kept))


@pytest.mark.parametrize(
    "names",
    [
        ("José", "JOSÉ", "jose\u0301"),
        ("Strauß", "STRAUSS", "strauss"),
        ("Σωκράτης", "ΣΩΚΡΆΤΗΣ"),
        ("Жданов", "ЖДАНОВ"),
        ("\u1f80", "\u1f88", "\u03b1\u0345\u0313"),  # which folding alone takes for different ones
    ],
)
def test_case_and_the_encoding_of_accents_make_no_other_name(names: tuple[str, ...]) -> None:
    assert len({key_of(normalised(name)) for name in names}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("José", "Jose"), ("Ann Lee", "Annlee"), ("علی\u200cرضا", "علیرضا")]
)
def test_what_looks_different_is_another_name(one: str, other: str) -> None:
    assert key_of(normalised(one)) != key_of(normalised(other))


def test_who_cannot_be_seen_gets_a_name_that_can_whatever_the_id() -> None:
    for sample_id in ("..", "\u200b", " ", "a" * 500):
        assert normalised(unnamed(sample_id)) == unnamed(sample_id)
