"""What openapi-python-client makes of /openapi.json of both services: every call, against the services."""

from __future__ import annotations

import importlib
import io
import json
import pkgutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from running import Pair, Service

TIMEOUT_S = 60
JPEG = b"\xff\xd8\xff"

# All that it warns of: it knows neither media type, and has the other ways to send the same bytes.
WARNINGS = {
    "recognition_client": ["WARNING parsing POST /import within admin."],
    "embedding_client": [
        f"WARNING parsing POST /{call} within any_." for call in ("embeddings", "attributes")
    ],
}


class Generated:
    """A generated client, and which of its calls were made."""

    def __init__(self, service: Service, name: str, folder: Path) -> None:
        self.document = requests.get(f"{service.url}/openapi.json", timeout=TIMEOUT_S).json()
        (folder / "openapi.json").write_text(json.dumps(self.document))
        (folder / "settings.yaml").write_text("post_hooks: []")
        command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
        options = {"path": "openapi.json", "config": "settings.yaml", "output-path": name}
        command += [f"--{option}={value}" for option, value in options.items()]
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert made.returncode == 0, made.stderr
        self.warnings = [
            line for line in (made.stdout + made.stderr).splitlines() if line.startswith("WARNING")
        ]
        self.package = importlib.import_module(name)
        found = pkgutil.walk_packages(self.package.__path__, f"{name}.")
        modules = [importlib.import_module(module.name) for module in found]  # every one can be imported
        self.calls: dict[str, Any] = {
            module.__name__.rpartition(".")[2]: module for module in modules if ".api." in module.__name__
        }
        self.models: ModuleType = importlib.import_module(f"{name}.models")
        self.made: set[str] = set()
        self.client = self.package.Client(
            base_url=service.url, raise_on_unexpected_status=True, timeout=TIMEOUT_S
        )

    def call(self, operation: str, status: int = 200, **arguments: Any) -> Any:
        """Make a call, and return what the client makes of the answer."""
        answer = self.calls[operation].sync_detailed(client=self.client, **arguments)
        assert answer.status_code == status, answer.content
        self.made.add(operation)
        return answer.parsed

    def file(self, data: bytes, name: str | None = "a.bin") -> Any:
        return importlib.import_module(f"{self.package.__name__}.types").File(io.BytesIO(data), name)

    def operations(self) -> set[str]:
        return {call["operationId"] for path in self.document["paths"].values() for call in path.values()}


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make a client of a service under a name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    with ExitStack() as clients:

        def generate(service: Service, name: str) -> Generated:
            api = Generated(service, name, tmp_path)
            clients.enter_context(api.client)
            return api

        yield generate
    for name in [name for name in sys.modules if name.partition(".")[0] in WARNINGS]:
        del sys.modules[name]


