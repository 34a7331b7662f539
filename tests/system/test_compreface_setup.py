"""CompreFace is set up over HTTP as shell scripts do it: with curl, a jar of cookies, and several workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from running import Pair, running_pair

CALLS = """
set -eu
json() { "$PYTHON" -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
test "$(curl -s -o /dev/null -w '%{http_code}' "$URL/admin/user/me")" = 401
curl -sf -H 'Content-Type: application/json' "$URL/admin/user/register" \
    -d '{"email": "me@example.com", "password": "a+b c&d", "firstName": "M", "lastName": "E"}'
for path in /admin /api/v1/admin; do
    curl -sf -c "$JAR" -o /dev/null -u CommonClientId:password "$URL$path/oauth/token" \
        -d 'grant_type=password&scope=all&username=me@example.com' --data-urlencode 'password=a+b c&d'
    app=$(curl -sf -b "$JAR" -H 'Content-Type: application/json' "$URL$path/app" \
        -d "{\\"name\\": \\"of $app\\"}" | json id)
    curl -sf -b "$JAR" -H 'Content-Type: application/json' "$URL$path/app/$app/model" \
        -d '{"name": "Staff Faces", "type": "RECOGNITION"}' | json apiKey
    for again in 1 2 3 4 5 6 7 8; do curl -sf -b "$JAR" -o /dev/null "$URL$path/app/$app/models"; done
done
"""


def test_a_script_gets_keys_that_open_services_of_their_own(
    tmp_path: Path, models_dir: Path, demo: Path
) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    picture = min((demo / "train" / "madonna").iterdir()).read_bytes()
    with running_pair(tmp_path, models_dir, COMPREFACE="1") as pair:
        first, second = keys_of(pair, tmp_path)
        added = asked(pair, "POST", "faces?subject=Ann", first, files={"file": ("a.jpg", picture)})
        assert sorted(added) == ["image_id", "subject"]
        assert asked(pair, "GET", "subjects/", first) == {"subjects": ["Ann"]}
        assert asked(pair, "GET", "subjects/", second) == {"subjects": []}
        command = [sys.executable, "-m", "recognition", "compreface", "services", "list", "--json"]
        environment = {**os.environ, **pair.detection.environment}
        listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        told = [json.loads(line) for line in listed.splitlines()]
        assert [each["gallery"] for each in told] == ["Staff-Faces", "Staff-Faces-2"]
        log = (tmp_path / "detection.log").read_text()
        for secret in (first, second, "a+b", "me@example.com"):
            assert secret not in log


def keys_of(pair: Pair, folder: Path) -> list[str]:
    environment = {
        **os.environ,
        "URL": pair.url,
        "JAR": str(folder / "jar"),
        "PYTHON": sys.executable,
        "app": "",
    }
    done = subprocess.run(["bash", "-c", CALLS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def asked(pair: Pair, method: str, path: str, key: str, **more: object) -> dict[str, object]:
    url = f"{pair.url}/api/v1/recognition/{path}"
    answer = requests.request(method, url, headers={"x-api-key": key}, timeout=60, **more)  # type: ignore[arg-type]
    assert answer.ok, answer.text
    told: dict[str, object] = answer.json()
    return told
