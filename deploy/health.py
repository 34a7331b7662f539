"""The container's health check: does the service of the working directory answer GET /health with 200?"""

import http.client
import os
import sys
from pathlib import Path

port = int(os.environ[f"{Path.cwd().name.upper()}_PORT"])
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
connection.request("GET", "/health")
sys.exit(connection.getresponse().status != 200)