def test_every_call_of_face_detection(
    pair: Pair, generated: Any, photographs: dict[str, list[Path]], as_base64: Any
) -> None:
    api: Generated = generated(pair.detection, "recognition_client")
    assert api.warnings == WARNINGS["recognition_client"]
    models = api.models
    first, other = photographs["madonna"][:2]
    stranger = photographs["elton_john"][0]

    # enrol
    new = models.NewSample(id="m/1", name="Madonna", image=as_base64(first), metadata={"born": 1958})
    enrolled = api.call("post_update_samples", body=[new])
    assert (enrolled.success, enrolled.fail) == (["m/1"], [])

    # recognise: the picture in JSON, and as a file; with options; and drawn
    (face,) = api.call("post_face_recognition", body=models.RecogniseRequest(image=as_base64(other)))
    assert (face.name, face.id, face.metadata["born"]) == ("Madonna", "m/1", 1958)
    upload = models.PostFaceRecognitionFilesBody
    (seen,) = api.call("post_face_recognition", body=upload(file=api.file(other.read_bytes())))
    assert seen == face
    options = {"include_unknown": True, "top_k": 2, "limit": 1, "min_distance": 20.0}
    (near,) = api.call("post_face_recognition", body=upload(file=api.file(stranger.read_bytes()), **options))
    assert [candidate.name for candidate in near.candidates] == ["Madonna"]
    for body in (
        models.PostDrawFilesBody(file=api.file(other.read_bytes()), include_unknown=True),
        models.RecogniseRequest(image=as_base64(other), include_unknown=True),
    ):
        drawn = api.call("post_draw", body=body).payload.read()
        assert drawn.startswith(JPEG)
        with Image.open(io.BytesIO(drawn)) as picture, Image.open(other) as sent:
            assert picture.size == sent.size

    # detect, verify
    for body in (
        models.DetectRequest(image=as_base64(other)),
        models.PostDetectFilesBody(file=api.file(other.read_bytes())),
    ):
        (found,) = api.call("post_detect", body=body)
        assert found.bbox == face.bbox
        assert len(found.landmarks.nose) == 2
    for body in (
        models.VerifyRequest(image1=as_base64(first), image2=as_base64(other)),
        models.PostVerifyFilesBody(
            image1=api.file(first.read_bytes()), image2=api.file(other.read_bytes()), min_distance=9.0
        ),
    ):
        assert api.call("post_verify", body=body, x_request_id="door-7").verified

    # what a camera sees
    for body in (
        models.DescribeRequest(image=as_base64(other)),
        models.PostEmbeddingsFilesBody(file=api.file(other.read_bytes()), limit=1),
    ):
        described = api.call("post_embeddings", body=body)
        assert (described.model, len(described.faces[0].embedding)) == ("Facenet", 128)
    visit = models.NewVisit(
        id=str(uuid.uuid4()),
        camera="door",
        since=datetime(2026, 11, 24, 8, 30, tzinfo=UTC),
        frames=31,
        bbox=described.faces[0].bbox,
        quality=described.faces[0].quality,
        fingerprint=described.fingerprint,
        embeddings=[described.faces[0].embedding],
        picture=as_base64(other),
    )
    event = api.call("post_events", body=visit)
    assert (event.name, event.sample, event.until, event.picture) == ("Madonna", "m/1", None, True)
    since = datetime(2026, 11, 24, tzinfo=UTC)
    listed = api.call("get_events", camera="door", since=since)
    assert (listed.events, listed.total, listed.next_) == ([event], 1, None)
    assert api.call("get_events_event_id", event_id=event.id) == event
    shown = api.call("get_events_event_id_picture", event_id=event.id).payload.read()
    assert shown.startswith(JPEG)
    assert api.call("delete_events_event_id", event_id=event.id).success == [event.id]
    assert api.call("delete_events", camera="door").deleted == 0

    # samples
    page = api.call("get_samples", limit=5, name="Madonna")
    assert ([sample.id for sample in page.samples], page.total, page.next_) == (["m/1"], 1, None)
    assert api.call("get_samples_count").count == 1
    sample = api.call("get_samples_sample_id", sample_id="m/1")
    assert (sample.name, sample.metadata["born"]) == ("Madonna", 1958)
    check = api.call("get_doctor", limit=10)
    assert ([finding.what for finding in check.findings], check.examined, check.next_) == (
        ["few_samples"],
        1,
        None,
    )

    kept = api.call("get_samples_sample_id_face", sample_id="m/1").payload.read()
    with Image.open(io.BytesIO(kept)) as picture:
        assert (picture.format, max(picture.size) <= 256) == ("JPEG", True)

    # export, import: as bytes and in a form
    assert b'"face"' in api.call("get_export", faces=True).payload.read()
    exported = api.call("get_export").payload.read()
    header, line, _, end = map(json.loads, exported.splitlines())
    assert (header["dimension"], line["id"], end["samples"]) == (128, "m/1", 1)
    assert api.call("delete_samples_sample_id", sample_id="m/1").success == ["m/1"]
    assert api.call("get_samples_sample_id", 404, sample_id="m/1").code == "not_found"
    assert api.call("post_import", body=api.file(exported)).imported == 1
    form = models.PostImportFilesBody(file=api.file(exported))
    again = api.call("post_import", body=form)
    assert (again.imported, again.unchanged) == (0, 1)

    # people
    louise = api.call("post_persons", body=models.NewPerson(name="Louise", metadata={"consent": 1}))
    (madonna,) = api.call("get_persons", q="mado").persons
    assert api.call("get_persons_person_id", person_id=madonna.id).samples == 1
    assert b'"m/1"' in api.call("get_persons_person_id_export", person_id=madonna.id).payload.read()
    upload = models.PostSamplesBody(file=[api.file(other.read_bytes(), "other.jpg")], name="louise")
    (sample_id,) = api.call("post_samples", body=upload).success
    moved = api.call("patch_samples_sample_id", sample_id="m/1", body=models.SampleChanges(person=louise.id))
    assert (moved.name, moved.metadata["born"]) == ("Louise", 1958)
    back = models.SampleChanges(name="Madonna")
    madonna_id = api.call("patch_samples_sample_id", sample_id=sample_id, body=back).person
    renamed = models.PersonChanges(name="Ciccone")
    assert api.call("patch_persons_person_id", person_id=madonna_id, body=renamed).name == "Ciccone"
    into = models.Merge(into=louise.id)
    merged = api.call("post_persons_person_id_merge", person_id=madonna_id, body=into)
    assert merged.samples == 2
    undone = models.Unmerge.from_dict(merged.merged.to_dict())
    back = api.call("post_persons_person_id_unmerge", person_id=louise.id, body=undone)
    assert (back.id, back.name, back.samples, back.left) == (madonna_id, "Ciccone", 1, 0)
    assert api.call("post_persons_person_id_merge", person_id=madonna_id, body=into).samples == 2
    correction = models.PostCorrectionsBody(
        file=api.file(stranger.read_bytes()),
        name="Elton",
        wrong_sample="m/1",
        then=models.PostCorrectionsBodyThen.REMOVE,
    )
    corrected = api.call("post_corrections", body=correction)
    assert (corrected.removed, corrected.moved) == (["m/1"], [])
    erased = api.call("delete_persons_person_id", person_id=louise.id, receipt=True)
    assert erased.receipt.samples == [sample_id]

    # people whom nobody has named: none is kept, as nobody has asked for it
    unknown = api.call("get_unknowns", limit=5)
    assert (unknown.unknowns, unknown.total, unknown.next_, unknown.keeping) == ([], 0, None, False)
    nobody = {"unknown_id": str(uuid.uuid4())}
    assert api.call("get_unknowns_unknown_id", 404, **nobody).code == "not_found"
    assert api.call("get_unknowns_unknown_id_faces_face_id", 404, face_id="1", **nobody).code == "not_found"
    forget = models.UnknownAction(action=models.UnknownActionAction.FORGET)
    assert api.call("post_unknowns_unknown_id", 404, body=forget, **nobody).code == "not_found"
    assert api.call("delete_unknowns").deleted == 0

    # galleries
    assert api.call("post_galleries", body=models.NewGallery(name="lobby")).samples == 0
    assert "lobby" in [each.name for each in api.call("get_galleries").galleries]
    assert api.call("get_samples_count", gallery="lobby").count == 0
    wish = models.NewModel(model="Facenet", without_face=models.NewModelWithoutFace.LEAVE)
    assert api.call("post_model_change", gallery="lobby", body=wish).model == "Facenet"
    assert api.call("get_model_change", gallery="lobby").to is None
    assert api.call("delete_model_change", gallery="lobby").running is False
    assert api.call("delete_galleries_gallery", gallery="lobby").success == ["lobby"]

    # remove
    assert api.call("delete_samples", name="Nobody").deleted == 0
    assert api.call("delete_samples", name="Madonna").deleted == 0
    for operation in ("delete_samples", "get_clear_samples", "post_clear_samples"):
        assert api.call(operation).success == "Samples have been removed successfully"

    # about the service
    assert api.call("get_health").status == "ok"
    ready = api.call("get_ready")
    assert (ready.model, ready.distance_range, ready.gallery.samples) == ("Facenet", [0.0, 20.0], 0)
    assert "recognition_samples 0.0" in api.call("get_metrics")
    assert api.call("get_openapi_json")["openapi"] == api.document["openapi"]
    for operation in ("get_update_samples", "get_face_recognition"):
        assert api.call(operation) == "Face detection server is running."
    for operation in ("get", "get_docs"):
        assert api.call(operation).startswith("<!doctype html>")
    script = api.call("get_docs_name", name=models.GetDocsNameName.START_JS)
    assert b"SwaggerUIBundle" in script.payload.read()
    picture = api.call("get_static_filename", filename=models.GetStaticFilenameFilename.READY_JPG)
    assert picture.payload.read().startswith(JPEG)
    assert api.made == api.operations()


