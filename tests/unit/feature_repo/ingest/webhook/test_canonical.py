"""Our own events are the same events, however they come in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest

from feature_repo.event import Event
from feature_repo.history.schema import EVENTS
from feature_repo.ingest import parse
from feature_repo.ingest.compile import SQL_TYPES, made_id_sql
from feature_repo.ingest.mapping import field_type
from feature_repo.ingest.settings import IngestSettings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"amount": 12.34, "currency": "eur", "provider": "shop"},
        {"url": "https://shop.example/é", "link_id": 7, "campaign_id": "c", "message_id": "m"},
        {"type": "Purchased", "amount": "99.999999", "provider_event": "sale"},
        {"event_time": "2026-11-24T05:00:00.123456+01:00"},
    ],
)
def test_an_event_without_an_id_gets_the_one_that_an_import_of_files_makes(
    more: dict[str, Any],
) -> None:
    item = {"type": "clicked", "customer_id": "c-1", "event_time": "2026-11-24T04:00:00Z", **more}

    (event,) = parse(
        "canonical",
        json.dumps(item).encode(),
        {},
        IngestSettings(insecure_local=True),
        received_time=NOW,
    )

    assert isinstance(event, Event)
    assert event.event_id == _imported_id(event)


@pytest.mark.parametrize("amount", ["1e999", -1, 1e10])
def test_an_amount_that_cannot_be_costs_one_event_with_or_without_an_id(amount: Any) -> None:
    item = {"type": "purchased", "customer_id": "c", "event_time": "2026-11-24T04:00:00Z"}
    body = json.dumps([{**item, "amount": amount}, {**item, "amount": amount, "event_id": "e"}])

    settings = IngestSettings(insecure_local=True)
    found = parse("canonical", body.encode(), {}, settings, received_time=NOW)

    assert [getattr(outcome, "reason", None) for outcome in found] == ["bad_amount"] * 2


def _imported_id(event: Event) -> str:
    columns = [
        f"CAST(? AS {SQL_TYPES[field_type(name)]}) AS {name}"
        for name in EVENTS.names
        if name != "event_id"
    ]
    values = [getattr(event, name) for name in EVENTS.names if name != "event_id"]
    with duckdb.connect() as con:
        found = con.execute(
            f"SELECT {made_id_sql()} FROM (SELECT {', '.join(columns)})", values
        ).fetchone()
    assert found is not None
    made: str = found[0]
    return made
