"""What bytes are, by their beginnings: the formats of pictures, and what people send in their stead. Pure."""

from __future__ import annotations

from importlib.util import find_spec

NEEDS_JXL = "JPEG XL cannot be read here; whoever runs the service can install its extra `jxl`"
JXL = "JPEG XL"
START_BYTES = 4096  # that are looked at

# Formats that are read: place and bytes of the beginning.
PICTURES = (
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("GIF", 0, b"GIF87a"),
    ("GIF", 0, b"GIF89a"),
    ("WebP", 8, b"WEBP"),
    ("BMP", 0, b"BM"),
    ("ICO", 0, b"\0\0\1\0"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    ("TIFF", 0, b"II+\0"),
    ("TIFF", 0, b"MM\0+"),
    ("JPEG 2000", 0, b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("JPEG 2000", 0, b"\xff\x4f\xff\x51"),
    (JXL, 0, b"\xff\x0a"),
    (JXL, 0, b"\0\0\0\x0cJXL \r\n\x87\n"),
)
# ISO 14496-12: what stands behind `ftyp`. HEIF's own brands are those of ISO 23008-12, annex B.
FILE_TYPE = b"ftyp"
BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIC": (
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"hevc",
        b"hevx",
        b"hevm",
        b"hevs",
        b"mif1",
        b"mif2",
        b"msf1",
    ),
}
RAW_BRAND = b"crx "

# Others: what to call them.
OTHERS = (
    ("a PDF", 0, b"%PDF-"),
    ("a camera's raw picture (CR2)", 8, b"CR\x02"),
    ("a camera's raw picture (RW2)", 0, b"IIU\0"),
    ("a camera's raw picture (ORF)", 0, b"IIRO"),
    ("a camera's raw picture (ORF)", 0, b"IIRS"),
    ("a camera's raw picture (ORF)", 0, b"MMOR"),
    ("a camera's raw picture (RAF)", 0, b"FUJIFILMCCD-RAW"),
    ("a camera's raw picture (X3F)", 0, b"FOVb"),
    ("a Photoshop document (PSD)", 0, b"8BPS"),
    ("a GIMP picture (XCF)", 0, b"gimp xcf"),
    ("an OpenEXR picture", 0, b"\x76\x2f\x31\x01"),
    ("a Radiance picture (HDR)", 0, b"#?RADIANCE"),
    ("a JPEG XR", 0, b"II\xbc\x01"),
    ("a cursor (CUR)", 0, b"\0\0\2\0"),
    ("a DICOM picture", 128, b"DICM"),
    ("a PostScript file", 0, b"%!PS"),
    ("a video (WebM or Matroska)", 0, b"\x1a\x45\xdf\xa3"),
    ("a video (AVI)", 8, b"AVI "),
    ("a video (FLV)", 0, b"FLV\1"),
    ("a video (MPEG)", 0, b"\0\0\1\xba"),
    ("a video (MPEG)", 0, b"\0\0\1\xb3"),
    ("a sound (WAV)", 8, b"WAVE"),
    ("a sound (MP3)", 0, b"ID3"),
    ("a sound (Ogg)", 0, b"OggS"),
    ("a ZIP archive, or a document in one", 0, b"PK\3\4"),
    ("a gzip archive", 0, b"\x1f\x8b"),
    ("a 7-Zip archive", 0, b"7z\xbc\xaf\x27\x1c"),
    ("a RAR archive", 0, b"Rar!"),
    ("a Word, Excel or Outlook file", 0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("a program", 0, b"\x7fELF"),
    ("a program", 0, b"MZ"),
    ("a SQLite database", 0, b"SQLite format 3\0"),
    *(("a Netpbm picture", 0, b"P%d%c" % (kind, space)) for kind in range(1, 8) for space in b"\n "),
)
# Of texts: what stands early in them, in small letters.
TEXTS = (
    ("an SVG drawing", b"<svg"),
    ("an HTML page", b"<!doctype html"),
    ("an HTML page", b"<html"),
    ("an HTML page", b"<head"),
    ("an XML file", b"<?xml"),
    ("a Git LFS pointer, not the file itself", b"version https://git-lfs"),
)
LETTERS = bytes({*range(32, 127), *b"\t\n\r\f\b\x1b", *range(128, 256)})


def picture_format(data: bytes) -> str | None:
    """Name the format of a picture that is read, JPEG XL included; None: it is something else."""
    for name, place, start in PICTURES:
        if data.startswith(start, place) and not (name == "WebP" and data[:4] != b"RIFF"):
            return None if _other(data) else name
    if data[4:8] == FILE_TYPE:
        length = min(int.from_bytes(data[:4]), START_BYTES)
        brands = {data[at : at + 4] for at in (8, *range(16, length, 4))}
        return next((name for name, known in BRANDS.items() if brands & {*known}), None)
    return None


def other_kind(data: bytes) -> str:
    """Name what is no picture that is read."""
    if not data:
        return "an empty file"
    if not data.strip(b"\0"):
        return "a file of zeros"
    if name := _other(data):
        return name
    if data[4:8] == FILE_TYPE:
        return "a camera's raw picture (CR3)" if data[8:12] == RAW_BRAND else "a video (MP4 or MOV)"
    return _text(data[:START_BYTES]) or "of an unknown format"


def unreadable(data: bytes) -> str:
    """Say in words why what is in `data` cannot be read as a picture, and what it is."""
    name = picture_format(data)
    if name is None:
        return f"The picture cannot be read: it is {other_kind(data)}."
    if name == JXL and find_spec("imagecodecs") is None:
        return f"The picture cannot be read: {NEEDS_JXL}."
    return f"The picture cannot be read: this {name} is damaged, cut off, or of a rare kind."


def _other(data: bytes) -> str | None:
    return next((name for name, place, start in OTHERS if data.startswith(start, place)), None)


def _text(data: bytes) -> str | None:
    beginning = data.lower()
    for name, start in TEXTS:
        if start in beginning:
            return name
    return None if data.translate(None, LETTERS) else "a text"
