"""What the log says of some customers: their rows, and whose rows some events are.

Reads a fixed version of the log through DuckDB, and of it only the columns and customers asked
for. What Python holds is bounded by their rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa

from feature_repo import activity
from feature_repo.event import HUMAN_MACHINES, EventType, Machine, Op, amount_micros
from feature_repo.history import duck
from feature_repo.history.log import Snapshot
from feature_repo.history.log_content import id_key
from feature_repo.stream.online_fold import SUBSCRIPTION, Row, stated
from feature_repo.stream.online_recent import KEY_BYTES
from feature_repo.stream.recompute_commits import Range

_FETCH_ROWS: Final = 10_000


class LogRow(NamedTuple):
    """A row of the log about a customer."""

    row: Row
    #: It is the latest of its event, and no retraction: what the log says today.
    holds: bool
    #: It is no retraction, and there was a time at which it was the latest of its event.
    ever_held: bool


class LogReader:
    """One version of the log, open for questions."""

    def __init__(self, con: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
        self._con = con
        duck.backend(con).create_view("log_rows", snapshot.rows(con), overwrite=True)

    def customers_of(self, event_ids: Sequence[str]) -> list[str]:
        """Every customer whom any row of these events ever named."""
        self._register("chosen_event", event_ids)
        found = self._con.execute(
            "SELECT DISTINCT customer_id FROM log_rows WHERE event_id IN (FROM chosen_event)"
        )
        return [customer for (customer,) in found.fetchall()]

    def written(
        self, ranges: Sequence[Range], received_until_us: int | None = None
    ) -> dict[str, list[bytes]]:
        """Content keys of the rows at these positions, by customer.

        With `received_until_us`, only of those received up to then.
        """
        found = self._con.execute(
            "SELECT customer_id, content_hash FROM log_rows "
            f"WHERE ({_places(ranges)}) AND epoch_us(received_time) <= coalesce($until, 2 ** 62)",
            {"until": received_until_us},
        )
        rows: dict[str, list[bytes]] = {}
        while part := found.fetchmany(_FETCH_ROWS):
            for customer, content in part:
                rows.setdefault(customer, []).append(bytes.fromhex(content[: 2 * KEY_BYTES]))
        return rows

    def moved_from(self, ranges: Sequence[Range]) -> list[str]:
        """Customers whom only other rows name of the events at these positions."""
        found = self._con.execute(
            f"""
            WITH fresh AS (SELECT event_id, customer_id FROM log_rows WHERE {_places(ranges)})
            SELECT DISTINCT customer_id FROM log_rows
            WHERE event_id IN (SELECT event_id FROM fresh)
              AND customer_id NOT IN (SELECT customer_id FROM fresh)
            """
        )
        return [customer for (customer,) in found.fetchall()]

    def histories(self, customers: Sequence[str]) -> Iterator[tuple[str, Iterator[LogRow]]]:
        """Every row that names a customer, customer by customer; nobody without rows."""
        self._register("chosen_customer", customers)
        found = self._con.execute(_HISTORY_SQL)

        def rows() -> Iterator[tuple[Any, ...]]:
            while part := found.fetchmany(_FETCH_ROWS):
                yield from part

        for customer, own in groupby(rows(), key=itemgetter(0)):
            yield str(customer), map(_log_row, own)

    def _register(self, name: str, ids: Sequence[str]) -> None:
        self._con.register(name, pa.table({"id": pa.array(ids, type=pa.string())}))


def _places(ranges: Sequence[Range]) -> str:
    return " OR ".join(f"log_pos BETWEEN {first} AND {last}" for first, last in ranges)


def _log_row(values: Sequence[Any]) -> LogRow:
    (
        _, event_id, content, op, kind, machine, time_us, received_us,
        amount, offset, country, mailbox_provider, currency, ended_us,
    ) = values  # fmt: skip
    code, is_subscribed = _said(kind, machine)
    retracts = op == Op.RETRACT.value
    row = Row(
        id_key(event_id)[:KEY_BYTES],
        bytes.fromhex(content[: 2 * KEY_BYTES]),
        retracts,
        code,
        time_us,
        received_us,
        amount_micros(amount) or 0,
        offset,
        stated(country, mailbox_provider, currency, offset, is_subscribed),
    )
    return LogRow(
        row,
        holds=ended_us is None and not retracts,
        ever_held=not retracts and (ended_us is None or received_us < ended_us),
    )


@cache
def _said(kind: str, machine: str) -> tuple[int, float | None]:
    """`activity.kind_code`, and what is said of `is_subscribed`."""
    said = EventType(kind)
    code = activity.kind_code(said, human=Machine(machine) in HUMAN_MACHINES)
    return code, SUBSCRIPTION.get(said)


# A correction may have moved an event to another customer, so rows are ranked per event first.
_HISTORY_SQL: Final = """
WITH named AS (
  SELECT DISTINCT event_id FROM log_rows WHERE customer_id IN (FROM chosen_customer)
),
ranked AS (
  SELECT customer_id, event_id, content_hash, op, type, machine,
         epoch_us(event_time) AS time_us, epoch_us(received_time) AS received_us,
         amount, utc_offset_minutes, country, mailbox_provider, currency,
         lead(epoch_us(received_time)) OVER (
           PARTITION BY event_id ORDER BY received_time, log_pos
         ) AS ended_us
  FROM log_rows
  WHERE event_id IN (FROM named)
)
SELECT * FROM ranked
WHERE customer_id IN (FROM chosen_customer)
ORDER BY customer_id
"""
