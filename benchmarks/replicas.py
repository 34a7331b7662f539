"""What searches on a standby cost: `python benchmarks/replicas.py`, in the notes of docs/scaling.md.

A primary and a streaming standby run on this machine, so that no network lies between: a face is searched for
with and without DATABASE_READ_URL, in turns, and by several threads at once with one and with the other.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder)
    for folder in ("benchmarks", "tests", "face_detection", "feature_extraction")
)

import numpy as np

from galleries import PostgreSQL, running_postgresql, running_standby
from gallery import MODEL, SAMPLES_EACH, SHARED_BUFFERS, TIMEOUT_S, fill, people, pictures, strangers_among
from recognition.gallery import Gallery, open_gallery
from speed import alternate

PROBES = 500
AT_ONCE_S = 15.0


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=4)
    arguments = parser.parse_args()
    random = np.random.default_rng(1)
    centres = people(arguments.samples // SAMPLES_EACH, random)
    probes = strangers_among(centres, PROBES, random)[:, np.newaxis]
    with running_postgresql() as primary, running_standby(primary) as standby:
        for statement in (
            "SET synchronous_standby_names = ''",
            f"SET shared_buffers = '{SHARED_BUFFERS}'",
            "SET max_wal_size = '4GB'",
        ):
            primary.execute(f"ALTER SYSTEM {statement}")
        standby.execute(f"ALTER SYSTEM SET shared_buffers = '{SHARED_BUFFERS}'")
        for server in (primary, standby):
            server.stop()
            server.start()
        with (
            closing(open_gallery(primary.url(), TIMEOUT_S)) as alone,
            closing(open_gallery(primary.url(), TIMEOUT_S, read_url=standby.url())) as reading,
        ):
            centre_of = random.integers(0, len(centres), arguments.samples)
            fill(alone, primary.url(), pictures(centres[centre_of], random), TIMEOUT_S)
            wait_for_replay(primary, standby)
            reading.check_replicas()
            searches = {"primary": partial(search, alone), "standby": partial(search, reading)}
            row = alternate(f"{arguments.samples:,} samples", searches, list(probes), rounds=1)
            for name, times in row.times.items():
                print(f"{name}: median {np.median(times):.2f} ms, 95 % {np.quantile(times, 0.95):.2f} ms")
            for name, run in searches.items():
                number = rate(run, probes, arguments.threads)
                print(f"{arguments.threads} threads, {name}: {number:.0f} searches a second")


def wait_for_replay(primary: PostgreSQL, standby: PostgreSQL) -> None:
    """Wait until the standby has all that the primary has written."""
    ((written,),) = primary.execute("SELECT pg_current_wal_lsn()::text")
    while not standby.execute(f"SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn")[0][0]:
        time.sleep(0.1)


def search(gallery: Gallery, probe: np.ndarray) -> object:
    """Find the nearest sample of a face, float32 (1, 128)."""
    return gallery.nearest(probe, 1, MODEL, rated=False)


def rate(run: partial[object], probes: np.ndarray, threads: int) -> float:
    """Return how many searches a second so many threads of this process make."""
    until = time.perf_counter() + AT_ONCE_S

    def work(first: int) -> int:
        number = 0
        while time.perf_counter() < until:
            run(probes[(first + number) % len(probes)])
            number += 1
        return number

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(0, 100 * threads, 100))) / AT_ONCE_S


if __name__ == "__main__":
    main()
