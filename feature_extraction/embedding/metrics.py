"""What Prometheus is told: requests, stages and their times, faces, and the model."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
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
        self.stage_seconds = Histogram(
            "embedding_stage_seconds",
            "Time of one stage, decode or embed, with the wait for its turn.",
            ["stage"],
            registry=self._registry,
        )
        self.running = Gauge(
            "embedding_running",
            "Requests in a stage, decode or embed, those that wait for their turn included.",
            ["stage"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.faces = Counter("embedding_faces", "Faces turned into vectors.", registry=self._registry)
        self.model_info = Gauge(
            "embedding_model_info",
            "1 for the model in use.",
            ["name", "fingerprint"],
            registry=self._registry,
            multiprocess_mode="livemax",
        )

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)
