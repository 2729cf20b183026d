"""Evidence from the event log: what was received by each row's time, and so bounds its features.

A count of events cannot exceed the events received by then, nor an age be less than the time since
the newest of them. The bounds hold whatever was corrected or withdrawn meanwhile: every version of
an event that had arrived counts for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import duckdb
import ibis
import numpy as np

from feature_repo import naming
from feature_repo.event import CLOCK_SKEW, HUMAN_MACHINES, EventType
from feature_repo.history.log import Snapshot
from feature_repo.history.sql_functions import epoch_us
from feature_repo.targets import HUMAN_ONLY, Target
from training.audit.evidence import Floats, Ints, Limit, Mask, Timing
from training.audit.tables import ask
from training.dataset import Dataset
from training.reading import Reading, to_us

_DAY_US: Final = 86_400_000_000
_COLUMNS: Final = ("event_id", "customer_id", "op", "type", "machine", "log_pos")
_KINDS: Final = tuple(
    dict.fromkeys([*(measure.kind for measure in naming.TOTALS), *naming.ENGAGEMENT])
)
"""Kinds of events that features count; what else was received bounds none."""

_SKEW_US: Final = CLOCK_SKEW // timedelta(microseconds=1)


def make_logged(con: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    """Make `logged`: every row of the log, times in microseconds; and `told`: what was received.

    `told` has one row per event and customer: known_us when first heard of, event_us the latest
    time it was ever said to have happened at. Opens and clicks of machines are not in it.
    """
    rows = snapshot.rows(con)
    narrow = rows.select(
        *_COLUMNS, received_us=epoch_us(rows.received_time), event_us=epoch_us(rows.event_time)
    )
    query = ibis.to_sql(narrow, dialect="duckdb")
    con.execute(f"CREATE OR REPLACE TEMP TABLE logged AS {query}")
    human = ", ".join(f"'{machine.value}'" for machine in HUMAN_MACHINES)
    only = ", ".join(f"'{kind.value}'" for kind in HUMAN_ONLY)
    con.execute(_TOLD_SQL.format(human=human, only=only))


def limits(con: duckdb.DuckDBPyConnection, dataset: Dataset) -> tuple[Limit, ...]:
    """Bounds on totals, windows and ages that are in the dataset. Expects `told`."""
    ledger = _Ledger(con, dataset)
    return (*_totals(ledger), *_windows(ledger), *_ages(ledger))


class _Ledger:
    """What had been received by each row's time.

    Events of all customers lie on one line, customer after customer, each in order of knowledge
    time; times are places in the sorted distinct times, so that the line fits in 64 bits.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
        self.dataset = dataset
        ask(con, dataset.customer, dataset.at_us)
        con.execute(_CODES_SQL)
        asked = con.sql("SELECT code FROM asked_code ORDER BY position").to_arrow_table()
        told = con.sql(_TOLD_OF_SQL).to_arrow_table()
        code, known, event = (told.column(n).to_numpy() for n in ("code", "known_us", "event_us"))
        self._asked_code = asked.column("code").to_numpy()
        self._kind = told.column("kind").to_numpy()
        self._times = np.unique(np.concatenate([known, event])).astype(np.int64)
        self._stride = len(self._times) + 1
        self._known = code * self._stride + np.searchsorted(self._times, known)
        self._event = code * self._stride + np.searchsorted(self._times, event)

    def count(self, kinds: Sequence[EventType], ago_us: int = 0) -> Floats:
        """Events of some kinds received by each row's time, or so long before."""
        begin, end = self._span(self._of(kinds), ago_us)
        return (end - begin).astype(np.float64)

    def newest_us(self, kinds: Sequence[EventType]) -> Floats:
        """The latest event time received by each row's time; 0 without one."""
        chosen = self._of(kinds)
        begin, end = self._span(chosen, 0)
        found = np.zeros(len(end))
        some = np.flatnonzero(end > begin)
        if len(some):
            # Starts anew with each customer by itself: each lies above all customers before.
            newest = np.maximum.accumulate(self._event[chosen])[end[some] - 1] % self._stride
            found[some] = self._times[newest]
        return found

    def _of(self, kinds: Sequence[EventType]) -> Mask:
        return np.isin(self._kind, [_KINDS.index(kind) + 1 for kind in kinds])

    def _span(self, chosen: Mask, ago_us: int) -> tuple[Ints, Ints]:
        """Where a customer's events begin, and where those received by the row's time end."""
        line, start = self._known[chosen], self._asked_code * self._stride
        reached = np.searchsorted(self._times, self.dataset.at_us - ago_us, side="right")
        return np.searchsorted(line, start), np.searchsorted(line, start + reached)


