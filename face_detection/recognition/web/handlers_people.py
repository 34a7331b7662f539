"""Handlers of people, and of whose a sample is, as thin as those of handlers.py."""

from __future__ import annotations

from functools import partial

from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue

from recognition.gallery import doctor, people, transfer, unmerging
from recognition.web import receipts, render, render_doctor, wire, wire_people
from recognition.web.handlers import NDJSON, Parts
from serving import bodies
from serving.routes import query

AS_FILE = {"Content-Disposition": 'attachment; filename="person.jsonl"'}
FILE_NAME_SHOWN = 255  # characters


def list_persons(parts: Parts) -> ResponseReturnValue:
    """List people by name, page by page."""
    asked = wire.parse_text(wire_people.PersonsQuery, query())
    page = people.page(parts.gallery, limit=asked.limit, after=asked.after, q=asked.q)
    return jsonify(render.persons_answer(page))


def make_person(parts: Parts) -> ResponseReturnValue:
    """Make a person without samples, who stays until they are removed or expire."""
    new = wire.parse_small(wire_people.NewPerson, bodies.json())
    person = people.make(
        parts.gallery,
        new.name,
        person_id=new.id,
        metadata=new.metadata,
        expires_at=new.expires_at,
        kept_for=parts.service.enroller.kept_for,
    )
    return jsonify(render.person_answer(person))


def show_person(parts: Parts, person_id: str) -> ResponseReturnValue:
    """Show one person."""
    return jsonify(render.person_answer(people.get(parts.gallery, wire_people.parse_person_id(person_id))))


def change_person(parts: Parts, person_id: str) -> ResponseReturnValue:
    """Change a person's name, metadata or expiry."""
    person_id = wire_people.parse_person_id(person_id)
    changes = wire.parse_small(wire_people.PersonChanges, bodies.json()).changes()
    return jsonify(render.person_answer(people.change(parts.gallery, person_id, changes)))


def delete_person(parts: Parts, person_id: str) -> ResponseReturnValue:
    """Remove a person with all samples."""
    receipt = wire.parse_text(wire_people.ErasureQuery, query()).receipt
    erasure = people.delete(parts.gallery, wire_people.parse_person_id(person_id))
    return jsonify(receipts.erasure_answer(erasure, receipt=receipt))


def merge_person(parts: Parts, person_id: str) -> ResponseReturnValue:
    """Give all samples of a person to another, and remove the emptied one."""
    person_id = wire_people.parse_person_id(person_id)
    into = wire.parse_small(wire_people.Merge, bodies.json()).into
    return jsonify(render.merge_answer(people.merge(parts.gallery, person_id, into)))


def unmerge_person(parts: Parts, person_id: str) -> ResponseReturnValue:
    """Take a merge back: who was emptied is there again, with the samples that nobody has changed since.

    The body is `merged` of the merge's answer. Samples that somebody has changed, moved or enrolled anew
    meanwhile stay as and where they are.
    """
    person_id = wire_people.parse_person_id(person_id)
    asked = wire.parse_small(wire_people.Unmerge, bodies.json())
    unmerged = unmerging.unmerge(parts.gallery, person_id, asked.emptied(), asked.revision)
    return jsonify(render.unmerge_answer(unmerged))


def export_person(parts: Parts, person_id: str) -> ResponseReturnValue:
    """Send all that is stored of a person as one file, which POST /import takes."""
    pieces = transfer.export_person(parts.gallery, wire_people.parse_person_id(person_id))
    return Response(pieces, mimetype=NDJSON, headers=AS_FILE)


def change_sample(parts: Parts, sample_id: str) -> ResponseReturnValue:
    """Change whose a sample is, or its metadata, action or expiry."""
    sample_id = wire.parse_id(sample_id)
    changes = wire.parse_small(wire_people.SampleChanges, bodies.json()).changes()
    return jsonify(render.sample_answer(people.change_sample(parts.gallery, sample_id, changes)))


def upload_samples(parts: Parts) -> ResponseReturnValue:
    """Enrol the largest face of each uploaded picture, under new ids.

    All are of one person, told by `name` or `person`.
    """
    pictures = bodies.several("file")
    with parts.service.admission():
        enrolments = wire_people.parse_upload(request.form, [picture for _, picture in pictures])
        report = parts.service.enrol(enrolments)
    files = {
        enrolment.id: name[:FILE_NAME_SHOWN]
        for enrolment, (name, _) in zip(enrolments, pictures, strict=True)
    }
    return jsonify(render.enrolment_answer(report, files))


def correct(parts: Parts) -> ResponseReturnValue:
    """Enrol a face that was taken for somebody else's, and put right the sample that it was taken for.

    The face is the new sample of whose it is, told by `name` or `person`. All is done, or nothing.
    """
    ((_, picture),) = bodies.several("file")
    with parts.service.admission():
        enrolment, mistaken = wire_people.parse_correction(request.form, picture)
        seen = parts.service.correct(enrolment, mistaken)
    return jsonify(render.correction_answer(enrolment.id, seen, mistaken))


def examine(parts: Parts) -> ResponseReturnValue:
    """Look for what may be wrong in the gallery, part by part.

    Each part looks at the next samples, and compares them with all others. Whoever wants all findings asks
    for one part after the other, puts them together by `id`, and in order by `sure`.
    """
    asked = wire.parse_text(wire_people.DoctorQuery, query())
    with parts.service.admission():
        examine = partial(
            doctor.examine,
            limit=asked.limit,
            after=asked.after,
            give_way=parts.service.admission.give_way,
        )
        part = parts.service.examine(examine)
    return jsonify(render_doctor.examination_answer(part))
