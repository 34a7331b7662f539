"""Wiring: builds the Flask application from its parts, and nothing else."""

from __future__ import annotations

from flask import Flask

from recognition import routes
from recognition.admission import Admission
from recognition.config import Settings, stop
from recognition.detector import load_mtcnn
from recognition.detector.deepface_detectors import DetectorUnavailable, load_deepface
from recognition.embedder import EmbeddingClient
from recognition.errors import GalleryUnavailable
from recognition.gallery import open_gallery
from recognition.service import Detector, Embedder, Gallery, Service


def create_app(settings: Settings, *, detector: Detector, embedder: Embedder, gallery: Gallery) -> Flask:
    """Build the application around the given parts. It holds no global state."""
    app = Flask("recognition", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    service = Service(
        detector,
        embedder,
        gallery,
        max_image_pixels=settings.max_image_pixels,
        enrolment_threads=settings.enrolment_threads,
        admission=Admission(settings.max_running, settings.max_waiting),
    )
    routes.register(app, service)
    return app


def load_detector(settings: Settings) -> Detector:
    """Load DETECTOR, or say why it cannot be loaded and leave.

    Raises:
        SystemExit: with the status at which gunicorn's master stops.
    """
    limits = {"min_face_px": settings.min_face_px, "threads": settings.detection_threads}
    if settings.detector == "mtcnn":
        return load_mtcnn(settings.models_dir, max_side_px=settings.detection_max_side_px, **limits)
    try:
        return load_deepface(
            settings.detector, settings.models_dir, deepface_home=settings.deepface_home, **limits
        )
    except DetectorUnavailable as e:
        stop(str(e))


def load_gallery(settings: Settings) -> Gallery:
    """Open DATABASE_URL, or say why it cannot be opened and leave.

    Raises:
        SystemExit: with the status at which gunicorn's master stops.
    """
    try:
        return open_gallery(settings.database_url, settings.gallery_lock_timeout_s)
    except (GalleryUnavailable, OSError) as e:
        stop(f"DATABASE_URL: {e}")


def production_app(settings: Settings) -> Flask:
    """Build the application with the real detector, embedding service and database.

    Called in each worker, after the fork: ONNX sessions and database connections do not survive one.
    """
    return create_app(
        settings,
        detector=load_detector(settings),
        embedder=EmbeddingClient(
            settings.feature_extraction_url,
            connect_timeout_s=settings.embedding_connect_timeout_s,
            read_timeout_s=settings.embedding_read_timeout_s,
            connections=settings.threads,
        ),
        gallery=load_gallery(settings),
    )
