"""Every call of the dialect, one row each."""

from __future__ import annotations

from recognition.compreface import config
from recognition.compreface.table import Call

CALLS: tuple[Call, ...] = (Call("GET", "/config", config.show, None),)
