"""A bucket in moto's server, which stands in for S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from moto.server import ThreadedMotoServer
from pyarrow import fs

from recognition.archive import buckets

BUCKET = "pictures"


def environment(url: str) -> dict[str, str]:
    """The variables by which programs find the server."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Bucket:
    """Puts objects into the bucket, and takes them out."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._files: Any = fs.S3FileSystem(
            endpoint_override=url, allow_bucket_creation=True, access_key="key", secret_key="secret"
        )
        self._files.create_dir(BUCKET)

    def put(self, name: str, data: bytes) -> None:
        with self._files.open_output_stream(f"{BUCKET}/{name}") as stream:
            stream.write(data)

    def remove(self, name: str) -> None:
        self._files.delete_file(f"{BUCKET}/{name}")


@contextmanager
def running_bucket() -> Iterator[Bucket]:
    """An empty bucket, which this process's code finds, too."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    buckets._files.cache_clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment(f"http://{host}:{port}").items():
                patch.setenv(name, value)
            yield Bucket(f"http://{host}:{port}")
    finally:
        # What is in the buckets is this process's, whichever server put it there.
        requests.post(f"http://{host}:{port}/moto-api/reset", timeout=30).raise_for_status()
        buckets._files.cache_clear()
        server.stop()
