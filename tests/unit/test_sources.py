"""What is watched, and that no name tells a password."""

from __future__ import annotations

import pytest

from recognition.cameras.sources import MAX_NAME, Source, WrongSource, sources_of


@pytest.mark.parametrize(
    ("text", "name", "address", "live"),
    [
        ("door=rtsp://u:geheim@cam/1", "door", "rtsp://u:geheim@cam/1", True),
        ("  front   door=0", "front door", "0", True),
        ("rtsp://u:geheim@cam:554/user=admin&password=geheim", "cam", None, True),
        ("http://cam/video?token=geheim", "cam", None, True),
        ("rtsp://u:a@geheim/geheim@cam:554/x", "cam", None, True),
        ("u:geheim@cam", "***@cam", None, False),
        ("u:a@geheim/geheim@cam", "***@cam", None, False),
        ("rtsp://[::1]:554/a=b", "::1", None, True),
        ("http://[broken", "camera", None, True),
        ("0", "camera 0", "0", True),
        ("videos/a b.mp4", "a b.mp4", None, False),
        ("hall=videos/a=b.mp4", "hall", "videos/a=b.mp4", False),
        ("./a=b.mp4", "a=b.mp4", None, False),
        ("/", "camera", "/", False),
    ],
)
def test_a_source_is_read(text: str, name: str, address: str | None, live: bool) -> None:
    (source,) = sources_of([text])
    assert (source.name, source.address, source.live) == (name, address or text, live)
    assert "geheim" not in source.name
    assert "geheim" not in repr(source)


def test_a_file_with_an_equals_sign_is_a_file() -> None:
    assert sources_of(["a=b.mp4"], is_file=["a=b.mp4"]) == [Source("a=b.mp4", "a=b.mp4")]


def test_names_that_are_derived_differ() -> None:
    assert [
        source.name
        for source in sources_of(["http://cam/1", "http://cam/2", "cam 3=0", "a/x.avi", "b/x.avi"])
    ] == [
        "cam",
        "cam 2",
        "cam 3",
        "x.avi",
        "x.avi 2",
    ]
    first, second = sources_of(["x" * 200, "y/" + "x" * 200])
    assert len(first.name) == MAX_NAME
    assert len(second.name) <= MAX_NAME
    assert first.name != second.name


@pytest.mark.parametrize(
    "texts",
    [["door=0", "door=1"], ["door="], [""], ["\u200b=0"], [f"{'x' * (MAX_NAME + 1)}=rtsp://u:geheim@cam/"]],
)
def test_a_wrong_source_is_told_without_its_address(texts: list[str]) -> None:
    with pytest.raises(WrongSource) as raised:
        sources_of(texts)
    assert "geheim" not in str(raised.value)
