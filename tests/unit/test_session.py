"""What the commands share."""

from __future__ import annotations

import errno

import pytest

from recognition.cli.session import file_error


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.jpg"),
            "a.jpg: No such file or directory",
        ),
        (PermissionError(errno.EACCES, "Permission denied", b"\xff.jpg"), "\udcff.jpg: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("something else"), "something else"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_of_a_file_says_what_there_is_to_say(error: OSError, detail: str) -> None:
    assert file_error(error) == {"code": "file", "detail": detail}
