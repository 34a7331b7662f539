"""Rows of tables, read from what pg_dump writes as SQL: COPY blocks, or INSERT statements of a row a line.

Nothing is executed. A line at a time is in memory, and of a longer one than is allowed only its beginning.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from recognition.takeover.source import SourceFailure

COPY = re.compile(rb'COPY (?:"?\w+"?\.)?"?(\w+)"? \(([^)]*)\) FROM stdin;')
CREATE = re.compile(rb'CREATE (?:UNLOGGED )?TABLE (?:"?\w+"?\.)?"?(\w+)"? \(')
COLUMN = re.compile(rb'\s+"?(\w+)"? ')
INSERT = re.compile(
    rb'INSERT INTO (?:"?\w+"?\.)?"?(\w+)"? (?:\(([^)]*)\) )?(?:OVERRIDING \w+ VALUE )?VALUES\s*'
)
ENCODING = re.compile(rb"SET client_encoding = '([\w-]+)';")
END = b"\\."
ESCAPED = re.compile(rb"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)", re.DOTALL)
# A value of an INSERT: a text, whose quotes are doubled, or null, or a number; and what ends it.
VALUE = re.compile(rb"\s*(?:(E)?'([^']*(?:''[^']*)*)'|([^\s,()']+))\s*([,)])")
LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}

CUT = b"\0"  # a value whose line is too long, and the mark in that; no text of PostgreSQL has this byte

Row = list[bytes | None]


def rows(
    stream: BinaryIO, tables: Mapping[str, Sequence[str]], known: dict[str, Sequence[str]], max_line: int
) -> Iterator[tuple[str, Row]]:
    """Give the rows of some tables in the order in which they come.

    Args:
        stream: of SQL.
        tables: names of tables, and their columns that are wanted; rows have these in this order.
        known: gets the names of all tables that are there, and of all their columns.
        max_line: bytes; a value that lies beyond is CUT.

    Raises:
        SourceFailure: it ends too early, or cannot be read without the server's help.
    """
    for line in _lines(stream, max_line):
        if matched := COPY.match(line):
            table = matched[1].decode()
            known[table] = _names(matched[2])
            places = _places(known[table], tables.get(table))
            for fields in _copied(stream, max_line, table):
                if places is not None:
                    yield table, [_copied_value(fields, place) for place in places]
        elif matched := CREATE.match(line):
            known[matched[1].decode()] = list(_created(stream, max_line))
        elif matched := INSERT.match(line):
            yield from _inserted(stream, line, matched, tables, known, max_line)
        elif (matched := ENCODING.match(line)) and matched[1] not in (b"UTF8", b"SQL_ASCII"):
            encoding = matched[1].decode()
            raise SourceFailure(f"The dump is in {encoding}: make it with pg_dump --encoding=UTF8.")


def bytes_of(value: bytes) -> bytes:
    """Return what a bytea value stands for, in either of PostgreSQL's forms.

    Raises:
        ValueError: it is none.
    """
    if value.startswith(b"\\x"):
        return binascii.a2b_hex(value[2:])
    return ESCAPED.sub(lambda matched: _escaped(matched[1], {}), value)


def _lines(stream: BinaryIO, max_line: int) -> Iterator[bytes]:
    """Give lines without their ends; of one that is too long, its beginning, CUT and its last character."""
    while line := stream.readline(max_line):
        if line.endswith(b"\n"):
            yield line[:-1].removesuffix(b"\r")
            continue
        rest = more = stream.readline(max_line)
        while more and not more.endswith(b"\n"):
            rest, more = more, stream.readline(max_line)
        rest = more or rest
        yield line + CUT + (rest.rstrip()[-1:] or b",") if rest else line


def _is_cut(line: bytes) -> bool:
    return line[-2:-1] == CUT


def _copied(stream: BinaryIO, max_line: int, table: str) -> Iterator[list[bytes]]:
    for line in _lines(stream, max_line):
        if line == END:
            return
        yield line.split(b"\t")
    raise SourceFailure(f"The dump ends in the middle of the table {table}.")


def _copied_value(fields: Sequence[bytes], place: int) -> bytes | None:
    if place >= len(fields) or _is_cut(fields[place]):
        return CUT
    if fields[place] == b"\\N":
        return None
    if b"\\" not in fields[place]:
        return fields[place]
    return ESCAPED.sub(lambda matched: _escaped(matched[1], LETTERS), fields[place])


def _escaped(code: bytes, letters: Mapping[bytes, bytes]) -> bytes:
    if code[0] in b"01234567":
        return bytes([int(code, 8) & 0xFF])
    if code[0] == ord("x") and len(code) > 1:
        return bytes([int(code[1:], 16)])
    return letters.get(code, code)


def _created(stream: BinaryIO, max_line: int) -> Iterator[str]:
    for line in _lines(stream, max_line):
        if line.startswith(b")"):
            return
        if (name := COLUMN.match(line)) and name[1] != b"CONSTRAINT":
            yield name[1].decode()


def _inserted(
    stream: BinaryIO,
    line: bytes,
    matched: re.Match[bytes],
    tables: Mapping[str, Sequence[str]],
    known: dict[str, Sequence[str]],
    max_line: int,
) -> Iterator[tuple[str, Row]]:
    """Give the rows of an INSERT statement: each has a line, or several where texts have line ends."""
    table = matched[1].decode()
    if matched[2] is not None:
        known.setdefault(table, _names(matched[2]))
    columns = _names(matched[2]) if matched[2] is not None else known.get(table)
    if table in tables and columns is None:
        raise SourceFailure(
            f"The dump does not say which columns the table {table} has: make it with --column-inserts."
        )
    places = _places(columns or (), tables.get(table))
    lines = _lines(stream, max_line)
    row = line[matched.end() :]
    while True:
        while not row or (row.count(b"'") % 2 and not _is_cut(row)):
            if (more := next(lines, None)) is None:
                raise SourceFailure(f"The dump ends in the middle of the table {table}.")
            row = row + b"\n" + more if row else more
        if places is not None and row.lstrip().startswith(b"("):
            values = list(_values(row.lstrip()[1:]))
            yield table, [values[place] if place < len(values) else CUT for place in places]
        if row.endswith(b";"):
            return
        row = b""


def _values(row: bytes) -> Iterator[bytes | None]:
    at = 0
    while matched := VALUE.match(row, at):
        escaped, text, bare, end = matched.groups()
        if text is None:
            yield None if bare == b"NULL" else bare
        else:
            text = text.replace(b"''", b"'")
            yield ESCAPED.sub(lambda code: _escaped(code[1], LETTERS), text) if escaped else text
        at = matched.end()
        if end == b")":
            return


def _names(listed: bytes) -> list[str]:
    return [name.strip().strip('"') for name in listed.decode("utf-8", "replace").split(",")]


def _places(columns: Sequence[str], wanted: Sequence[str] | None) -> list[int] | None:
    """Tell where the wanted columns are; one that is not there has a place behind all others."""
    if wanted is None:
        return None
    return [columns.index(name) if name in columns else len(columns) for name in wanted]
