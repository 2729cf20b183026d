"""The corrections a running installation's sweep would have made of simulated events."""

from __future__ import annotations

from typing import Final

import duckdb
import pyarrow as pa

from feature_repo.event import Machine
from feature_repo.history.schema import EVENTS
from feature_repo.ingest.machines.evidence import ACTS, EVIDENCE, find_evidence
from feature_repo.ingest.machines.judgement import add_evidence
from feature_repo.ingest.machines.rules import load_rules
from infra.simulator.arrival import to_us
from infra.simulator.options import Options

_ACTS_SQL: Final = f"""
CREATE OR REPLACE TEMP TABLE {ACTS} AS
  SELECT event_id, type, customer_id, message_id, event_time, received_time, link_id, url,
         user_agent, ip, machine, machine_source
  FROM simulated
  WHERE type IN ('sent', 'delivered', 'opened', 'clicked')
    AND event_id NOT IN (SELECT event_id FROM simulated WHERE op = 'retract')
  QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY received_time) = 1
"""

# The sweep runs at each full minute.
_FOUND_SQL: Final = f"""
CREATE OR REPLACE TEMP TABLE found AS
  SELECT event_id, machine, machine_source, array_to_string(rules, '+') AS rules, swept_at
  FROM (SELECT event_id, list(DISTINCT rule ORDER BY rule) AS rules,
               time_bucket(INTERVAL 1 MINUTE, max(known_from)) + INTERVAL 1 MINUTE AS swept_at
        FROM {EVIDENCE} GROUP BY event_id)
  JOIN {ACTS} USING (event_id)
"""

_CHANGED: Final = ("received_time", "machine", "machine_source", "machine_score")
_KEPT: Final = ", ".join(f"simulated.{name}" for name in EVENTS.names if name not in _CHANGED)
_ROWS_SQL: Final = f"""
  SELECT {_KEPT}, swept_at AS received_time, judged.machine, judged.machine_source,
         judged.machine_score
  FROM simulated
  JOIN found USING (event_id)
  JOIN judged ON judged.was_machine = found.machine
             AND judged.was_source IS NOT DISTINCT FROM found.machine_source
             AND judged.rules = found.rules
  WHERE simulated.op = 'upsert'
  QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY simulated.received_time) = 1
  ORDER BY swept_at, event_id
"""


def corrections(con: duckdb.DuckDBPyConnection, options: Options, events: pa.Table) -> pa.Table:
    """Corrections of some days' events, known when a sweep each minute would have known."""
    rules = load_rules()
    con.register("simulated", events)
    con.execute(_ACTS_SQL)
    find_evidence(con, rules)
    con.execute(_FOUND_SQL)
    judged = []
    seen = con.execute("SELECT DISTINCT machine, machine_source, rules FROM found").fetchall()
    for machine, source, found in sorted(seen, key=str):
        label = add_evidence(rules, Machine(machine), source, found.split("+"))
        if label is not None:
            judged.append((machine, source, found, label[0].value, label[1], label[2]))
    con.register("judged", _judged_table(judged))
    rows = con.sql(_ROWS_SQL).to_arrow_table().select(EVENTS.names).cast(EVENTS)
    con.unregister("judged")
    con.unregister("simulated")
    return _within(options, rows)


def _judged_table(
    rows: list[tuple[str, str | None, str, str, str | None, float | None]],
) -> pa.Table:
    names = ("was_machine", "was_source", "rules", "machine", "machine_source", "machine_score")
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    types = [pa.string()] * 5 + [pa.float64()]
    return pa.table(
        [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)],
        names=list(names),
    )


def _within(options: Options, rows: pa.Table) -> pa.Table:
    received = rows["received_time"].cast(pa.int64()).to_numpy()
    kept = received > -1
    if options.since is not None:
        kept &= received > to_us(options.since)
    if options.until is not None:
        kept &= received <= to_us(options.until)
    return rows.filter(pa.array(kept))
