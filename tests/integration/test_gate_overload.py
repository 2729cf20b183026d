"""The gate under far more than it lets in, as a process of its own; counts are compared."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.serving.gate_world import Wire, request

pytestmark = pytest.mark.integration

CONNECTIONS, EACH, PLACES = 96, 40, 8
SERVER = Path(__file__).with_name("gate_server.py")


async def _asking(port: int, number: int, counts: Counter[int]) -> None:
    """One connection; every third one sends two requests at a time, some close theirs."""
    at_once = 2 if number % 3 == 0 else 1
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wire = Wire(reader, writer)
    # Each turn of another length: an answer that was taken for a body would be noticed.
    for turn in range(0, EACH, at_once):
        wire.send(request(b"x" * (turn + 1)) * at_once)
        for _ in range(at_once):
            counts[(await wire.answer()).status] += 1
    writer.close()


def test_every_request_of_a_flood_is_answered_or_refused_and_counted() -> None:
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(PLACES)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        counts: Counter[int] = Counter()

        async def flood() -> None:
            async with asyncio.timeout(120):
                await asyncio.gather(*(_asking(port, n, counts) for n in range(CONNECTIONS)))

        asyncio.run(flood())
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()

    told = json.loads(out)
    assert process.returncode == 0
    assert set(counts) == {200, 429}
    assert counts.total() == CONNECTIONS * EACH
    assert told["answered"] == told["admitted"] == counts[200]
    assert told["refused"] == counts[429]
    assert told["most_in_hand"] <= PLACES
    assert told["in_flight"] == 0
    # The places were used all the while: more was answered than fits in once.
    assert counts[200] > 5 * PLACES
