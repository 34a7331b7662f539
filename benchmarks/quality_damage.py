"""Kinds of damage to a picture with one face, for quality.py. Pure functions of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from recognition.faces import Box, Face

Pixels = NDArray[np.uint8]
Damage = Callable[[Pixels, Face], Pixels]  # uint8 (H, W, 3) RGB, and its face as it was before

SEED = 1
BLUE, SKIN_PLACE = (90, 140, 190), 0.5


def plain(picture: Pixels, face: Face) -> Pixels:
    """Leave it as it is."""
    return picture


def blurred(picture: Pixels, face: Face, sigma: float) -> Pixels:
    """Blur with a Gaussian, sigma in pixels."""
    return _bytes(cv2.GaussianBlur(picture, (0, 0), sigma))


def moved(picture: Pixels, face: Face, length: int, degrees: float) -> Pixels:
    """Blur along a line, as a camera or a face that moves does."""
    side = length | 1
    kernel = np.zeros((side, side), np.float32)
    reach = (side - 1) / 2 * np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    centre = (side - 1) / 2
    ends = [tuple(round(16 * (centre + sign * at)) for at in reach) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 4)
    return _bytes(cv2.filter2D(picture, -1, kernel / kernel.sum()))


def shrunk(picture: Pixels, face: Face, factor: float, *, back: bool = False) -> Pixels:
    """Take fewer pixels, and where `back`, blow the result up again."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return _bytes(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) if back else small)


def lit(picture: Pixels, face: Face, gain: float, offset: float = 0) -> Pixels:
    """Scale and shift all values."""
    return _bytes(np.clip(np.rint(picture * np.float32(gain) + np.float32(offset)), 0, 255))


def flattened(picture: Pixels, face: Face, gain: float) -> Pixels:
    """Take contrast away about middle grey."""
    return lit(picture, face, gain, 128 * (1 - gain))


def compressed(picture: Pixels, face: Face, quality: int) -> Pixels:
    """Save as a JPEG."""
    data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return _bytes(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])


def noisy(picture: Pixels, face: Face, sigma: float) -> Pixels:
    """Add normal noise to each value."""
    noise = _random(picture).normal(0, sigma, picture.shape)
    return _bytes(np.clip(np.rint(picture + noise), 0, 255))


def salted(picture: Pixels, face: Face, share: float) -> Pixels:
    """Make some of the pixels black or white."""
    draw = _random(picture).random(picture.shape[:2])
    done = picture.copy()
    done[draw < share / 2], done[draw > 1 - share / 2] = 0, 255
    return done


def tiled(picture: Pixels, face: Face, block: int) -> Pixels:
    """Make a mosaic of the face."""
    return barred(picture, face, "all", "mosaic", block=block)


def barred(picture: Pixels, face: Face, where: str, filling: str, *, block: int = 12) -> Pixels:
    """Cover a part of the face's box, a little wider than the box.

    where: upper, lower, left, right (half), eyes, mouth (a band), all.
    filling: black, grey, white, skin, noise, stripes, mosaic.
    """
    box = face.box
    wide = 0.1 * box.w
    x0, x1, y0, y1 = box.x - wide, box.x + box.w + wide, box.y - wide, box.y + box.h + wide
    nose = face.landmarks[2].astype(float)
    eyes, mouth = face.landmarks[:2, 1].mean(), face.landmarks[3:, 1].mean()
    if where == "upper":
        y1 = nose[1]
    elif where == "lower":
        y0 = (eyes + nose[1]) / 2
    elif where == "left":
        x1 = nose[0]
    elif where == "right":
        x0 = nose[0]
    elif where == "eyes":
        y0, y1 = eyes - 0.13 * box.h, eyes + 0.13 * box.h
    elif where == "mouth":
        y0, y1 = mouth - 0.13 * box.h, mouth + 0.13 * box.h
    return _filled(picture, Box(x0, y0, x1 - x0, y1 - y0), face, filling, block)


def sunglasses(picture: Pixels, face: Face) -> Pixels:
    """Paint dark glasses."""
    done = picture.copy()
    between = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    size = (round(0.36 * between), round(0.28 * between))
    for eye in face.landmarks[:2]:
        cv2.ellipse(done, (round(eye[0]), round(eye[1])), size, 0, 0, 360, (15, 15, 18), cv2.FILLED)
    left, right = ((round(x), round(y)) for x, y in face.landmarks[:2].tolist())
    cv2.line(done, left, right, (15, 15, 18), max(2, round(0.08 * between)))
    return done


def masked(picture: Pixels, face: Face) -> Pixels:
    """Paint a surgical mask over nose, mouth and chin."""
    done, box = picture.copy(), face.box
    eyes, nose = face.landmarks[:2].mean(axis=0), face.landmarks[2]
    top = float(eyes[1] + 0.5 * (nose[1] - eyes[1]))
    points = [
        (box.x, top + 0.05 * box.h),
        (float(nose[0]), top),
        (box.x + box.w, top + 0.05 * box.h),
        (box.x + 0.9 * box.w, box.y + 0.85 * box.h),
        (float(nose[0]), box.y + 1.05 * box.h),
        (box.x + 0.1 * box.w, box.y + 0.85 * box.h),
    ]
    cv2.fillPoly(done, [np.rint(points).astype(np.int32)], BLUE)
    return done


