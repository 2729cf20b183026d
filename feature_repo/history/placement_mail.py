"""A bucket's mail as arrays: what `placement_table` folds, taken from DuckDB in portions.

Days are midnights: days since the Unix epoch. Only customers of the scope `scope_<view>`, whose
mail is in the temporary tables `sent` and `reaction` (see deliverability/mail.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.deliverability.mail import CANARY, SEEN

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_TRACES: Final = (*(kind.value for kind in SEEN), CANARY)
"""A message that a person saw, or that Apple fetched, lay in the inbox."""

_CUSTOMER_COST: Final = 20
"""What a customer's clocks cost, in messages."""

_PORTION: Final = 1_000_000
"""Messages that are folded at once: some 200 MB."""


@dataclass(frozen=True, slots=True)
class Mail:
    """Messages of some customers, in the order in which each customer's became known."""

    #: Ids by number, ascending, and from when on rows are wanted, in microseconds.
    customers: pa.StringArray
    since: Ints
    #: Of every message: number of the customer, day it was sent, first and last midnight (first at
    #: which it is not known any more), and when it was sent.
    customer: Ints
    day: Ints
    known: Ints
    end: Ints
    time_us: Ints
    #: Impairments of messages: number of the message, from and until which midnight, with what.
    hit: Ints
    hit_from: Ints
    hit_until: Ints
    hit_p: Floats
    hit_seen_rate: Floats
    #: Stretches in which a trace of the message was known, that only the inbox leaves.
    read: Ints
    read_from: Ints
    read_until: Ints
    #: What seeing customers did, about whatever message: customer, when, and the known midnights.
    act: Ints
    act_us: Ints
    act_from: Ints
    act_until: Ints


def portions(con: duckdb.DuckDBPyConnection, view: str, bucket: str) -> Iterator[Mail]:
    """All mail of one bucket of the scope, in portions of whole customers.

    Expects the temporary table `impaired` (see deliverability/estimates.py) too.
    """
    con.execute(_CUSTOMERS_SQL.format(view=view, bucket=bucket))
    counts = con.sql("SELECT number, mails FROM customer ORDER BY number").to_arrow_table()
    # A customer costs memory too, however little mail there was.
    total = np.cumsum(counts["mails"].to_numpy() + _CUSTOMER_COST)
    portion = (total - 1) // _PORTION if total.size else total
    for number in np.unique(portion):
        first, after = np.searchsorted(portion, [number, number + 1])
        yield _portion(con, int(first), int(after))
    con.execute("DROP TABLE IF EXISTS customer")


def _portion(con: duckdb.DuckDBPyConnection, first: int, after: int) -> Mail:
    con.execute(_MAIL_SQL.format(first=first, after=after))
    customers = con.sql(
        f"SELECT customer_id, since FROM customer WHERE number >= {first} AND number < {after} "
        "ORDER BY number"
    ).to_arrow_table()
    mail, hit, read, act = (
        con.sql(query).to_arrow_table()
        for query in (_ORDERED_SQL, _HIT_SQL, _READ_SQL, _ACT_SQL.format(first=first, after=after))
    )

    def ints(table: pa.Table, name: str) -> Ints:
        return np.asarray(table[name].to_numpy(), dtype=np.int64)

    taken = Mail(
        customers=customers["customer_id"].combine_chunks(),
        since=ints(customers, "since"),
        customer=ints(mail, "number") - first,
        **{name: ints(mail, name) for name in ("day", "known", "end", "time_us")},
        hit=ints(hit, "place"),
        hit_from=ints(hit, "hit_from"),
        hit_until=ints(hit, "hit_until"),
        hit_p=hit["p_inbox"].to_numpy(),
        hit_seen_rate=hit["seen_rate"].to_numpy(),
        read=ints(read, "place"),
        read_from=ints(read, "start"),
        read_until=ints(read, "stop"),
        act=ints(act, "number") - first,
        act_us=ints(act, "time_us"),
        act_from=ints(act, "known_day"),
        act_until=ints(act, "end_day"),
    )
    con.execute("DROP TABLE mine")
    return taken


_CUSTOMERS_SQL: Final = """
CREATE OR REPLACE TEMP TABLE customer AS
SELECT row_number() OVER (ORDER BY customer_id) - 1 AS number, customer_id,
       any_value(since) AS since, count(*) AS mails
FROM sent JOIN scope_{view} USING (customer_id)
WHERE substr(md5(customer_id), 1, 1) = '{bucket}'
GROUP BY customer_id
"""

_MAIL_SQL: Final = """
CREATE OR REPLACE TEMP TABLE mine AS
SELECT row_number() OVER (ORDER BY number, known, time_us, event_key) - 1 AS place, *
FROM (
  SELECT number, mail, sending_domain, mailbox_provider, day, time_us, event_key,
         greatest(day + 1, known_day) AS known, end_day AS "end"
  FROM sent JOIN customer USING (customer_id)
  WHERE number >= {first} AND number < {after} AND greatest(day + 1, known_day) < end_day
)
"""

_ORDERED_SQL: Final = 'SELECT number, day, known, "end", time_us FROM mine ORDER BY place'

_HIT_SQL: Final = """
SELECT place, greatest(known, published) AS hit_from, least("end", until) AS hit_until,
       p_inbox, seen_rate
FROM mine JOIN impaired USING (sending_domain, mailbox_provider, day)
WHERE greatest(known, published) < least("end", until)
ORDER BY place, hit_from
"""

_READ_SQL: Final = f"""
WITH life AS (
  SELECT place, greatest(known_day, known) AS start, least(end_day, "end") AS stop
  FROM mine JOIN reaction USING (mail)
  WHERE what IN ({", ".join(map(repr, _TRACES))})
    AND greatest(known_day, known) < least(end_day, "end")
), marked AS (
  SELECT *, start > coalesce(max(stop) OVER (PARTITION BY place ORDER BY start, stop
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), start) AS gap
  FROM life
), numbered AS (
  SELECT *, count_if(gap) OVER (PARTITION BY place ORDER BY start, stop
            ROWS UNBOUNDED PRECEDING) AS stretch
  FROM marked
)
SELECT place, min(start) AS start, max(stop) AS stop FROM numbered
GROUP BY place, stretch ORDER BY place, start
"""

_ACT_SQL: Final = f"""
SELECT number, time_us, known_day, end_day FROM reaction JOIN customer USING (customer_id)
WHERE what IN ({", ".join(repr(kind.value) for kind in SEEN)})
  AND number >= {{first}} AND number < {{after}}
ORDER BY number, known_day, time_us
"""
