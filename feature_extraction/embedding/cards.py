"""What an ONNX file of an embedding network takes and gives: the card of EMBEDDING_ONNX."""

from __future__ import annotations

import hashlib
from glob import escape
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedding.catalogue import Model
from serving.model import Template


class CardUnfit(Exception):
    """The card is missing or wrong, for the one reason that the message gives."""


class Card(BaseModel):
    """A file NAME.json beside NAME.onnx.

    name: of the model, as GET /model tells it.
    input_size: side of its square input, in pixels.
    template: where faces stand in it.
    colours: their order.
    mean, divisor: it gets (x - mean) / divisor of each value x, 0 to 255.
    mirrored: whether the mirror image is embedded, too, and the mean taken of both.
    dimension: of its vectors, which are given the length `length`.
    threshold: the largest distance, exclusive, that counts as the same person.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
    input_size: Annotated[int, Field(ge=16, le=1024)]
    template: Template
    colours: Literal["RGB", "BGR"] = "RGB"
    mean: Annotated[float, Field(allow_inf_nan=False)] = 127.5
    divisor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 127.5
    mirrored: bool = False
    dimension: Annotated[int, Field(ge=1, le=8192)]
    length: Annotated[float, Field(gt=0, le=1000)] = 1.0
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)]


# Inputs: ArcFace, Buffalo_L: `arcface_onnx.py` of InsightFace; SFace: `FaceRecognizerSF` of OpenCV;
# GhostFaceNet: its authors' `GhostFaceNets.py`. Thresholds are the published ones: of SFace that of OpenCV's
# tutorial, of the others deepface's. None of these
# models was measured here.
CARDS = {
    card.name: card
    for card in (
        Card(name="ArcFace", input_size=112, template="arcface", dimension=512, threshold=1.13),
        Card(name="Buffalo_L", input_size=112, template="arcface", dimension=512, threshold=1.1),
        Card(
            name="SFace",
            input_size=112,
            template="arcface",
            mean=0,
            divisor=1,
            dimension=128,
            threshold=1.128,
        ),
        Card(
            name="GhostFaceNet", input_size=112, template="arcface", divisor=128, dimension=512, threshold=1.1
        ),
    )
}


def card_of(file: Path, name: str) -> Card:
    """Return the card of an ONNX file: the one beside it, or ours of the model of this name.

    Raises:
        CardUnfit: there is none, or it is wrong.
    """
    beside = file.with_suffix(".json")
    try:
        return Card.model_validate_json(beside.read_bytes())
    except FileNotFoundError as e:
        if name in CARDS:
            return CARDS[name]
        known = ", ".join(CARDS)
        raise CardUnfit(
            f"EMBEDDING_ONNX: there is no card {beside.name} beside the file, and EMBEDDING_MODEL={name} has "
            f"none here; {known} do"
        ) from e
    except ValidationError as e:
        first = e.errors()[0]
        raise CardUnfit(f"{beside.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from e
    except OSError as e:
        raise CardUnfit(f"{beside.name}: {e.strerror}") from e


def described(card: Card, file: Path) -> tuple[Model, str]:
    """Return what is known of the model of a card, and the digest of its file. Raises OSError.

    Weights may lie in files of their own, which exporters name after the network's: net.onnx.data.
    """
    digest = hashlib.sha256(file.read_bytes())
    for weights in sorted(file.parent.glob(f"{escape(file.name)}?*")):
        digest.update(weights.read_bytes())
    model = Model(
        **card.model_dump(exclude={"name", "mean", "divisor"}),
        scaling=(card.mean, card.divisor),
        weights=file.name,
        version=card.model_dump_json(exclude={"threshold"}),
    )
    return model, digest.hexdigest()
