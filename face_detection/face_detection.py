"""Starts the service: `python3 face_detection.py`. docs/settings.md has its settings."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent)
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "wsgi:app"])
