"""The decisions of a target: who is asked about, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from feature_repo.targets import Spine
from training.reading import Reading, to_us

WEEK: Final = timedelta(days=7)
# A Monday before event.EARLIEST, so that week numbers are never negative.
_MONDAY: Final = datetime(1999, 12, 27, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpineCounts:
    """How many decisions there are, and how many of them cannot be judged yet."""

    decisions: int
    immature: int


def make_spine(reading: Reading, grace: timedelta) -> SpineCounts:
    """Make the tables `known` and `spine`: the mature decisions, numbered from 0 by time.

    A decision at T is mature when T + horizon + grace <= as_of. `spine` has position, customer_id,
    at_us and message_id (null on a weekly spine). Immature decisions are only counted.
    """
    reading.known()
    if reading.target.active_within is not None:
        reading.activity()
    weekly = reading.target.spine is Spine.WEEKLY
    started = reading.started_us()
    first = 0 if started is None else started + to_us_delta(reading.target.warm_up)
    last = reading.as_of_us
    if weekly:
        reading.con.execute(_WEEKLY_SQL, _WEEKLY_PARAMETERS | {"first": first, "last": last})
    else:
        eligible = "" if reading.target.active_within is None else _ACTIVE_SQL
        reading.con.execute(_SENT_SQL + eligible, {"first": first, "last": last})
    mature = last - to_us_delta(reading.target.horizon + grace)
    reading.con.execute(_SPINE_SQL, [mature])
    # All of the result: one that is not read to its end keeps DuckDB's connection busy.
    ((total, kept),) = reading.con.execute(
        "SELECT (SELECT count(*) FROM decisions), (SELECT count(*) FROM spine)"
    ).fetchall()
    return SpineCounts(decisions=total, immature=total - kept)


def to_us_delta(value: timedelta) -> int:
    """A duration in microseconds."""
    return value // timedelta(microseconds=1)


_WEEKLY_PARAMETERS: Final = {"monday": to_us(_MONDAY), "week": to_us_delta(WEEK)}

# Spans of a customer are apart, so no Monday lies in two of them.
_WEEKLY_SQL: Final = """
CREATE OR REPLACE TEMP TABLE decisions AS
  WITH weeks AS (
    SELECT customer_id,
           unnest(range((begins_us - $monday + $week - 1) // $week,
                        (ends_us - $monday + $week - 1) // $week)) AS number
    FROM (SELECT customer_id, greatest(begins_us, $first) AS begins_us,
                 least(ends_us, $last + 1) AS ends_us
          FROM activity)
    WHERE begins_us < ends_us
  )
  SELECT customer_id, $monday + number * $week AS at_us,
         NULL::VARCHAR AS message_id, NULL::VARCHAR AS event_id
  FROM weeks
"""

_SENT_SQL: Final = """
CREATE OR REPLACE TEMP TABLE decisions AS
  SELECT customer_id, at_us, message_id, event_id
  FROM known
  WHERE is_send AND at_us BETWEEN $first AND $last
"""

_ACTIVE_SQL: Final = """
  AND EXISTS (SELECT 1 FROM activity
              WHERE activity.customer_id = known.customer_id
                AND begins_us <= at_us AND at_us < ends_us)
"""

_SPINE_SQL: Final = """
CREATE OR REPLACE TEMP TABLE spine AS
  SELECT row_number() OVER (ORDER BY at_us, customer_id, event_id) - 1 AS position,
         customer_id, at_us, message_id
  FROM decisions WHERE at_us <= ?
"""
