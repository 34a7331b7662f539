"""What became of CompreFace's services and examples, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from recognition.takeover.source import Example, Service, Trouble

HARMLESS = {"orphans"}  # codes of troubles that are about nothing that could be taken


@dataclass
class OfService:
    """What became of one service. gallery: where its examples are; detail: why it was passed over, if so."""

    service: Service
    gallery: str | None = None
    new: bool = False
    detail: str = ""
    subjects: int = 0
    taken: int = 0
    already: int = 0
    moved: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """Something about an example, or about a subject alone: then the id is None."""

    service: str
    id: str | None
    subject: str
    code: str
    detail: str


@dataclass
class Report:
    """What became of all of them. Examples that were taken, and say nothing, are counted only.

    dry: nothing was to be changed; begun: the source could be read, and something may have been changed.
    refused: why examples were not taken; warnings: on those that were; notes: on names;
    troubles: what belongs to no example.
    """

    dry: bool = False
    begun: bool = False
    services: dict[Service, OfService] = field(default_factory=dict)
    refused: list[Line] = field(default_factory=list)
    warnings: list[Line] = field(default_factory=list)
    notes: list[Line] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)

    def refuse(self, example: Example, code: str, detail: str) -> None:
        """Tell why an example is not taken."""
        self.refused.append(_line(example, code, detail))
        self.services[example.service].refused += 1

    def warn(self, example: Example, code: str, detail: str) -> None:
        """Tell what is worth knowing of an example that is taken, or that is there."""
        self.warnings.append(_line(example, code, detail))

    def complete(self) -> bool:
        """Tell whether everything was taken."""
        passed_over = any(each.detail for each in self.services.values())
        return not (self.refused or passed_over or {each.code for each in self.troubles} - HARMLESS)

    def value(self) -> dict[str, Any]:
        """Render it for programs."""
        sums = ("taken", "already", "moved")
        return {
            **{name: sum(getattr(each, name) for each in self.services.values()) for name in sums},
            "refused": [_value(line) for line in self.refused],
            "services": [_value_of(each) for each in self.services.values()],
            "warnings": [_value(line) for line in self.warnings],
            "notes": [_value(line) for line in self.notes],
            "troubles": [{"code": each.code, "detail": each.detail} for each in self.troubles],
        }

    def lines(self) -> Iterator[str]:
        """Render it as text: warnings, which may be many, by their number."""
        for each in self.services.values():
            yield self._line_of(each)
        for trouble in self.troubles:
            yield trouble.detail
        for line in self.notes:
            yield f"{line.service}: {line.detail}"
        for line in self.refused:
            yield f"  {line.service}  {line.subject}  {line.id}: {line.detail}"
        for code, number in sorted(Counter(line.code for line in self.warnings).items()):
            yield f"  {number} with the warning {code}; --report or --json tells which."

    def _line_of(self, each: OfService) -> str:
        called = f"{each.service.app}/{each.service.name}" if each.service.app else each.service.name
        if each.detail:
            return f"{called}: passed over: {each.detail}"
        if each.gallery is None and each.service.kind != "recognition":
            return (
                f"{called}: a {each.service.kind} service, {'with its key' if each.new else 'there already'}."
            )
        taken = "to take" if self.dry else "taken"
        counts = f"{each.taken} {taken}, {each.already} already there, {each.refused} refused"
        moved = f", {each.moved} moved to another person" if each.moved else ""
        where = f"gallery {each.gallery}" if each.gallery else "a gallery of its own"
        return f"{called}: {where}, {each.subjects} subjects; examples: {counts}{moved}."


def _line(example: Example, code: str, detail: str) -> Line:
    return Line(example.service.name, example.id, example.subject, code, detail)


def _value(line: Line) -> dict[str, Any]:
    fields = ("service", "id", "subject", "code", "detail")
    return {name: getattr(line, name) for name in fields if getattr(line, name) is not None}


def _value_of(each: OfService) -> dict[str, Any]:
    return {
        "name": each.service.name,
        "app": each.service.app,
        "kind": each.service.kind,
        "gallery": each.gallery,
        "new": each.new,
        "subjects": each.subjects,
        "taken": each.taken,
        "already": each.already,
        "moved": each.moved,
        "refused": each.refused,
        **({"passed_over": each.detail} if each.detail else {}),
    }
