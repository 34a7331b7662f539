"""The embedding model as both services know it: what one tells of it, and the other asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, WithJsonSchema

# Said without `prefixItems`, which generators of clients and of requests stumble over.
Range = Annotated[
    tuple[float, float],
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
]


@dataclass(frozen=True, slots=True)
class Model:
    """An embedding model."""

    name: Annotated[str, Field(description="As EMBEDDING_MODEL has it.")]
    dimension: Annotated[int, Field(description="How many numbers a vector has.")]
    input_size: Annotated[int, Field(description="Side of the square crops it takes, in pixels.")]
    threshold: Annotated[
        float, Field(description="The largest distance, exclusive, that still counts as the same person.")
    ]
    distance_range: Annotated[Range, Field(description="The smallest and the largest possible distance.")]
    fingerprint: Annotated[
        str,
        Field(
            description="Names model, weights and preprocessing; vectors of different fingerprints cannot be "
            "compared."
        ),
    ]

    def similarity(self, distance: float) -> float:
        """Map a distance to [0, 1], linearly over the model's range: 1 is equal, 0 as far apart as can be."""
        low, high = self.distance_range
        return min(1.0, max(0.0, 1.0 - (distance - low) / (high - low)))
