"""Other trackers on the clips of cameras.py: norfair, and ByteTrack, which knows no vectors.

    pip install --target peers norfair==2.3.0 trackers==2.6.1

Both bring along what this project cannot have beside it: norfair wants NumPy 1, trackers another build of
OpenCV. So they are installed elsewhere, and what is installed here goes before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import cameras_clips as clips
from cameras_seen import Frames, Vectors
from recognition.cameras import tracking

Visits = list[tuple[list[int], Vectors]]
Rows = dict[int, list[int]]  # of faces, by the number of their track


def visits_of(frames: Frames, rows: Rows) -> Visits:
    """Take for visits what ours takes for them, so that only the tracking differs."""
    visits = []
    for some in rows.values():
        told = [n for n in some if frames.quality[n] >= tracking.LEAST]
        if frames.quality[told].sum() >= tracking.ENOUGH:
            best = sorted(told, key=lambda n: -frames.quality[n])[: tracking.BEST]
            visits.append((some, frames.vectors[best]))
    return visits


def norfair(frames: Frames, cosine: float, gap_s: float) -> Visits:
    """Follow with norfair: overlap from frame to frame, vectors for whoever was lost, as in its README."""
    from norfair import Detection, Tracker

    def alike(new: Any, old: Any) -> float:
        before = [each.embedding for each in old.past_detections if each.embedding is not None]
        after = new.last_detection.embedding
        return 1 - max((_cosine(after, each) for each in before), default=-1.0)

    tracker = Tracker(
        distance_function="iou",
        distance_threshold=0.9,
        initialization_delay=0,
        hit_counter_max=2 * clips.RATE,
        past_detections_length=tracking.BEST,
        reid_distance_function=alike,
        reid_distance_threshold=1 - tracking.ALIKE * cosine,
        reid_hit_counter_max=round(gap_s * clips.RATE),
    )
    rows: Rows = {}
    for number in range(len(frames.small)):
        here = [
            Detection(_corners(frames, n), np.ones(2), {"row": int(n)}, "face", frames.vectors[n])
            for n in np.flatnonzero(frames.frame == number)
        ]
        own = {id(each) for each in here}
        for each in tracker.update(here):
            if id(each.last_detection) in own:
                rows.setdefault(each.id, []).append(each.last_detection.data["row"])
    return visits_of(frames, rows)


def bytetrack(frames: Frames, cosine: float, gap_s: float) -> Visits:
    """Follow with ByteTrack, and join tracks that are alike, as it knows nothing of vectors."""
    from supervision import Detections
    from trackers import ByteTrackTracker

    tracker = ByteTrackTracker(
        lost_track_buffer=round(30 * gap_s),  # frames, at 30 a second
        frame_rate=clips.RATE,
        track_activation_threshold=0.5,
        minimum_consecutive_frames=1,
    )
    rows: Rows = {}
    for number in range(len(frames.small)):
        here = np.flatnonzero(frames.frame == number)
        if len(here):
            found = Detections(
                xyxy=np.stack([_corners(frames, n).ravel() for n in here]).astype(np.float32),
                confidence=frames.confidence[here],
                class_id=np.zeros(len(here), int),
                data={"row": here},
            )
        else:
            found = Detections.empty()
        followed = tracker.update(found)
        if followed.tracker_id is not None and len(followed):
            for track, row in zip(followed.tracker_id.tolist(), followed.data["row"].tolist(), strict=True):
                if track >= 0:
                    rows.setdefault(track, []).append(row)
    return visits_of(frames, _joined(frames, rows, cosine, gap_s))


def optimal(frames: Frames, cosine: float, ours: Callable[..., Visits]) -> Visits:
    """Follow as ours does, but assign faces to tracks so that all together fit best (Kuhn, 1955)."""
    from scipy.optimize import linear_sum_assignment

    def assigned(pairs: Any) -> dict[int, tracking.Track]:
        tracks = list({track: None for _, _, track in pairs})
        faces = sorted({number for _, number, _ in pairs})
        table = np.zeros((len(faces), len(tracks)))
        for fits, number, track in pairs:
            table[faces.index(number), tracks.index(track)] = 10 + fits
        chosen = zip(*linear_sum_assignment(table, maximize=True), strict=True)
        return {faces[row]: tracks[column] for row, column in chosen if table[row, column] > 0}

    before = tracking.assigned
    tracking.assigned = assigned
    try:
        return ours(frames, cosine)
    finally:
        tracking.assigned = before


def boxes_alone(frames: Frames, gap_s: float) -> Visits:
    """Follow by overlap alone, as a tracker without vectors does (Bochinski, Eiselein, Sikora, AVSS 2017)."""
    last: dict[int, tuple[int, Any]] = {}
    rows: Rows = {}
    for number in range(len(frames.small)):
        for n in np.flatnonzero(frames.frame == number):
            box = frames.boxes[n]
            overlaps = {
                track: _iou(box, other)
                for track, (seen, other) in last.items()
                if 0 < number - seen <= gap_s * clips.RATE
            }
            track = max(overlaps, key=lambda each: overlaps[each], default=-1)
            if overlaps.get(track, 0) < 0.2:
                track = len(rows)
            last[track] = number, box
            rows.setdefault(track, []).append(int(n))
    return visits_of(frames, rows)


def use(folder: Path) -> None:
    """Let what is installed in a folder be found, after everything else."""
    sys.path.append(str(folder))


def _joined(frames: Frames, rows: Rows, cosine: float, gap_s: float) -> Rows:
    joined: Rows = {}
    for some in sorted(rows.values()):
        for before in joined.values():
            gap = (frames.frame[some[0]] - frames.frame[before[-1]]) / clips.RATE
            if 0 < gap <= gap_s and _cosine(_mean(frames, before), _mean(frames, some)) >= cosine:
                before += some
                break
        else:
            joined[len(joined)] = list(some)
    return joined


def _mean(frames: Frames, rows: list[int]) -> Any:
    best = sorted(rows, key=lambda n: -frames.quality[n])[: tracking.BEST]
    return frames.vectors[best].mean(axis=0)


def _cosine(one: Any, other: Any) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def _corners(frames: Frames, n: int) -> Any:
    x, y, w, h = frames.boxes[n].tolist()
    return np.array([[x, y], [x + w, y + h]])


def _iou(one: Any, other: Any) -> float:
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[0] + one[2], other[0] + other[2]), min(one[1] + one[3], other[1] + other[3])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    return float(shared / (one[2] * one[3] + other[2] * other[3] - shared))
