"""The SQL of the checks says what `feature_repo.event` says, for any times, amounts and texts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from feature_repo.event import EARLIEST, check_amount, check_times, deterministic_id
from feature_repo.ingest.checks import event_checks, first_problem
from feature_repo.ingest.compile import made_id_sql
from feature_repo.ingest.literals import instant

NOW = datetime(2100, 1, 1, tzinfo=UTC)
CHECKED = hypothesis_settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NEAR = st.integers(-400_000_000, 400_000_000).map(lambda us: timedelta(microseconds=us))
TIMES = st.integers(631_152_000, 3_786_912_000).map(  # 1990 to 2090
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    yield con
    con.close()


def problem(con: duckdb.DuckDBPyConnection, **fields: str) -> tuple[str | None, str | None]:
    """Reason and detail of one event, its fields given as SQL."""
    good = {
        "type": "'opened'",
        "event_id": "'e'",
        "customer_id": "'c'",
        "event_time": "TIMESTAMPTZ '2024-03-04 10:00:00+00'",
        "received_time": "TIMESTAMPTZ '2024-03-04 12:00:00+00'",
        "op": "'upsert'",
        "id_is_made": "false",
        "amount": "NULL::DOUBLE",
        "machine_score": "NULL::DOUBLE",
        "utc_offset_minutes": "NULL::BIGINT",
        "machine": "'none'",
    }
    columns = ", ".join(f"{value} AS {name}" for name, value in (good | fields).items())
    found = con.execute(
        f"SELECT p.reason, p.detail FROM (SELECT {first_problem(event_checks(NOW))} AS p "
        f"FROM (SELECT {columns}))"
    ).fetchall()[0]
    return found[0], found[1]


@CHECKED
@given(event=TIMES | NEAR.map(lambda delta: EARLIEST + delta), gap=NEAR)
def test_times_are_judged_as_by_check_times(
    con: duckdb.DuckDBPyConnection, event: datetime, gap: timedelta
) -> None:
    received = event + gap

    reason, _ = problem(con, event_time=instant(event), received_time=instant(received))

    assert (check_times(event, received) is not None) == (reason == "impossible_time")


@CHECKED
@given(amount=st.floats() | st.floats(-1, 1) | st.floats(0.9e9, 1.1e9))
def test_amounts_are_judged_as_by_check_amount(
    con: duckdb.DuckDBPyConnection, amount: float
) -> None:
    reason, _ = problem(con, amount=f"'{amount!r}'::DOUBLE")

    assert (check_amount(amount) is not None) == (reason == "bad_amount")


@CHECKED
@given(
    customer=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    campaign=st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    amount=st.none() | st.integers(0, 10**9).map(float),
)
def test_an_id_made_in_sql_is_the_id_made_in_python(
    con: duckdb.DuckDBPyConnection, customer: str, campaign: str | None, amount: float | None
) -> None:
    time = datetime(2024, 3, 4, 10, tzinfo=UTC)
    made = con.execute(
        f"SELECT {made_id_sql()} FROM (SELECT 'shop' AS provider, 'opened' AS type, "
        "?::VARCHAR AS customer_id, ?::TIMESTAMPTZ AS event_time, NULL AS provider_event, "
        "?::VARCHAR AS campaign_id, NULL AS message_id, NULL AS url, NULL AS link_id, "
        "?::DOUBLE AS amount, 'EUR' AS currency)",
        [customer, time, campaign, amount],
    ).fetchall()[0][0]

    micros = None if amount is None else round(amount * 1_000_000)
    since_epoch = round(time.timestamp() * 1_000_000)
    parts = ("opened", customer, since_epoch, None, campaign, None, None, None, micros, "EUR")
    assert deterministic_id("shop", *parts) == made


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"event_id": "NULL::VARCHAR"}, "missing_event_id"),
        ({"customer_id": "NULL::VARCHAR"}, "missing_customer_id"),
        ({"event_time": "NULL::TIMESTAMPTZ"}, "missing_event_time"),
        ({"received_time": "NULL::TIMESTAMPTZ"}, "missing_received_time"),
        ({"type": "NULL::VARCHAR"}, "missing_type"),
        ({"op": "'delete'"}, "bad_op"),
        # Nobody can know which event such a row withdraws.
        ({"op": "'retract'", "id_is_made": "true"}, "retract_without_id"),
        ({"machine": "'robot'"}, "bad_machine"),
        ({"machine_score": "1.01::DOUBLE"}, "bad_machine_score"),
        ({"machine_score": "'nan'::DOUBLE"}, "bad_machine_score"),
        ({"utc_offset_minutes": "99999999999::BIGINT"}, "bad_utc_offset"),
        ({"received_time": "TIMESTAMPTZ '2100-01-01 00:00:01+00'"}, "received_in_future"),
        ({}, None),
    ],
)
def test_each_rule_has_its_reason(
    con: duckdb.DuckDBPyConnection, fields: dict[str, str], reason: str | None
) -> None:
    found, detail = problem(con, **fields)

    assert reason == found
    assert (detail is None) == (reason is None)
