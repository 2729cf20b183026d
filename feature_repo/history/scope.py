"""Which customers a build must look at again, and from which knowledge time on.

A scope is a table with one row per customer: customer_id, since (microseconds since the Unix
epoch). Rows of a feature table before a customer's `since` stay as they are.
"""

from __future__ import annotations

import ibis
from ibis.expr.types import Table

from feature_repo import naming
from feature_repo.history.daily_table import DAY_US, day_of
from feature_repo.history.sql_functions import epoch_us
from feature_repo.history.versions import ALWAYS


def all_customers(rows: Table) -> Table:
    """Every customer from the beginning."""
    return rows.select("customer_id").distinct().mutate(since=ibis.literal(ALWAYS, "int64"))


def changed(rows: Table, position: int) -> Table:
    """Customers whose history says something else by log rows after `position`.

    A correction that moves an event concerns the customer it leaves as well.
    """
    fresh = rows.filter(rows.log_pos > position)
    events = fresh.group_by("event_id").agg(since=epoch_us(fresh.received_time.min()))
    return _of_events(rows, events)


def passing(rows: Table, after_day: int, last_day: int) -> Table:
    """Customers whose daily windows may change at a midnight in (after_day, last_day].

    No window changes at a midnight unless an event happened or left a window, or a row about one
    was received, in the day before it.
    """
    day, received = day_of(epoch_us(rows.event_time)), day_of(epoch_us(rows.received_time))
    since = ibis.literal((after_day + 1) * DAY_US, "int64")
    edges = [day + width for width in (0, *naming.WINDOWS_DAYS)]
    by_time = rows.filter(ibis.or_(*((e > after_day) & (e <= last_day) for e in edges)))
    heard = rows.filter((received > after_day) & (received <= last_day))
    events = heard.select("event_id").distinct().mutate(since=since)
    return union(
        by_time.select("customer_id").distinct().mutate(since=since), _of_events(rows, events)
    )


def union(*scopes: Table) -> Table:
    """Every customer of the scopes, from the earliest time any of them says."""
    every = ibis.union(*scopes)
    return every.group_by("customer_id").agg(since=every.since.min())


def _of_events(rows: Table, events: Table) -> Table:
    concerned = rows.select("event_id", "customer_id").join(events, "event_id")
    return concerned.group_by("customer_id").agg(since=concerned.since.min())