def _totals(ledger: _Ledger) -> Iterator[Limit]:
    for measure in naming.TOTALS:
        name = naming.total(measure.plural)
        if name in ledger.dataset.columns and not measure.money:
            yield Limit(
                feature=name,
                bound=ledger.count([measure.kind]),
                is_upper=True,
                says=f"the number of {measure.plural} received by then",
            )


def _windows(ledger: _Ledger) -> Iterator[Limit]:
    counted = [(m.plural, [m.kind]) for m in naming.MEASURES if not m.money]
    for plural, kinds in (*counted, ("active_days", list(naming.ENGAGEMENT))):
        for width in naming.WINDOWS_DAYS:
            name = naming.windowed(plural, width)
            if name not in ledger.dataset.columns:
                continue
            # Windows end at a midnight, up to a day early. What was known before they began had
            # happened before.
            before = ledger.count(kinds, ago_us=(width + 1) * _DAY_US + _SKEW_US)
            yield Limit(
                feature=name,
                bound=ledger.count(kinds) - before,
                is_upper=True,
                says=f"what was received by then that can lie in its {width} days",
            )


def _ages(ledger: _Ledger) -> Iterator[Limit]:
    for measure in naming.LAST_AT:
        name = naming.hours_since(measure.singular)
        # Ages of opens and clicks stand still while mail is not seen: no bound from the log alone.
        if name not in ledger.dataset.columns or measure.human:
            continue
        newest = ledger.newest_us([measure.kind])
        yield Limit(
            feature=name,
            bound=np.maximum(ledger.dataset.at_us - newest, 0.0) / 3600e6,
            is_upper=False,
            says=f"the hours since the newest {measure.singular} received by then",
            is_age=True,
        )


def timing(
    con: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    target: Target,
    dataset: Dataset,
    *,
    as_of: datetime,
    grace: timedelta,
) -> Timing:
    """The customer's nearest label event after each row, whichever message it was of."""
    Reading(con, snapshot, target, as_of).known()
    ask(con, dataset.customer, dataset.at_us)
    found = con.sql(_NEXT_SQL).to_arrow_table().column("next_us")
    return Timing(
        next_event_us=np.asarray(found.cast("float64").to_numpy(), dtype=np.float64),
        observed_until_us=to_us(as_of - grace),
    )


_TOLD_SQL: Final = """
CREATE OR REPLACE TEMP TABLE told AS
  SELECT customer_id, type, min(received_us) AS known_us, max(event_us) AS event_us
  FROM logged
  WHERE op = 'upsert' AND (type NOT IN ({only}) OR machine IN ({human}))
  GROUP BY customer_id, event_id, type
"""

_CODES_SQL: Final = """
CREATE OR REPLACE TEMP TABLE asked_code AS
  SELECT position, dense_rank() OVER (ORDER BY customer_id) - 1 AS code, customer_id FROM asked
"""

_TOLD_OF_SQL: Final = f"""
SELECT code, list_position({[kind.value for kind in _KINDS]}, type)::TINYINT AS kind,
       known_us, event_us
FROM told JOIN (SELECT DISTINCT customer_id, code FROM asked_code) USING (customer_id)
WHERE kind > 0
ORDER BY code, known_us
"""

_NEXT_SQL: Final = """
SELECT happened.at_us AS next_us
FROM asked ASOF LEFT JOIN
  (SELECT DISTINCT customer_id, at_us FROM known WHERE is_label) AS happened
  ON asked.customer_id = happened.customer_id AND asked.at_us < happened.at_us
ORDER BY position
"""
