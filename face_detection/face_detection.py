"""Starts the service: `python3 face_detection.py`. Settings come from the environment, see the README."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent)
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "wsgi:app"])
