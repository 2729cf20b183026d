"""What the log allows a feature to be, against a reading of the events one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np

from feature_repo.event import Event, EventType, Machine, Op
from feature_repo.history.log import Snapshot
from feature_repo.targets import target_from
from training.audit.evidence import Limit
from training.audit.ledger import limits, make_logged, timing
from training.dataset import Dataset
from training.reading import to_us

LogOf = Callable[[Sequence[Event]], Snapshot]

START = datetime(2025, 3, 3, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = ("purchases_total", "purchases_7d", "clicks_total", "hours_since_last_purchase")


def event(
    number: int, kind: EventType, customer: int, at: float, late: float, **more: Any
) -> Event:
    happened = START + at * DAY
    return Event(
        event_id=f"e{number}",
        type=kind,
        customer_id=f"c{customer}",
        event_time=happened,
        received_time=happened + late * DAY,
        **more,
    )


def asked(rows: Sequence[tuple[int, float]]) -> Dataset:
    """Rows of (customer, day)."""
    return Dataset(
        columns={name: np.zeros(len(rows)) for name in NAMES},
        label=np.zeros(len(rows), dtype=np.int8),
        at_us=np.array([to_us(START + day * DAY) for _, day in rows], dtype=np.int64),
        customer=np.array([f"c{customer}" for customer, _ in rows], dtype=object),
        weight=np.ones(len(rows)),
    )


def bounds(con: duckdb.DuckDBPyConnection, log: Snapshot, dataset: Dataset) -> dict[str, Limit]:
    make_logged(con, log)
    return {limit.feature: limit for limit in limits(con, dataset)}


def test_an_event_counts_from_its_receipt_on(con: duckdb.DuckDBPyConnection, log_of: LogOf) -> None:
    log = log_of(
        [
            event(1, EventType.PURCHASED, 1, at=1.0, late=2.0),
            event(2, EventType.PURCHASED, 1, at=2.0, late=0.5),
            event(3, EventType.CLICKED, 1, at=2.0, late=0.0, machine=Machine.SCANNER),
        ]
    )

    found = bounds(con, log, asked([(1, 2.4), (1, 2.5), (1, 3.0), (2, 9.0), (1, 40.0)]))

    assert found["purchases_total"].bound.tolist() == [0, 1, 2, 0, 2]
    assert found["purchases_7d"].bound.tolist() == [0, 1, 2, 0, 0]
    assert found["clicks_total"].bound.tolist() == [0, 0, 0, 0, 0]
    ages = found["hours_since_last_purchase"]
    assert ages.is_age
    assert not ages.is_upper
    assert ages.bound[1:3].tolist() == [12.0, 24.0]
    # Never: as long ago as time itself.
    assert ages.bound[3] > 400_000


def test_what_was_withdrawn_later_still_allows_what_was_counted_then(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    log = log_of(
        [
            event(1, EventType.PURCHASED, 1, at=1.0, late=0.0),
            event(1, EventType.PURCHASED, 1, at=1.0, late=4.0, op=Op.RETRACT),
        ]
    )

    found = bounds(con, log, asked([(1, 2.0), (1, 8.0)]))

    assert found["purchases_total"].bound.tolist() == [1, 1]


def test_bounds_equal_a_reading_one_by_one_for_many_customers(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    random = np.random.default_rng(1)
    events = [
        event(n, EventType.PURCHASED, int(c), at=float(a), late=float(late))
        for n, (c, a, late) in enumerate(
            zip(
                random.integers(0, 1500, 4000),
                random.uniform(0, 300, 4000),
                random.exponential(3, 4000),
                strict=True,
            )
        )
    ]
    dataset = asked([(c, float(random.uniform(0, 320))) for c in range(0, 1500, 7)])

    found = bounds(con, log_of(events), dataset)

    for row, (customer, at_us) in enumerate(zip(dataset.customer, dataset.at_us, strict=True)):
        known = [
            to_us(e.event_time)
            for e in events
            if e.customer_id == customer and to_us(e.received_time) <= at_us
        ]
        assert found["purchases_total"].bound[row] == len(known)
        newest = max(known, default=0)
        assert found["hours_since_last_purchase"].bound[row] == max(at_us - newest, 0) / 3600e6


def test_the_next_label_event_is_the_customer_s_nearest(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    target = target_from("buy", {"event": "purchased", "horizon_days": 7, "spine": "weekly"})
    log = log_of(
        [
            event(1, EventType.PURCHASED, 1, at=5.0, late=3.0),
            event(2, EventType.PURCHASED, 1, at=9.0, late=0.0),
            event(3, EventType.CLICKED, 1, at=4.0, late=0.0),
        ]
    )
    dataset = asked([(1, 1.0), (1, 5.0), (1, 9.0), (2, 1.0)])

    found = timing(con, log, target, dataset, as_of=START + 20 * DAY, grace=2 * DAY)

    days = (found.next_event_us - to_us(START)) / 86_400e6
    assert days[:2].tolist() == [5.0, 9.0]
    assert np.isnan(days[2:]).all()
    assert found.observed_until_us == to_us(START + 18 * DAY)
