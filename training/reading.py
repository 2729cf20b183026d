"""What training reads of the event log: one version of it, up to one knowledge time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import duckdb
import ibis
from ibis.expr.types import BooleanValue, Table

from feature_repo import naming
from feature_repo.event import HUMAN_MACHINES, EventType, Op
from feature_repo.history.log import Snapshot
from feature_repo.history.sql_functions import epoch_us
from feature_repo.targets import HUMAN_ONLY, Spine, Target

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_KNOWN: Final = ("event_id", "type", "customer_id", "event_time", "message_id", "machine")


def to_us(value: datetime) -> int:
    """Microseconds since the Unix epoch.

    >>> to_us(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (value - _EPOCH) // _US


def from_us(value: int) -> datetime:
    """The aware UTC time of microseconds since the Unix epoch."""
    return _EPOCH + value * _US


def newest_received(con: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> datetime | None:
    """Newest received_time in the log, None when it is empty."""
    rows = snapshot.rows(con)
    newest = epoch_us(rows.received_time.max()).to_pyarrow().as_py()
    return None if newest is None else from_us(newest)


@dataclass(frozen=True, slots=True)
class Reading:
    """A log version, read for one target. Makes DuckDB tables; times are epoch microseconds."""

    con: duckdb.DuckDBPyConnection
    snapshot: Snapshot
    target: Target
    as_of: datetime

    @property
    def as_of_us(self) -> int:
        """The knowledge time as the tables hold it."""
        return to_us(self.as_of)

    def known(self) -> None:
        """Make `known`: sends and label events as known at `as_of`; the latter are `is_label`.

        Some providers report no send: of a message with a delivery and no send, the first delivery
        is the send, on the spine `sent`. One that names no message may belong to any send.
        """
        events = self.snapshot.as_known(self.con, self.as_of, _KNOWN)
        sends = {EventType.SENT.value}
        if self.target.spine is Spine.SENT:
            sends.add(EventType.DELIVERED.value)
        wanted = sends | {kind.value for kind in self.target.events}
        self._table(
            "known",
            events.filter(events.type.isin(sorted(wanted))).select(
                "event_id",
                "customer_id",
                "message_id",
                at_us=epoch_us(events.event_time),
                is_send=events.type == EventType.SENT.value,
                is_delivery=events.type.isin(sorted(sends - {EventType.SENT.value})),
                is_label=_of_kinds(events, self.target.events),
            ),
        )
        self.con.execute(_STAND_INS_SQL)

    def activity(self) -> None:
        """Make `activity`: spans [begins_us, ends_us) in which a customer is known to be active.

        A span is where an engagement event is known at T and lies in (T - active_within, T].
        Spans of a customer do not overlap.
        """
        within = self.target.active_within
        if within is None:
            message = f"target {self.target.name} declares no active_within"
            raise ValueError(message)
        rows = self.snapshot.rows(self.con)
        order = ibis.window(group_by=rows.event_id, order_by=[rows.received_time, rows.log_pos])
        stated = rows.select(
            "customer_id",
            "type",
            "machine",
            "op",
            time_us=epoch_us(rows.event_time),
            known_from=epoch_us(rows.received_time),
            known_to=epoch_us(rows.received_time).lead().over(order),
        )
        engaged = _of_kinds(stated, naming.ENGAGEMENT)
        self._table("engaged", stated.filter(engaged, stated["op"] == Op.UPSERT.value))
        self.con.execute(_ACTIVITY_SQL, [within // _US])

    def started_us(self) -> int | None:
        """Time of the first event known, None when there is none."""
        rows = self.snapshot.rows(self.con)
        first = rows.filter(epoch_us(rows.received_time) <= self.as_of_us)
        found = epoch_us(first.event_time.min()).to_pyarrow().as_py()
        return None if found is None else int(found)

    def lateness_us(self, quantile: float) -> int:
        """Quantile of (received - event) over the target's kinds, by each event's first row.

        Rows with a declared received_time count like observed ones. 0 when there are none.
        """
        rows = self.snapshot.rows(self.con)
        known = rows.filter(epoch_us(rows.received_time) <= self.as_of_us)
        self._table(
            "late",
            known.filter(_of_kinds(known, self.target.events)).select(
                "event_id",
                "log_pos",
                late_us=epoch_us(known.received_time) - epoch_us(known.event_time),
            ),
        )
        ((found,),) = self.con.execute(_LATENESS_SQL, [quantile]).fetchall()
        return max(0, found or 0)

    def _table(self, name: str, rows: Table) -> None:
        """Keep an expression's rows under a name, so that they are computed once."""
        # Ibis 12's own create_table(temp=True, overwrite=True) drops a table without a name.
        query = ibis.to_sql(rows, dialect="duckdb")
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")


def _of_kinds(events: Table, kinds: Sequence[EventType]) -> BooleanValue:
    """Whether an event is of one of the kinds; opens and clicks by a person only."""
    human = events.machine.isin([machine.value for machine in HUMAN_MACHINES])
    always = [kind.value for kind in kinds if kind not in HUMAN_ONLY]
    by_person = [kind.value for kind in kinds if kind in HUMAN_ONLY]
    return events.type.isin(always) | (events.type.isin(by_person) & human)


# Deliveries that neither stand in for a send nor are labels are done with.
_STAND_INS_SQL: Final = """
UPDATE known SET is_send = true
  FROM (SELECT arg_min(event_id, (at_us, event_id)) AS event_id
        FROM known WHERE is_send OR is_delivery
        GROUP BY customer_id, message_id
        HAVING message_id IS NOT NULL AND NOT bool_or(is_send)) AS first
  WHERE known.event_id = first.event_id;
DELETE FROM known WHERE is_delivery AND NOT is_send AND NOT is_label;
"""

_LATENESS_SQL: Final = """
SELECT quantile_disc(late_us, ?)
FROM (SELECT arg_min(late_us, log_pos) AS late_us FROM late GROUP BY event_id)
"""

# `least` passes over the null known_to of a version that nothing ended. Overlapping spans are
# merged: a new island begins where a span begins after all before ended.
_ACTIVITY_SQL: Final = """
CREATE OR REPLACE TEMP TABLE activity AS
  WITH spans AS (
    SELECT customer_id, greatest(time_us, known_from) AS begins_us,
           least(time_us + ?, known_to) AS ends_us
    FROM engaged
    WHERE begins_us < ends_us
  ), starts AS (
    SELECT *, begins_us > max(ends_us) OVER (
                PARTITION BY customer_id ORDER BY begins_us, ends_us
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS is_apart
    FROM spans
  ), islands AS (
    SELECT *, count_if(coalesce(is_apart, true)) OVER (
                PARTITION BY customer_id ORDER BY begins_us, ends_us
                ROWS UNBOUNDED PRECEDING) AS island
    FROM starts
  )
  SELECT customer_id, min(begins_us) AS begins_us, max(ends_us) AS ends_us
  FROM islands GROUP BY customer_id, island;
"""
