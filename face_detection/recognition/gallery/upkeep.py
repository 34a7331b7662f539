"""What a gallery needs once in a while even if nobody asks for anything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from recognition.errors import AuditUnavailable, GalleryUnavailable
from recognition.gallery.galleries import names
from recognition.gallery.store import Gallery
from serving.errors import NotFound

log = logging.getLogger(__name__)

EVERY_S = 60.0


def keep_up(
    gallery: Gallery,
    wait: Callable[[float], bool],
    also: Callable[[Gallery], object] = lambda gallery: None,
) -> None:
    """Remove what has expired, from the database and from this process's memory, every minute.

    Args:
        gallery: and all others of its database; those that were deleted leave the memory, too.
        wait: waits for so many seconds; returns True when there is nothing more to do.
        also: is called with each gallery.
    """
    while not wait(EVERY_S):
        try:
            gallery.load()
            also(gallery)
            for name in (gallery.searched() | set(names(gallery))) - {gallery.name}:
                with suppress(NotFound):
                    gallery.of(name).refresh()
                    also(gallery.of(name))
        except (GalleryUnavailable, AuditUnavailable):  # requests tell of it; the next time may go better
            continue
        except Exception:  # else nothing would expire any more, and nobody would hear of it
            log.exception("the upkeep of the gallery failed; it is tried again")