def test_an_error_is_told_as_the_others_are(pair: Pair, generated: Any) -> None:
    api: Generated = generated(pair.detection, "recognition_client")
    error = api.call("post_detect", 400, body=api.models.DetectRequest(image="bm90aGluZw=="))
    assert (error.error, error.code) == ("Invalid request.", "invalid_image")
    nameless = api.file(b"", None)
    error = api.call("post_detect", 400, body=api.models.PostDetectFilesBody(file=nameless))
    assert error.detail == "file: must be a file, with a file name"


def test_every_call_of_feature_extraction(
    pair: Pair, generated: Any, photographs: dict[str, list[Path]]
) -> None:
    api: Generated = generated(pair.extraction, "embedding_client")
    assert api.warnings == WARNINGS["embedding_client"]
    models = api.models
    model = api.call("get_model")
    assert (model.name, model.dimension, model.input_size) == ("Facenet", 128, 160)

    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(1).integers(0, 256, (2, 160, 160, 3), np.uint8))
    crops = models.PostEmbeddingsFilesBody(crops=api.file(stream.getvalue()))
    vectors = np.load(api.call("post_embeddings", body=crops).payload)
    assert (vectors.shape, vectors.dtype) == ((2, 128), np.float32)
    faces = models.PostAttributesFilesBody(crops=api.file(stream.getvalue()))
    assert "ATTRIBUTES=1" in api.call("post_attributes", 404, body=faces).detail

    pictures = [api.file(path.read_bytes(), path.name) for path in photographs["madonna"][:2]]
    ids = json.dumps([{"id": "a"}, {"id": 2}])
    faces = api.call("post", body=models.PostBody(face_data=ids, image=pictures))
    assert [face.id for face in faces] == ["a", 2]
    assert [len(face.vector) for face in faces] == [128, 128]

    assert "running" in api.call("get")
    assert api.call("get_health").status == "ok"
    assert api.call("get_ready").model == "Facenet"
    assert "embedding_" in api.call("get_metrics")
    assert api.call("get_openapi_json")["openapi"] == api.document["openapi"]
    assert api.call("get_docs").startswith("<!doctype html>")
    style = api.call("get_docs_name", name=models.GetDocsNameName.SWAGGER_UI_CSS)
    assert b".swagger-ui" in style.payload.read()
    assert api.made == api.operations()
