"""Whatever may come over the wire: texts, JSON, pictures and forms, whole and broken. FUZZ=1: much more."""

from __future__ import annotations

import base64
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hostile_pictures import SMALL, encoded

FUZZ = os.environ.get("FUZZ") == "1"
PNG = encoded(SMALL, "PNG")

fuzzed = settings(
    max_examples=3000 if FUZZ else 40,
    deadline=None,
    derandomize=not FUZZ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

texts = st.text(max_size=50) | st.sampled_from(["", "\x00", "\ud800", "name", 600 * "x", "a/b", "..", "%00"])
numbers = st.integers() | st.floats() | st.sampled_from([0, -1, 1, 2**63, 10**400, 1e308])
leaves = st.none() | st.booleans() | numbers | texts
anything = st.recursive(
    leaves,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(texts, inside, max_size=4),
    max_leaves=12,
)
pictures = (
    st.just(PNG)
    | st.binary(max_size=60)
    | st.tuples(st.integers(0, len(PNG)), st.binary(max_size=4)).map(lambda cut: PNG[: cut[0]] + cut[1])
)
images = (
    pictures.map(lambda data: base64.b64encode(data).decode())
    | pictures.map(lambda data: "data:image/png;base64," + base64.b64encode(data).decode())
    | st.from_regex(r"\s*data:[a-z/;,=+]*(base64,)?[A-Za-z0-9+/=\s]*")
    | texts
)


def almost(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Objects of these fields: some missing, some of another kind, some too many."""
    return st.fixed_dictionaries(
        {}, optional={name: value | anything for name, value in (fields | {"another": leaves}).items()}
    )


def multipart(form: dict[str, str], files: list[tuple[str, bytes, str]]) -> bytes:
    """A form as a careless client sends it: nothing is escaped."""
    parts = [(f'name="{name}"', value.encode(errors="surrogatepass")) for name, value in form.items()]
    parts += [(f'name="{name}"; filename="{file}"', content) for name, content, file in files]
    return (
        b"".join(
            b"--limit\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n"
            % (said.encode(errors="surrogatepass"), value)
            for said, value in parts
        )
        + b"--limit--\r\n"
    )
