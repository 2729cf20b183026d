"""A click that comes 48 hours late is known from when it came, and not before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_repo import contract, point_in_time
from feature_repo.event import Event, EventType
from feature_repo.history import duck
from feature_repo.history.log_writer import LogWriter
from feature_repo.point_in_time import MOMENT
from tests.integration.history.building import Installation

pytestmark = [
    pytest.mark.integration,
    # Ibis 12 calls it on DuckDB 2.
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

SENT = datetime(2026, 11, 2, 9, tzinfo=UTC)
CLICKED = SENT + timedelta(minutes=20)
ARRIVED = CLICKED + timedelta(hours=48)
THROUGH = SENT + timedelta(days=5)


def event(event_id: str, kind: EventType, at: datetime, received: datetime) -> Event:
    return Event(
        event_id=event_id, type=kind, customer_id="c1", event_time=at, received_time=received
    )


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    home = Installation(tmp_path)
    writer = LogWriter(home.settings)
    writer.append([event("m1:sent", EventType.SENT, SENT, SENT)])
    home.build(through=ARRIVED - timedelta(hours=1))
    return home


def training_rows(home: Installation, *moments: datetime) -> list[dict[str, Any]]:
    """What training would see at these moments."""
    columns = {"clicks_total": "clicks_total", "last_click_at": "last_click_at"}
    entities = pa.table(
        {
            contract.ENTITY: ["c1"] * len(moments),
            MOMENT: pa.array(moments, pa.timestamp("us", tz="UTC")),
        }
    )
    table = point_in_time.FeatureTable(
        name=contract.ACTIVITY,
        files=tuple(home.table(contract.ACTIVITY).files()),
        keys={contract.ENTITY: contract.ENTITY},
        event_timestamp=contract.EVENT_TIMESTAMP,
        created_timestamp=contract.CREATED_TIMESTAMP,
        columns=columns,
    )
    with duck.connect(home.settings) as con:
        values = point_in_time.join(con, entities, table)
    rows: list[dict[str, Any]] = pa.table(dict(zip(columns, values, strict=True))).to_pylist()
    return rows


def test_no_training_row_before_its_arrival_knows_it(home: Installation) -> None:
    early = [SENT, CLICKED, CLICKED + timedelta(hours=1), ARRIVED - timedelta(microseconds=1)]
    before = training_rows(home, *early)

    LogWriter(home.settings).append([event("m1:click", EventType.CLICKED, CLICKED, ARRIVED)])
    home.build(through=THROUGH)

    assert training_rows(home, *early) == before
    (known,) = training_rows(home, ARRIVED)
    assert known["clicks_total"] == 1.0
    assert known["last_click_at"] == pytest.approx(CLICKED.timestamp())
    assert all(not row["clicks_total"] for row in before)


def test_it_counts_as_of_when_it_happened_in_whatever_order_it_was_appended(
    home: Installation, tmp_path: Path
) -> None:
    late = event("m1:click", EventType.CLICKED, CLICKED, ARRIVED)
    LogWriter(home.settings).append([late])
    home.build(through=THROUGH)
    other = Installation(tmp_path / "other")

    LogWriter(other.settings).append([late])
    LogWriter(other.settings).append([event("m1:sent", EventType.SENT, SENT, SENT)])
    other.build(through=THROUGH)

    assert other.contents() == home.contents()
