"""Takes over what a source gives: galleries and keys, people, and a sample of each example's picture.

Each step can be done again: what is there stays as it is. So a run that was broken off, however, is gone on
with by the next one.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Protocol

from recognition import client_keys, names
from recognition.bounds import MAX_NAME
from recognition.client_keys import ClientService
from recognition.errors import GalleryExists, ServiceExists
from recognition.faces import Enrolment, Person
from recognition.gallery import Gallery, applications, arrivals, galleries, people, services
from recognition.results import EnrolmentReport
from recognition.takeover.report import Line, OfService, Report
from recognition.takeover.source import Example, Service, Source, SourceFailure, Trouble
from serving.errors import NotFound

BATCH = 32  # pictures that are stored together: as many as are embedded at once
BATCH_BYTES = 64 * 2**20  # of pictures that wait to be stored, whosever they are
AT_ONCE = 500  # subjects that are made in one transaction
NAMESAKES = 100  # that are told


class Enrol(Protocol):
    """Makes samples of pictures, as enrolling.py does."""

    def __call__(self, gallery: Gallery, enrolments: Sequence[Enrolment], /) -> EnrolmentReport:
        """Store one face of each picture in a gallery."""
        ...


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be taken over, and how.

    only: names of services; none: all.
    gallery: where the only recognition service's examples go; None: into one that is called as it is.
    take_all: faces however poor, now and through the services later on.
    guessable: services whose keys others can guess, too.
    fixed: services that the settings have, by the digests of their keys.
    """

    only: frozenset[str] = frozenset()
    gallery: str | None = None
    take_all: bool = False
    guessable: bool = False
    fixed: Mapping[bytes, ClientService] = field(default_factory=dict)


@dataclass
class _Taking:
    """One run.

    galleries: by service.
    joined: who was there before a subject of that name came, by service and subject; others have the id of
        `person_id`.
    """

    gallery: Gallery | None
    enrol: Enrol | None
    wishes: Wishes
    report: Report
    advance: Callable[[int], object]
    galleries: dict[Service, Gallery] = field(default_factory=dict)
    joined: dict[tuple[Service, str], str] = field(default_factory=dict)


def take_over(
    source: Source,
    gallery: Gallery | None,
    enrol: Enrol | None,
    wishes: Wishes,
    report: Report,
    progress: Callable[[int], Callable[[int], object]],
) -> None:
    """Take over a source's services.

    Args:
        source: what is taken over; nothing is written there.
        gallery: one of the database that they come to; None: there is none yet, for a dry run.
        enrol: makes samples; None: a dry run, which tells what there is to take and changes nothing.
        wishes: of the one who migrates.
        report: gets what became of everything, as it goes.
        progress: is told the number of all examples, and returns what is told the number of each step.

    Raises:
        SourceFailure: the source cannot be read, or not any further; what was taken by then is stored.
        Failure: as enrolling raises it, and the gallery; likewise.
    """
    taking = _Taking(gallery, enrol, wishes, report, lambda done: None)
    try:
        for service in _asked_for(source.services(), wishes):
            report.services[service] = _judged(taking, service)
        recognising = [
            service
            for service, outcome in report.services.items()
            if service.kind == "recognition" and not outcome.detail
        ]
        taking.advance = progress(source.count(recognising))  # first of all: a wrong key opens nothing here
        report.begun = True
        for service, outcome in report.services.items():
            if not outcome.detail:
                _open(taking, service, outcome)
        for service in recognising:
            subjects = source.subjects(service)
            while some := list(islice(subjects, AT_ONCE)):
                report.services[service].subjects += len(some)
                _settle(taking, service, some, told=True)
        _take(taking, source, recognising)
    finally:
        report.troubles += source.troubles
    if enrol is not None:
        for service in recognising:
            for name, number in arrivals.namesakes(taking.galleries[service], NAMESAKES):
                detail = f"{number} people are called {name}, but for case and the like; they stay apart."
                report.notes.append(Line(service.name, None, name, "namesakes", detail))