def cut(picture: Pixels, face: Face, side: str, share: float) -> Pixels:
    """Let the picture's border cut off a share of the face's box."""
    box = face.box
    height, width = picture.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    if side == "left":
        left = round(box.x + share * box.w)
    elif side == "right":
        right = round(box.x + (1 - share) * box.w)
    elif side == "top":
        top = round(box.y + share * box.h)
    else:
        bottom = round(box.y + (1 - share) * box.h)
    return _bytes(picture[max(top, 0) : bottom, max(left, 0) : right])


def both(picture: Pixels, face: Face, first: Damage, second: Damage) -> Pixels:
    """Do one after the other; neither may move the face."""
    return second(first(picture, face), face)


def _filled(picture: Pixels, box: Box, face: Face, filling: str, block: int) -> Pixels:
    height, width = picture.shape[:2]
    left, right = (min(max(round(x), 0), width) for x in (box.x, box.x + box.w))
    top, bottom = (min(max(round(y), 0), height) for y in (box.y, box.y + box.h))
    done = picture.copy()
    part = done[top:bottom, left:right]
    if not part.size:
        return done
    if filling == "mosaic":
        rows, columns = max(1, part.shape[0] // block), max(1, part.shape[1] // block)
        small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
        part[:] = cv2.resize(small, part.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    elif filling == "noise":
        part[:] = _random(picture).integers(0, 256, part.shape)
    elif filling == "stripes":
        part[:] = np.where(
            (np.arange(part.shape[0]) // 6 % 2)[:, None, None] == 1, (170, 40, 40), (235, 230, 220)
        )
    else:
        x, y = (round(float(v)) for v in face.landmarks[[0, 3]].mean(axis=0))  # a cheek
        cheek = picture[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5].reshape(-1, 3)
        skin = np.median(cheek, axis=0) if len(cheek) else np.array([180, 140, 120])
        part[:] = {"black": 0, "grey": 128, "white": 255, "skin": skin}[filling]
    return done


def _random(picture: Pixels) -> np.random.Generator:
    return np.random.default_rng([SEED, int(picture.sum()) % 2**31])


def _bytes(values: NDArray[np.generic]) -> Pixels:
    return np.ascontiguousarray(values, dtype=np.uint8)


FILLINGS = ("black", "grey", "white", "skin", "noise", "stripes", "mosaic")
KINDS: dict[str, Damage] = {
    "sharp": plain,
    **{f"blur, sigma {s}": partial(blurred, sigma=s) for s in (1, 2, 3, 4, 6, 8)},
    **{
        f"motion, {n} px at {a}": partial(moved, length=n, degrees=a)
        for n in (11, 21, 31)
        for a in (0, 45, 90)
    },
    **{f"shrunk {f} times": partial(shrunk, factor=f) for f in (2, 3, 4, 5)},
    **{f"shrunk {f} times and back": partial(shrunk, factor=f, back=True) for f in (4, 6, 8, 12)},
    **{f"dark, x {g}": partial(lit, gain=g) for g in (0.3, 0.1, 0.05)},
    **{f"bright, + {o}": partial(lit, gain=1, offset=o) for o in (80, 120, 160)},
    **{f"overexposed, x {g}": partial(lit, gain=g) for g in (2, 4)},
    **{f"contrast, x {g}": partial(flattened, gain=g) for g in (0.3, 0.1, 0.06)},
    **{f"JPEG, quality {q}": partial(compressed, quality=q) for q in (20, 10, 5, 2)},
    **{f"noise, sigma {s}": partial(noisy, sigma=s) for s in (10, 25, 50, 80)},
    **{f"salt and pepper, {p} %": partial(salted, share=p / 100) for p in (5, 20)},
    **{f"mosaic, {b} px": partial(tiled, block=b) for b in (6, 10, 16)},
    **{
        f"{filling} over the {where} half": partial(barred, where=where, filling=filling)
        for where in ("lower", "upper")
        for filling in FILLINGS
    },
    **{
        f"{f} over the {w} half": partial(barred, where=w, filling=f)
        for w in ("left", "right")
        for f in ("black", "skin")
    },
    **{
        f"{f} over the {w}": partial(barred, where=w, filling=f)
        for w in ("eyes", "mouth")
        for f in ("black", "skin")
    },
    "sunglasses": sunglasses,
    "surgical mask": masked,
    **{
        f"cut off, {s}, {round(100 * q)} %": partial(cut, side=s, share=q)
        for s in ("left", "top", "bottom")
        for q in (0.25, 0.45)
    },
    "blur, sigma 4, and noise, sigma 25": partial(
        both, first=partial(blurred, sigma=4), second=partial(noisy, sigma=25)
    ),
    "blur, sigma 6, and noise, sigma 10": partial(
        both, first=partial(blurred, sigma=6), second=partial(noisy, sigma=10)
    ),
    "blur, sigma 3, and dark, x 0.1": partial(
        both, first=partial(blurred, sigma=3), second=partial(lit, gain=0.1)
    ),
    "blur, sigma 4, and JPEG, quality 10": partial(
        both, first=partial(blurred, sigma=4), second=partial(compressed, quality=10)
    ),
}
