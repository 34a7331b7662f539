"""What `gallery doctor` finds: the check part by part, and what to do about it as commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from embedding import config as embedding_config
from embedding.cards import Card, CardUnfit, card_of
from embedding.catalogue import MODELS, Model
from embedding.network import prepared_models
from recognition.cli.session import UNAVAILABLE, fail, progress
from recognition.config import Settings
from recognition.gallery import Gallery
from recognition.gallery.atrest import dimension_of
from recognition.gallery.doctor import check
from recognition.results import Advice, Finding, Scale
from recognition.web.render_doctor import finding_answer, told


def findings_of(gallery: Gallery, settings: Settings) -> list[Finding]:
    """Check a whole gallery: the findings, the surest first.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with progress("comparing", gallery.count()) as advance:
        return check(gallery, scale_of(gallery, settings), advance)


def scale_of(gallery: Gallery, settings: Settings) -> Scale:
    """Tell what is alike by the model that made the vectors, or EMBEDDING_MODEL where it is not prepared."""
    with gallery.reading() as (connection, current):
        fingerprint, dimension = current.fingerprint or "", dimension_of(connection) or 0
    model = fingerprint.partition("-")[0]  # without the version of the crops
    if prepared := prepared_models(settings.models_dir).get(model):
        threshold = prepared.threshold
    else:
        threshold = _chosen(embedding_config.read()).threshold
    return Scale(fingerprint, dimension, threshold, settings.min_quality)


def _chosen(settings: embedding_config.Settings) -> Card | Model:
    """Return what is known of EMBEDDING_ONNX, or else of EMBEDDING_MODEL."""
    if not settings.embedding_onnx:
        return MODELS[settings.embedding_model]
    try:
        return card_of(settings.embedding_onnx, settings.embedding_model)
    except CardUnfit as e:
        fail(UNAVAILABLE, {"code": "settings", "detail": str(e)})


def value_of(finding: Finding) -> dict[str, Any]:
    """Render a finding for programs."""
    return {**finding_answer(finding), "commands": [command(advice) for advice in finding.advice]}


def lines_of(finding: Finding) -> Iterator[str]:
    """Render a finding as text."""
    yield f"{finding.sure:4.0%}  {told(finding)}"
    for advice in finding.advice:
        yield f"        {command(advice)}"


def command(advice: Advice) -> str:
    """Write down the command that follows an advice."""
    match advice.action:
        case "move_sample":
            words, ids = ["samples", "move", f"--person={advice.into}"], [advice.sample]
        case "delete_sample":
            words, ids = ["samples", "delete"], [advice.sample]
        case "merge_persons":
            words, ids = ["people", "merge"], [advice.person, advice.into]
        case "enrol_more":
            words, ids = ["enrol", f"--person={advice.person}"], ["PICTURES"]
    told = list(map(str, ids))
    end_of_options = ["--"] if any(each.startswith("-") for each in told) else []
    return shlex.join(["recognition", *words, *end_of_options, *told])
