"""What speaks for or against the inbox, counted per sending domain, mailbox provider and day.

Everything is counted three times: as it was known one, three and eight midnights after the day the
mail was sent, because people read for days and sources report late. An observation is compared
with what the same recipients used to do: the sum over mails of the share of the customer's earlier
mail (HISTORY_DAYS, without the last RECENT_DAYS) that was seen, or fetched by Apple.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from ibis.expr.types import Table

from feature_repo.deliverability.mail import CANARY, SEEN, TOLD_DAYS, make_mail
from feature_repo.deliverability.readings import READINGS, Readings
from feature_repo.event import EventType
from feature_repo.history.log import Snapshot
from feature_repo.settings import Settings
from feature_repo.sole import write_whole

HORIZONS: Final = (1, 3, 8)
"""Midnights after the day of sending at which the day is judged: what was known then, counts."""

HISTORY_DAYS: Final = 98
RECENT_DAYS: Final = 3
"""The last days before a message are no part of a customer's habit: they are still being read."""

FEWEST_MAILS: Final = 3
"""Earlier mails from which on a customer has a habit."""

CANARY_SHARE: Final = 0.6
FEWEST_CANARY_MAILS: Final = 5
"""A canary is a customer of whose earlier mail Apple fetched this share; of new mail in the inbox
it fetches as much, so that what is missing was not in the inbox."""

EVIDENCE_VERSION: Final = 2
"""Raised when the same log gives other evidence than before."""

COUNTS: Final = (
    *("mails", "seen", "habitual_seen", "expected_seen", "clicked"),
    *("canary_seen", "expected_canary"),
    *("delivered", "deferred", "bounced", "block", "complained", "unsubscribed"),
)
"""Columns at each horizon, named e.g. `seen_1`: sums over the mails of a cell, day and campaign."""

EVIDENCE: Final = pa.schema(
    [
        ("sending_domain", pa.string()),
        ("mailbox_provider", pa.string()),
        ("day", pa.int32()),
        ("campaign_id", pa.string()),
        *((f"{name}_{h}", pa.int64()) for h in HORIZONS for name in COUNTS),
    ]
)
"""Columns `expected_...` are in millionths, so that sums are exact in any order."""

_FILE: Final = "evidence.parquet"
_NOTE: Final = "evidence.json"


def evidence(
    settings: Settings,
    con: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    last_day: int,
    *,
    full: bool = False,
) -> pa.Table:
    """The EVIDENCE of all mail as known up to the midnight `last_day`, which is kept on disk.

    Only days that are not judged for good yet are counted again, unless log rows came in that were
    known before. Horizons that lie after `last_day` hold what is known so far.
    """
    folder = settings.deliverability_path
    said = _said(settings)
    held = None if full else _held(folder / _NOTE, said)
    if held is not None and (held["position"], held["day"]) == (snapshot.last_position, last_day):
        return pq.read_table(folder / _FILE)
    rows = snapshot.rows(con)
    kept = EVIDENCE.empty_table()
    if held is not None and _is_grown(rows, held, snapshot, last_day):
        first_day = held["day"] - HORIZONS[-1] + 1
        kept = pq.read_table(folder / _FILE, filters=[("day", "<", first_day)])
        since = datetime.fromtimestamp((first_day - HISTORY_DAYS - TOLD_DAYS - 1) * 86_400, UTC)
        rows = rows.filter(rows.received_time >= ibis.literal(since))
    else:
        first_day = 0
    counted = _count(con, rows, first_day, last_day)
    table = pa.concat_tables([kept, counted])
    folder.mkdir(parents=True, exist_ok=True)
    # Without the right note, what is in the file does not count.
    (folder / _NOTE).unlink(missing_ok=True)
    pq.write_table(table, folder / _FILE)
    note = {**said, "position": snapshot.last_position, "day": last_day}
    write_whole(folder / _NOTE, json.dumps(note))
    return table


def _said(settings: Settings) -> dict[str, Any]:
    log = DeltaTable(str(settings.log_path)).metadata().id
    return {"log": str(log), "evidence": EVIDENCE_VERSION}


