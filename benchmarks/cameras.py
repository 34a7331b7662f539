"""Measures what `recognition watch` makes of visits: events right, wrong, doubled and missed, beside peers.

    python benchmarks/cameras.py --images lfw-people --cache cache --peers peers
    python benchmarks/cameras.py --simulate 200000

`--images` is laid out as Labeled Faces in the Wild (LFW), Name/Name_0001.jpg. Clips are made of the
photographs (cameras_clips.py), so the truth of each frame is known. Half of the people with four photographs
or more are enrolled, with one that no clip shows, beside 150 others; the rest are strangers. The people are
parted in two
halves by a hash of their names: the constants of recognition/cameras/tracking.py were chosen on `tune`, and
    the figures in docs/cameras.md are those of `report`. `--peers` is a folder with other trackers
    (cameras_peers.py).

`--simulate` lets so many frames, a day of them at 200,000, through motion, tracking and visits, with a
service that sees squares, and shows the memory of the process.

Data flow: photographs -> clips -> faces of each frame -> tracks -> events -> compared with the truth
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "face_detection", "feature_extraction")
)

import cameras_clips as clips
import cameras_day
import cameras_peers as peers
import quality
from cameras_seen import NOBODY, Eyes, Frames, Vectors, portraits, seen
from recognition.cameras import tracking
from recognition.cameras.motion import Motion
from recognition.config import Settings
from recognition.detector import OURS
from recognition.faces import Box

ROOT = Path(__file__).resolve().parents[1]
LEAST_PICTURES = 4  # of whoever is in the clips
OTHERS = 150  # enrolled besides
GAP_S = 10.0
SEED = 1
UNKNOWN = ""
MIN_QUALITY = Settings.model_fields["min_quality"].default

# Each track: the faces (their rows) that it has, in order, and whether it is a visit.
Tracks = list[list[int]]


@dataclass(frozen=True)
class Scene:
    """A clip, how it was seen, and which of its people are enrolled."""

    clip: clips.Clip
    frames: Frames
    enrolled: frozenset[str]


@dataclass(frozen=True)
class Gallery:
    """Who is enrolled: names, vectors (n, d), and the model's threshold."""

    names: Sequence[str]
    vectors: Vectors
    threshold: float

    def name(self, vector: Any) -> str:
        """Decide by the nearest sample, as the service does without other wishes."""
        distances = np.linalg.norm(self.vectors - vector, axis=1)
        nearest = int(distances.argmin())
        return self.names[nearest] if distances[nearest] < self.threshold else UNKNOWN


def ours(frames: Frames, cosine: float, step: int = 1) -> list[tuple[list[int], Vectors]]:
    """Follow the faces of each `step`-th frame: of each visit the rows of its faces, and what decides."""
    tracker = tracking.Tracker(GAP_S, cosine)
    rows: dict[tracking.Track, list[int]] = {}
    visits: list[tracking.Track] = []
    for number in range(0, len(frames.small), step):
        at = number / clips.RATE
        here = np.flatnonzero(frames.frame == number)
        faces = [
            tracking.Seen(Box(*map(float, frames.boxes[n])), float(frames.quality[n]), frames.vectors[n])
            for n in here
        ]
        for track, n in zip(tracker.see(faces, at), here, strict=True):
            rows.setdefault(track, []).append(int(n))
        visits += tracker.gone(at)
    visits += tracker.all_gone()
    return [(rows[track], track.vectors()) for track in visits]


def decided(vectors: Vectors, gallery: Gallery) -> str:
    """Name whoever the mean of some vectors is nearest to, as POST /events does."""
    mean = vectors.mean(axis=0)
    length = np.linalg.norm(vectors, axis=1).mean()
    return gallery.name(mean / np.linalg.norm(mean) * length)


def score(scene: Scene, visits: Sequence[tuple[list[int], Vectors]], gallery: Gallery) -> Counter[str]:
    """Compare the visits of a clip with those that there were."""
    count: Counter[str] = Counter()
    told: dict[int, int] = {}
    frames = scene.frames
    for rows, vectors in visits:
        whose = Counter(frames.whose[rows].tolist())
        presence, most = whose.most_common(1)[0]
        name = decided(vectors, gallery)
        if presence == NOBODY or scene.clip.presences[presence].poor:
            count["of nobody" if name == UNKNOWN else "wrong"] += 1
            continue
        if len(rows) - most > max(2, 0.2 * len(rows)):
            count["mixed"] += 1
        person = scene.clip.presences[presence].person
        told[presence] = told.get(presence, 0) + 1
        if told[presence] > 1:
            count["doubled"] += 1
        if name == (person if person in scene.enrolled else UNKNOWN):
            count["right"] += told[presence] == 1
        elif name == UNKNOWN:
            count["not named"] += 1
        else:
            count["wrong"] += 1
    there = [n for n, presence in enumerate(scene.clip.presences) if not presence.poor]
    count["visits"] += len(there)
    count["missed"] += len(set(there) - set(told))
    return count


def frame_by_frame(scene: Scene, gallery: Gallery, least: float = 0.0) -> Counter[str]:
    """Decide each face on its own, as `watch --frames` does with one frame a second."""
    count: Counter[str] = Counter()
    frames = scene.frames
    wrong_in, right_in = set(), set()
    for n in np.flatnonzero(frames.frame % clips.RATE == 0):
        name = gallery.name(frames.vectors[n]) if frames.quality[n] >= least else UNKNOWN
        presence = int(frames.whose[n])
        person = scene.clip.presences[presence].person if presence != NOBODY else None
        expected = person if person in scene.enrolled else UNKNOWN
        count["rows"] += name != UNKNOWN
        if name not in (UNKNOWN, expected):
            wrong_in.add(presence)
        elif name == expected:
            right_in.add(presence)
    there = [n for n, presence in enumerate(scene.clip.presences) if not presence.poor]
    count["visits"] += len(there)
    count["with a wrong row"] += len(wrong_in)
    count["without a right row"] += len(set(there) - right_in)
    return count


