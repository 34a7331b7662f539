"""How often one caller may ask, by a clock that the test turns."""

from __future__ import annotations

import pytest

from serving.errors import RateLimited
from serving.rate import RateLimit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def refusal(limit: RateLimit, caller: str) -> int:
    with pytest.raises(RateLimited) as refused:
        limit.take(caller)
    return refused.value.retry_after_s


def test_so_many_within_any_minute_and_the_wait_is_told_truly() -> None:
    clock = Clock()
    limit = RateLimit(3, clock)
    for second in (0, 10, 20):
        clock.now = 1000 + second
        limit.take("door")
    clock.now = 1030.5
    assert refusal(limit, "door") == 30  # rounded up
    limit.take("desk")  # another caller has a minute of its own
    clock.now = 1059.9
    assert refusal(limit, "door") == 1
    clock.now = 1060
    limit.take("door")
    assert refusal(limit, "door") == 10  # refusals did not count: the one of second 10 is next to go
    clock.now = 1070
    limit.take("door")


def test_callers_who_no_longer_ask_take_no_memory() -> None:
    clock = Clock()
    limit = RateLimit(100, clock)
    for number in range(100):
        clock.now += 1
        limit.take(f"address {number}")
        limit.take("always there")
    assert len(limit._taken) == 61
    clock.now += 100
    limit.take("another")
    assert list(limit._taken) == ["another"]
