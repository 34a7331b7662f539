"""What Prometheus is told: requests, stages and their times, faces, the queue, the gallery and the model."""

from __future__ import annotations

import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from recognition.faces import Model
from serving.stages import Notes

# A crop takes less than a millisecond, an enrolment of thousands of pictures minutes.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class Metrics:
    """Counters of one process, or of all workers where PROMETHEUS_MULTIPROC_DIR names a folder they share."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self._requests = Counter(
            "recognition_requests", "Requests answered.", ["route", "status"], registry=own
        )
        self._seconds = Histogram(
            "recognition_request_seconds",
            "Time to answer a request.",
            ["route"],
            buckets=BUCKETS_S,
            registry=own,
        )
        self._stage_seconds = Histogram(
            "recognition_stage_seconds",
            "Time of one stage: queue, decode, detect, crop, embed, search, draw or store.",
            ["stage"],
            buckets=BUCKETS_S,
            registry=own,
        )
        self._counts = {
            "faces": Counter("recognition_faces", "Faces found in pictures.", registry=own),
            "matches": Counter("recognition_matches", "Faces recognised as a sample's.", registry=own),
            "unknowns": Counter("recognition_unknowns", "Faces like no sample's.", registry=own),
        }
        self._running = Gauge(
            "recognition_running", "Requests at work.", registry=own, multiprocess_mode="livesum"
        )
        self._waiting = Gauge(
            "recognition_waiting", "Requests in the queue.", registry=own, multiprocess_mode="livesum"
        )

        self._model: Model | None = None
        self._model_info = Gauge(
            "recognition_model_info",
            "1 for the embedding model in use.",
            ["name", "fingerprint"],
            registry=own,
            multiprocess_mode="livemax",
        )

    def answered(self, route: str, status: int, seconds: float, notes: Notes) -> None:
        """Count one request that has been answered."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)
        for stage, taken in notes.seconds:
            self._stage_seconds.labels(stage).observe(taken)
        for name, number in notes.counts:
            self._counts[name].inc(number)
        for model in notes.models:
            self._use(model)

    def queue(self, running: int, waiting: int) -> None:
        """Tell how many requests work and wait in this process now."""
        self._running.set(running)
        self._waiting.set(waiting)

    def _use(self, model: Model) -> None:
        if self._model is not None and self._model != model:
            self._model_info.labels(self._model.name, self._model.fingerprint).set(0)
        self._model = model
        self._model_info.labels(model.name, model.fingerprint).set(1)

    def render(self, samples: int | None) -> bytes:
        """Return all metrics in Prometheus' text format. Nobody else is asked for any of them.

        samples: how many are enrolled now; None leaves that out.
        """
        everyone = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            everyone = CollectorRegistry()
            MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        now = CollectorRegistry()
        now.register(_Gallery(samples))
        return generate_latest(everyone) + generate_latest(now)


class _Gallery:
    """The gallery's size, which is the same for all workers and known only when it is asked for."""

    def __init__(self, samples: int | None) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """Yield it, if it could be told."""
        if self._samples is not None:
            yield GaugeMetricFamily("recognition_samples", "Samples enrolled.", self._samples)