def scenes(
    images: Path, half: str, count: int, eyes: Eyes, cache: Path | None
) -> tuple[list[Scene], Gallery]:
    """Make the clips of one half of the people, and a gallery with half of them."""
    folders = quality.people_of(images, half)
    many = [paths for paths in folders if len(paths) >= LEAST_PICTURES]
    people = {paths[0].parent.name: [str(path) for path in paths[1:]] for paths in many}
    others = [paths[0] for paths in folders if len(paths) < LEAST_PICTURES][:OTHERS]
    names, vectors = portraits([paths[0] for paths in many[::2]] + others, eyes, cache)
    made = clips.make(people, count, SEED)
    gallery = Gallery(names, vectors, eyes.network.model.threshold)
    return [Scene(clip, seen(clip, eyes, cache), frozenset(names)) for clip in made], gallery


def measured(some: Sequence[Scene], follow: Callable[[Frames], Any], gallery: Gallery) -> Counter[str]:
    """Sum up over clips."""
    total: Counter[str] = Counter()
    for scene in some:
        total.update(score(scene, follow(scene.frames), gallery))
    return total


def moving(some: Sequence[Scene]) -> dict[str, list[int]]:
    """Tell in how many frames with a face, and without anybody, something moves: `[moving, all]`.

    The first two seconds of a clip are left out, in which the background is not known.
    """
    counts = {"face": [0, 0], "nobody": [0, 0]}
    for scene in some:
        motion = Motion()
        faces = set(scene.frames.frame[scene.frames.whose != NOBODY].tolist())
        present = [(each.begins - 1, each.ends + 3) for each in scene.clip.presences]
        for number, small in enumerate(scene.frames.small):
            at = number / clips.RATE
            moves = motion.moves(small, at)
            if at < 2 or (number not in faces and any(start <= at < end for start, end in present)):
                continue
            count = counts["face" if number in faces else "nobody"]
            count[0] += moves
            count[1] += 1
    return counts


def table(report: dict[str, Any]) -> str:
    """Lay the report out as Markdown."""
    shown = "right", "not named", "wrong", "doubled", "missed", "mixed", "of nobody"
    lines = [f"| {report['visits']} visits | {' | '.join(shown)} |", "| --- |" + " ---: |" * len(shown)]
    lines += [
        f"| {name} | {' | '.join(str(count.get(each, 0)) for each in shown)} |"
        for name, count in report["events"].items()
    ]
    frame = report["frame by frame"]
    lines += [
        "",
        f"Frame by frame, one a second: {frame['rows']} rows with a name for {frame['visits']} visits; "
        f"{frame['with a wrong row']} had a wrong one, {frame['without a right row']} none that is right.",
        "Something moves in {} of {} frames with a face, and in {} of {} without anybody.".format(
            *report["moving"]["face"], *report["moving"]["nobody"]
        ),
    ]
    return "\n".join(lines)


def compared(options: argparse.Namespace) -> dict[str, Any]:
    """Measure events on the clips."""
    eyes = Eyes(options.models_dir, options.model, options.detector, options.threads)
    some, gallery = scenes(options.images, options.half, options.clips, eyes, options.cache)
    model = eyes.network.model
    cosine = 1 - (2 * model.threshold / model.distance_range[1]) ** 2 / 2
    ways: dict[str, Callable[[Frames], Any]] = {
        f"{clips.RATE / step:.2g} frames a second": partial(ours, cosine=cosine, step=step)
        for step in (1, 2, 5)
    }
    if options.peers:
        peers.use(options.peers)
        ways |= {
            "ours, optimal assignment": partial(peers.optimal, cosine=cosine, ours=ours),
            "norfair, with vectors": partial(peers.norfair, cosine=cosine, gap_s=GAP_S),
            "ByteTrack, joined by vectors": partial(peers.bytetrack, cosine=cosine, gap_s=GAP_S),
            "overlap alone": partial(peers.boxes_alone, gap_s=GAP_S),
        }
    events = {name: dict(measured(some, follow, gallery)) for name, follow in ways.items()}
    frame: Counter[str] = Counter()
    for scene in some:
        frame.update(frame_by_frame(scene, gallery, MIN_QUALITY))
    return {
        "visits": next(iter(events.values()))["visits"],
        "events": events,
        "frame by frame": dict(frame),
        "moving": moving(some),
    }


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder with Name/Name_0001.jpg")
    parser.add_argument("--half", choices=("tune", "report"), default="report", help="of the people")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--cache", type=Path, help="folder in which is kept what was seen")
    parser.add_argument("--peers", type=Path, help="folder with norfair and trackers")
    parser.add_argument("--model", default="Facenet", help="as EMBEDDING_MODEL has it, and prepared")
    parser.add_argument("--detector", choices=OURS, default="mtcnn", help="our detector")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--simulate", type=int, default=0, help="frames whose memory is shown")
    parser.add_argument("--json", type=Path, help="file for the report")
    options = parser.parse_args(argv)
    if not (options.images or options.simulate):
        parser.error("name --images or --simulate")
    return options


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the tables, and return the report."""
    options = arguments(argv)
    report: dict[str, Any] = {}
    if options.images:
        report = compared(options)
        print(table(report))
    if options.simulate:
        report["memory"] = cameras_day.simulated(options.simulate)
        for frames, mb, visits in report["memory"]:
            print(f"{frames:7d} frames: {mb:.1f} MB, {visits} visits")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


if __name__ == "__main__":
    main()
