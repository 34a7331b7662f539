"""The calls about people, and about whose a sample is; rows of the table in routes.py."""

from __future__ import annotations

from recognition import errors
from recognition.web import answers, examples, handlers_people, wire, wire_people
from recognition.web.handlers import NDJSON
from serving.errors import (
    DiskFull,
    ImageTooLarge,
    InvalidImage,
    InvalidRequest,
    NotFound,
    Overloaded,
    UnsupportedMediaType,
)
from serving.keys import ADMIN, ENROL
from serving.routes import OCTETS, Route

GALLERY = (errors.GalleryUnavailable, errors.AuditUnavailable)
CHANGE = (InvalidRequest, UnsupportedMediaType, *GALLERY)
PERSON = "/persons/<path:person_id>"

PEOPLE = (
    Route(
        "GET",
        "/persons",
        handlers_people.list_persons,
        ENROL,
        (answers.Persons, {"persons": [examples.PERSON], "total": 40, "next": "WyJlaWxlZW4iLDdd"}),
        query=wire_people.PersonsQuery,
        raises=(InvalidRequest, *GALLERY),
    ),
    Route(
        "POST",
        "/persons",
        handlers_people.make_person,
        ENROL,
        (answers.Person, {**examples.PERSON, "samples": 0, "sample": None}),
        json=(wire_people.NewPerson, examples.NEW_PERSON),
        raises=(*CHANGE, errors.PersonExists),
    ),
    Route(
        "GET",
        PERSON,
        handlers_people.show_person,
        ENROL,
        (answers.Person, examples.PERSON),
        parameter=wire_people.PersonId,
        raises=(NotFound, *GALLERY),
    ),
    Route(
        "PATCH",
        PERSON,
        handlers_people.change_person,
        ENROL,
        (answers.Person, examples.PERSON),
        json=(wire_people.PersonChanges, {"name": "Eileen Collins"}),
        parameter=wire_people.PersonId,
        raises=(*CHANGE, NotFound),
    ),
    Route(
        "DELETE",
        PERSON,
        handlers_people.delete_person,
        ENROL,
        (answers.Erased, examples.ERASED),
        query=wire_people.ErasureQuery,
        parameter=wire_people.PersonId,
        raises=(InvalidRequest, NotFound, *GALLERY),
    ),
    Route(
        "POST",
        f"{PERSON}/merge",
        handlers_people.merge_person,
        ENROL,
        (answers.Merged, {**examples.PERSON, "merged": examples.MERGED}),
        json=(wire_people.Merge, {"into": "eileen"}),
        parameter=wire_people.PersonId,
        raises=(*CHANGE, NotFound),
    ),
    Route(
        "POST",
        f"{PERSON}/unmerge",
        handlers_people.unmerge_person,
        ENROL,
        (answers.Unmerged, {**examples.PERSON, "id": "another", "samples": 2, "left": 0}),
        json=(wire_people.Unmerge, examples.MERGED),
        parameter=wire_people.PersonId,
        raises=(*CHANGE, NotFound, errors.PersonExists, errors.ChangedMeanwhile),
    ),
    Route(
        "GET",
        f"{PERSON}/export",
        handlers_people.export_person,
        ADMIN,
        (NDJSON, examples.EXPORTED),
        others=(OCTETS,),
        parameter=wire_people.PersonId,
        raises=(NotFound, *GALLERY),
    ),
    Route(
        "POST",
        "/samples",
        handlers_people.upload_samples,
        ENROL,
        (answers.Enrolled, examples.ENROLLED),
        queued=True,
        files={"file": "A picture of the person; it may come several times. Required."},
        several=True,
        form=wire_people.UploadOptions,
        raises=(
            *CHANGE,
            Overloaded,
            DiskFull,
            errors.EmbeddingUnavailable,
            errors.GalleryModelMismatch,
        ),
    ),
    Route(
        "POST",
        "/corrections",
        handlers_people.correct,
        ENROL,
        (answers.Corrected, examples.CORRECTED),
        queued=True,
        files={"file": "The picture that the face is in. Required."},
        form=wire_people.CorrectionOptions,
        raises=(
            *CHANGE,
            NotFound,
            InvalidImage,
            ImageTooLarge,
            errors.NoFace,
            errors.SeveralFaces,
            errors.LowQuality,
            errors.AmbiguousName,
            errors.ChangedMeanwhile,
            Overloaded,
            DiskFull,
            errors.EmbeddingUnavailable,
            errors.GalleryModelMismatch,
        ),
    ),
    Route(
        "PATCH",
        "/samples/<path:sample_id>",
        handlers_people.change_sample,
        ENROL,
        (answers.StoredSample, examples.STORED),
        json=(wire_people.SampleChanges, {"person": "eileen"}),
        parameter=wire.SampleId,
        raises=(*CHANGE, NotFound, errors.AmbiguousName),
    ),
)
