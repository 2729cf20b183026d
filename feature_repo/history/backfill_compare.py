"""What a restated history would change in the log, found before anything is changed.

The source's last word about an event counts. It is not new when the log ever held it. An event
that was withdrawn stays withdrawn. Where the raw store is mapped anew, an event that somebody else
corrected since (an import, say) stays as corrected, and so does a label that other events gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import duckdb

from feature_repo.event import CONTENT_FIELDS, Machine
from feature_repo.history import duck
from feature_repo.history.log import CONTENT_SQL, Snapshot
from feature_repo.history.schema import EVENTS

PERSONAL: Final = frozenset(
    ("event_id", "customer_id", "message_id", "url", "link_id", "user_agent", "ip", "reason")
)
"""Fields whose values are never shown as examples."""

_LABEL: Final = ("machine", "machine_source", "machine_score")
_EXAMPLES: Final = 3
_COLUMNS: Final = ", ".join(EVENTS.names)
_RAW_REF: Final = r"\.seg:\d+#\d+$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What would change. Every event of the source is in one of the first six."""

    #: Events the log never heard of.
    new: int
    #: Events that would say something else.
    corrected: int
    #: Events that would be withdrawn.
    retracted: int
    #: Events of which the log holds the last word already.
    unchanged: int
    #: Left alone: withdrawn in the log.
    withdrawn: int
    #: Left alone: corrected by somebody else since.
    overruled: int
    #: Corrected events by field.
    fields: dict[str, int] = field(default_factory=dict)
    #: Some pairs of before and after; not of personal fields.
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    #: Customers concerned, those that events leave included.
    customers: int
    #: Times of the events that would change.
    first_event: datetime | None
    last_event: datetime | None

    @property
    def changes(self) -> int:
        """Rows that would be appended."""
        return self.new + self.corrected + self.retracted


def compare(
    con: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    *,
    is_raw: bool,
    contextual: Sequence[str] = (),
) -> Comparison:
    """Compare `restated` with the log; leaves the table `changes` (EVENTS, kind, place).

    `contextual`: names of the machine rules that look at other events.
    """
    duck.backend(con).create_view("log_rows", snapshot.rows(con), overwrite=True)
    con.execute("CREATE TEMP TABLE rule_names AS SELECT unnest(?::VARCHAR[]) AS name", [contextual])
    con.execute(_LAST_WORD_SQL)
    con.execute(_CURRENT_SQL)
    con.execute(_judged_sql(is_raw=is_raw))
    con.execute(_CHANGES_SQL)
    return _counted(con)


def _counted(con: duckdb.DuckDBPyConnection) -> Comparison:
    kinds = dict(con.execute("SELECT kind, count(*) FROM changes GROUP BY 1").fetchall())
    left = dict(con.execute("SELECT fate, count(*) FROM judged GROUP BY 1").fetchall())
    total = con.execute("SELECT count(DISTINCT event_id) FROM restated").fetchall()[0][0]
    customers, first, last = con.execute(_EXTENT_SQL).fetchall()[0]
    fields = dict(con.execute(_FIELDS_SQL).fetchall()) if kinds.get("corrected") else {}
    changed = sum(kinds.values())
    withdrawn, overruled = left.get("withdrawn", 0), left.get("overruled", 0)
    return Comparison(
        new=kinds.get("new", 0),
        corrected=kinds.get("corrected", 0),
        retracted=kinds.get("retracted", 0),
        unchanged=total - changed - withdrawn - overruled,
        withdrawn=withdrawn,
        overruled=overruled,
        fields={name: count for name, count in fields.items() if count},
        examples={
            n: _examples(con, n) for n, count in fields.items() if count and n not in PERSONAL
        },
        customers=customers,
        first_event=first,
        last_event=last,
    )


