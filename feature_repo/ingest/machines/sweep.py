"""The sweep: looks at what the log received since the last one and corrects labels by context.

What it finds goes into the queue as corrections, like anything else that becomes known: the same
event_id with another machine, source and score, received now. A training row before that instant
does not know it. A sweep that is killed or repeated does no harm: the same correction twice is
one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb
from filelock import FileLock

from feature_repo.event import Event, EventType, Machine, Op
from feature_repo.history.duck import backend, connect
from feature_repo.history.log import EventLog, Snapshot
from feature_repo.ingest.machines.evidence import ACTS, EVIDENCE, find_evidence, reach
from feature_repo.ingest.machines.judgement import add_evidence
from feature_repo.ingest.machines.label import relabel
from feature_repo.ingest.machines.rules import Rules, load_rules
from feature_repo.settings import Settings
from feature_repo.sole import write_whole
from feature_repo.stream.envelope import pack
from feature_repo.stream.port import Publisher

MOST_ROWS: Final = 500_000
"""Log rows that are looked at at once; a first sweep over a long history takes several turns."""

MOST_SPANS: Final = 16
"""Stretches of event time that are read around new rows; nearer ones are joined beyond that."""

_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did."""

    #: Log rows that were new.
    rows: int
    #: Corrections that were published.
    corrected: int
    #: Corrections by the kind of machine that the events have now.
    machines: dict[str, int]
    #: The log was looked at up to this row.
    position: int


def sweep(
    settings: Settings,
    publisher: Publisher,
    clock: Callable[[], datetime],
    rules: Rules | None = None,
) -> Swept:
    """Publish a correction for every event whose label the new rows of the log change.

    One sweep at a time (a file lock). The place is moved only after the queue has them.

    Raises:
        StoreUnavailable: the log or the queue does not answer; the next sweep does the rest.
    """
    used = load_rules() if rules is None else rules
    place = settings.state_path / "machines_sweep.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"), connect(settings) as con:
        snapshot = EventLog(settings.log_path).snapshot()
        first = _read_position(place)
        at = first if first <= snapshot.last_position else -1
        start, machines = at, dict[str, int]()
        while at < snapshot.last_position:
            until = min(at + MOST_ROWS, snapshot.last_position)
            found = corrections(con, snapshot, used, after=at, until=until, now=clock())
            for event in found:
                machines[event.machine.value] = machines.get(event.machine.value, 0) + 1
            publisher.publish(list(pack(found)))
            at = until
            write_whole(place, json.dumps({"position": at}))
    return Swept(rows=at - start, corrected=sum(machines.values()), machines=machines, position=at)


def corrections(
    con: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    rules: Rules,
    *,
    after: int,
    until: int,
    now: datetime,
) -> list[Event]:
    """The corrections that the log rows in (after, until] call for, in order of event_id."""
    log = snapshot.rows(con)
    backend(con).create_view("machine_log", log, overwrite=True)
    spans = list(_spans(con, after, until, reach(rules)))
    if not spans:
        return []
    con.execute(_acts_sql(spans, after, until))
    find_evidence(con, rules)
    con.execute(_CHANGED_SQL)
    rows = con.execute(_EVENTS_SQL.format(months=_months(spans))).fetchall()
    names = [f.name for f in fields(Event)]
    changed = (_corrected(dict(zip(names, row, strict=False)), row[-1], rules, now) for row in rows)
    return [event for event in changed if event is not None]


def _corrected(
    values: dict[str, object], found: Sequence[str], rules: Rules, now: datetime
) -> Event | None:
    machine = Machine(str(values["machine"]))
    source = values["machine_source"]
    assert source is None or isinstance(source, str)
    judged = add_evidence(rules, machine, source, found)
    if judged is None:
        return None
    typed = {
        **values,
        "type": EventType(str(values["type"])),
        "op": Op.UPSERT,
        "machine": machine,
        "received_time": now,
    }
    return relabel(Event(**typed), *judged)  # type: ignore[arg-type]  # columns of the log, by name


def _spans(
    con: duckdb.DuckDBPyConnection, after: int, until: int, pad_s: int
) -> Iterator[tuple[datetime, datetime]]:
    """Stretches of event time that hold the new rows and everything close to them.

    Late rows lie days apart from the others; what is between is not read.
    """
    hours = con.execute(
        f"""SELECT DISTINCT epoch(event_time)::BIGINT // {_HOUR_S} AS hour FROM machine_log
            WHERE log_pos > {after} AND log_pos <= {until}
              AND type IN ('sent', 'delivered', 'opened', 'clicked') ORDER BY hour"""
    ).fetchall()
    bounds = [[hour * _HOUR_S - pad_s, (hour + 1) * _HOUR_S + pad_s] for (hour,) in hours]
    gap = 0
    while len(joined := _joined(bounds, gap)) > MOST_SPANS:
        gap = 2 * gap + _HOUR_S
    for low, high in joined:
        yield datetime.fromtimestamp(low, UTC), datetime.fromtimestamp(high, UTC)


