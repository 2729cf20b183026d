"""Webhook traffic for benchmarks and kill tests: SendGrid bodies, and what they must add up to."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import orjson

URL_PATH: Final = "/ingest/sendgrid"
WORDS: Final = ("processed", "delivered", "open", "click", "bounce", "unsubscribe")
WEIGHTS: Final = (40, 38, 15, 4, 2, 1)
TOTALS: Final = {
    "processed": "sends_total",
    "delivered": "delivered",
    "open": "opens_total",
    "click": "clicks_total",
    "bounce": "bounces_total",
    "unsubscribe": "unsubscribes_total",
}
"""The lifetime count an event of the word adds to, where there is one."""

_AGENT: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0"


@dataclass
class Load:
    """Bodies to send, and what they add up to when every event counts once."""

    bodies: list[bytes] = field(default_factory=list)
    events: int = 0
    #: Per customer and lifetime count of the online store.
    totals: dict[str, Counter[str]] = field(default_factory=dict)


def make_load(
    events: int, per_body: int, *, customers: int, seed: int, now: float, span_s: int = 86_400
) -> Load:
    """Events of `customers` in bodies of `per_body`, spread over the `span_s` before `now`."""
    rng = random.Random(seed)
    load = Load(events=events)
    batch: list[dict[str, Any]] = []
    for number in range(events):
        word = rng.choices(WORDS, WEIGHTS)[0]
        customer = f"load-{rng.randrange(customers):07d}"
        if TOTALS[word].endswith("_total"):
            load.totals.setdefault(customer, Counter())[TOTALS[word]] += 1
        batch.append(_event(seed, number, word, customer, int(now) - rng.randrange(span_s)))
        if len(batch) == per_body or number == events - 1:
            load.bodies.append(orjson.dumps(batch))
            batch = []
    return load


def _event(seed: int, number: int, word: str, customer: str, at: int) -> dict[str, Any]:
    event: dict[str, Any] = {
        "email": f"{customer}@example.com",
        "timestamp": at,
        "sg_event_id": f"load-{seed}-{number}",
        "event": word,
        "category": ["bench"],
        "customer_id": customer,
        "marketing_campaign_id": 7,
    }
    if word in {"open", "click"}:
        event |= {"useragent": _AGENT, "ip": _address(customer), "sg_machine_open": False}
    if word == "click":
        event["url"] = "https://shop.example/spring"
    return event


def _address(customer: str) -> str:
    """One address per customer: a crowded one would be taken for a scanner's."""
    number = int(customer.removeprefix("load-"))
    return f"198.{18 + number // 65_536 % 2}.{number // 256 % 256}.{number % 256}"


def send(
    url: str, bodies: Sequence[bytes], *, connections: int = 4, bodies_per_s: float | None = None
) -> float:
    """Send every body until it is accepted; the seconds it took."""
    started = time.perf_counter()

    def stretch(first: int) -> None:
        with httpx.Client(timeout=60) as client:
            for number in range(first, len(bodies), connections):
                if bodies_per_s is not None:
                    due = started + number / bodies_per_s
                    time.sleep(max(0.0, due - time.perf_counter()))
                post_until_accepted(client, url + URL_PATH, bodies[number])

    with ThreadPoolExecutor(connections) as pool:
        for done in [pool.submit(stretch, first) for first in range(connections)]:
            done.result()
    return time.perf_counter() - started


def post_until_accepted(client: httpx.Client, url: str, body: bytes) -> int:
    """Send as a provider does: again after a refusal or a broken connection; tries needed."""
    for tries in _counting():
        try:
            answer = client.post(url, content=body, headers={"Content-Type": "application/json"})
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if answer.is_success:
            return tries
        if answer.status_code != 503:
            answer.raise_for_status()
        time.sleep(min(float(answer.headers.get("Retry-After", "1")), 1.0))
    raise AssertionError


def _counting() -> Iterator[int]:
    tries = 0
    while True:
        tries += 1
        yield tries
