"""Makes one call of several that come at the same time, which is what a GPU is good at."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedding.engines import Forward


@dataclass(slots=True)
class _Group:
    """Calls that become one. `inputs` holds `size` rows; `full` is set when no more will come."""

    inputs: list[NDArray[np.float32]] = field(default_factory=list)
    size: int = 0
    full: threading.Event = field(default_factory=threading.Event)
    outputs: Future[NDArray[np.float32]] = field(default_factory=Future)


def gather(forward: Forward, *, limit: int, wait_s: float) -> Forward:
    """Return a `forward` that several threads may call at once and that then runs once for all of them.

    The first caller of a group waits for others: for `wait_s` seconds, or until the group has `limit` rows
    or a call comes that does not fit, and as long as an earlier group runs. Then it runs `forward`, one group
    at a time, and each caller gets its own rows, or all get the one exception. There is no thread but the
    callers'. The last bits of a row may depend on the rows beside it.

    Args:
        limit: the most rows of one run; a single call with more gets a run of its own.
        wait_s: seconds.
    """
    closed = limit + 1  # the size of a group that takes no more
    newest = _Group(size=closed)
    joining, running = threading.Lock(), threading.Lock()

    def gathered(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal newest
        with joining:
            leads = newest.size + len(pixels) > limit
            if leads:
                newest.full.set()
                newest = _Group()
            group, first = newest, newest.size
            group.inputs.append(pixels)
            group.size += len(pixels)
            if group.size >= limit:
                group.full.set()
        if leads:
            group.full.wait(wait_s)
            with running:
                with joining:
                    group.size = closed
                try:
                    group.outputs.set_result(forward(np.concatenate(group.inputs)))
                except BaseException as e:  # whatever it is, the others wait
                    group.outputs.set_exception(e)
        return group.outputs.result()[first : first + len(pixels)]

    return gathered
