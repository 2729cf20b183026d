"""The answers of a target: what happened after each decision, by event time."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from training.reading import Reading
from training.spine import to_us_delta

GRACE_QUANTILE: Final = 0.99
"""Share of a target's events that have reached us once the grace is over."""


def grace_of(reading: Reading) -> timedelta:
    """The declared grace, else how late all but the latest 1 % of such events reached us."""
    declared = reading.target.grace
    if declared is not None:
        return declared
    return timedelta(microseconds=reading.lateness_us(GRACE_QUANTILE))


def make_labels(reading: Reading) -> None:
    """Make the table `labels` (position, label) from `known` and `spine`.

    The label is 1 when an event of the target lies in (T, T + horizon]; with `absent`, when none
    does. An event that names a message counts only for the send of that message; an event or a
    send that names none counts for any of the same customer.
    """
    horizon = to_us_delta(reading.target.horizon)
    absent = reading.target.absent
    reading.con.execute(_LABELS_SQL, {"horizon": horizon, "absent": absent})


# Three times the nearest later event, and the nearest of those: linear, where a range join of
# sends and events would grow with the events in the horizon.
_LABELS_SQL: Final = """
CREATE OR REPLACE TEMP TABLE labels AS
  WITH happened AS (
    SELECT customer_id, message_id, at_us FROM known WHERE is_label
  ), same_message AS (
    SELECT position, happened.at_us
    FROM spine ASOF JOIN happened
      ON spine.customer_id = happened.customer_id AND spine.message_id = happened.message_id
         AND spine.at_us < happened.at_us
  ), unnamed_event AS (
    SELECT position, happened.at_us
    FROM spine ASOF JOIN (SELECT * FROM happened WHERE message_id IS NULL) AS happened
      ON spine.customer_id = happened.customer_id AND spine.at_us < happened.at_us
  ), unnamed_send AS (
    SELECT position, happened.at_us
    FROM (SELECT * FROM spine WHERE message_id IS NULL) AS spine ASOF JOIN happened
      ON spine.customer_id = happened.customer_id AND spine.at_us < happened.at_us
  ), nearest AS (
    SELECT position, min(at_us) AS at_us
    FROM (FROM same_message UNION ALL FROM unnamed_event UNION ALL FROM unnamed_send)
    GROUP BY position
  )
  SELECT position,
         (coalesce(nearest.at_us - spine.at_us <= $horizon, false) <> $absent)::TINYINT AS label
  FROM spine LEFT JOIN nearest USING (position)
"""
