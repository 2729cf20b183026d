"""A Redis of a benchmark's own, in memory only."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from feature_repo.errors import StoreUnavailable
from infra.stack.ports import LOOPBACK, free_port
from infra.stack.service import redis_binary

_TRIES = 200


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """URL of an empty Redis that ends with the block."""
    port = free_port(0)
    command = [redis_binary(), "--bind", LOOPBACK, "--port", str(port), "--save", ""]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        _wait(port)
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait(port: int) -> None:
    with redis.Redis(LOOPBACK, port) as client:
        for _ in range(_TRIES):
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.05)
            else:
                return
    message = f"redis-server on port {port} does not answer; see redis.log beside the benchmark."
    raise StoreUnavailable(message)
