"""Names of people: how they are stored, and which of them are the same. Pure."""

from __future__ import annotations

import re
import unicodedata

NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)
)
# What shows nothing: Default_Ignorable_Code_Point of Unicode 16's DerivedCoreProperties.txt, but for those
# below that may matter; interlinear annotation; control characters that are no white space; noncharacters.
HIDDEN = re.compile(
    f"[{NONCHARACTERS}"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]+"
)
# White space by another name: a cell of Braille without dots, a note without a head, blank hieroglyphs.
BLANK = re.compile("[\u2800\U0001d159\U00013441\U00013442]")
JOINERS = "\u200c\u200d"
SELECTORS = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # of variants of a character
SEARCHED = 600  # characters of a name; of four bytes each they fit into PostgreSQL's indexes
TYPED = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "ħ": "h",
        "ŧ": "t",
        "\u0131": "i",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
    }
    | dict.fromkeys("\u2018\u2019\u02bc\u02b9", "'")
    | dict.fromkeys("\u2010\u2011\u2012\u2013", "-")
)
VIRAMA = 9  # the canonical combining class of what takes a letter's vowel in Indic scripts


def normalised(name: str) -> str:
    """Return a name as it is stored: in NFC, trimmed, with single blanks, and without what shows nothing.

    Joiners stay where writing needs them, in Arabic and Indic scripts and between emoji, and selectors where
    a character may have variants, as ideographs of Japanese names have. What is returned stays as it is if it
    comes here again.

    Raises:
        ValueError: nothing is left that can be seen, or it is no text, but half a surrogate pair.
    """
    name = BLANK.sub(" ", HIDDEN.sub("", unicodedata.normalize("NFC", name)))
    name = unicodedata.normalize("NFC", " ".join(_without_idle_joiners(name).split()))
    categories = set(map(unicodedata.category, name))
    if "Cs" in categories:
        raise ValueError("not text: it has half of a surrogate pair")
    # Private characters and those that are newer than this Python may well be seen; marks stand on others.
    if not any(category in ("Cn", "Co") or category[0] in "LNPS" for category in categories):
        raise ValueError("nothing in it can be seen")
    return name


def key_of(name: str) -> str:
    """Return what names have in common that are the same but for case, and for how accents are encoded.

    It is NFC(casefold(NFD(name))): two of them are equal where the names are a canonical caseless match by
    definition D145 of the Unicode standard, section 3.13.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def search_key_of(text: str) -> str:
    """Return what parts of names are looked for in: without case, accents and the like, and cut off.

    It is NFKD(casefold(NFKD(text))) without marks; letters that Unicode does not take apart become those that
    people type in their place.
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    plain = "".join(character for character in folded if unicodedata.category(character) != "Mn")
    return plain.translate(TYPED)[:SEARCHED]


def unnamed(sample_id: str) -> str:
    """Return the name of a sample that was stored, before that was refused, under one that cannot be seen.

    Each has its own, since nobody knows whether they are the same person's.
    """
    return normalised(f"unnamed ({sample_id})")


def stored(name: str, sample_id: str) -> str:
    """Return the normalised form of a name that was stored when any text was a name."""
    try:
        return normalised(name)
    except ValueError:
        return unnamed(sample_id)


def _without_idle_joiners(text: str) -> str:
    kept: list[str] = []
    for place, character in enumerate(text):
        before, after = kept[-1:], text[place + 1 : place + 2]
        if character in JOINERS:
            if not (before and _joins(kept, after)):
                continue
        elif SELECTORS.match(character) and not (before and unicodedata.category(before[0]) in ("Lo", "So")):
            continue
        kept.append(character)
    return "".join(kept)


def _joins(before: list[str], after: str) -> bool:
    """Tell whether a joiner between these matters for how they look.

    The rules are those of RFC 5892, appendix A.1 and A.2, without the tables of joining types: between
    letters of right-to-left scripts that are written joined, and after a virama. Beyond them, before one, as
    Bengali has it, and between emoji.
    """
    last = before[-1]
    if unicodedata.combining(last) == VIRAMA:
        return True
    if not after:
        return False
    if unicodedata.combining(after) == VIRAMA:
        return unicodedata.category(last)[0] in "LM"
    if unicodedata.category(after) == "So":
        return unicodedata.category(last) in ("So", "Sk") or bool(SELECTORS.match(last))
    base = next((other for other in reversed(before) if not unicodedata.combining(other)), "")
    return unicodedata.bidirectional(after) == "AL" == (unicodedata.bidirectional(base) if base else "")
