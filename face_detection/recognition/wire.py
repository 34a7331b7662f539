"""JSON to values and values to JSON. Pure: no Flask, no clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from recognition import images
from recognition.errors import InvalidRequest
from recognition.faces import Box, Enrolment, Sample
from recognition.service import EnrolmentReport, Recognition

MAX_TOP_K = 100


def _finite(value: JsonValue) -> JsonValue:
    json.dumps(value, allow_nan=False)  # raises ValueError on NaN and infinities, which are not JSON
    return value


Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class _Sample(_Strict):
    id: Text
    name: Text
    image: str
    metadata: Annotated[JsonValue, AfterValidator(_finite)] = None
    action: str | None = None


class RecogniseOptions(_Strict):
    """What a caller can set beside the picture; the defaults are the historical behaviour."""

    min_distance: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    include_unknown: bool = False
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] | None = None
    limit: Annotated[int, Field(ge=0)] = 0


class _RecogniseBody(RecogniseOptions):
    image: str


_SAMPLES = TypeAdapter(list[_Sample])


def parse_enrolments(body: bytes) -> list[Enrolment]:
    """Read the body of /update-samples.

    Raises:
        InvalidRequest: it is not a JSON array of samples.
    """
    try:
        return [Enrolment(**dict(sample)) for sample in _SAMPLES.validate_json(body)]
    except ValidationError as e:
        raise _invalid(e) from e


def parse_recognise(body: bytes) -> tuple[bytes, RecogniseOptions]:
    """Read the JSON body of /face-recognition: the encoded picture and the options.

    Raises:
        InvalidRequest, InvalidImage.
    """
    try:
        request = _RecogniseBody.model_validate_json(body)
    except ValidationError as e:
        raise _invalid(e) from e
    return images.from_base64(request.image), request


def parse_recognise_form(form: Mapping[str, str]) -> RecogniseOptions:
    """Read the options of /face-recognition from form fields, where numbers are text.

    Raises:
        InvalidRequest.
    """
    try:
        return RecogniseOptions.model_validate(dict(form), strict=False)
    except ValidationError as e:
        raise _invalid(e) from e


def bbox(box: Box) -> str:
    """Render a box as "x, y, w, h" in whole pixels, at least 1 x 1."""
    x, y = round(box.x), round(box.y)
    w, h = round(box.x + box.w) - x, round(box.y + box.h) - y
    return f"{x}, {y}, {max(w, 1)}, {max(h, 1)}"


def enrolment_answer(report: EnrolmentReport) -> dict[str, Any]:
    """Render the answer of /update-samples."""
    return {
        "success": report.enrolled,
        "fail": list(report.failed),
        "errors": {sample_id: {"code": e.code, "detail": e.detail} for sample_id, e in report.failed.items()},
    }


def recognition_answer(recognitions: list[Recognition], options: RecogniseOptions) -> list[dict[str, Any]]:
    """Render the answer of /face-recognition; unknown faces only if they were asked for."""
    return [
        _recognition(recognition, with_candidates=options.top_k is not None)
        for recognition in recognitions
        if recognition.matches or options.include_unknown
    ]


def _recognition(recognition: Recognition, *, with_candidates: bool) -> dict[str, Any]:
    best = recognition.matches[0].sample if recognition.matches else None
    similarity = recognition.model.similarity
    answer = {
        "bbox": bbox(recognition.face.box),
        "id": best.id if best else "",
        "metadata": best.metadata if best else "",
        "name": best.name if best else "",
        "distance": recognition.distance,
        "similarity": None if recognition.distance is None else similarity(recognition.distance),
        "confidence": recognition.face.confidence,
    }
    if with_candidates:
        answer["candidates"] = [
            {
                "id": match.sample.id,
                "name": match.sample.name,
                "metadata": match.sample.metadata,
                "distance": match.distance,
                "similarity": similarity(match.distance),
            }
            for match in recognition.matches
        ]
    return answer


def sample_answer(sample: Sample) -> dict[str, Any]:
    """Render one sample, without its vector; times in ISO 8601, UTC."""
    return {
        "id": sample.id,
        "name": sample.name,
        "metadata": sample.metadata,
        "action": sample.action,
        "created": sample.created.isoformat(),
        "modified": sample.modified.isoformat(),
    }


def error_answer(error: str, code: str, detail: str, request_id: str) -> dict[str, str]:
    """Render an error in the one shape that all errors have."""
    return {"error": error, "code": code, "detail": detail, "request_id": request_id}


def _invalid(e: ValidationError) -> InvalidRequest:
    """Say what is wrong and where, for the first few faults, without repeating what was sent."""
    faults = e.errors(include_url=False, include_input=False, include_context=False)
    places = (f"{_place(fault['loc'])}: {fault['msg']}" for fault in faults[:5])
    more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
    return InvalidRequest("; ".join(places) + more)


def _place(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".") or "body"
