"""Measures how well `recognition gallery doctor` finds wrong labels, and how long it takes.

    python benchmarks/doctor.py --images lfw --cache cache

`--images` is laid out as Labeled Faces in the Wild (LFW), Name/Name_0001.jpg. The largest face of each
picture takes the product's own way: detect, crop, assess, embed. All are enrolled under the names of their
folders, after the labels of some were exchanged, pair by pair, and the gallery is checked. Nobody can see an
exchange between two people who have one picture each: the gallery is as good as before, but for two names.
Such pairs are drawn only with `--singles`.

An exchanged sample is found if it is the one in question of one of the first 2 % of as many findings as there
are samples.

The people are parted in two halves by a hash of their names, as in benchmarks/quality.py: the constants in
recognition/matching/ were chosen on `tune`.

Data flow: pictures -> one face each -> a gallery, some labels exchanged -> findings -> shares that are found
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import gallery as made_up
from embedding.network import load
from quality import MAX_PIXELS, people_of
from recognition.detector import load_mtcnn
from recognition.faces import Sample
from recognition.gallery import open_gallery
from recognition.gallery.doctor import check
from recognition.matching.doubts import DOUBLE, UNLIKE
from recognition.pictures import crops
from recognition.pictures.digest import digest
from recognition.pictures.quality import SIDE_PX, assess
from recognition.results import Finding, Scale
from serving import pictures as images

ROOT = Path(__file__).resolve().parents[1]
SHARE, TOP = 0.01, 0.02  # of the labels that are exchanged, and of the list that is looked at
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = "benchmark"
THRESHOLD, MIN_QUALITY = 9.0, 0.25  # Facenet's, and the setting's default
SCALE = Scale(MODEL, 128, THRESHOLD, MIN_QUALITY)


@dataclass(frozen=True, slots=True)
class Faces:
    """Of n pictures in which a face was found: the person's and the picture's name, and what is enrolled.

    vectors: float32 (n, d); qualities: float64 (n,); digests: of the pictures, bytes.
    """

    names: list[str]
    files: list[str]
    vectors: NDArray[np.float32]
    qualities: NDArray[np.float64]
    digests: list[bytes]


def faces_of(folder: Path, half: str, models_dir: Path, cache: Path | None) -> Faces:
    """Find, assess and embed the largest face of each picture, or take them from the cache."""
    file = cache and cache / f"doctor-{half}.npz"
    if file is None or not file.exists():
        made = _made(folder, half, models_dir)
        if file is None:
            return made
        file.parent.mkdir(parents=True, exist_ok=True)
        digests = np.array([list(each) for each in made.digests], np.uint8)
        np.savez(
            file,
            names=made.names,
            files=made.files,
            vectors=made.vectors,
            qualities=made.qualities,
            digests=digests,
        )
    with np.load(file) as parts:
        return Faces(
            parts["names"].tolist(),
            parts["files"].tolist(),
            parts["vectors"],
            parts["qualities"],
            [row.tobytes() for row in parts["digests"]],
        )


def _made(folder: Path, half: str, models_dir: Path) -> Faces:
    detect, network = load_mtcnn(models_dir, threads=2), load("Facenet", models_dir, threads=2)
    names, files, vectors, qualities, digests = [], [], [], [], []
    paths = [path for person in people_of(folder, half) for path in person]
    for path in tqdm(paths, desc=half, unit="picture", disable=None):
        pixels = images.decode(path.read_bytes(), MAX_PIXELS).pixels
        face = max(detect(pixels), key=lambda face: face.box.area, default=None)
        if face is None:
            continue
        crop = crops.crop_faces(pixels, [face], SIDE_PX)
        names.append(path.parent.name)
        files.append(path.stem)
        vectors.append(network.embed(crop)[0])
        qualities.append(assess(pixels.shape[:2], [face], crop)[0].value)
        digests.append(digest(pixels))
    return Faces(names, files, np.stack(vectors), np.array(qualities), digests)


def exchanged(
    names: Sequence[str], random: np.random.Generator, *, singles: bool
) -> tuple[list[str], set[int]]:
    """Exchange the names of some pairs of samples of two people; returns the names, and whose were exchanged.

    singles: also pairs of people who have no other sample.
    """
    labels, touched = list(names), set[int]()
    number = dict(zip(*np.unique(names, return_counts=True), strict=True))
    while len(touched) < 2 * round(SHARE * len(names) / 2):
        one, two = map(int, random.integers(0, len(names), 2))
        same = names[one] == names[two] or {one, two} & touched
        if not same and (singles or number[names[one]] > 1 or number[names[two]] > 1):
            labels[one], labels[two] = names[two], names[one]
            touched |= {one, two}
    return labels, touched


def findings_of(faces: Faces, labels: Sequence[str], url: str | None = None) -> list[Finding]:
    """Enrol faces under these names in a new gallery, and check it; the ids of the samples are the files'."""
    with tempfile.TemporaryDirectory() as folder:
        url = url or f"sqlite:///{folder}/gallery.sqlite3"
        with closing(open_gallery(url, lock_timeout_s=600)) as gallery:
            gallery.clear()
            samples = [
                Sample(file, name, None, None, NOW, NOW, quality=float(quality), picture=picture)
                for file, name, quality, picture in zip(
                    faces.files, labels, faces.qualities, faces.digests, strict=True
                )
            ]
            gallery.upsert(samples, faces.vectors, MODEL)
            return check(gallery, SCALE)


