"""Which customers a build must look at again, and from which knowledge time on.

A scope is a table with one row per customer: customer_id, since (microseconds since the Unix
epoch). Rows of a feature table before a customer's `since` stay as they are.
"""

from __future__ import annotations

from typing import Final

import ibis
from ibis.expr.types import IntegerValue, Table, TimestampValue

from feature_repo import naming
from feature_repo.event import EventType
from feature_repo.history.daily_table import DAY_US, day_of
from feature_repo.history.sql_functions import epoch_us
from feature_repo.history.versions import ALWAYS

PLACEMENT_DAYS: Final = 29
"""Midnights after the day of sending by which a message has left the windows of placement."""


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


def impaired_mail(rows: Table, impaired: Table) -> Table:
    """Customer and day of mail that was sent into impairments: customer_id, sent_day.

    Mail whose mailbox provider is not stated may be any provider's.
    """
    sent = rows.filter(rows.type == EventType.SENT.value, rows.sending_domain.notnull())
    sent = sent.select(
        "customer_id", "sending_domain", "mailbox_provider", sent_day=_sent_day(sent.event_time)
    )
    cells = impaired.select("sending_domain", "mailbox_provider", sent_day="day").distinct()
    named = sent.semi_join(cells, ["sending_domain", "mailbox_provider", "sent_day"])
    unnamed = sent.filter(sent.mailbox_provider.isnull())
    unnamed = unnamed.semi_join(cells, ["sending_domain", "sent_day"])
    return named.union(unnamed).select("customer_id", "sent_day").distinct()


def placement_passing(rows: Table, mail: Table, after_day: int, last_day: int) -> Table:
    """Customers whose placement may change at a midnight in (after_day, last_day].

    Nothing changes at a midnight unless impaired mail of theirs counts still, a message leaves the
    window, or a row about them was received in the day before.
    """
    since = ibis.literal((after_day + 1) * DAY_US, "int64")
    counting = mail.filter(mail.sent_day >= after_day - PLACEMENT_DAYS)
    sent = rows.filter(rows.type == EventType.SENT.value)
    sent = sent.select("customer_id", leaves=_sent_day(sent.event_time) + PLACEMENT_DAYS)
    leaving = sent.filter((sent.leaves > after_day) & (sent.leaves <= last_day))
    received = day_of(epoch_us(rows.received_time))
    heard = rows.filter((received > after_day) & (received <= last_day))
    events = heard.select("event_id").distinct().mutate(since=since)
    customers = counting.select("customer_id").union(leaving.select("customer_id")).distinct()
    return union(customers.mutate(since=since), _of_events(rows, events))


def _sent_day(event_time: TimestampValue) -> IntegerValue:
    time_us = epoch_us(event_time)
    return ((time_us - time_us % DAY_US) / DAY_US).cast("int32")


def union(*scopes: Table) -> Table:
    """Every customer of the scopes, from the earliest time any of them says."""
    every = ibis.union(*scopes)
    return every.group_by("customer_id").agg(since=every.since.min())


def _of_events(rows: Table, events: Table) -> Table:
    concerned = rows.select("event_id", "customer_id").join(events, "event_id")
    return concerned.group_by("customer_id").agg(since=concerned.since.min())
