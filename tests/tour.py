"""Goes every way in once: services, a recognition, commands, preparation. Run by test_offline.py.

tour.py FOLDER MODELS_DIR: FOLDER is for the galleries and logs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import requests

from running import ROOT, answers, free_port, running_pair, wait_until

RECOGNITION = [sys.executable, "-m", "recognition"]


def run(command: list[str], **environment: str) -> None:
    """Run a command, which must go well."""
    outcome = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert outcome.returncode == 0, (command, outcome.stdout, outcome.stderr)


def services_in_their_folders(folder: Path, models_dir: Path, photograph: Path) -> None:
    """Start the two services in their folders, and recognise through them."""
    with running_pair(folder, models_dir) as pair, requests.Session() as session:
        session.trust_env = False
        with photograph.open("rb") as file:
            answer = session.post(f"{pair.url}/face-recognition", files={"file": file}, timeout=60)
        assert answer.ok, answer.text
        assert session.get(f"{pair.url}/ready", timeout=60).ok


def start_and_stop(command: list[str], log: Path) -> None:
    """Start what serves face recognition, wait until it answers, and stop it."""
    ports = {"FACE_DETECTION_PORT": str(free_port()), "FEATURE_EXTRACTION_PORT": str(free_port())}
    url = f"http://127.0.0.1:{ports['FACE_DETECTION_PORT']}"
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=os.environ | ports, stdout=file, stderr=file)
    try:
        wait_until(lambda: answers(url), server, log)
    finally:
        server.terminate()
        server.wait(60)


def main(folder: Path, models_dir: Path) -> None:
    photograph = sorted((models_dir / "demo" / "val").glob("*/*.jpg"))[0]
    run([sys.executable, str(ROOT / "prepare_models.py"), "--if-missing"])
    run([sys.executable, "-m", "preparation", "--if-missing"])
    services_in_their_folders(folder, models_dir, photograph)
    start_and_stop([sys.executable, str(ROOT / "face_detection" / "face_detection.py")], folder / "old.log")
    start_and_stop([*RECOGNITION, "serve"], folder / "serve.log")  # as `make run` does
    for engine in ("openvino", "onnxruntime"):
        run([*RECOGNITION, "detect", str(photograph)], EMBEDDING_ENGINE=engine)
    run([*RECOGNITION, "doctor"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
