"""The failures that this service adds to serving/errors.py; their HTTP status is the business of web/."""

from __future__ import annotations

from collections.abc import Sequence

from recognition.faces import Quality
from serving.errors import Failure
from serving.remarks import Remark


class NoFace(Failure):
    """No face was found where one is needed."""

    code = "no_face"


class AmbiguousName(Failure):
    """Several people have the name; the one who is meant must be told by id. `persons` has the ids."""

    code = "ambiguous_name"

    def __init__(self, detail: str, persons: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.persons = persons


class PersonExists(Failure):
    """There is a person with this id already."""

    code = "person_exists"


class ChangedMeanwhile(Failure):
    """What a caller wants to put right or take back is no longer as they have seen it."""

    code = "changed_meanwhile"


class GalleryExists(Failure):
    """There is a gallery with this name already."""

    code = "gallery_exists"


class ServiceExists(Failure):
    """There is a service with this key, or an application or a service in it with this name, already."""

    code = "service_exists"


class AdministratorExists(Failure):
    """Somebody has registered for CompreFace's admin calls already."""

    code = "administrator_exists"


class NotCalibrated(Failure):
    """It cannot be told how many strangers would get a name: there is nobody to compare with."""

    code = "not_calibrated"


class SeveralFaces(Failure):
    """The picture has several faces where it must have one."""

    code = "several_faces"


class LowQuality(Failure):
    """The face is too poor to tell people apart."""

    code = "low_quality"

    def __init__(self, detail: str, quality: Quality | None = None) -> None:
        super().__init__(detail)
        self.quality = quality


class Doubtful(Failure):
    """The sample has warnings, and is not wanted then: `remarks`, whose codes are what callers are told."""

    code = "doubtful"

    def __init__(self, detail: str, remarks: Sequence[Remark] = ()) -> None:
        super().__init__(detail)
        self.remarks = remarks


class DamagedGallery(Failure):
    """The file is not a gallery, not complete, or not what was written."""

    code = "damaged_gallery"


class EmbeddingUnavailable(Failure):
    """The embedding service is down, too slow, or speaks nonsense."""

    code = "embedding_unavailable"


class ModelUnknown(Failure):
    """The embedding service does not have a model."""

    code = "model_unknown"


class GalleryUnavailable(Failure):
    """The database cannot be reached, is locked past its time limit, or has no room left."""

    code = "gallery_unavailable"
    outcome_unknown = False  # True: the connection broke while a change was committed, which may be stored


class AuditUnavailable(Failure):
    """The audit log cannot be written; what would have stood in it is not done."""

    code = "audit_unavailable"


class GalleryModelMismatch(Failure):
    """The gallery holds vectors of another model, which cannot be compared with this one's."""

    code = "gallery_model_mismatch"


class ModelChanged(GalleryModelMismatch):
    """The gallery has changed its model since the vectors were made that are compared or stored."""

    code = "model_changed"


class ChangeStopped(Failure):
    """A change of a gallery's model was stopped, or somebody else goes on with it."""

    code = "change_stopped"


class ChangeUnderWay(Failure):
    """A change of the gallery's model is under way; it has to be stopped before another one begins."""

    code = "change_under_way"
