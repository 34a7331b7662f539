"""PostgreSQL's standby takes over: 503 meanwhile, right again after, and nothing acknowledged is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from galleries import PostgreSQL, enrol, nearest_ids, running_postgresql, running_standby
from recognition.errors import GalleryUnavailable
from recognition.gallery import open_gallery

TIMEOUT_S = 2


@pytest.fixture
def servers() -> Iterator[tuple[PostgreSQL, PostgreSQL]]:
    """A primary, and its synchronous standby."""
    with running_postgresql() as primary, running_standby(primary) as standby:
        yield primary, standby


def url_of_both(primary: PostgreSQL, standby: PostgreSQL) -> str:
    return f"{primary.url()}&host={standby.url().partition('host=')[2]}"


def test_a_gallery_follows_its_primary(servers: tuple[PostgreSQL, PostgreSQL]) -> None:
    primary, standby = servers
    with closing(open_gallery(url_of_both(*servers), TIMEOUT_S)) as gallery:
        enrol(gallery, ["a", "b"], [1, 2])
        gallery.delete("b")
        primary.stop()
        for work in (lambda: enrol(gallery, ["c"], [3]), lambda: nearest_ids(gallery, 1)):
            with pytest.raises(GalleryUnavailable):
                work()
        standby.execute("SELECT pg_promote()")
        assert nearest_ids(gallery, 1, k=9) == ["a"]
        enrol(gallery, ["c"], [3])
        assert nearest_ids(gallery, 3) == ["c"]


def test_a_gallery_does_not_stay_with_a_standby(servers: tuple[PostgreSQL, PostgreSQL]) -> None:
    """As when a name comes to stand for another server: connections that are open know nothing of it."""
    primary, _ = servers
    with closing(open_gallery(url_of_both(*servers), TIMEOUT_S)) as gallery:
        enrol(gallery, ["a"], [1])
    primary.stop()
    with closing(open_gallery(f"{url_of_both(*servers)}&target_session_attrs=any", TIMEOUT_S)) as gallery:
        assert nearest_ids(gallery, 1) == ["a"]
        primary.start()
        with pytest.raises(GalleryUnavailable):
            enrol(gallery, ["b"], [2])
        enrol(gallery, ["b"], [2])
        assert nearest_ids(gallery, 2) == ["b"]
