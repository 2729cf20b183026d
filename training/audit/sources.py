"""Evidence from the feature tables: their rows' times, and what was known at each row's time."""

from __future__ import annotations

from typing import Final

import duckdb
import numpy as np

from feature_repo import contract
from training.audit.evidence import Ints, Source
from training.audit.tables import Files, ask, choose, values
from training.dataset import Dataset

MOST_VALUES: Final = 100_000
"""Rows whose values are compared; the times of all rows are."""


def sources(con: duckdb.DuckDBPyConnection, files: Files, dataset: Dataset) -> tuple[Source, ...]:
    """One source per stored view. Expects `logged` (see ledger)."""
    con.execute(_RECEIPTS_SQL)
    compared = _spread(len(dataset), MOST_VALUES)
    found = []
    for view, paths in files.items():
        ask(con, dataset.customer, dataset.at_us)
        choose(con, view, paths)
        is_streamed = view in contract.STREAMED_VIEWS
        rows, unfounded, used, prevented, age = con.execute(
            _COUNTS_SQL.format(founded=_RECEIVED if is_streamed else _MIDNIGHT)
        ).fetchall()[0]
        if len(compared) < len(dataset):
            ask(con, dataset.customer[compared], dataset.at_us[compared])
            choose(con, view, paths)
        found.append(
            Source(
                view=view,
                feature_rows=rows,
                unfounded=unfounded,
                found=used,
                prevented=prevented,
                least_age_us=age or 0,
                rows=compared,
                columns=values(con, view, dataset.columns),
            )
        )
    return tuple(found)


def _spread(rows: int, most: int) -> Ints:
    """At most so many positions, evenly over all."""
    if rows <= most:
        return np.arange(rows, dtype=np.int64)
    return np.unique(np.linspace(0, rows - 1, most).round().astype(np.int64))


# A row about an event concerns every customer whose event it ever was.
_RECEIPTS_SQL: Final = """
CREATE OR REPLACE TEMP TABLE receipts AS
  SELECT DISTINCT customer_id, received_us FROM logged;
CREATE OR REPLACE TEMP TABLE moved AS
  SELECT event_id FROM logged GROUP BY event_id HAVING count(DISTINCT customer_id) > 1;
INSERT INTO receipts
  SELECT DISTINCT a.customer_id, b.received_us
  FROM logged AS a SEMI JOIN moved USING (event_id) JOIN logged AS b USING (event_id)
"""

# A row counts from the later of its two times on. No decision can use one of after the last
# decision: a build that ran since the log was read may have written such.
_RECEIVED: Final = """
  (SELECT count(*) FROM stored ANTI JOIN receipts
     ON stored.customer_id = receipts.customer_id
        AND greatest(event_us, created_us) = receipts.received_us
   WHERE greatest(event_us, created_us) <= (SELECT max(at_us) FROM asked))
"""
_MIDNIGHT: Final = (
    "(SELECT count(*) FROM stored WHERE greatest(event_us, created_us) % 86400000000 <> 0)"
)
_COUNTS_SQL: Final = """
SELECT (SELECT count(*) FROM stored), {founded}, count(event_us),
       count(*) FILTER (careless_us IS DISTINCT FROM event_us),
       min(at_us - greatest(event_us, created_us))
FROM used
"""
