"""Wiring: builds the Flask application from its parts, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event, Thread

import numpy as np
from flask import Flask
from numpy.typing import NDArray

from recognition import client_keys, fonts
from recognition.admission import Admission
from recognition.audit import Audit
from recognition.changing import Changer
from recognition.config import Settings, stop
from recognition.detector import OURS, find, shrinking
from recognition.detector.deepface_detectors import DetectorUnavailable, load_deepface
from recognition.embedder import EmbeddingClient
from recognition.enrolling import Enroller
from recognition.errors import AuditUnavailable, GalleryUnavailable
from recognition.fonts import Fonts
from recognition.gallery import Gallery, events, keep_up, open_gallery, services, unknown_keeping
from recognition.keeping import Keeper
from recognition.seeing import Decode, Detector, Embedder, Sight
from recognition.service import Service
from recognition.web import examples, metrics
from recognition.web.handlers import Parts
from recognition.web.handlers_galleries import in_gallery
from recognition.web.routes import CLEAR_BY_GET, ROUTES, STATUS
from serving import app, pictures
from serving.intake import Intake
from serving.notices import Notice, Notices
from serving.rate import RateLimit
from serving.sandbox import Decoder

READY_PICTURE = Path(__file__).parent / "static" / "ready.jpg"
READY_SIDE_PX = 256
READY_MIN_FACE_PX = 200  # our detectors find its face, 110 px high, up to this MIN_FACE_PX


def create_service(
    settings: Settings,
    *,
    detector: Detector,
    embedder: Embedder,
    gallery: Gallery,
    decode: Decode | None = None,
    changer: Changer | None = None,
    queue_changed: Callable[[int, int], None] = lambda running, waiting: None,
) -> Service:
    """Build the use cases around the given parts, which are those of `create_app`.

    queue_changed: is told how many requests run and how many wait, whenever that changes.
    """
    audit = Audit(settings.audit_log, reads=settings.audit_reads)
    admission = Admission(settings.max_running, settings.max_waiting, queue_changed)
    sight = make_sight(
        settings, decode or decoding_here(settings), detector, embedder, give_way=admission.give_way
    )
    return Service(
        sight,
        make_enroller(settings, sight),
        gallery,
        ready_picture=ready_picture(settings.min_face_px),
        admission=admission,
        changer=changer or Changer(sight.decode, embedder),
        max_false_match=settings.max_false_match,
        events_kept_for=settings.events_kept_for,
        audit=audit,
        read=audit.read,
        keep=make_keeper(settings, sight),
        write=Fonts(fonts.find()).write,
    )


def create_app(
    settings: Settings,
    *,
    detector: Detector,
    embedder: Embedder,
    gallery: Gallery,
    decode: Decode | None = None,
    changer: Changer | None = None,
    notices: Notices | None = None,
) -> Flask:
    """Build the application around the given parts. It holds no global state.

    decode: None decodes pictures in this process.
    changer: changes the models of galleries; None: one of its own.
    notices: what /ready shows beside; None: nothing.
    """
    measured = metrics.create(gallery)
    running, waiting = measured.gauges["running"], measured.gauges["waiting"]

    def queue_changed(at_work: int, in_queue: int) -> None:
        running.set(at_work)
        waiting.set(in_queue)

    service = create_service(
        settings,
        detector=detector,
        embedder=embedder,
        gallery=gallery,
        decode=decode,
        changer=changer,
        queue_changed=queue_changed,
    )
    keys = settings.api_keys or settings.api_keys_file
    speaks_compreface = settings.compreface
    if speaks_compreface is None:
        speaks_compreface = bool(settings.compreface_services)
    parts = Parts(
        service,
        gallery,
        measured,
        notices or Notices(),
        authentication=bool(keys),
        beside=partial(_beside, settings if speaks_compreface else None, gallery),
    )
    per_minute = settings.rate_limit_per_minute
    limit = RateLimit(per_minute) if per_minute else None
    intake = Intake(settings.max_bodies_bytes, settings.max_body_bytes)
    native = app.create_app(
        "recognition",
        ROUTES if settings.allow_get_clear else [route for route in ROUTES if route is not CLEAR_BY_GET],
        parts,
        measured,
        statuses=STATUS,
        max_body_bytes=settings.max_body_bytes,
        intake=intake,
        keys=keys,
        ask="Send a valid key: Authorization: Bearer KEY, or x-api-key: KEY.",
        title="Face recognition",
        samples=examples.samples(service.ready_picture),
        limit=limit,
        allowed_hosts=settings.allowed_hosts,
        origins=settings.cors_origins,
        check_queue=service.admission.check,
        parts_for=partial(in_gallery, parts),
    )
    if speaks_compreface:
        from recognition.compreface import app as compreface  # most services do without

        dialect = compreface.create_app(
            service,
            gallery,
            measured,
            detector=settings.detector,
            services=settings.compreface_services,
            keys=keys,
            max_body_bytes=settings.max_body_bytes,
            intake=intake,
            limit=limit,
            allowed_hosts=settings.allowed_hosts,
        )
        compreface.mount(native, dialect)
    return native


def _beside(of_clients: Settings | None, gallery: Gallery) -> list[Notice]:
    """Warn of what is of no one gallery; of_clients: None where no clients of CompreFace are answered."""
    told = [] if of_clients is None else _of_client_keys(of_clients, gallery)
    if gallery.replicas is not None and (trouble := gallery.replicas.trouble):
        detail = f"DATABASE_READ_URL: {trouble} The primary searches meanwhile."
        told.append(Notice(code="replicas_unused", detail=detail))
    return told


def _of_client_keys(settings: Settings, gallery: Gallery) -> list[Notice]:
    """Warn of keys of CompreFace's clients that others can guess."""
    every = (*settings.compreface_services.values(), *services.listed(gallery))
    warning = client_keys.warning(every)
    return [Notice(code="guessable_keys", detail=warning)] if warning else []