def person_id(service: Service, subject: str) -> str:
    """Return the id of the person who a subject becomes: the same in every run, by every kind of source.

    The name space is the service's key. Ids stay in audit logs and receipts when a person is erased, and
    without the key nobody can try names on them.
    `ascii`: a source's JSON may have half of a surrogate pair.
    """
    return str(uuid.uuid5(uuid.UUID(service.key), ascii(subject)))


def shown_name(subject: str) -> str:
    """Return what a person is called who was this subject: the same, as far as names here can be."""
    with suppress(ValueError):
        if len(name := names.normalised(subject)) <= MAX_NAME:
            return name
    return names.unnamed(hashlib.sha256(ascii(subject).encode()).hexdigest()[:12])


def _asked_for(found: Sequence[Service], wishes: Wishes) -> list[Service]:
    called = {name for service in found for name in _names_of(service)}
    if lacking := sorted(wishes.only - called):
        raise SourceFailure(
            f"The source has no service called {lacking[0]}; it has {', '.join(sorted(called))}."
        )
    asked_for = [each for each in found if not wishes.only or wishes.only & _names_of(each)]
    recognising = [each for each in asked_for if each.kind == "recognition"]
    if wishes.gallery is not None and len(recognising) != 1:
        raise SourceFailure("--gallery is for one recognition service; name it with --service.")
    return asked_for


def _names_of(service: Service) -> set[str]:
    return {service.name, f"{service.app}/{service.name}"} if service.app else {service.name}


def _judged(taking: _Taking, service: Service) -> OfService:
    """See whether a service is taken, and whether its key opens it here already."""
    try:
        digest = client_keys.digest(service.key)
    except ValueError:
        return OfService(service, detail="its key is no UUID.")
    there = taking.wishes.fixed.get(digest)
    if there is None and taking.gallery is not None:
        there = services.find(taking.gallery, digest)
    if there is None:
        if client_keys.is_guessable(service.key) and not taking.wishes.guessable:
            detail = "others can guess its key, as many have the same; --guessable takes it nevertheless."
            return OfService(service, detail=detail)
        place = taking.wishes.gallery if service.kind == "recognition" else None
        return OfService(service, place, new=True)
    if there.kind != service.kind:
        return OfService(service, detail=f"its key opens a {there.kind} service here.")
    return OfService(service, there.gallery)


def _open(taking: _Taking, service: Service, outcome: OfService) -> None:
    """Let the key of a service open the same here, and find the gallery where its examples go."""
    if taking.gallery is None:
        return
    if taking.enrol is not None:
        if outcome.new:
            outcome.gallery = _added(taking, taking.gallery, service)
        elif outcome.gallery is not None:  # of a service in the settings it need not be there
            with suppress(GalleryExists):
                galleries.make(taking.gallery, outcome.gallery)
    if outcome.gallery is not None and outcome.gallery in galleries.names(taking.gallery):
        taking.galleries[service] = taking.gallery.of(outcome.gallery)


def _added(taking: _Taking, gallery: Gallery, service: Service) -> str | None:
    """Add a service of the same name, or with a number behind it. Returns the name of its gallery."""
    app = None if service.app is None else _application(gallery, shown_name(service.app))
    guessable = client_keys.is_guessable(service.key)
    if guessable:
        detail = "others can guess its key; whoever reaches the service can use it."
        taking.report.notes.append(Line(service.name, None, "", "guessable_key", detail))
    name = shown_name(service.name)
    for number in count(2):
        try:
            return services.add(
                gallery,
                name,
                service.kind,
                client_keys.digest(service.key),
                guessable=guessable,
                take_all=taking.wishes.take_all and service.kind == "recognition",
                app=app,
                gallery_name=taking.wishes.gallery if service.kind == "recognition" else None,
            ).gallery
        except ServiceExists:
            if services.find(gallery, client_keys.digest(service.key)) is not None:
                raise
            name = f"{shown_name(service.name)} {number}"
    raise AssertionError("numbers do not end")


def _application(gallery: Gallery, name: str) -> str:
    known = {each.name: each.id for each in applications.listed(gallery)}
    return known.get(name) or applications.make(gallery, name).id


