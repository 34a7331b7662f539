"""The embedding model as both services know it: what one tells of it, and the other asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """An embedding model.

    input_size: side of the square crops it takes, in pixels.
    threshold: the largest distance, exclusive, that still counts as the same person.
    distance_range: smallest and largest possible distance.
    fingerprint: names model, weights and preprocessing; vectors of different fingerprints are not comparable.
    """

    name: str
    dimension: int
    input_size: int
    threshold: float
    distance_range: tuple[float, float]
    fingerprint: str

    def similarity(self, distance: float) -> float:
        """Map a distance to [0, 1], linearly over the model's range: 1 is equal, 0 as far apart as can be."""
        low, high = self.distance_range
        return min(1.0, max(0.0, 1.0 - (distance - low) / (high - low)))
