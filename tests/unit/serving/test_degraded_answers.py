"""Each way an answer can be less than a fresh score: declared, counted, and in the log."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from serving.scoring import Rules, degradations
from serving.store import MemoryStore
from tests.unit.serving.conftest import NOW, Client, World, ask


def only_row(client: Client, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/score", json=ask("ann", **more))
    assert answer.status_code == 200
    row: dict[str, Any] = answer.json()["scores"][0]
    return row


def test_without_a_store_the_base_rate_is_answered(world: World) -> None:
    world.store.down = "gone"
    with world.client() as client:
        row = only_row(client)

    assert row["score"] == 0.05
    assert row["as_of"] is None
    assert row["degraded"]["cause"] == "store_unavailable"
    assert row["degraded"]["score_is"] == "base_rate"


def test_without_a_store_the_last_score_is_answered_with_its_age(world: World) -> None:
    with world.client() as client:
        only_row(client)
        world.store.down = "gone"
        world.clock.now += timedelta(seconds=90)
        row = only_row(client)

    assert row["score"] == 0.25
    assert row["as_of"] == "2026-11-24T10:00:00Z"
    assert row["age_s"] == 7290.0
    assert row["degraded"]["score_is"] == "last_score"
    assert "90 s ago by model version 1" in row["degraded"]["detail"]


def test_the_store_is_used_again_once_it_is_back(world: World) -> None:
    with world.client() as client:
        world.store.down = "gone"
        only_row(client)
        world.store.down = None

        assert only_row(client)["degraded"] is None


def test_last_scores_are_bounded(world: World) -> None:
    world.settings = world.settings.model_copy(update={"last_scores": 1})
    world.store.customers["bob"] = {}
    with world.client() as client:
        client.post("/v1/score", json=ask("ann", "bob"))
        world.store.down = "gone"
        rows = client.post("/v1/score", json=ask("ann", "bob")).json()["scores"]

    assert [row["degraded"]["score_is"] for row in rows] == ["base_rate", "last_score"]


def test_features_known_after_the_send_are_declared(world: World) -> None:
    with world.client() as client:
        row = only_row(client, send_at="2026-11-24T10:30:00Z")

    assert row["degraded"]["cause"] == "features_after_send_at"
    assert row["score"] == 0.25


def test_a_clock_a_little_behind_is_forgiven(world: World) -> None:
    world.store.known_at["ann"] = (NOW + timedelta(seconds=5)).timestamp()
    with world.client() as client:
        row = only_row(client)

    assert row["degraded"] is None


def test_a_store_that_was_not_loaded_for_long_is_declared_stale(world: World) -> None:
    world.store.through = NOW - timedelta(hours=27)
    with world.client() as client:
        row = only_row(client)

    assert row["degraded"]["cause"] == "stale_features"
    assert row["degraded"]["score_is"] == "model"
    assert "2026-11-23T09:00:00Z" in row["degraded"]["detail"]


# through, send_at, stale?
STALENESS = [
    (NOW - timedelta(hours=26), NOW, False),
    (NOW - timedelta(hours=26, seconds=1), NOW, True),
    # A question about the past is asked of the store as it was then.
    (NOW - timedelta(hours=27), NOW - timedelta(hours=2), False),
    # Nobody knows how far it is complete.
    (None, NOW, True),
]


@pytest.mark.parametrize(("through", "send_at", "expected"), STALENESS)
def test_staleness_is_measured_at_the_send_and_never_past_now(
    through: Any, send_at: Any, expected: bool
) -> None:
    rules = Rules(stale_after_s=26 * 3600.0, clock_skew_s=5.0)
    store = MemoryStore(customers={"ann": {}}, through=through)
    stored = asyncio.run(store.read(["ann"]))

    told = degradations(stored, np.array([send_at.timestamp()]), now=NOW.timestamp(), rules=rules)

    assert [one is not None for one in told] == [expected]


def test_a_send_far_ahead_is_not_stale_for_being_ahead(world: World) -> None:
    with world.client() as client:
        row = only_row(client, send_at="2026-12-24T12:00:00Z")

    assert row["degraded"] is None


def test_the_first_cause_in_the_documented_order_is_told(world: World) -> None:
    world.store.through = None
    with world.client() as client:
        late = client.post("/v1/score", json=ask("ann", "nobody", send_at="2026-11-24T10:30:00Z"))

    causes = [row["degraded"]["cause"] for row in late.json()["scores"]]
    assert causes == ["features_after_send_at", "unknown_customer"]


def test_degraded_answers_are_counted_by_cause_and_name_no_customer(world: World) -> None:
    with world.client() as client:
        client.post("/v1/score", json=ask("nobody", "nobody", "ann"))
        text = client.get("/metrics").text

    assert (
        'foresend_degraded_rows_total{cause="unknown_customer",target="purchase_30d"} 2.0' in text
    )
    assert 'foresend_scored_rows_total{target="purchase_30d"} 3.0' in text
    assert 'foresend_http_requests_total{route="/v1/score",status="200"} 1.0' in text
    assert "ann" not in text.replace("annotation", "")