def _examples(con: duckdb.DuckDBPyConnection, name: str) -> list[tuple[str, str]]:
    rows = con.execute(
        f"SELECT coalesce(old.{name}::VARCHAR, '-'), coalesce(new.{name}::VARCHAR, '-') "
        f"FROM ({_PAIRS_SQL}) WHERE old.{name} IS DISTINCT FROM new.{name} "
        f"GROUP BY ALL ORDER BY count(*) DESC, 1, 2 LIMIT {_EXAMPLES}"
    ).fetchall()
    return [(before, after) for before, after in rows]


_LAST_WORD_SQL: Final = f"""
CREATE TEMP TABLE last_word AS
  SELECT *, {CONTENT_SQL} AS content_hash FROM (
    SELECT * FROM restated
    QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY ordinal DESC) = 1);
CREATE TEMP TABLE differing AS
  SELECT * FROM last_word
  ANTI JOIN (SELECT event_id, content_hash FROM log_rows) USING (event_id, content_hash);
"""

_CURRENT_SQL: Final = f"""
CREATE TEMP TABLE current AS
  SELECT {_COLUMNS} FROM log_rows
  SEMI JOIN (SELECT event_id FROM differing) USING (event_id)
  QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY received_time DESC, log_pos DESC) = 1;
"""


def _judged_sql(*, is_raw: bool) -> str:
    """What becomes of each event that differs; labels that other events gave are taken over."""
    elsewhere = (
        f"current.raw_ref IS NULL OR NOT regexp_matches(current.raw_ref, '{_RAW_REF}')"
        if is_raw
        else "false"
    )
    labels = ", ".join(
        f"CASE WHEN {_GIVEN_BY_OTHERS} THEN current.{name} ELSE differing.{name} END AS {name}"
        for name in _LABEL
    )
    return f"""
    CREATE TEMP TABLE judged AS
      SELECT differing.* EXCLUDE (content_hash) REPLACE ({labels}),
             CASE WHEN current.event_id IS NULL
                    THEN CASE WHEN differing.op = 'retract' THEN 'retracted' ELSE 'new' END
                  WHEN current.op = 'retract' AND differing.op = 'upsert' THEN 'withdrawn'
                  WHEN {elsewhere} THEN 'overruled'
                  WHEN differing.op = 'retract' THEN 'retracted'
                  ELSE 'corrected' END AS fate
      FROM differing LEFT JOIN current USING (event_id)"""


_GIVEN_BY_OTHERS: Final = (
    "coalesce(list_has_any(string_split(current.machine_source, '+'), "
    f"(SELECT list(name) FROM rule_names)) AND differing.machine = '{Machine.NONE}', false)"
)

_CHANGES_SQL: Final = f"""
CREATE TEMP TABLE changes AS
  SELECT {_COLUMNS}, fate AS kind, row_number() OVER (ORDER BY ordinal) AS place
  FROM (SELECT *, {CONTENT_SQL} AS content_hash FROM judged
        WHERE fate IN ('new', 'corrected', 'retracted'))
  ANTI JOIN (SELECT event_id, content_hash FROM log_rows) USING (event_id, content_hash);
"""

_PAIRS_SQL: Final = (
    "SELECT current AS old, changes AS new FROM changes JOIN current USING (event_id) "
    "WHERE kind = 'corrected'"
)

_FIELDS_SQL: Final = (
    "UNPIVOT (SELECT "
    + ", ".join(
        f"count(*) FILTER (WHERE old.{name} IS DISTINCT FROM new.{name}) AS {name}"
        for name in CONTENT_FIELDS
        if name != "event_id"
    )
    + f" FROM ({_PAIRS_SQL})) ON COLUMNS(*) INTO NAME field VALUE count"
)

_EXTENT_SQL: Final = """
SELECT (SELECT count(*) FROM (
          SELECT customer_id FROM changes
          UNION SELECT customer_id FROM current SEMI JOIN changes USING (event_id))),
       (SELECT min(event_time) FROM changes),
       (SELECT max(event_time) FROM changes)
"""
