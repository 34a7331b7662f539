"""Takes passwords out of what is shown: messages, reports and the log. Pure."""

from __future__ import annotations

import re

HIDDEN = "***"
# Greedy, to the last @: a password may have @, / and : in it, though it should not.
IN_URL = re.compile(r"(?<=://)\S*@")
WITHOUT_SCHEME = re.compile(r"(?<![^\s'\"=(\[])[^\s/:@'\"=(\[]+:(?!//)\S+@")
# As in the addresses of many cameras and some databases; (?<=...) so that the log's own fields are none.
PARAMETER = re.compile(
    r"(?<=[?&;/_])(\w*(?:pass\w*|pwd|secret|token|key|auth\w*|credentials?|signature)=)[^&;#\s'\"]+",
    re.IGNORECASE,
)


def without_credentials(text: str) -> str:
    """Return a text with `***` where a URL in it has a user, a password, or a parameter that is a secret."""
    if "@" in text:
        text = WITHOUT_SCHEME.sub(f"{HIDDEN}@", IN_URL.sub(f"{HIDDEN}@", text))
    return PARAMETER.sub(rf"\g<1>{HIDDEN}", text) if "=" in text else text
