"""Asking a server for customers whose answers are known, and checking each row as it comes."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tests.integration.shelved_api import BASE_RATE, CUSTOMERS, as_of, name, scores
from tests.integration.test_serving_process import TARGET, Api, until
from tests.integration.wire import Crowd, Wire, request

REQUESTS: Final = 300

_ORIGINS: Final = {
    None: {"model"},
    "store_unavailable": {"last_score", "base_rate"},
    "unknown_customer": {"base_rate"},
    "features_after_send_at": {"model"},
    "stale_features": {"model"},
}


def check_row(row: dict[str, Any], number: int) -> str | None:
    """The cause of an answer for that customer; fails when it has what is another's, or hides it.

    An answer without a cause is the model's for the stored features of this customer. One whose
    store was away is its own last score, or the base rate.
    """
    assert row["customer_id"] == name(number), row
    degraded = row["degraded"] or {"cause": None, "score_is": "model"}
    cause: str | None = degraded["cause"]
    assert degraded["score_is"] in _ORIGINS[cause], row
    expected: tuple[str | None, float]
    if degraded["score_is"] == "base_rate":
        expected = (None, BASE_RATE)
    else:
        expected = (as_of(number), scores([number])[0])
    assert (row["as_of"], row["score"]) == expected, row
    return cause


def body(numbers: Sequence[int], **more: object) -> bytes:
    customers = [{"customer_id": name(n)} for n in numbers]
    return request(json.dumps({"target": TARGET, "customers": customers, **more}).encode())


def asked_for(number: int) -> list[int]:
    """Mostly one customer, now and then some, seldom a bulk."""
    count = 100 if number % 97 == 96 else 7 if number % 5 == 4 else 1
    return [(number * 13 + i) % CUSTOMERS for i in range(count)]


@dataclass
class Load:
    """Eight clients; every answer is checked as it comes."""

    port: int
    causes: Counter[str | None] = field(default_factory=Counter)
    origins: Counter[str | None] = field(default_factory=Counter)

    def run(self, count: int = REQUESTS) -> None:
        Crowd(self.port, self._one).run(count)

    @contextmanager
    def beside(self, count: int) -> Iterator[None]:
        """Meanwhile something is done to the server."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                self.run(count)
            except AssertionError as exc:
                failures.append(exc)

        thread = threading.Thread(target=run)
        thread.start()
        yield
        thread.join()
        assert failures == []

    def _one(self, wire: Wire, number: int) -> None:
        numbers = asked_for(number)
        reply = wire.ask(body(numbers))
        assert reply.status == 200, reply.body
        for row, one in zip(reply.json()["scores"], numbers, strict=True):
            self.causes[check_row(row, one)] += 1
            self.origins[row["degraded"] and row["degraded"]["score_is"]] += 1


def port_of(api: Api) -> int:
    return int(api.url.rsplit(":", 1)[1])


def rows_of(api: Api, numbers: Sequence[int], **more: object) -> list[dict[str, Any]]:
    with Wire(port_of(api)) as wire:
        reply = wire.ask(body(numbers, **more))
    assert reply.status == 200, reply.body
    rows: list[dict[str, Any]] = reply.json()["scores"]
    return rows


def causes_of(api: Api, numbers: Sequence[int], **more: object) -> list[str | None]:
    rows = rows_of(api, numbers, **more)
    return [check_row(row, n) for row, n in zip(rows, numbers, strict=True)]


def until_full(api: Api, bulk: bool = True) -> None:
    until(lambda: causes_of(api, [1]) == [None], "full answers again")
    if bulk:
        until(lambda: set(causes_of(api, range(100))) == {None}, "full bulk answers again")
