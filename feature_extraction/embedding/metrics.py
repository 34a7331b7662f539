"""What Prometheus is told: requests by route and status, their time, and faces embedded."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector


class Metrics:
    """Counters of one process, or of all workers where PROMETHEUS_MULTIPROC_DIR names a folder they share."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "embedding_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "embedding_request_seconds", "Time to answer a request.", ["route"], registry=self._registry
        )
        self.faces = Counter("embedding_faces", "Faces turned into vectors.", registry=self._registry)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)
