"""Messages that were refused together: the bad ones are found, and none pays for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from serving.routing.connectors.errors import Refused
from serving.routing.connectors.http import MOST_CALLS, told_apart
from serving.routing.connectors.port import DELIVERED, Fate, Outcome
from serving.routing.message import Routed
from tests.unit.serving.routing.connectors.world import Bench, message, opened, settings_of

HOOK: dict[str, Any] = {
    "kind": "webhook",
    "url": "https://a.example",
    "secret_env": "FORESEND_SECRET",
    "batch": 1_000,
    "rate_per_s": 100,
}


@pytest.mark.parametrize("share", [1, 2, 7, 100])
def test_what_is_not_told_apart_comes_again(share: int) -> None:
    """One of `share` is bad."""
    calls = 0

    def call(part: Sequence[Routed]) -> list[Outcome]:
        nonlocal calls
        calls += 1
        if any(one.seq % share == 0 for one in part):
            reason = "status 422"
            raise Refused(reason, status=422)
        return [DELIVERED] * len(part)

    batch = [message(f"c{n}", seq=n) for n in range(1_000)]
    outcomes = told_apart(batch, call)

    for one, outcome in zip(batch, outcomes, strict=True):
        decided = Fate.DEAD if one.seq % share == 0 else Fate.DELIVERED
        assert outcome.fate in {decided, Fate.RETRY}
    # It gets on each time, and does not go on for ever.
    assert sum(one.fate is not Fate.RETRY for one in outcomes) > 10
    assert calls < MOST_CALLS + 20


def test_ten_bad_ones_of_a_thousand_cost_only_themselves() -> None:
    taken: set[str] = set()
    bad = {f"c{n}" for n in range(50, 1_000, 100)}

    def receiver(request: httpx.Request) -> httpx.Response:
        found = {one["customer_id"] for one in json.loads(request.content)["messages"]}
        if found & bad:
            return httpx.Response(422)
        taken.update(found)
        return httpx.Response(200)

    bench = Bench(lambda _: DELIVERED)
    bench.tool = opened(settings_of(**HOOK), receiver, bench.time)  # type: ignore[assignment]
    bench.start()
    bench.source.put(*(message(f"c{n}") for n in range(1_000)))

    while bench.source.waiting or bench.source.given:
        bench.rounds(1)
        assert bench.time.seconds < 600

    assert taken == {f"c{n}" for n in range(1_000)} - bad
    assert {reason for _, reason in bench.source.buried} == {"status 422"}
    assert (bench.count("dead"), bench.count("delivered")) == (10, 990)
