"""The embedding model as both services know it: what one tells of it, and the other asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

# Said without `prefixItems`, which generators of clients and of requests stumble over.
Range = Annotated[
    tuple[float, float],
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
]

# Where a face stands in a crop: as chosen for FaceNet, or on the five points that ArcFace was trained with.
Template = Literal["facenet", "arcface"]


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
    template: Annotated[
        Template,
        Field(
            description="Where a face stands in a crop: `facenet`, with a margin as in MTCNN's boxes, or "
            "`arcface`, on the five points of ArcFace's 112 px crops."
        ),
    ] = "facenet"
    colours: Annotated[
        Literal["RGB", "BGR"], Field(description="The order in which the network gets them; crops are RGB.")
    ] = "RGB"
    scaling: Annotated[str, Field(description="What the network gets of a value x of a crop, 0 to 255.")] = ""
    mirrored: Annotated[
        bool, Field(description="Whether a vector is of the face and its mirror image together.")
    ] = False

    def similarity(self, distance: float) -> float:
        """Map a distance to [0, 1], linearly over the model's range: 1 is equal, 0 as far apart as can be."""
        low, high = self.distance_range
        return min(1.0, max(0.0, 1.0 - (distance - low) / (high - low)))
