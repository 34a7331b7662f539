"""Which models a gallery has, to JSON. Pure, as render.py is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from recognition.results import ModelChange
from recognition.web import answers_models


def change_answer(status: ModelChange, waiting: Sequence[str]) -> answers_models.ModelChange:
    """Render how far a change is, and the ids of some samples that wait."""
    return cast(answers_models.ModelChange, {**asdict(status), "waiting_samples": list(waiting)})
