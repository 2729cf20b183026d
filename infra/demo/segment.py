"""The demo's segment: every customer once more, as a job, and compared with the single answers."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import httpx
import pyarrow.parquet as pq

from feature_repo.errors import NotReady

PATH: Final = "/v1/audience"
_TIMEOUT_S: Final = 120.0


def score_segment(
    client: httpx.Client, target: str, answers: Sequence[dict[str, Any]], send_at: datetime
) -> dict[str, Any]:
    """Score the customers of the answers as a job; how many, and how many scores differ.

    Raises:
        NotReady: the job did not end in time, or not well.
    """
    ids = [answer["customer_id"] for answer in answers]
    body = {"target": target, "customer_ids": ids, "send_at": send_at.isoformat()}
    submitted = client.post(PATH, json=body)
    submitted.raise_for_status()
    place = submitted.headers["Location"]
    job = _ended(client, place)
    rows = pq.read_table(io.BytesIO(client.get(f"{place}/result").content))
    scores = [answer["score"] for answer in answers]
    differ = sum(a != b for a, b in zip(rows["score"].to_pylist(), scores, strict=True))
    return {"scored": job["scored"], "differ": differ, "tiers": job["tiers"]}


def _ended(client: httpx.Client, place: str) -> dict[str, Any]:
    deadline = time.monotonic() + _TIMEOUT_S
    job: dict[str, Any] = {}
    while time.monotonic() < deadline:
        job = client.get(place).json()
        if job["state"] == "done":
            return job
        if job["state"] in ("failed", "cancelled"):
            break
        time.sleep(0.2)
    message = f"The segment was not scored: {job.get('state')}, {job.get('problem')}."
    raise NotReady(message)
