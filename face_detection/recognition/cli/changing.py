"""What `gallery change-model` does: a gallery changed by the embedding service of the settings, and told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from recognition.app import decoding_here, load_decoder, load_embedder
from recognition.changing import change
from recognition.cli import workers
from recognition.cli.session import progress, read_settings
from recognition.gallery import Gallery, changes, models
from recognition.results import ModelChange, WithoutFace
from serving.errors import NotFound

LISTED = 20  # ids of samples without a face
PAGE = 1000
OWN = "the embedding service's own model"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a change to a model has ended, and some of the samples that wait."""

    model: str
    changed: bool
    embedded: int
    dropped: int
    waiting: int
    ids: list[str]


def changed(
    gallery: Gallery, model: str | None, without_face: WithoutFace, ray: str | None, jobs: int | None
) -> Outcome:
    """Change a gallery to a model; None: to the one that it had before.

    ray, jobs: where workers make the vectors, as for `workers.embedding`; None: the embedding service does.

    Raises:
        NotFound: there is no such gallery, or it has had no other model.
        And what `change` raises.
    """
    settings = read_settings()
    now = models.status(gallery)
    # The vectors of a first change that was stopped are of no model that it had before.
    name = model or (now.other if now.model is not None else None)
    if name is None:
        raise NotFound("The gallery has had no other model; name the model.")
    left = now.samples - (now.done if name == now.other else 0)
    with ExitStack() as stack:
        if (decoder := load_decoder(settings)) is not None:
            stack.callback(decoder.close)
        embedder = load_embedder(settings)
        options: dict[str, Any] = {"without_face": without_face}
        if ray is not None:
            made_by = workers.embedding(ray, jobs, settings, embedder.model(name))
            options["embed_all"] = stack.enter_context(made_by)
        options["advance"] = stack.enter_context(progress("embedding", left))
        outcome = change(gallery, name, decoder or decoding_here(settings), embedder, **options)
    return Outcome(name, *outcome, models.waiting(gallery, LISTED)[0])


def value_of(outcome: Outcome) -> dict[str, Any]:
    """Render it for programs."""
    return asdict(outcome)


def lines_of(outcome: Outcome) -> Iterator[str]:
    """Put it into words."""
    if outcome.embedded:
        yield f"{outcome.embedded} vectors made."
    if outcome.dropped:
        yield f"{outcome.dropped} samples without a face deleted."
    if outcome.waiting:
        yield f"{outcome.waiting} samples have no face that could be read:"
        yield from (f"  {sample_id}" for sample_id in outcome.ids)
        if outcome.waiting > len(outcome.ids):
            yield "  ... (--list lists all)"
    if outcome.changed:
        yield f"The gallery has the model {outcome.model} now."
        if outcome.waiting:
            yield "Those samples are not found before they are enrolled anew."
    else:
        yield (
            "The gallery has NOT changed. Enrol these samples anew and start this again, "
            "or let them wait (--leave), or delete them (--drop)."
        )


def _status(gallery: Gallery) -> tuple[dict[str, Any], list[str]]:
    status = models.status(gallery)
    return asdict(status), list(told(status))


def told(status: ModelChange) -> Iterator[str]:
    """Put into words which models a gallery has, and how far a change is."""
    yield f"{status.samples} samples, searched by {status.model or OWN}."
    if status.has_other:
        yield f"{status.done} of them have a vector of {status.other or 'the model of before'}, too."
    if status.to is not None:
        how = "is under way" if status.running else "has stopped"
        why = f" ({status.trouble})" if status.trouble else ""
        yield f"A change to {status.to} {how}{why}."
    if status.waiting and not status.running:
        yield f"{status.waiting} samples wait for a picture (--list)."


def _list(gallery: Gallery) -> tuple[dict[str, Any], list[str]]:
    ids, _ = models.waiting(gallery, PAGE)
    page = ids
    while len(page) == PAGE:
        page, _ = models.waiting(gallery, PAGE, after=page[-1])
        ids += page
    return {"waiting": ids}, ids


def _stop(gallery: Gallery) -> tuple[dict[str, Any], list[str]]:
    stopped = changes.release(gallery)
    return {"stopped": stopped}, ["Stopped." if stopped else "No change was under way."]


def _forget(gallery: Gallery) -> tuple[dict[str, Any], list[str]]:
    count = models.forget(gallery)
    return {"forgotten": count}, [f"{count} vectors removed."]


LOOKS = {"status": _status, "list_": _list, "stop": _stop, "forget": _forget}
