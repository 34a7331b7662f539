"""Where files live that no setting names: in the checkout, or else in the user's data folder."""

from __future__ import annotations

from pathlib import Path

import platformdirs

_CHECKOUT = Path(__file__).resolve().parents[1]

# An installed wheel lies in site-packages, whose files are not for anybody to write to.
IN_CHECKOUT = (_CHECKOUT / "pyproject.toml").is_file()
HOME = _CHECKOUT if IN_CHECKOUT else platformdirs.user_data_path("face-recognition", appauthor=False)