def _joined(bounds: Sequence[Sequence[int]], gap: int) -> list[list[int]]:
    """Stretches no further apart than `gap` made one."""
    joined: list[list[int]] = []
    for low, high in bounds:
        if joined and low <= joined[-1][1] + gap:
            joined[-1][1] = max(high, joined[-1][1])
        else:
            joined.append([low, high])
    return joined


def _acts_sql(spans: Sequence[tuple[datetime, datetime]], after: int, until: int) -> str:
    """The table of events close to the new rows, as known last, narrowed to what they concern.

    A new row concerns its own message, and through its address those of others; of each message
    all is read, so that weak evidence found before is found again.
    """
    near = " OR ".join(
        f"event_time BETWEEN TIMESTAMPTZ '{low.isoformat()}' AND TIMESTAMPTZ '{high.isoformat()}'"
        for low, high in spans
    )
    return f"""
CREATE OR REPLACE TEMP TABLE machine_new AS
  SELECT DISTINCT customer_id, message_id, ip FROM machine_log
  WHERE log_pos > {after} AND log_pos <= {until}
    AND type IN ('sent', 'delivered', 'opened', 'clicked');
CREATE OR REPLACE TEMP TABLE {ACTS} AS
  WITH close AS (
    SELECT event_id, type, op, customer_id, message_id, event_time, received_time, log_pos,
           link_id, url, user_agent, ip, machine_source
    FROM machine_log
    WHERE event_month IN ({_months(spans)}) AND ({near})
      AND type IN ('sent', 'delivered', 'opened', 'clicked')),
  concerned AS (
    SELECT event_id FROM close SEMI JOIN machine_new USING (customer_id, message_id)
    UNION
    SELECT event_id FROM close SEMI JOIN machine_new USING (ip)
    WHERE type IN ('opened', 'clicked')),
  whole AS (
    SELECT event_id FROM close
    SEMI JOIN (SELECT customer_id, message_id FROM close SEMI JOIN concerned USING (event_id))
      USING (customer_id, message_id)
    UNION
    SELECT event_id FROM concerned)
  SELECT * EXCLUDE (op) FROM (
    SELECT * FROM close SEMI JOIN whole USING (event_id)
    QUALIFY row_number() OVER (PARTITION BY event_id
                               ORDER BY received_time DESC, log_pos DESC) = 1)
  WHERE op = 'upsert';
"""


# Found evidence that the label does not hold yet. "provider" is a final word on a machine only;
# `add_evidence` sees to that.
_CHANGED_SQL: Final = f"""
CREATE OR REPLACE TEMP TABLE machine_changed AS
  SELECT event_id, found
  FROM (SELECT event_id, list(DISTINCT rule ORDER BY rule) AS found FROM {EVIDENCE} GROUP BY ALL)
  JOIN {ACTS} USING (event_id)
  WHERE NOT list_has_all(string_split(coalesce(machine_source, ''), '+'), found);
"""

# The whole row, as known last: also where a correction moved the event out of the stretches read.
_EVENTS_SQL: Final = f"""
  SELECT {", ".join(f.name for f in fields(Event))}, found
  FROM (SELECT * FROM machine_log
        WHERE event_month IN ({{months}}) AND event_id IN (SELECT event_id FROM machine_changed)
        QUALIFY row_number() OVER (PARTITION BY event_id
                                   ORDER BY received_time DESC, log_pos DESC) = 1)
  JOIN machine_changed USING (event_id)
  WHERE op = 'upsert'
  ORDER BY event_id
"""


def _months(spans: Sequence[tuple[datetime, datetime]]) -> str:
    """The partitions that the stretches touch, with their neighbours, as SQL texts."""
    months: set[int] = set()
    for low, high in spans:
        months.update(range(low.year * 12 + low.month - 2, high.year * 12 + high.month + 1))
    return ", ".join(f"'{month // 12:04}-{month % 12 + 1:02}'" for month in sorted(months))


def _read_position(place: Path) -> int:
    """The last row looked at; without a usable note everything is looked at again."""
    try:
        position = json.loads(place.read_text())["position"]
    except (OSError, ValueError, KeyError, TypeError):
        return -1
    return position if isinstance(position, int) else -1
