"""Health checks of a container, of the service of the working directory: an exit status of 0 is healthy.

`health.py` asks GET /health: does the process run? `health.py ready` asks GET /ready: can it answer requests?
It presents the key that the environment has for it: MONITOR_KEY for face_detection, and EMBEDDING_SECRET.
Without one that is accepted, any answer is taken for ready.
"""

import http.client
import json
import os
import sys
from pathlib import Path

# /ready is about the gallery `default`. With these other galleries may be fine, and these calls put it right:
# changing its model, deleting samples.
OF_ONE_GALLERY = {"gallery_model_mismatch", "model_unknown", "disk_full"}

service, ready = Path.cwd().name, sys.argv[1:] == ["ready"]
key = os.environ.get("MONITOR_KEY" if service == "face_detection" else "EMBEDDING_SECRET")
port = int(os.environ[f"{service.upper()}_PORT"])
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 if ready else 4)
headers = {"Authorization": f"Bearer {key}"} if key and ready else {}
connection.request("GET", "/ready" if ready else "/health", headers=headers)
answer = connection.getresponse()
healthy = answer.status == 200
if ready and not healthy:
    healthy = answer.status < 500 or json.loads(answer.read())["code"] in OF_ONE_GALLERY
sys.exit(not healthy)