def share_found(faces: Faces, seed: int, *, singles: bool) -> tuple[float, int]:
    """Exchange labels; returns the share of them that is found, and the number of findings."""
    labels, touched = exchanged(faces.names, np.random.default_rng(seed), singles=singles)
    findings = findings_of(faces, labels)
    first = {finding.samples[0].id for finding in findings[: round(TOP * len(labels))]}
    return sum(faces.files[place] in first for place in touched) / len(touched), len(findings)


def distances(faces: Faces) -> None:
    """Print how far faces are from the nearest of their own person and of others."""
    vectors = faces.vectors.astype(np.float64)
    people, labels = np.unique(faces.names, return_inverse=True)
    squares = (vectors**2).sum(axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * vectors @ vectors.T, 0))
    np.fill_diagonal(apart, np.inf)
    same = labels[:, None] == labels
    own, other = np.where(same, apart, np.inf).min(axis=1), np.where(same, np.inf, apart).min(axis=1)
    several = np.isfinite(own)
    random = np.random.default_rng(0)
    strangers = [
        apart[place, labels == who].min()
        for place, who in zip(range(len(labels)), random.integers(0, len(people), len(labels)), strict=True)
        if labels[place] != who
    ]
    far = UNLIKE * THRESHOLD
    print(f"{len(labels)} faces of {len(people)} people, of whom {sum(~several)} have no other")
    print(f"  own nearest farther than {far:.2f}: {np.mean(own[several] > far):.4f}")
    print(f"  that of a random other person is: {np.mean(np.array(strangers) > far):.4f}")
    print(f"  nearest other below {THRESHOLD}: {np.mean(other < THRESHOLD):.4f}")
    print(f"  the two nearest: {apart.min():.2f} apart; doubles are below {DOUBLE * THRESHOLD:.2f}")


def took(size: int, url: str | None) -> tuple[float, int]:
    """Check a gallery of made-up vectors, ten for each person: seconds, and the number of findings."""
    random = np.random.default_rng(size)
    centres = made_up.people(max(1, size // made_up.SAMPLES_EACH), random)
    whose = random.integers(0, len(centres), size)
    vectors = made_up.pictures(centres[whose], random)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_gallery(url or f"sqlite:///{folder}/gallery.sqlite3", 600)) as gallery,
    ):
        gallery.clear()
        for start in range(0, size, made_up.SAMPLES_PER_REQUEST):
            places = range(start, min(size, start + made_up.SAMPLES_PER_REQUEST))
            samples = [Sample(str(i), f"name {whose[i]}", None, None, NOW, NOW) for i in places]
            gallery.upsert(samples, vectors[places.start : places.stop], MODEL)
        gallery.load()
        began = time.perf_counter()
        found = len(check(gallery, SCALE))
        seconds = time.perf_counter() - began
        gallery.clear()
        return seconds, found


def main() -> None:
    """Print the figures of docs/doctor.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="labelled pictures; without them only times are measured")
    parser.add_argument("--cache", type=Path, help="keeps the vectors")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models", help="(%(default)s)")
    parser.add_argument("--seeds", type=int, default=10, help="exchanges of labels (%(default)s)")
    parser.add_argument("--singles", action="store_true", help="also those that nobody can see")
    parser.add_argument(
        "--list", type=int, default=0, help="print so many findings of the pictures as they are"
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[], help="samples of galleries to time")
    parser.add_argument("--database", metavar="URL", help="an empty one for --sizes; default: new files")
    arguments = parser.parse_args()
    for half in ("tune", "report", "both") if arguments.images else ():
        faces = faces_of(arguments.images, half, arguments.models_dir, arguments.cache)
        distances(faces)
        shares = [
            share_found(faces, seed, singles=arguments.singles)[0]
            for seed in tqdm(range(arguments.seeds), desc=half, unit="exchange", disable=None)
        ]
        print(f"  found in the first {TOP:.0%}: mean {np.mean(shares):.3f}, least {min(shares):.3f}")
    if arguments.images and arguments.list:
        for finding in findings_of(faces, faces.names)[: arguments.list]:
            ids = ", ".join(sample.id for sample in finding.samples)
            print(f"{finding.sure:.2f} {finding.what} {ids} {finding.distance} {finding.own}")
    for size in arguments.sizes:
        seconds, found = took(size, arguments.database)
        print(f"{size:,} samples: {seconds:.1f} s, {found} findings")


if __name__ == "__main__":
    main()
