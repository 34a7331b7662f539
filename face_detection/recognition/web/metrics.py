"""The metrics that face_detection adds to those of serving/metrics.py."""

from __future__ import annotations

from typing import Protocol

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from recognition.errors import GalleryUnavailable
from serving.metrics import Metrics


class Counted(Protocol):
    """What knows how many samples there are."""

    def total(self) -> int:
        """Count them, in all galleries."""
        ...


def create(gallery: Counted) -> Metrics:
    """Begin to count."""
    return Metrics(
        "recognition",
        "queue, decode, detect, crop, embed, search, draw or store",
        counts={
            "faces": "Faces found in pictures.",
            "matches": "Faces recognised as a sample's.",
            "unknowns": "Faces like no sample's.",
        },
        gauges={"running": ("Requests at work.",), "waiting": ("Requests in the queue.",)},
        momentary=lambda: _size(gallery),
    )


def _size(gallery: Counted) -> list[Metric]:
    """Measure the gallery; nothing while it cannot be reached."""
    try:
        return [GaugeMetricFamily("recognition_samples", "Samples enrolled.", gallery.total())]
    except GalleryUnavailable:
        return []
