"""What a kept face is worth, and what it costs.

    python benchmarks/faces.py vectors --images lfw --half report
    python benchmarks/faces.py enrolment
    python benchmarks/faces.py cost --samples 10000

`vectors` makes the vector of a face of its picture, and once more of what would be kept of it, for each size
and quality, and prints how far these lie apart, how much that changes the distances from other faces, and
what the kept face takes. It takes the largest face of the first two pictures of each person; `--images` is
laid out as Labeled Faces in the Wild (LFW). Size and quality were chosen on the half `tune` of its people,
and the figures in GALLERY.md are those of `report` (see quality.py). With `--half none` it takes each picture
in the folder for that of another person.

`enrolment` enrols photographs, from 330 to 4,352 pixels high as in speed.py, four in a request, with
KEEP_FACES=1 and 0 in turn.

`cost` enrols the same made-up samples into new galleries, with faces and without, in turn: 1,000 at a time,
and one by one. The faces are those of the demo photographs. Then both are opened and searched in turn by new
processes. The same is done with PostgreSQL where its package is installed, unless `--sqlite-only` is given.

Both print medians, and the medians of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import base64
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the services have it
sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import numpy as np
import simplejpeg
import sqlalchemy as sa
from numpy.typing import NDArray
from tqdm import tqdm

from embedding.network import load
from gallery import MODEL, TIMEOUT_S, people, pictures, postgresql, reader, sample
from quality import CROPS_PER_CALL, MAX_PIXELS, ROOT, Pipeline, people_of
from recognition import config
from recognition.app import create_app
from recognition.cli.local import Embedder
from recognition.detector import load_mtcnn
from recognition.faces import Face, KeptFace
from recognition.gallery import Gallery, open_gallery
from recognition.pictures.crops import crop_faces
from recognition.pictures.keeping import MAX_SIDE_PX, QUALITY, cut, keep_face
from recognition.pictures.quality import SIDE_PX
from serving import pictures as images
from speed import photographs

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Encode = Callable[[Pixels], bytes]
Milliseconds = dict[str, list[float]]

# Longer side at most, and the JPEG's quality; 0: without loss.
KINDS = (
    *((side, 0) for side in (160, 192, 224, MAX_SIDE_PX, 288, 384)),
    *((MAX_SIDE_PX, quality) for quality in (80, 85, 90, 93, 95, 97, QUALITY, 100)),
)
PERCENTILES = (50, 95, 99, 100)
SURE = 0.95  # of the detector, that it is a face

FACES = {"with faces": True, "without": False}
PER_REQUEST = 4  # photographs
SAMPLES_PER_REQUEST = 1000
ONE_BY_ONE = 50
STARTS = 5
SEARCHES = 20  # by each
DEMO_FACES = 60


# How far vectors move


def face_of(path: Path, pipeline: Pipeline) -> tuple[Pixels, Face] | None:
    """Return a picture, uint8 (H, W, 3), and its largest face; None: there is no sure one."""
    picture = images.decode(path.read_bytes(), MAX_PIXELS).pixels
    face = max(pipeline.detect(picture), key=lambda face: face.box.area, default=None)
    return None if face is None or face.confidence < SURE else (picture, face)


def vectors_of(faces: Sequence[tuple[Pixels, Face]], pipeline: Pipeline) -> Vectors:
    """Turn n faces into vectors: float32 (n, 128)."""
    crops = [crop_faces(picture, [face], SIDE_PX)[0] for picture, face in faces]
    steps = range(0, len(crops), CROPS_PER_CALL)
    return np.concatenate(
        [pipeline.network.embed(np.stack(crops[start : start + CROPS_PER_CALL])) for start in steps]
    )


def distances(some: Vectors, others: Vectors) -> NDArray[np.float64]:
    """Return the distances of all of some from all others: float64 (n, m)."""
    return np.stack([np.linalg.norm(others - one, axis=1) for one in some]).astype(np.float64)


def kept(picture: Pixels, face: Face, side: int, quality: int) -> tuple[tuple[Pixels, Face], int, float]:
    """Return what is kept of a face, decoded again; how many bytes it takes, and how many ms it took."""
    began = time.perf_counter()
    part, moved = cut(picture, face, side)
    if not quality:
        return (part, moved), part.nbytes, 1000 * (time.perf_counter() - began)
    jpeg = simplejpeg.encode_jpeg(part, quality=quality, colorspace="RGB", colorsubsampling="444")
    taken = 1000 * (time.perf_counter() - began)
    return (simplejpeg.decode_jpeg(jpeg, "RGB"), moved), len(jpeg), taken


def shown(values: Any) -> str:
    """Render the median, the 95th and 99th percentile, and the largest."""
    return " ".join(f"{value:.3f}" for value in np.percentile(values, PERCENTILES))


def movement(people_pictures: Sequence[Sequence[Path]], models_dir: Path) -> None:
    """Print a line for each size and quality."""
    pipeline = Pipeline(models_dir, threads=2)
    enrolled, probes, own = [], [], []
    for paths in tqdm(people_pictures, desc="faces", unit="person"):
        found = [face for path in paths[:2] if (face := face_of(path, pipeline)) is not None]
        if found:
            own += [(len(enrolled), len(probes))] if len(found) == 2 else []
            enrolled.append(found[0])
            probes += found[1:]
    vectors, others = vectors_of(enrolled, pipeline), vectors_of(probes or enrolled, pipeline)
    genuine = np.zeros((len(vectors), len(others)), dtype=bool)
    for row, column in own:
        genuine[row, column] = True
    strange = ~genuine if probes else ~np.eye(len(vectors), dtype=bool)
    large = sum(max(cut(*face, 1 << 16)[0].shape) > MAX_SIDE_PX for face in enrolled)
    print(f"{len(enrolled)} faces, {large} of them larger than {MAX_SIDE_PX} px with their margin.")
    print("Of each the median, the 95th and the 99th percentile and the largest.")
    before = distances(vectors, others)
    for side, quality in KINDS:
        made = [kept(*face, side, quality) for face in enrolled]
        moved = vectors_of([face for face, _, _ in made], pipeline)
        changes = np.abs(distances(moved, others) - before)
        sizes, times = [size for _, size, _ in made], [taken for _, _, taken in made]
        print(
            f"{side} px, {f'quality {quality}' if quality else 'no loss'}: "
            f"moved {shown(np.linalg.norm(moved - vectors, axis=1))}, distances changed "
            + (f"own {shown(changes[genuine])} " if own else "")
            + f"others {shown(changes[strange])}; "
            f"{np.mean(sizes):,.0f} bytes, 95 % {np.percentile(sizes, 95):,.0f}, "
            f"{statistics.median(times):.2f} ms",
            flush=True,
        )


# What they cost


def enrolment(models_dir: Path) -> None:
    """Enrol photographs through the whole service, with faces and without in turn."""
    detector, network = load_mtcnn(models_dir, threads=2), load("Facenet", models_dir, threads=2)
    images_sent = [base64.b64encode(picture).decode("ascii") for picture in photographs(None)]
    with tempfile.TemporaryDirectory() as folder:
        galleries = {kind: open_gallery(f"sqlite:///{folder}/{kind}", TIMEOUT_S) for kind in FACES}
        clients = {
            kind: create_app(
                config.read({"KEEP_FACES": str(int(FACES[kind]))}),
                detector=detector,
                embedder=Embedder(network),
                gallery=gallery,
            ).test_client()
            for kind, gallery in galleries.items()
        }
        times: Milliseconds = {kind: [] for kind in clients}
        for start in tqdm(range(0, len(images_sent), PER_REQUEST), desc="enrolling", unit="request"):
            body = [
                {"id": str(number), "name": "somebody", "image": image}
                for number, image in enumerate(images_sent[start : start + PER_REQUEST], start)
            ]
            for kind, client in clients.items():
                times[kind].append(timed(partial(client.post, "/update-samples", json=body)))
        told(f"{PER_REQUEST} photographs enrolled", times)
        for gallery in galleries.values():
            gallery.close()


def demo_faces(models_dir: Path, count: int) -> list[KeptFace]:
    """Return what is kept of some demo photographs."""
    detect = load_mtcnn(models_dir, threads=2)
    kept = []
    for path in sorted((models_dir / "demo" / "train").glob("*/*.jpg"))[:count]:
        picture = images.decode(path.read_bytes(), MAX_PIXELS).pixels
        kept += [keep_face(picture, face) for face in detect(picture)[:1]]
    return kept


def timed(work: Callable[[], object]) -> float:
    """Return the milliseconds that it takes."""
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def told(what: str, milliseconds: Milliseconds) -> None:
    """Print medians, and the median of the ratios of neighbours."""
    ratios = [w / wo for w, wo in zip(milliseconds["with faces"], milliseconds["without"], strict=True)]
    medians = ", ".join(f"{kind} {statistics.median(each):,.1f} ms" for kind, each in milliseconds.items())
    print(f"{what}: {medians}, ratio {statistics.median(ratios):.2f}", flush=True)


def enrol(gallery: Gallery, start: int, vectors: NDArray[np.float32], faces: Sequence[KeptFace]) -> None:
    """Enrol vectors under the ids `start`, `start` + 1, ...; with these faces in turn, if there are any."""
    new = [sample(str(start + number)) for number in range(len(vectors))]
    if faces:
        new = [replace(each, face=faces[number % len(faces)]) for number, each in enumerate(new)]
    gallery.upsert(new, vectors, MODEL)


def size_of(gallery: Gallery) -> int:
    """Return how many bytes a gallery takes on the disk."""
    with gallery.engine.connect() as connection:
        if gallery.engine.dialect.name == "postgresql":
            tables = "pg_total_relation_size('samples') + pg_total_relation_size('faces')"
            return int(connection.exec_driver_sql(f"SELECT {tables}").scalar_one())
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return int(pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def costs(urls: dict[str, str], size: int, faces: Sequence[KeptFace]) -> None:
    """Fill two galleries, which must be empty, and print what that takes, and starts and searches then."""
    galleries = {kind: open_gallery(url, TIMEOUT_S) for kind, url in urls.items()}
    random = np.random.default_rng(size)
    vectors = pictures(people(size + ONE_BY_ONE, random), random)
    for what, starts, step in (
        (f"{SAMPLES_PER_REQUEST:,} enrolled", range(0, size, SAMPLES_PER_REQUEST), SAMPLES_PER_REQUEST),
        ("1 enrolled", range(size, size + ONE_BY_ONE), 1),
    ):
        times: Milliseconds = {kind: [] for kind in galleries}
        for start in tqdm(starts, desc=what):
            for kind, gallery in galleries.items():
                some = vectors[start : start + step]
                work = partial(enrol, gallery, start, some, faces if FACES[kind] else ())
                times[kind].append(timed(work))
        told(what, times)
    for kind, gallery in galleries.items():
        print(f"{kind}: {size_of(gallery) / 1e6:,.0f} MB, {size_of(gallery) / size:,.0f} bytes a sample")
    begun: Milliseconds = {kind: [] for kind in galleries}
    searched: Milliseconds = {kind: [] for kind in galleries}
    for number in tqdm(range(STARTS), desc="starts"):
        for kind, url in urls.items():
            with reader(url) as pipe:
                begun[kind].append(1000 * pipe.recv()[0])
                for vector in vectors[number :: max(1, size // SEARCHES)]:
                    searched[kind].append(timed(partial(asked, pipe, vector[np.newaxis])))
    told("a new process, until its first search", begun)
    told("a search by it", searched)
    told("cleared", {kind: [timed(gallery.clear)] for kind, gallery in galleries.items()})
    for gallery in galleries.values():
        gallery.close()


def asked(pipe: Connection, vector: Vectors) -> None:
    """Let another process search."""
    pipe.send(vector)
    pipe.recv()


@contextmanager
def databases(*, sqlite_only: bool) -> Iterator[dict[str, dict[str, str]]]:
    """Name two new databases of each kind."""
    with tempfile.TemporaryDirectory() as folder, postgresql(Path(folder)) as servers:
        sqlite = {kind: f"sqlite:///{folder}/{number}.sqlite3" for number, kind in enumerate(FACES)}
        named = {"SQLite": sqlite}
        if servers and not sqlite_only:
            engine = sa.create_engine(servers[0], isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.exec_driver_sql("CREATE DATABASE other")
            engine.dispose()
            other = sa.make_url(servers[0]).set(database="other")
            both = (servers[0], other.render_as_string(hide_password=False))
            named["PostgreSQL"] = dict(zip(FACES, both, strict=True))
        yield named


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    measured = parser.add_subparsers(dest="measured", required=True)
    vectors = measured.add_parser("vectors", help="how far vectors move")
    vectors.add_argument("--images", type=Path, required=True)
    vectors.add_argument("--half", choices=("tune", "report", "both", "none"), default="report")
    vectors.add_argument("--people", type=int, help="so many of them; default: all")
    cost = measured.add_parser("cost", help="what enrolment, disk, start and search cost")
    cost.add_argument("--samples", type=int, default=10_000)
    cost.add_argument("--sqlite-only", action="store_true")
    measured.add_parser("enrolment", help="what the enrolment of photographs costs")
    arguments = parser.parse_args()
    if arguments.measured == "vectors":
        if arguments.half == "none":
            every = sorted(path for path in arguments.images.rglob("*") if path.suffix.lower() == ".jpg")
            found = [[path] for path in every]
        else:
            found = people_of(arguments.images, arguments.half)
        movement(found[: arguments.people], arguments.models_dir)
        return
    if arguments.measured == "enrolment":
        enrolment(arguments.models_dir)
        return
    faces = demo_faces(arguments.models_dir, DEMO_FACES)
    mean = statistics.mean(len(face.jpeg) for face in faces)
    print(f"{len(faces)} faces of {mean:,.0f} bytes on average")
    with databases(sqlite_only=arguments.sqlite_only) as named:
        for backend, urls in named.items():
            print(f"{backend}, {arguments.samples:,} samples")
            costs(urls, arguments.samples, faces)


if __name__ == "__main__":
    main()
