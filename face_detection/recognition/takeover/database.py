"""CompreFace's database, read in one transaction that sees one moment and cannot write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from recognition.takeover.source import (
    KINDS,
    NO_PICTURE,
    TOO_LARGE,
    Choose,
    Example,
    Read,
    Service,
    SourceFailure,
    Trouble,
)
from serving.credentials import without_credentials

CONNECT_S = 10
AT_ONCE = 500  # examples that are shown at a time; their pictures come one by one
TABLES = {
    "app": {"id", "name"},
    "model": {"name", "app_id", "api_key", "type"},
    "subject": {"id", "api_key", "subject_name"},
    "embedding": {"id", "subject_id", "img_id"},
    "img": {"id", "content"},
}
OLD = "CompreFace before 0.6.0 has other tables; update it first."

SERVICES = """
    SELECT model.name, model.type, model.api_key, app.name
    FROM model LEFT JOIN app ON app.id = model.app_id ORDER BY model.id
"""
SUBJECTS = "SELECT coalesce(subject_name, '') FROM subject WHERE api_key = %s ORDER BY subject_name"
COUNT = """
    SELECT count(*) FROM embedding JOIN subject ON subject.id = embedding.subject_id
    WHERE subject.api_key = ANY(%s)
"""
# Sizes are known without the pictures themselves being read.
EXAMPLES = """
    SELECT embedding.id::text, coalesce(subject_name, ''), api_key, coalesce(octet_length(content), 0)
    FROM embedding JOIN subject ON subject.id = embedding.subject_id LEFT JOIN img ON img.id = img_id
    WHERE api_key = ANY(%s) ORDER BY api_key, subject.id, embedding.id
"""
PICTURES = """
    SELECT embedding.id::text, content FROM embedding JOIN img ON img.id = img_id
    WHERE embedding.id = ANY(%s::uuid[])
"""
STRAYS = """
    SELECT embedding.id::text FROM embedding LEFT JOIN subject ON subject.id = subject_id
    LEFT JOIN model ON model.api_key = subject.api_key WHERE model.api_key IS NULL ORDER BY embedding.id
"""
ORPHANS = "SELECT count(*) FROM img WHERE NOT EXISTS (SELECT FROM embedding WHERE img_id = img.id)"


class Database:
    """CompreFace's database in a running PostgreSQL; see `Source`."""

    def __init__(self, url: str, max_picture_bytes: int) -> None:
        """Connect.

        Args:
            url: as libpq takes it: `postgresql://USER:PASSWORD@HOST/frs`.
            max_picture_bytes: larger pictures are not read.

        Raises:
            SourceFailure: it cannot be reached, or has not CompreFace's tables.
        """
        self.troubles: list[Trouble] = []
        self._max_bytes = max_picture_bytes
        with _failing():
            self._connection = psycopg.connect(
                url, connect_timeout=CONNECT_S, client_encoding="UTF8", application_name="recognition"
            )
        self._connection.read_only = True
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        try:
            self._check_tables()
        except SourceFailure:
            self.close()
            raise

    def services(self) -> list[Service]:
        """Return its services."""
        with _failing():
            rows = self._connection.execute(SERVICES).fetchall()
            strays = [row[0] for row in self._connection.execute(STRAYS)]
            (orphans,) = self._connection.execute(ORPHANS).fetchone() or (0,)
        self.troubles += troubles_of(strays, orphans)
        return services_of(rows, self.troubles)

    def subjects(self, service: Service) -> Iterator[str]:
        """Return the names of a recognition service's subjects."""
        with _failing(), self._connection.cursor("subjects") as cursor:
            for (name,) in cursor.execute(SUBJECTS, [service.key]):
                yield name

    def count(self, services: Sequence[Service]) -> int:
        """Return how many examples these recognition services have."""
        with _failing():
            row = self._connection.execute(COUNT, [[service.key for service in services]]).fetchone()
        return int(row[0]) if row else 0

    def examples(self, services: Sequence[Service], choose: Choose) -> Iterator[Read]:
        """Show all examples of these services, and give those that are chosen."""
        by_key = {service.key: service for service in services}
        with _failing(), self._connection.cursor("examples") as cursor:
            cursor.execute(EXAMPLES, [list(by_key)])
            while rows := cursor.fetchmany(AT_ONCE):
                shown = {row[0]: Example(row[0], row[1], by_key[row[2]]) for row in rows}
                sizes = {row[0]: row[3] for row in rows}
                chosen = choose(list(shown.values()))
                readable = []
                for each in (shown[example_id] for example_id in shown if example_id in chosen):
                    if sizes[each.id] == 0:
                        yield each, NO_PICTURE
                    elif sizes[each.id] > self._max_bytes:
                        yield each, TOO_LARGE
                    else:
                        readable.append(each.id)
                if readable:
                    with self._connection.cursor() as pictures:
                        for example_id, content in pictures.stream(PICTURES, [readable], binary=True):
                            yield shown[example_id], content

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def _check_tables(self) -> None:
        query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_name = ANY(%s)"
        with _failing():
            found = set(self._connection.execute(query, [list(TABLES)]))
        check_columns({table: {name for of, name in found if of == table} for table in TABLES})


def check_columns(found: dict[str, set[str]]) -> None:
    """Make sure that tables have the columns that are read.

    Raises:
        SourceFailure: they have not.
    """
    for table, columns in TABLES.items():
        if lacking := columns - found.get(table, set()):
            what = f"column {min(lacking)} in its table {table}" if found.get(table) else f"table {table}"
            raise SourceFailure(f"This is not what CompreFace stores: there is no {what}. {OLD}")


def services_of(rows: Sequence[Sequence[str | None]], troubles: list[Trouble]) -> list[Service]:
    """Turn rows of name, type, key and application's name into services; the troubles get what is none."""
    found = []
    for name, kind, key, app in rows:
        if kind in KINDS and key:
            found.append(Service(name or "", KINDS[kind], key, app))
        else:
            troubles.append(Trouble("no_service", f"{name}: its type, {kind!r}, is none that is known."))
    return found


def troubles_of(strays: Sequence[str], orphans: int) -> Iterator[Trouble]:
    """Tell of examples that belong to no service, by their ids, and of pictures that belong to no example."""
    for stray in strays:
        yield Trouble("no_subject", f"The example {stray} belongs to no subject of a service.")
    if orphans:
        yield Trouble("orphans", f"{orphans} pictures belong to no example, as deleting leaves them.")


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as e:
        said = without_credentials(str(e)).strip().partition("\n")[0]
        raise SourceFailure(f"The source's database cannot be read: {said}") from e
