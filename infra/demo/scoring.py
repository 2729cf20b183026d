"""Scores customers over HTTP and times each request."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx
import numpy as np

from feature_repo.errors import NotReady

BATCH: Final = 100
MODEL_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Scored:
    """What scoring every customer gave."""

    #: The answers of the API, one per customer, in request order.
    answers: list[dict[str, Any]]
    model_version: str
    #: Latency of requests for one customer, over loopback, in milliseconds.
    single_p50_ms: float
    single_p99_ms: float
    #: Latency of requests for 100 customers.
    batch_p50_ms: float
    #: Customers per second in requests of 100, one request at a time.
    customers_per_s: float


def wait_for_model(client: httpx.Client, target: str, version: str) -> None:
    """Wait until the API answers with the promoted version and the tiers approved for it.

    Raises:
        NotReady: it did not within a minute.
    """
    deadline = time.monotonic() + MODEL_TIMEOUT_S
    answer = "no answer"
    while time.monotonic() < deadline:
        response = client.post("/v1/score", json=_request(target, ["nobody"], None))
        if response.is_success and _is_served(response.json(), version):
            return
        answer = f"{response.status_code} {response.text[:200]}"
        time.sleep(0.25)
    message = f"The API did not serve {target} version {version} in time; it answered {answer}."
    raise NotReady(message)


def _is_served(answer: dict[str, Any], version: str) -> bool:
    """Whether both have arrived: the server follows a promotion and an approval one by one."""
    policy = answer["tier_policy"]
    return answer["model"]["version"] == version and policy is not None and policy["is_current"]


def score_all(
    client: httpx.Client,
    target: str,
    customers: Sequence[str],
    send_at: datetime,
    *,
    singles: int = 500,
) -> Scored:
    """Score every customer in requests of 100, then `singles` of them one by one."""
    answers: list[dict[str, Any]] = []
    batch_ms: list[float] = []
    version = ""
    for ids in _batches(customers):
        body, took = _timed(client, _request(target, ids, send_at))
        answers.extend(body["scores"])
        version = str(body["model"]["version"])
        batch_ms.append(took)
    single_ms = []
    for customer in customers[:singles]:
        single_ms.append(_timed(client, _request(target, [customer], send_at))[1])
    return Scored(
        answers=answers,
        model_version=version,
        single_p50_ms=float(np.percentile(single_ms, 50)),
        single_p99_ms=float(np.percentile(single_ms, 99)),
        batch_p50_ms=float(np.percentile(batch_ms, 50)),
        customers_per_s=len(customers) / (sum(batch_ms) / 1000),
    )


def best_of(answers: Sequence[dict[str, Any]]) -> str:
    """The customer with the highest score."""
    best: str = max(answers, key=lambda answer: answer["score"])["customer_id"]
    return best


def reasons_of(
    client: httpx.Client, target: str, customer: str, send_at: datetime
) -> dict[str, Any]:
    """A customer's score and the three strongest reasons for it."""
    body, _ = _timed(client, {**_request(target, [customer], send_at), "reasons": 3})
    (answer,) = body["scores"]
    return {name: answer[name] for name in ("customer_id", "score", "reasons")}


def _batches(customers: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(customers), BATCH):
        yield list(customers[start : start + BATCH])


def _request(target: str, customers: Sequence[str], send_at: datetime | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "target": target,
        "customers": [{"customer_id": customer} for customer in customers],
    }
    if send_at is not None:
        body["send_at"] = send_at.isoformat()
    return body


def _timed(client: httpx.Client, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
    started = time.perf_counter()
    response = client.post("/v1/score", json=body)
    took = (time.perf_counter() - started) * 1000
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer, took
