"""Which picture formats can be read here, and by which libraries: Pillow, and what it is taught."""

from __future__ import annotations

from functools import cache

from PIL import AvifImagePlugin, Image

from serving.formats import BRANDS

JPEG = ("JPEG",)
JPEG_START = b"\xff\xd8\xff"
# AVIF before HEIF: both may begin with ftypmif1, which only AVIF's reader looks behind.
ALWAYS = (*JPEG, "PNG", "WEBP", "BMP", "TIFF", "GIF", "ICO", "JPEG2000", "AVIF", "HEIF")


def formats_for(data: bytes) -> tuple[str, ...]:
    """Return the formats that Pillow shall try for a picture."""
    return JPEG if data.startswith(JPEG_START) else every_format()


@cache
def every_format() -> tuple[str, ...]:
    """Load the readers, once, and return the names of the formats."""
    # 10 MB and 0.1 s that a process can do without which decodes no more than the bundled JPEG.
    import pillow_heif

    from serving import jpeg_xl

    Image.init()
    # No threads, as there can be no others where pictures are decoded, and nothing but the picture itself.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    heif = pillow_heif.HeifImageFile  # which takes fewer brands than libheif reads
    Image.register_open(heif.format, heif, lambda start: start[8:12] in BRANDS["HEIC"])
    return (*ALWAYS, jpeg_xl.FORMAT) if jpeg_xl.register() else ALWAYS
