"""Installations that never were: a sample's log with the future deleted, poisoned or told early.

Each is a folder under scratch with a log of its own, from which the features are built anew by the
same code that built the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import duckdb
import ibis
import numpy as np
from deltalake import DeltaTable

from feature_repo import contract
from feature_repo.deliverability.estimates import read_estimates
from feature_repo.event import EventType
from feature_repo.history import duck
from feature_repo.history.build import build
from feature_repo.history.log import Snapshot
from feature_repo.history.log_files import commit_files, write_files
from feature_repo.history.schema import LOG
from feature_repo.scratch import scratch_folder
from feature_repo.settings import Settings
from feature_repo.transforms import send_time
from training.audit.evidence import Ints
from training.audit.tables import Files, ask, choose, values
from training.dataset import Columns, Dataset
from training.reading import from_us

FUTURE_CHANGED: Final = "future_changed"
"""Nothing received after a customer's row; for every other row, made-up events after it."""

BY_EVENT_TIME: Final = "by_event_time"

_DAY: Final = timedelta(days=1)


@contextmanager
def replayed(
    settings: Settings,
    con: duckdb.DuckDBPyConnection,
    kind: str,
    kinds: Sequence[EventType],
    until_us: int,
) -> Iterator[Settings]:
    """An installation built from the log of `cuts` (see `make_cuts`), changed as `kind` says."""
    with scratch_folder(settings, "audit") as folder:
        scratch = settings.model_copy(update={"home": folder})
        con.execute(_POISON_SQL, {"kinds": [str(each.value) for each in _poison(kinds)]})
        written = write_files(con, _QUERY[kind], scratch.log_path)
        commit_files(scratch.log_path, written, writer="audit")
        # A sample of the customers cannot say where mail lands; what was published can.
        given = read_estimates(settings)
        build(scratch, through=from_us(until_us) + _DAY, estimates=given)
        yield scratch


def _poison(kinds: Sequence[EventType]) -> list[EventType]:
    return list(dict.fromkeys([EventType.PURCHASED, EventType.CLICKED, *kinds]))


def make_cuts(
    con: duckdb.DuckDBPyConnection, snapshot: Snapshot, dataset: Dataset, rows: Ints
) -> Ints:
    """Make `cuts` and `sampled` of one row per customer; returns the places in `rows` that
    can be replayed.

    `sampled` holds all log rows about events of these customers. Customers between whom an event
    moved are left out: one log cannot be cut at two times.
    """
    ask(con, dataset.customer[rows], dataset.at_us[rows])
    con.execute(_CUTS_SQL)
    logged = snapshot.rows(con)
    con.execute(f"CREATE OR REPLACE TEMP VIEW whole AS {ibis.to_sql(logged, dialect='duckdb')}")
    con.execute(_SAMPLED_SQL)
    kept = con.execute("SELECT position FROM cuts ORDER BY position").fetchall()
    return np.array([position for (position,) in kept], dtype=np.int64)


def files_of(settings: Settings) -> Files:
    """Parquet files of each stored view of an installation."""
    return {
        view: DeltaTable(str(settings.feature_path(view))).file_uris()
        for view in contract.VIEWS
        if DeltaTable.is_deltatable(str(settings.feature_path(view)))
    }


def features(settings: Settings, dataset: Dataset, rows: Ints) -> Columns:
    """The dataset's features of some rows, from the feature tables of an installation."""
    at_us = dataset.at_us[rows]
    stored: Columns = {}
    with duck.connect(settings) as con:
        ask(con, dataset.customer[rows], at_us)
        files = files_of(settings)
        for view, names in contract.VIEWS.items():
            choose(con, view, files.get(view, ()))
            stored |= values(con, view, names)
    computed = send_time(stored, at_us / 1e6)
    every: Columns = {**stored, **computed}
    return {name: every[name] for name in dataset.columns if name in every}


_COLUMNS: Final = ", ".join(LOG.names)
_TRUNCATED_SQL: Final = f"""
SELECT {_COLUMNS} FROM sampled WHERE epoch_us(received_time) <= at_us
"""
_QUERY: Final = {
    FUTURE_CHANGED: f"{_TRUNCATED_SQL} UNION ALL SELECT {_COLUMNS} FROM poison",
    BY_EVENT_TIME: f"""
SELECT {", ".join("event_time AS received_time" if n == "received_time" else n for n in LOG.names)}
FROM sampled
""",
}

_CUTS_SQL: Final = """
CREATE OR REPLACE TEMP TABLE cuts AS
  SELECT position, customer_id, at_us FROM asked
  WHERE customer_id NOT IN (
    SELECT customer_id FROM logged
    WHERE event_id IN (
      SELECT event_id FROM logged SEMI JOIN asked USING (customer_id)
      GROUP BY event_id HAVING count(DISTINCT customer_id) > 1))
"""

_SAMPLED_SQL: Final = """
CREATE OR REPLACE TEMP TABLE sampled AS
  SELECT whole.*, owned.at_us
  FROM whole JOIN (SELECT DISTINCT event_id, cuts.customer_id, at_us
                   FROM logged JOIN cuts USING (customer_id)) AS owned USING (event_id)
"""

# One second after the row: half of it happened by then, half an hour before the row.
_POISON_SQL: Final = """
CREATE OR REPLACE TEMP TABLE poison AS
  SELECT * REPLACE (
    (SELECT max(log_pos) FROM logged) + row_number() OVER (ORDER BY cuts.position, kind, ago)
      AS log_pos,
    'poison-' || cuts.position || '-' || kind || '-' || ago AS event_id,
    make_timestamptz(cuts.at_us + 1000000) AS received_time,
    make_timestamptz(cuts.at_us + 1000000 - ago) AS event_time,
    kind AS type, 'upsert' AS op, 'canonical' AS provider, NULL AS provider_event,
    'none' AS machine, 100000.0 AS amount, 'XX' AS country, 'poison' AS mailbox_provider,
    840 AS utc_offset_minutes,
    'poison-' || cuts.position || '-' || kind || '-' || ago AS content_hash,
    strftime(make_timestamptz(cuts.at_us + 1000000 - ago), '%Y-%m') AS event_month)
  FROM (SELECT template.* EXCLUDE (at_us) REPLACE (cuts.customer_id AS customer_id),
               cuts.position, cuts.at_us, kind, ago
        FROM (SELECT * FROM cuts WHERE position % 2 = 1) AS cuts,
             (SELECT * FROM sampled LIMIT 1) AS template,
             unnest($kinds) AS kinds(kind), unnest([0, 1801000000]) AS agos(ago)) AS cuts
"""
