"""Delivers events to all outlets, each at its own speed, from the spool."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recognition.events.delivery import Failed, Outlet, Pace, Refused, Say
from recognition.events.spool import Spool
from recognition.visits import Event

if TYPE_CHECKING:  # of MQTT's library; few have it
    from recognition.events.mqtt import Mqtt

LOOK_AFTER_S = 300.0  # how often it is asked whether events are still there, and whose they are by now
LOOKING_SHARE = 10  # of the time at most a tenth is spent on asking, however many wait
MAX_UNANSWERED = 3  # questions in a row, before the service is taken to be away
CLOSING_S = 5.0

# An event as it is by now, by its id; None: it is gone. May raise OSError: it cannot be told now.
EventOf = Callable[[str], Event | None]


class Outlets:
    """Where events go. `send` and `present` may be called by several threads."""

    def __init__(
        self,
        spool: Spool,
        outlets: Sequence[Outlet],
        say: Say,
        *,
        live: Mqtt | None = None,
        event_of: EventOf | None = None,
        pace: Pace = Pace(),  # noqa: B008  it has no state
    ) -> None:
        """Begin to deliver what still waits from the last time.

        Args:
            spool: is closed with the outlets.
            outlets: each with a name of its own.
            say: takes messages.
            live: the one of them that shows who is there now; None: none does.
            event_of: asks whether events are still there. Until it has answered for all that wait from the
                last time, nothing is delivered: they may have been erased. None: nobody knows.
            pace: of tries after failures.
        """
        self._spool, self._outlets, self._say, self._live = spool, outlets, say, live
        self._event_of, self._pace = event_of, pace
        self._wants_picture = {outlet.name: outlet.with_pictures for outlet in outlets}
        self._changed = threading.Condition()
        self._closing = self._closed = False
        self._looked = event_of is None or not spool.ids()
        for outlet, number in spool.count().items():
            if outlet not in self._wants_picture:
                say(f"{number} events wait for {outlet}, which is not among the outlets now.")
        works = [(self._deliver, (outlet,)) for outlet in outlets]
        self._threads = [threading.Thread(target=work, args=args, daemon=True) for work, args in works]
        if event_of is not None:
            self._threads.append(threading.Thread(target=self._keep_looking, daemon=True))
        for thread in self._threads:
            thread.start()

    def send(self, event: Event, picture: bytes | None) -> None:
        """Take a visit that is over, or so far, for all outlets, and return when it is on disk.

        A full disk is said, and the event held in memory. One that still waits is replaced by one of its id.
        What was delivered is delivered again when it is sent again.

        picture: the face, a JPEG; only outlets that want it get it, and only if the service keeps it, too.
        """
        self._spool.put(event, picture if event.picture else None, self._wants_picture)
        with self._changed:
            self._changed.notify_all()

    def present(self, camera: str, events: Sequence[Event]) -> None:
        """Show who is before a camera now; nothing of it is stored."""
        if self._live is not None:
            self._live.present(camera, events)

    def look_after_events(self) -> bool:
        """Follow events whose people were renamed or merged, and forget those that were erased.

        Returns whether the service has answered for each event that waits or is shown.
        """
        assert self._event_of is not None
        self._spool.forget_old()
        waiting = self._spool.ids()
        shown = set() if self._live is None else self._live.events()
        complete, unanswered = True, 0
        for event_id in sorted(waiting | shown):
            if self._closing or unanswered == MAX_UNANSWERED:
                return False
            try:
                event = self._event_of(event_id)
            except OSError:
                complete, unanswered = False, unanswered + 1
                continue
            unanswered = 0
            if event is None:
                self._spool.forget(event_id)
            elif event_id in waiting:
                self._spool.rename(event)
            if self._live is not None and event_id in shown:
                self._live.follow(event_id, event)
        return complete

    def close(self, within_s: float = CLOSING_S) -> None:
        """Deliver what can be delivered within some seconds; everything else waits on disk."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        until = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for outlet in self._outlets:
            try:
                outlet.close()
            except (OSError, RuntimeError, ValueError) as e:  # the others are to be closed, and the queue
                self._say(f"{outlet.name}: {type(e).__name__} at the end.")
        for outlet_name, number in self._spool.count().items():
            if outlet_name in self._wants_picture:
                self._say(f"{number} events wait in {self._spool.file} for {outlet_name}.")
        self._spool.close()

    def _deliver(self, outlet: Outlet) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._looked or self._closing)
            if not self._looked:
                return
        failures = 0
        while not self._closed:
            with self._changed:
                waiting = self._spool.next(outlet.name)
                if waiting is None:
                    if self._closing:
                        return
                    self._changed.wait()
                    continue
            try:
                outlet.deliver(waiting)
            except Failed as e:
                failures += 1
                if failures == 1 and not self._closing:
                    self._say(f"{outlet.name}: {e}. Events wait, and are tried again.")
                self._wait(self._pace.delay_s(failures, e.after_s))
                continue
            except Refused as e:
                self._say(f"{outlet.name}: {e}. Event {waiting.id} is given up.")
            if failures:
                failures = 0
                self._say(f"{outlet.name} takes events again.")
            self._spool.done(waiting)

    def _wait(self, delay_s: float) -> None:
        """Wait, but not when closing begins, which is the last occasion, nor when it ends."""
        with self._changed:
            closing = self._closing
            self._changed.wait_for(lambda: self._closed or self._closing is not closing, delay_s)

    def _keep_looking(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            complete = self.look_after_events()
            wait_s = max(LOOK_AFTER_S, LOOKING_SHARE * (time.monotonic() - began))
            with self._changed:
                if complete and not self._looked:
                    self._looked = True
                    self._changed.notify_all()
                elif not self._looked:
                    failures += 1
                    wait_s = self._pace.delay_s(failures)
                if self._changed.wait_for(lambda: self._closing, wait_s):
                    return
