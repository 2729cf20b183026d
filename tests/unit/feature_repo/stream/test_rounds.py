from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from feature_repo.errors import StoreUnavailable
from feature_repo.stream.rounds import Rounds

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_customers_are_computed_each_round_and_labels_swept_once_a_minute() -> None:
    times = [START + timedelta(seconds=second) for second in (0, 1, 59, 60, 61, 121)]
    done: list[str] = []
    rounds = Rounds(lambda: done.append("owed"), lambda: done.append("sweep"), iter(times).__next__)

    for _ in times:
        rounds.run_once()

    assert done.count("owed") == 6
    assert done.count("sweep") == 3


def test_a_sweep_that_failed_is_tried_again_in_the_next_round() -> None:
    tries: list[int] = []

    def sweep() -> None:
        tries.append(1)
        if len(tries) == 1:
            message = "the queue does not answer"
            raise StoreUnavailable(message)

    rounds = Rounds(lambda: None, sweep, lambda: START)
    with pytest.raises(StoreUnavailable):
        rounds.run_once()
    rounds.run_once()

    assert len(tries) == 2
