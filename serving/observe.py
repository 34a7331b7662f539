"""Names each request, and tells the log and the metrics what became of it: never what was in it."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections import defaultdict

from flask import Flask, Response, g, request

from serving.metrics import Metrics
from serving.request_id import ANYBODY, caller, request_id
from serving.stages import Notes, notes

log = logging.getLogger(__name__)

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def register(app: Flask, metrics: Metrics) -> None:
    """Add the request id, the line in the log and the metrics to `app`; before all else that it does."""

    @app.before_request
    def begin() -> None:
        sent = request.headers.get("X-Request-Id", "")
        g.began = time.perf_counter()
        g.request_id = sent if SANE_ID.fullmatch(sent) else uuid.uuid4().hex
        g.notes = Notes()
        request_id.set(g.request_id)
        notes.set(g.notes)

    @app.after_request
    def answered(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        seconds = time.perf_counter() - g.began
        route = request.url_rule.rule if request.url_rule else "none"  # the path itself may name a sample
        metrics.answered(route, response.status_code, seconds, g.notes)
        fields = {"method": request.method, "route": route, "status": response.status_code}
        more = {"ms": _ms(seconds), **_sums(g.notes), "key": g.get("key"), "code": g.get("code")}
        log.info("answered", extra={"fields": fields | more})
        return response

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        request_id.set("")
        caller.set(ANYBODY)
        notes.set(None)


def _sums(noted: Notes) -> dict[str, float | int]:
    """Sum the stages and counts of one request; stages of several threads may add up to more than it took."""
    seconds: defaultdict[str, float] = defaultdict(float)
    counts: defaultdict[str, int] = defaultdict(int)
    for stage, taken in noted.seconds:
        seconds[stage] += taken
    for name, number in noted.counts:
        counts[name] += number
    return {f"{stage}_ms": _ms(taken) for stage, taken in seconds.items()} | dict(counts)


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)
