"""What a chunk of an audience's customers comes to."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from serving.audience.engine import AudienceScorer, Served
from serving.scoring import Rules
from serving.served import FixedModel
from serving.store import MemoryStore
from tests.unit.serving.audience.conftest import Reader
from tests.unit.serving.conftest import NOW


@pytest.mark.parametrize("newest", [math.inf, -math.inf, 1e300, 1e13, -1e12, math.nan])
def test_a_time_that_cannot_be_is_none_and_spoils_no_chunk(newest: float) -> None:
    usual = (NOW - timedelta(hours=2)).timestamp()
    store = MemoryStore(
        customers={"odd": {"last_event_at": newest}, "ann": {"last_event_at": usual}},
        known_at={"odd": usual, "ann": usual},
        through=NOW,
    )
    served = Served(FixedModel(score=0.25), "1", None)
    rules = Rules(stale_after_s=3600.0, clock_skew_s=5.0)
    scorer = AudienceScorer(served, Reader(store), rules, send_at=NOW, now=NOW)

    rows, counts = scorer.score(["odd", "ann"])

    assert rows["as_of"].to_pylist() == [None, NOW - timedelta(hours=2)]
    assert rows["age_s"].to_pylist() == [None, 7200.0]
    assert rows["score"].to_pylist() == [0.25, 0.25]
    assert counts.unusable == 0
