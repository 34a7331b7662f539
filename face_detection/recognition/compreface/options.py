"""What a call is asked for beside its picture, in the query or in fields of the form; others are passed over.

CompreFace reads all values first, and says nothing of what it cannot read; then it looks at their bounds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from flask import request

from recognition.compreface import plugins
from recognition.compreface.failures import NO_FACE, Code, Refused, Unreadable
from recognition.probing import Look
from serving import bodies

INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:NaN|Infinity)")
MAX_INTEGER = 2**31 - 1  # of Java's int
# The options that calls have.
OF_ENROLMENT = frozenset({"det_prob_threshold"})
OF_PICTURES = OF_ENROLMENT | {"limit", "face_plugins", "status"}
OF_VECTORS = frozenset({"prediction_count"})
OF_RECOGNITION = OF_PICTURES | OF_VECTORS | {"detect_faces"}
BOOLEANS = {
    **dict.fromkeys(("true", "1", "on", "yes"), True),
    **dict.fromkeys(("false", "0", "off", "no"), False),
}
THRESHOLD = 0.85  # of CompreFace's detector: faces count of which it is surer
MOST_PREDICTIONS = 1000  # of each face; who asks for more gets so many


@dataclass(frozen=True, slots=True)
class Options:
    """What calls about pictures may be asked for; those that a call does not know, it passes over."""

    limit: int
    threshold: float
    plugins: tuple[str, ...]
    status: bool
    predictions: int
    detect: bool

    def check(self) -> None:
        """Make sure that the numbers are within their bounds.

        Raises:
            Refused: one is not.
        """
        if self.limit < 0:
            raise Refused(Code.BAD_VALUE, "Limit should be equal or greater than 0; ")
        if self.predictions < 1:
            raise Refused(Code.BAD_VALUE, "prediction_count should be equal or greater than 1; ")

    def check_threshold(self) -> None:
        """Make sure that the detector can be so sure; CompreFace finds no face otherwise.

        Raises:
            Refused: it cannot.
        """
        if not 0 <= self.threshold <= 1:
            raise Refused(Code.NO_FACE, NO_FACE)

    def look(self, *, vectors: bool = True) -> Look:
        """Tell which faces are looked for. `vectors`: they are compared."""
        return Look(
            surer_than=self.threshold,
            limit=self.limit,
            vectors=vectors or "calculator" in self.plugins,
            attributes=not plugins.ATTRIBUTES.isdisjoint(self.plugins),
            whole=not self.detect,
        )


def parsed(known: Collection[str]) -> Options:
    """Read the options of the request under way.

    known: the names of those that the call has; others are passed over, whatever they are.

    Raises:
        Unreadable: one is of the wrong type.
    """
    given = {name: value for name, value in values().items() if name in known}
    return Options(
        limit=_integer(given.get("limit"), 0),
        threshold=_number(given.get("det_prob_threshold"), THRESHOLD),
        plugins=tuple(plugins.named(given.get("face_plugins", ""), plugins.ALWAYS | plugins.ATTRIBUTES)),
        status=_boolean(given.get("status"), False),
        predictions=min(_integer(given.get("prediction_count"), 1), MOST_PREDICTIONS),
        detect=_boolean(given.get("detect_faces"), True),
    )


def values() -> Mapping[str, str]:
    """Return the parameters of the request under way, by name, the first of each; the query's come first.

    Raises:
        Unreadable: they are not UTF-8.
    """
    try:
        return {**(request.form.to_dict() if bodies.is_form() else {}), **request.args.to_dict()}
    except UnicodeDecodeError as e:
        raise Unreadable("The query is not UTF-8.") from e


def _integer(text: str | None, default: int) -> int:
    if not text or not (text := text.strip()):
        return default
    if INTEGER.fullmatch(text) is None or abs(number := int(text)) > MAX_INTEGER:
        raise Unreadable("An option is not an integer.")
    return number


def _number(text: str | None, default: float) -> float:
    if not text or not (text := text.strip()):
        return default
    if NUMBER.fullmatch(text) is None:
        raise Unreadable("An option is not a number.")
    return float(text)


def _boolean(text: str | None, default: bool) -> bool:
    if not text or not (text := text.strip()):
        return default
    if (value := BOOLEANS.get(text.lower())) is None:
        raise Unreadable("An option is neither true nor false.")
    return value
