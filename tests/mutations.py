"""Pictures with something wrong in them, the same ones every time, decoded by the hundred thousand."""

from __future__ import annotations

import os
import random
import re
import resource
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from hostile_pictures import INVALID, READABLE, SMALL, TOO_LARGE, encoded
from pictures import png_of, tiff_of
from serving.errors import ImageTooLarge, InvalidImage
from serving.pictures import decode

MAX_PIXELS = 500_000
MEMORY_LIMIT = 2**31  # bytes, lest the machine suffer from what is found
LARGEST_SEED = 100_000  # bytes: large ones take their time and tell nothing more
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]

Mutation = Callable[[random.Random, bytearray, bytes], None]


def seeds(folders: list[Path]) -> list[bytes]:
    """Small pictures of all kinds: made here, out of the folders, and the folders' pictures made small."""
    exif = Image.Exif()
    exif[0x0112] = 6
    samples = 16 * np.asarray(SMALL, np.uint16)
    small = [Image.open(file).convert("RGB").resize((48, 64)) for file in photographs(folders)]
    pictures = [SMALL, *small[:6]]
    found = [
        encoded(picture.convert(mode), form, **options)
        for picture in pictures
        for form, mode, options in (
            ("JPEG", "RGB", {"exif": exif}),
            ("JPEG", "L", {"progressive": True}),
            ("JPEG", "CMYK", {}),
            ("PNG", "RGBA", {}),
            ("PNG", "P", {"transparency": 3}),
            ("PNG", "I;16", {}),
            ("WEBP", "RGBA", {"lossless": True}),
            ("WEBP", "RGB", {"exif": exif}),
            ("BMP", "P", {}),
            ("BMP", "RGB", {}),
            ("ICO", "RGBA", {}),
            ("ICO", "RGB", {"bitmap_format": "bmp"}),
            ("GIF", "P", {}),
            ("GIF", "P", {"save_all": True, "append_images": [SMALL.convert("P")]}),
            ("TIFF", "RGB", {"compression": "tiff_lzw"}),
            ("TIFF", "RGB", {"compression": "jpeg"}),
            ("TIFF", "1", {"compression": "group4"}),
            ("TIFF", "I;16", {"compression": "tiff_adobe_deflate"}),
            ("JPEG2000", "RGB", {}),
            ("JPEG2000", "LA", {"no_jp2": True, "tile_size": (32, 32)}),
            ("AVIF", "RGBA", {}),
            ("AVIF", "RGB", {"exif": exif}),
            ("HEIF", "RGB", {"exif": exif.tobytes()}),
            ("HEIF", "RGBA", {}),
            ("HEIF", "RGB", {"tile_size": 32}),
        )
    ]
    found += [png_of(samples), tiff_of(samples), tiff_of(samples, deflate=True, order=">")]
    found += [tiff_of(samples[..., 0].astype(kind)) for kind in ("f4", "i2", "u4")]
    found += [tiff_of(samples.astype(kind), deflate=True) for kind in ("f2", "f4", "i2")]
    found += [jpeg_xl(picture) for picture in pictures]
    found += [*TOO_LARGE.values(), *INVALID.values(), *(data for data, _ in READABLE.values())]
    found += [file.read_bytes() for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
    return [data for data in found if 0 < len(data) <= LARGEST_SEED]


def jpeg_xl(picture: Image.Image) -> bytes:
    encoded: bytes = imagecodecs.jpegxl_encode(np.asarray(picture), level=90)
    return encoded


def photographs(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(folder.rglob("*.jpg"))[::17]


def mutated(seed: str, pictures: list[bytes]) -> bytes:
    """One picture with one to four changes; the same for the same seed and pictures."""
    chance = random.Random(seed)
    data, other = bytearray(chance.choice(pictures)), chance.choice(pictures)
    for _ in range(chance.randint(1, 4)):
        chance.choice(MUTATIONS)(chance, data, other)
    return bytes(data)


def flip_bits(chance: random.Random, data: bytearray, other: bytes) -> None:
    for _ in range(chance.randint(1, 16) if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def truncate(chance: random.Random, data: bytearray, other: bytes) -> None:
    del data[chance.randint(0, len(data)) :]


def splice(chance: random.Random, data: bytearray, other: bytes) -> None:
    """Go on with another picture."""
    data[chance.randint(0, len(data)) :] = other[chance.randint(0, len(other)) :]


def edit_header(chance: random.Random, data: bytearray, other: bytes) -> None:
    """Put a telling number where sizes, offsets and counts are."""
    size = chance.choice([1, 2, 4])
    place = chance.randrange(min(len(data), 300) + 1)
    number = chance.choice(NUMBERS) % (1 << 8 * size)
    data[place : place + size] = number.to_bytes(size, chance.choice(["little", "big"]))


def repeat_a_part(chance: random.Random, data: bytearray, other: bytes) -> None:
    """Double a part, often a chunk or a segment from one marker to another."""
    marks = [
        match.start()
        for match in re.finditer(
            rb"\xff[\xc0-\xfe]|IDAT|tEXt|ANMF|VP8|\x21\xf9|\x2c|....(?=meta|ipco|iloc|mdat|jp2|jxl)", data
        )
    ]
    places = marks if len(marks) > 1 and chance.random() < 0.7 else range(len(data) + 1)
    first, last = sorted((chance.choice(places), chance.choice(places)))
    data[last:last] = data[first:last][:20_000] * chance.randint(1, 3)


def remove_a_part(chance: random.Random, data: bytearray, other: bytes) -> None:
    first, last = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    del data[first:last]


MUTATIONS: list[Mutation] = [flip_bits, truncate, splice, edit_header, repeat_a_part, remove_a_part]


def decode_many(channel: Connection, pictures: list[bytes], numbers: range) -> None:
    """Decode mutated pictures, and tell of each its number before and the memory held in kB after.

    What is neither a picture nor refused ends this process.
    """
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes there what it thinks of a picture
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    for number in numbers:
        if number % 100 == 0:
            channel.send((number, resident_kb()))
        data = mutated(str(number), pictures)
        try:
            decode(data, MAX_PIXELS)
        except (InvalidImage, ImageTooLarge):
            pass
        except BaseException as e:
            channel.send((number, repr(e)))
            raise
    channel.send((numbers.stop, resident_kb()))


def resident_kb() -> int:
    (found,) = re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found)