def _held(note_path: Path, said: dict[str, Any]) -> dict[str, Any] | None:
    try:
        note: dict[str, Any] = json.loads(note_path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return note if all(note.get(key) == value for key, value in said.items()) else None


def _is_grown(rows: Table, held: dict[str, Any], snapshot: Snapshot, last_day: int) -> bool:
    """Whether all that is new to the evidence became known after its last midnight."""
    if held["day"] > last_day or held["position"] > snapshot.last_position:
        return False
    fresh = rows.filter(rows.log_pos > held["position"])
    midnight = datetime.fromtimestamp(held["day"] * 86_400, UTC)
    return not fresh.filter(fresh.received_time <= ibis.literal(midnight)).count().execute()


def _count(con: duckdb.DuckDBPyConnection, rows: Table, first_day: int, last_day: int) -> pa.Table:
    """The evidence of mail sent on days from `first_day` on that are over at `last_day`."""
    sent = rows.filter(rows.type == EventType.SENT.value, rows.sending_domain.notnull())
    if not sent.limit(1).count().execute():
        return EVIDENCE.empty_table()
    make_mail(con, rows)
    con.execute(_MAILING_SQL)
    con.execute(_BACK_SQL)
    table = con.sql(
        _COUNT_SQL, params={"first_day": first_day, "last_day": last_day}
    ).to_arrow_table()
    for name in ("sent", "reaction", "mailing", "back"):
        con.execute(f"DROP TABLE {name}")
    return table.cast(EVIDENCE)


def readings_known(settings: Settings, con: duckdb.DuckDBPyConnection, last_day: int) -> pa.Table:
    """Readings as known at each horizon: horizon, then the columns of READINGS; day as a number.

    Parts are kept apart. A horizon later than the midnight `last_day` has no rows.
    """
    every = Readings(settings.deliverability_path / "readings").all(con)
    numbered = every.append_column("place", pa.array(range(every.num_rows), pa.int64()))
    con.register("reading_arrow", numbered)
    known = con.sql(_READINGS_SQL, params={"last_day": last_day}).to_arrow_table()
    con.unregister("reading_arrow")
    return known


def _within(horizon: int, known: str = "known_day", end: str = "end_day") -> str:
    at = f"mailing.day + {horizon}"
    return f"{known} <= {at} AND {end} > {at}"


_KINDS: Final = {
    "seen": tuple(kind.value for kind in SEEN),
    "clicked": ("clicked",),
    CANARY: (CANARY,),
    "delivered": ("delivered",),
    "deferred": ("deferred",),
    "bounced": ("bounced", "block"),
    "block": ("block",),
    "complained": ("complained",),
    "unsubscribed": ("unsubscribed",),
}
"""Reactions that count, by what they count as."""

_MAILING_SQL: Final = """
CREATE OR REPLACE TEMP TABLE mailing AS
SELECT mail, arg_min(customer_id, (known_day, event_key)) AS customer_id,
       -- As said first: a later correction must not change what was counted before it.
       arg_min(sending_domain, (known_day, event_key)) AS sending_domain,
       arg_min(mailbox_provider, (known_day, event_key)) AS mailbox_provider,
       arg_min(campaign_id, (known_day, event_key)) AS campaign_id,
       min(day)::INTEGER AS day, min(known_day) AS sent_known, max(end_day) AS sent_end
FROM sent GROUP BY mail
"""

_BACK_SQL: Final = f"""
CREATE OR REPLACE TEMP TABLE back AS
SELECT mail, {
    ", ".join(
        f"bool_or(what IN ({', '.join(repr(w) for w in whats)}) AND {_within(h)}) AS {name}_{h}"
        for name, whats in _KINDS.items()
        for h in HORIZONS
    )
}
FROM reaction JOIN mailing USING (mail) GROUP BY mail
"""

_SUMS: Final = {
    "mails": "true",
    "seen": "seen_{h}",
    "habitual_seen": "seen_{h} AND habit > 0",
    "clicked": "clicked_{h}",
    "canary_seen": f"{CANARY}_{{h}} AND canary > 0",
    **{name: f"{name}_{{h}}" for name in list(_KINDS)[3:]},
}
_EXPECTED: Final = {"expected_seen": "habit", "expected_canary": "canary"}


def _sum(name: str, horizon: int) -> str:
    known = f"sent_known <= day + {horizon} AND sent_end > day + {horizon}"
    if name in _EXPECTED:
        total = f"coalesce(sum({_EXPECTED[name]}) FILTER ({known}), 0)"
    else:
        total = f"count(*) FILTER ({known} AND {_SUMS[name].format(h=horizon)})"
    return f"{total} AS {name}_{horizon}"


_COUNT_SQL: Final = f"""
WITH known AS (
  SELECT mailing.*, back.* EXCLUDE (mail) FROM mailing LEFT JOIN back USING (mail)
), habit AS (
  SELECT *,
         count(*) FILTER (sent_known <= day + {RECENT_DAYS}) OVER earlier AS mails,
         count(*) FILTER (seen_{RECENT_DAYS}) OVER earlier AS seen,
         count(*) FILTER ({CANARY}_{RECENT_DAYS}) OVER earlier AS fetched
  FROM known
  WINDOW earlier AS (PARTITION BY customer_id ORDER BY day
                     RANGE BETWEEN {HISTORY_DAYS} PRECEDING AND {RECENT_DAYS} PRECEDING)
), expected AS (
  SELECT *,
         if(mails >= {FEWEST_MAILS}, seen * 1000000 // mails, 0) AS habit,
         if(mails >= {FEWEST_CANARY_MAILS} AND fetched >= {CANARY_SHARE} * mails,
            fetched * 1000000 // mails, 0) AS canary
  FROM habit
)
SELECT sending_domain, mailbox_provider, day, campaign_id,
       {", ".join(_sum(name, h) for h in HORIZONS for name in COUNTS)}
FROM expected
WHERE sending_domain IS NOT NULL AND mailbox_provider IS NOT NULL
  AND day >= $first_day AND day < $last_day
GROUP BY ALL ORDER BY ALL
"""

_READINGS_SQL: Final = f"""
WITH horizon(horizon) AS (SELECT unnest({list(HORIZONS)}))
SELECT horizon::INTEGER AS horizon, {", ".join(n for n in READINGS.names if n != "day")},
       datediff('day', DATE '1970-01-01', day)::INTEGER AS day
FROM reading_arrow, horizon
WHERE received_time <= (day + horizon::INTEGER)::TIMESTAMPTZ
  AND datediff('day', DATE '1970-01-01', day) + horizon <= $last_day
QUALIFY row_number() OVER (
  PARTITION BY source, sending_domain, mailbox_provider, day, metric, part, horizon
  ORDER BY received_time DESC, place DESC) = 1
"""