def with_stored_services(settings: Settings, gallery: Gallery) -> Settings:
    """Let clients of CompreFace be answered if the database has services for them, unless it is set."""
    if settings.compreface is None and services.listed(gallery):
        return settings.model_copy(update={"compreface": True})
    return settings


def make_sight(
    settings: Settings,
    decode: Decode,
    detector: Detector,
    embedder: Embedder,
    give_way: Callable[[], None] = lambda: None,
) -> Sight:
    """Put decoder, detector and embedder to use as the settings say."""
    return Sight(
        decode,
        detector,
        find=partial(find, max_side_px=settings.detection_max_side_px, min_face_px=settings.min_face_px),
        small_faces=settings.small_faces,
        embedder=embedder,
        max_faces=settings.max_faces,
        min_quality=settings.min_quality,
        give_way=give_way,
    )


def make_enroller(settings: Settings, sight: Sight) -> Enroller:
    """Make what turns pictures into samples as the settings say."""
    return Enroller(
        sight,
        ThreadPoolExecutor(settings.enrolment_threads, "enrolment"),
        keep_faces=settings.keep_faces,
        kept_for=settings.kept_for,
    )


def make_keeper(settings: Settings, sight: Sight) -> Keeper | None:
    """Make what keeps the faces of unknown people, if the settings say so."""
    if not settings.keep_unknown:
        return None
    return Keeper(sight, settings.keep_faces, timedelta(days=settings.unknown_expires_days))


