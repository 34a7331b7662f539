"""MODELS: one word for a detector and an embedding model that go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

DEFAULT: Literal["classic"] = "classic"
PROFILES = {
    "classic": {"DETECTOR": "mtcnn", "EMBEDDING_MODEL": "Facenet"},
    "fast": {"DETECTOR": "yunet", "EMBEDDING_MODEL": "MobileFaceNet"},
}


def chosen(environment: Mapping[str, str]) -> dict[str, str]:
    """Return DETECTOR and EMBEDDING_MODEL: as they are set, else as the profile has them.

    A profile that there is not counts as the default; reading the settings tells of it.
    """
    profile = PROFILES.get(environment.get("MODELS", "").strip() or DEFAULT, PROFILES[DEFAULT])
    return {name: environment.get(name, "").strip() or value for name, value in profile.items()}
