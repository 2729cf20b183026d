"""Versions: what the log said about an event, and from when until when it said so.

Every upsert row of an event_id is a version, alive over [known_from, known_to): from its own
received_time until that of the next row of the same event_id, whichever row that is. Rows of an
event are ordered by (received_time, log_pos). A retract row is no version; it only ends one. All
times are microseconds since the Unix epoch; a version that nothing ended has known_to = FOREVER.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import ibis
from ibis.expr.types import IntegerColumn, StringColumn, Table

from feature_repo import activity, naming
from feature_repo.event import HUMAN_MACHINES, MICROS, Op
from feature_repo.history.sql_functions import epoch_us, md5

FOREVER: Final = 2**62
"""known_to of a version that is alive today; beyond any time in microseconds."""

ALWAYS: Final = 0
"""First instant of a customer's first segment; before any received_time."""

BUCKETS: Final = tuple("0123456789abcdef")
"""Partitions of the feature tables: the first hexadecimal digit of md5(customer_id)."""

EVENT_KEY_DIGITS: Final = 12
"""Hexadecimal digits of md5(event_id) by which events of equal time are ordered, here and online;
so many DuckDB holds without a pointer."""

_SOURCE: Final = (
    "event_id",
    "customer_id",
    "received_time",
    "log_pos",
    "op",
    "type",
    "machine",
    "event_time",
    "amount",
    "utc_offset_minutes",
    *naming.PROFILE_TEXT,
)


def bucket_of(customer_id: StringColumn) -> StringColumn:
    """The partition of a customer."""
    return md5(customer_id).substr(0, 1)


def versions(rows: Table, customers: Table | None = None) -> Table:
    """The versions of some customers (customer_id) or of all, zero-length ones dropped."""
    return _measured(lives(rows, _SOURCE, customers))


def lives(rows: Table, columns: Sequence[str], customers: Table | None = None) -> Table:
    """Log columns of the versions, with `known_from` and `known_to`; as `versions`.

    `columns` holds at least event_id, customer_id, received_time, log_pos and op.
    """
    if customers is not None:
        events = rows.semi_join(customers, "customer_id").select("event_id")
        rows = rows.semi_join(events, "event_id")
    narrow = rows.select(*columns)
    narrow = narrow.mutate(known_from=epoch_us(narrow.received_time))
    several = narrow.group_by("event_id").agg(count=narrow.count())
    several = several.filter(several["count"] > 1).select("event_id")
    once = narrow.anti_join(several, "event_id").mutate(known_to=ibis.literal(FOREVER, "int64"))
    chain = narrow.semi_join(several, "event_id")
    order = ibis.window(group_by=chain.event_id, order_by=[chain.known_from, chain.log_pos])
    following = ibis.coalesce(chain.known_from.lead().over(order), FOREVER)
    alive = once.union(chain.mutate(known_to=following).select(*once.columns))
    # By name: `.op` is a method of every Ibis table.
    alive = alive.filter(alive["op"] == Op.UPSERT.value, alive.known_from < alive.known_to)
    if customers is not None:
        alive = alive.semi_join(customers, "customer_id")
    return alive


def _measured(alive: Table) -> Table:
    # DuckDB's cast rounds half to even, as `event.amount_micros` does.
    amount_micros = (alive.amount * MICROS).cast("int64")
    return alive.select(
        "customer_id",
        "known_from",
        "known_to",
        "log_pos",
        "type",
        *naming.PROFILE_TEXT,
        "utc_offset_minutes",
        event_key=md5(alive.event_id).substr(0, EVENT_KEY_DIGITS),
        bucket=bucket_of(alive.customer_id),
        kind=_kind_code(alive),
        time_us=epoch_us(alive.event_time),
        micros=ibis.coalesce(amount_micros, 0),
    )


def _kind_code(alive: Table) -> IntegerColumn:
    """`activity.kind_code` of every row."""
    human = alive.machine.isin([machine.value for machine in HUMAN_MACHINES])
    branches = []
    for kind in activity.KINDS:
        same = alive.type == kind.value
        counts = same & human if kind in activity.HUMAN_KINDS else same
        branches.append((counts, ibis.literal(activity.kind_code(kind, human=True), "int8")))
    return ibis.cases(*branches, else_=ibis.literal(activity.NOT_COUNTED, "int8"))


def segments(alive: Table, keys: Sequence[str] = ("customer_id",)) -> Table:
    """Stretches of knowledge time in which versions are only added, per combination of `keys`.

    One row per stretch, [start, stop): the first starts at ALWAYS, each other one at an instant
    where a version ended. Where no version ever ended there is no row.
    """
    starts = alive.filter(alive.known_to < FOREVER).select(*keys, start="known_to").distinct()
    first = starts.select(*keys).distinct().mutate(start=ibis.literal(ALWAYS, "int64"))
    every = starts.union(first)
    order = ibis.window(group_by=list(keys), order_by="start")
    return every.mutate(stop=ibis.coalesce(every.start.lead().over(order), FOREVER))


def expand(alive: Table, keys: Sequence[str] = ("customer_id",)) -> Table:
    """Versions as a stream of additions, replayed from the start of each segment.

    Adds `segment` (its start) and `known_at`: when this addition shows. Versions alive at the
    start of a segment are carried into it and show at its start. A marker row (kind NOT_COUNTED,
    log_pos -1, everything else null) stands for each start, so that a segment in which nothing is
    left shows too. Order in a segment: (known_from, log_pos).
    """
    parts = segments(alive, keys)
    linear = alive.anti_join(parts, list(keys)).mutate(
        segment=ibis.literal(ALWAYS, "int64"), known_at=alive.known_from
    )
    same = [alive[key] == parts[key] for key in keys]
    replayed = alive.join(
        parts, [*same, alive.known_from < parts.stop, alive.known_to > parts.start]
    )
    replayed = replayed.mutate(
        segment=replayed.start, known_at=ibis.greatest(replayed.known_from, replayed.start)
    ).select(*linear.columns)
    return linear.union(replayed).union(_markers(alive, parts, keys, linear))


def _markers(alive: Table, parts: Table, keys: Sequence[str], like: Table) -> Table:
    customers = alive.select("customer_id", "since").distinct()
    later = parts.filter(parts.start > ALWAYS).join(customers, "customer_id")
    marks = later.select(
        *keys,
        "since",
        segment=later.start,
        known_at=later.start,
        known_from=later.start,
        log_pos=ibis.literal(-1, "int64"),
        kind=ibis.literal(activity.NOT_COUNTED, "int8"),
    )
    types = like.schema()
    blank = {name: ibis.null(types[name]) for name in like.columns if name not in marks.columns}
    return marks.mutate(**blank).select(*like.columns)
