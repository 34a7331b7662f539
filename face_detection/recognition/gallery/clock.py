"""Which clock to believe before anything is erased for good. Pure, but for the system's own clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

# The gallery keeps the last moment that was credible. A clock that says at most this much more, beside the
# time that has run, is believed: services that stand still for a night, and clocks that took local time for
# UTC, are no more than that. What is erased too early by it would have expired within a day.
TOLERANCE = timedelta(days=1)
# A clock that has jumped further ahead is believed once it has said so, without another jump, for a day in
# which a service ran: long enough for somebody, or for NTP, to set it right. After a jump back, which makes
# nothing expire, an hour will do.
AHEAD_HELD = timedelta(days=1)
BACK_HELD = timedelta(hours=1)
NOTED_EVERY = timedelta(hours=1)  # the credible moment is stored anew so often, and a claim every minute

# Of time that passes, in suspension, too, whoever sets the clock; other systems than Linux lack it.
STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Tells the time, and how much of it has passed."""

    def __call__(self) -> datetime:
        """Return the time, in UTC, as the machine's clock has it."""
        ...

    def steady_s(self) -> float:
        """Return seconds since some moment, which nobody can set."""
        ...


class SystemClock:
    """The clock of this machine."""

    def __call__(self) -> datetime:
        """Return its time, in UTC."""
        return datetime.now(UTC)

    def steady_s(self) -> float:
        """Return the seconds since it was started."""
        return time.clock_gettime(STEADY)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a gallery knows of the time; moments are naive, in UTC.

    seen: the last moment that was credible; None: none has been yet.
    claimed: the last moment that a clock has told that is not; None: the clock is credible.
    held: how long services have run on that claim.
    """

    seen: datetime | None = None
    claimed: datetime | None = None
    held: timedelta = timedelta(0)

    def judged(self, now: datetime, ran: timedelta) -> Trust:
        """Return what is known after a look at a clock.

        now: what it says.
        ran: how long this process has run since it looked last; zero at its first look.
        """
        if self.seen is None or -TOLERANCE <= now - self.seen <= TOLERANCE + ran:
            return Trust(now if self.seen is None else max(now, self.seen))
        if self.claimed is None or not -TOLERANCE <= now - self.claimed <= TOLERANCE + ran:
            return replace(self, claimed=now, held=timedelta(0))
        # Other processes may have looked meanwhile: all together they must not count time twice.
        held = self.held + max(timedelta(0), min(ran, now - self.claimed))
        if held >= (AHEAD_HELD if now > self.seen else BACK_HELD):
            return Trust(now)
        return replace(self, claimed=now, held=held)

    def is_news(self, judged: Trust) -> bool:
        """Tell whether a judgement is to be stored in the place of this one."""
        if self.seen is None or self.claimed is not None or judged.claimed is not None:
            return judged != self
        return judged.seen is not None and judged.seen - self.seen >= NOTED_EVERY

    def hides_by(self, now: datetime) -> datetime:
        """Return the moment by which samples count as expired: a clock that was put back revives nobody."""
        return now if self.seen is None else max(now, self.seen)

    def erases_by(self, now: datetime) -> datetime:
        """Return the moment by which expired samples may be erased."""
        if self.claimed is None or self.seen is None:
            return now
        return min(now, self.seen)