def ready_picture(min_face_px: int) -> NDArray[np.uint8]:
    """Read the bundled portrait, enlarged where its face would be below min_face_px: uint8 (S, S, 3), RGB."""
    picture = pictures.decode(READY_PICTURE.read_bytes(), max_pixels=READY_SIDE_PX**2).pixels
    times = -(-min_face_px // READY_MIN_FACE_PX)
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def decoding_here(settings: Settings) -> Decode:
    """Decode pictures in this process."""
    return partial(pictures.decode, max_pixels=settings.max_image_pixels)


def load_decoder(settings: Settings) -> Decoder | None:
    """Start the processes that decode pictures, or say why they do not start and leave.

    Raises:
        SystemExit: with the status at which gunicorn's master stops.
    """
    if sys.platform != "linux":  # the others lack what keeps such a process in bounds
        return None
    try:
        decoder = Decoder(
            max_pixels=settings.max_image_pixels,
            timeout_s=settings.decode_timeout_s,
            max_bytes=settings.max_body_bytes,
        )
        decoder.start()
        return decoder
    except OSError as e:
        stop(f"pictures cannot be decoded: {e}")


def load_detector(settings: Settings) -> Detector:
    """Load DETECTOR, or say why it cannot be loaded and leave.

    Raises:
        SystemExit: with the status at which gunicorn's master stops.
    """
    limits = {"min_face_px": settings.min_face_px, "threads": settings.detection_threads}
    try:
        if load := OURS.get(settings.detector):
            return load(settings.models_dir, max_side_px=settings.detection_max_side_px, **limits)
        detector = load_deepface(
            settings.detector, settings.models_dir, deepface_home=settings.deepface_home, **limits
        )
        return shrinking(detector, settings.detection_max_side_px)
    except (DetectorUnavailable, OSError, ValueError) as e:
        stop(str(e))


def load_gallery(settings: Settings) -> Gallery:
    """Open DATABASE_URL, or say why it cannot be opened and leave.

    Raises:
        SystemExit: with the status at which gunicorn's master stops.
    """
    audit = Audit(settings.audit_log, reads=settings.audit_reads)
    try:
        audit.check()
        gallery = open_gallery(
            settings.database_url,
            settings.gallery_lock_timeout_s,
            settings.gallery_ef_search,
            key=settings.gallery_key.get_secret_value() if settings.gallery_key else None,
            index=settings.gallery_index,
            index_token=settings.index_token,
            read_url=settings.database_read_url,
            halfvec=settings.gallery_halfvec,
            audit=audit,
        )
        gallery.load()
        return gallery
    except AuditUnavailable as e:
        stop(f"AUDIT_LOG: {e} {e.__cause__}")
    except (GalleryUnavailable, OSError) as e:
        cause = str(e.__cause__ or "").partition("\n")[0]  # what the driver says; the rest is the statement
        name = "" if str(e).startswith(("GALLERY_INDEX", "DATABASE_READ_URL")) else "DATABASE_URL: "
        stop(f"{name}{e} {cause}".rstrip())


def load_embedder(settings: Settings) -> EmbeddingClient:
    """Connect to the embedding service, once there is something to ask it."""
    return EmbeddingClient(
        settings.feature_extraction_url,
        connect_timeout_s=settings.embedding_connect_timeout_s,
        read_timeout_s=settings.embedding_read_timeout_s,
        connections=settings.threads,
        secret=settings.embedding_secret.get_secret_value() if settings.embedding_secret else None,
    )


def start_upkeep(gallery: Gallery, changer: Changer, settings: Settings) -> None:
    """Keep a gallery up, in a thread that ends with the process, and go on with changes of its model."""

    def also(gallery: Gallery) -> None:
        events.remove_expired(gallery, settings.events_kept_for)
        unknown_keeping.look_after(gallery)
        changer.look_after(gallery)

    arguments = gallery, Event().wait, also
    Thread(target=keep_up, args=arguments, daemon=True, name="gallery upkeep").start()


def production_app(settings: Settings, notices: Notices) -> Flask:
    """Build the application with the real detector, embedding service and database.

    Called in each worker, after the fork: ONNX sessions and database connections do not survive one.
    """
    gallery = load_gallery(settings)
    decode = load_decoder(settings) or decoding_here(settings)
    embedder = load_embedder(settings)
    changer = Changer(decode, embedder)
    start_upkeep(gallery, changer, settings)
    return create_app(
        with_stored_services(settings, gallery),
        decode=decode,
        detector=load_detector(settings),
        embedder=embedder,
        gallery=gallery,
        changer=changer,
        notices=notices,
    )
