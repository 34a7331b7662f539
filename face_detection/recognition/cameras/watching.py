"""Watches one source: its frames become faces, faces visits, and each visit one event.

A visit is told to the service as soon as it is sure enough, so that a door opens in time, again where nobody
was recognised and twice as much has been seen of the face, and when it has ended. While the service is away,
frames are dropped, and visits wait.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import cv2
import numpy as np
from numpy.typing import NDArray

from recognition.cameras.feeds import Look, Stopping
from recognition.cameras.reach import FrameRefused, Kind, Reach, Service, ServiceAway, Sight, VisitRefused
from recognition.cameras.tracking import Seen, Track, Tracker
from recognition.errors import ModelChanged
from recognition.faces import Face
from recognition.pictures.keeping import keep_face
from recognition.visits import Event, Visit
from serving.errors import NotFound

BUSY_S = 0.5  # after which a file, or what is left at the end, asks a busy service again
WAITING = 1000  # visits that have ended while it is away; the oldest is given up for another
AGAIN = 2.0  # times the evidence there was, with which somebody unknown is asked for again
NO_VECTORS = np.empty((0, 0), np.float32)


@dataclass(slots=True, eq=False)
class _Known:
    """What is known of a visit beside what its track has.

    quality, face, picture: of its best face.
    asked: the evidence with which the service was asked; event: what it said.
    """

    since: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    quality: float = -1.0
    face: Face | None = None
    picture: bytes | None = field(default=None, repr=False)
    asked: float = 0.0
    event: Event | None = None


class Watcher:
    """Watches one camera."""

    def __init__(
        self,
        camera: str,
        service: Service,
        reach: Reach,
        *,
        gap_s: float,
        live: bool,
        stopping: Stopping,
        utc: Callable[[float], datetime],
        tell: Callable[[str], None],
        emit: Callable[[Event, bytes | None], None],
        present: Callable[[Sequence[Event]], None] = lambda events: None,
    ) -> None:
        """Begin with nobody.

        gap_s: who is away for no longer has not gone.
        live: frames that nobody looks at are gone; those of a file wait.
        utc: what time it was at a moment of the source.
        tell: is told what goes wrong with visits.
        emit: gets each event, whenever the service has said something of it, and a picture of the face.
        present: gets the events under way, when they change.
        """
        self._camera, self._service, self._reach = camera, service, reach
        self._live, self._stopping = live, stopping
        self._utc, self._tell, self._emit, self._present = utc, tell, emit, present
        self._tracker = Tracker(gap_s, cosine=1.0)
        self._fingerprint = ""
        self._known: dict[Track, _Known] = {}
        self._ended: deque[tuple[Visit, str]] = deque()  # with the fingerprints of their vectors
        self._shown: list[tuple[str, str | None]] = []
        self._refused = False

    def busy(self) -> bool:
        """Tell whether anybody is followed, so that each frame counts."""
        return bool(self._tracker.tracks)

    def watch(self, looks: Iterable[Look]) -> None:
        """Watch to the end; the visits that are under way then are ended.

        Raises:
            SourceLost; and what the service raises beside ServiceAway.
        """
        try:
            for look in looks:
                self.step(look)
        finally:
            self._end(self._tracker.all_gone())
            self._deliver(last=True)
            self._show()

    def step(self, look: Look) -> None:
        """Take one moment of the source."""
        sight = self._seen(look.jpeg) if look.jpeg is not None else None
        if sight is not None and look.jpeg is not None:
            self._follow(sight, look.jpeg, look.at)
        self._end(self._tracker.gone(look.at))
        self._deliver()
        self._ask()
        self._show()

    def _seen(self, jpeg: bytes) -> Sight | None:
        """Ask what is in a frame; None: the service is away, and the frame is dropped."""
        while True:
            try:
                sight = self._reach.ask("see", lambda: self._service.see(jpeg))
            except FrameRefused as e:
                if not self._refused:
                    self._tell(f"a frame cannot be looked at: {e} Others may follow without a word.")
                self._refused = True
                return None
            if sight is not None or self._live or self._waits("see"):
                return sight

    def _waits(self, kind: Kind) -> bool:
        """Wait until the service can be asked again; tell whether it is time to stop."""
        return self._stopping.wait(max(BUSY_S, self._reach.wait_s(kind)))

    def _follow(self, sight: Sight, jpeg: bytes, at: float) -> None:
        if sight.faces and sight.fingerprint != self._fingerprint:
            self._change_model(sight)
        seen = [Seen(each.face.box, each.quality, each.vector) for each in sight.faces]
        pixels: NDArray[np.uint8] | None = None
        for track, each in zip(self._tracker.see(seen, at), sight.faces, strict=True):
            known = self._known.setdefault(track, _Known(self._utc(at)))
            if each.quality > known.quality:
                pixels = _decoded(jpeg) if pixels is None else pixels
                known.quality, known.face = each.quality, each.face
                known.picture = keep_face(pixels, each.face).jpeg
        self._forget()

    def _change_model(self, sight: Sight) -> None:
        """Take vectors of another model from now on, also of what is under way."""
        self._fingerprint, self._tracker.cosine = sight.fingerprint, sight.cosine
        for track, known in self._known.items():
            again = self._again(known.picture)
            same = again is not None and again.fingerprint == self._fingerprint
            faces = again.faces[:1] if again is not None and same else []
            track.take_anew([Seen(track.box, known.quality, each.vector) for each in faces])

    def _again(self, picture: bytes | None) -> Sight | None:
        """See a visit's face again, by the model that the gallery has now; None: that cannot be."""
        if picture is None:
            return None
        try:
            return self._reach.ask("see", lambda: self._service.see(picture))
        except FrameRefused:
            return None

    def _forget(self) -> None:
        """Forget what is known of tracks that are no longer followed."""
        self._known = {track: self._known[track] for track in self._tracker.tracks if track in self._known}

    def _end(self, tracks: Sequence[Track]) -> None:
        for track in tracks:
            visit = self._visit(track, self._utc(track.seen))
            if visit is not None:
                self._ended.append((visit, self._fingerprint))
        self._forget()
        if len(self._ended) > WAITING:
            self._ended.popleft()
            self._tell(f"a visit is given up: {WAITING} wait already")

    def _visit(self, track: Track, until: datetime | None) -> Visit | None:
        """Return a visit so far; None: there is none, as one that lost its vectors before it was told."""
        known = self._known.get(track)
        if known is None or known.face is None or not (track.best or known.event):
            return None
        return Visit(
            known.id,
            self._camera,
            known.since,
            max(until, known.since) if until else None,
            track.frames,
            known.face.box,
            known.quality,
            track.vectors() if track.best else NO_VECTORS,
            known.picture,
        )

    def _deliver(self, *, last: bool = False) -> None:
        """Tell the service of the visits that have ended, the oldest first.

        last: there is no later; with a file the service is waited for.
        """
        while self._ended:
            visit, fingerprint = self._ended[0]
            told = self._reach.ask("record", lambda: self._recorded(visit, fingerprint), now=last)  # noqa: B023  asked at once
            if told is not None:
                self._ended.popleft()
                for event in told:
                    self._emit(event, _picture(visit))
            elif not last:
                return
            elif self._live or self._waits("record"):
                self._tell(f"{len(self._ended)} visits are lost: the service is away")
                return

    def _ask(self) -> None:
        """Ask who those are of whom enough has been seen, and again if nobody knows them."""
        for track, known in self._known.items():
            named = known.event is not None and known.event.name is not None
            if not (track.sure and track.best) or named or track.evidence < AGAIN * known.asked:
                continue
            visit = self._visit(track, None)
            if visit is None:
                continue
            told = self._reach.ask("record", lambda: self._recorded(visit, self._fingerprint))  # noqa: B023  asked at once
            if told is None:
                return
            track.told, known.asked = True, track.evidence
            for event in told:
                known.event = event
                self._emit(event, _picture(visit))

    def _recorded(self, visit: Visit, fingerprint: str) -> list[Event]:
        """Tell the service of a visit: one event, or none, if it cannot be made one."""
        try:
            try:
                return [self._service.record(visit, fingerprint)]
            except ModelChanged:
                return [self._service.record(*self._made_anew(visit, fingerprint))]
        except ModelChanged:
            raise ServiceAway("The gallery changes its model.") from None
        except NotFound:  # it is erased, or was never told
            refused = "its face cannot be found again for another model" if len(visit.vectors) else ""
        except VisitRefused as e:
            refused = str(e)
        if refused and visit.until is not None:
            self._tell(f"a visit is given up: {refused}")
        return []

    def _made_anew(self, visit: Visit, fingerprint: str) -> tuple[Visit, str]:
        """Return a visit with a vector of the gallery's model, or none if its face is not found now."""
        try:
            sight = self._service.see(_picture(visit) or b"")
        except FrameRefused:
            sight = None
        if sight is None or not sight.faces:
            return replace(visit, vectors=NO_VECTORS), fingerprint
        return replace(visit, vectors=sight.faces[0].vector[None]), sight.fingerprint

    def _show(self) -> None:
        """Present who is there, if that has changed."""
        events = [known.event for known in self._known.values() if known.event is not None]
        shown = [(event.id, event.name) for event in events]
        if shown != self._shown:
            self._shown = shown
            self._present(events)


def _picture(visit: Visit) -> bytes | None:
    """Return the picture of a visit that was made here: a JPEG."""
    return visit.picture if isinstance(visit.picture, bytes) else None


def _decoded(jpeg: bytes) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(pixels, np.uint8)