def _settle(taking: _Taking, service: Service, subjects: Sequence[str], *, told: bool = False) -> None:
    """See to it that there is a person for each of some subjects."""
    if told:
        for subject in subjects:
            if (name := shown_name(subject)) != subject:
                detail = f"the subject {subject!a} is called {name}."
                taking.report.notes.append(Line(service.name, None, subject, "renamed", detail))
    gallery = taking.galleries.get(service)
    if gallery is None or taking.enrol is None:
        return
    now = gallery.now()
    by_id = {person_id(service, subject): subject for subject in subjects}
    new = [Person(each, shown_name(subject), None, now, now) for each, subject in by_id.items()]
    for each, settled in arrivals.settle(gallery, new).items():
        if each != settled:
            taking.joined[service, by_id[each]] = settled


def _take(taking: _Taking, source: Source, recognising: Sequence[Service]) -> None:
    waiting: dict[Service, list[tuple[Example, bytes]]] = {service: [] for service in recognising}
    waiting_bytes = 0
    for example, picture in source.examples(recognising, lambda some: _chosen(taking, some)):
        if isinstance(picture, Trouble):
            taking.report.refuse(example, picture.code, picture.detail)
            taking.advance(1)
            continue
        batch = waiting[example.service]
        batch.append((example, picture))
        waiting_bytes += len(picture)
        for some in (
            waiting.values() if waiting_bytes > BATCH_BYTES else [batch] if len(batch) == BATCH else []
        ):
            waiting_bytes -= sum(len(each) for _, each in some)
            _enrol(taking, some)
            some.clear()
    for some in waiting.values():
        _enrol(taking, some)


def _chosen(taking: _Taking, some: Sequence[Example]) -> set[str]:
    """Return the ids of those that are not there. One that is, of another person than it was, is moved."""
    chosen: set[str] = set()
    for service in {each.service: None for each in some}:
        theirs = [each for each in some if each.service == service]
        gallery, outcome = taking.galleries.get(service), taking.report.services[service]
        there = {} if gallery is None else arrivals.arrived(gallery, [each.id for each in theirs])
        missing = [each for each in theirs if each.id not in there]
        _settle(taking, service, sorted({each.subject for each in theirs}))
        if gallery is not None:
            for example in theirs:
                if example.id in there:
                    _compare(taking, gallery, example, there[example.id])
        taking.advance(len(theirs) - len(missing))
        if taking.enrol is None:
            outcome.taken += len(missing)
            taking.advance(len(missing))
        else:
            chosen |= {each.id for each in missing}
    return chosen


def _compare(taking: _Taking, gallery: Gallery, example: Example, there: arrivals.Arrived) -> None:
    outcome, person = taking.report.services[example.service], _person(taking, example)
    if there.person == person or taking.enrol is None:
        outcome.already += 1
    elif there.untouched:
        with suppress(NotFound):  # deleted meanwhile
            people.change_sample(gallery, example.id, {"person": person})
            outcome.moved += 1
    else:
        outcome.already += 1
        detail = "It is another person's here, and was changed here: it stays that person's."
        taking.report.warn(example, "elsewhere", detail)


def _enrol(taking: _Taking, batch: Sequence[tuple[Example, bytes]]) -> None:
    if not batch or taking.enrol is None:
        return
    service = batch[0][0].service
    take_all = taking.wishes.take_all
    enrolments = [
        Enrolment(example.id, None, picture, person=_person(taking, example), accept_low_quality=take_all)
        for example, picture in batch
    ]
    done = taking.enrol(taking.galleries[service], enrolments)
    for example, _ in batch:
        if (failure := done.failed.get(example.id)) is not None:
            taking.report.refuse(example, failure.code, failure.detail)
        else:
            taking.report.services[service].taken += 1
            for remark in done.enrolled[example.id].remarks:
                taking.report.warn(example, remark.code, remark.detail)
    taking.advance(len(batch))


def _person(taking: _Taking, example: Example) -> str:
    service, subject = example.service, example.subject
    return taking.joined.get((service, subject)) or person_id(service, subject)
