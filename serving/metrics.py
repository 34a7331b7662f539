"""A service's metrics for Prometheus: requests, stages and their times, counts, model and version."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from serving import metrics_files
from serving.stages import Notes
from serving.version import VERSION

# A crop takes less than a millisecond, an enrolment of thousands of pictures minutes.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class Metrics:
    """Counters of one process, or of all workers where they share a folder."""

    def __init__(
        self,
        prefix: str,
        stages: str,
        counts: Mapping[str, str],
        gauges: Mapping[str, tuple[str, ...]],
        momentary: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        """Register them.

        Args:
            prefix: of all names.
            stages: their names, for the help text.
            counts: what is counted, by the name under which it is noted, and what it means.
            gauges: what rises and falls, by name: what it means, and its labels; summed over the workers.
            momentary: measures those that are known only when they are asked for, the same for all workers.
        """
        own = self._registry = CollectorRegistry()
        self._prefix, self._momentary = prefix, momentary
        self._requests = Counter(
            f"{prefix}_requests", "Requests answered.", ["route", "status"], registry=own
        )
        self._seconds, self._stage_seconds = (
            Histogram(f"{prefix}_{name}", meaning, [label], buckets=BUCKETS_S, registry=own)
            for name, meaning, label in (
                ("request_seconds", "Time to answer a request.", "route"),
                ("stage_seconds", f"Time of one stage: {stages}.", "stage"),
            )
        )
        self._counts = {
            name: Counter(f"{prefix}_{name}", meaning, registry=own) for name, meaning in counts.items()
        }
        self.gauges = {
            name: Gauge(f"{prefix}_{name}", meaning, labels, registry=own, multiprocess_mode="livesum")
            for name, (meaning, *labels) in gauges.items()
        }
        self._model: tuple[str, str] | None = None
        self._model_info = self._info(
            "model_info", "1 for the embedding model in use.", "name", "fingerprint"
        )
        self._info("build_info", "1 for the version that runs.", "version").labels(VERSION).set(1)

    def _info(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(
            f"{self._prefix}_{name}", meaning, labels, registry=self._registry, multiprocess_mode="livemax"
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
            self.use(*model)

    def use(self, model: str, fingerprint: str) -> None:
        """Tell which model makes the vectors from now on."""
        if self._model is not None and self._model != (model, fingerprint):
            self._model_info.labels(*self._model).set(0)
        self._model = model, fingerprint
        self._model_info.labels(model, fingerprint).set(1)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        everyone = self._registry
        if metrics_files.FOLDER in os.environ:
            everyone = CollectorRegistry()
            MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        momentary = CollectorRegistry()
        momentary.register(_Momentary(self._momentary))
        return generate_latest(everyone) + generate_latest(momentary)


@dataclass(frozen=True)
class _Momentary:
    """Metrics that are measured when they are asked for."""

    measure: Callable[[], Iterable[Metric]]

    def collect(self) -> Iterable[Metric]:
        return self.measure()
