"""Rows of the `customer_profile` view: what the newest events say a customer is.

A value is taken from the event that happened last, by (event_time, event_key), among those that
are alive and state one: not from the one that came last, so order of arrival decides nothing.
`is_subscribed` is what the newest subscription event says, 1.0 without one. A customer's first row
is at the moment we first heard of it, whatever that told us.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import ibis
import pyarrow as pa
from ibis.expr.types import StringColumn, Table, Value

from feature_repo import contract, naming
from feature_repo.event import EventType
from feature_repo.history.feature_table import feature_schema
from feature_repo.history.sql_functions import instant
from feature_repo.history.versions import FOREVER, expand

_SCHEMA: Final = feature_schema(contract.CUSTOMER_PROFILE)
_SUBSCRIBED: Final = "is_subscribed"
_SUBSCRIPTION: Final = {
    EventType.SUBSCRIBED: "1",
    EventType.UNSUBSCRIBED: "0",
    EventType.COMPLAINED: "0",
}
_NOTHING: Final = "-"
"""Code of a value that went away; a value is coded as `+` and its text."""


def profile_rows(changed: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What `profiles` gives, in the table's schema."""
    for batch in changed:
        yield batch.cast(_SCHEMA)


def profiles(alive: Table) -> Table:
    """The rows at or after the customer's `since`, ordered by customer and time."""
    changes = _first_heard(alive).union(_changes(_facts(alive)))
    codes = {name: changes.code.max(where=changes.name == name) for name in naming.CUSTOMER_PROFILE}
    moments = changes.group_by("customer_id", "since", "known_at").agg(**codes)
    so_far = ibis.cumulative_window(group_by=moments.customer_id, order_by=moments.known_at)
    # A code holds until the next one: number the stretches, then take each one's only code.
    numbered = moments.mutate(
        **{_stretch(name): moments[name].count().over(so_far) for name in codes}
    )
    held = numbered.mutate(**{name: _decode(_held(numbered, name), name) for name in codes})
    order = ibis.window(group_by=held.customer_id, order_by=held.known_at)
    marked = held.mutate(
        place=ibis.row_number().over(order),
        changed=ibis.or_(*(~held[n].identical_to(held[n].lag().over(order)) for n in codes)),
    )
    kept = marked.filter((marked.place == 0) | marked.changed, marked.known_at >= marked.since)
    time = instant(kept.known_at)
    return (
        kept.order_by("customer_id", "known_at")
        .select("customer_id", *codes, event_timestamp=time, created_timestamp=time)
        .select(*_SCHEMA.names)
    )


def _stretch(name: str) -> str:
    return f"{name}_stretch"


def _held(numbered: Table, name: str) -> StringColumn:
    stretch = ibis.window(group_by=[numbered.customer_id, numbered[_stretch(name)]])
    return numbered[name].max().over(stretch)


def _decode(code: StringColumn, name: str) -> Value:
    value = code.startswith("+").ifelse(code.substr(1), ibis.null("string"))
    if name in contract.TEXT_FEATURES:
        return value
    number = value.cast("float64")
    return number.fill_null(1.0) if name == _SUBSCRIBED else number


def _first_heard(alive: Table) -> Table:
    first = alive.group_by("customer_id", "since").agg(known_at=alive.known_from.min())
    return first.mutate(name=ibis.null("string"), code=ibis.null("string"))


def _facts(alive: Table) -> Table:
    """Everything a version states, one row per value name."""
    stated = ibis.union(
        *(
            alive.select(
                "customer_id",
                "since",
                "kind",
                "known_from",
                "known_to",
                "log_pos",
                "event_key",
                "time_us",
                name=ibis.literal(name),
                value=_stated(alive, name),
            )
            for name in naming.CUSTOMER_PROFILE
        )
    )
    return stated.filter(stated.value.notnull())


def _stated(alive: Table, name: str) -> Value:
    if name == _SUBSCRIBED:
        branches = [(alive.type == kind.value, value) for kind, value in _SUBSCRIPTION.items()]
        return ibis.cases(*branches, else_=ibis.null("string"))
    return alive[name].cast("string")


def _changes(facts: Table) -> Table:
    """When a value became another one: customer_id, since, known_at, name, code."""
    # Most customers say the same for ever: known without looking at the order of events.
    values = facts.group_by("customer_id", "since", "name").agg(
        known_at=facts.known_from.min(),
        value=facts.value.min(),
        steady=(facts.value.min() == facts.value.max()) & (facts.known_to.min() == FOREVER),
    )
    steady = values.filter(values.steady).drop("steady")
    unsteady = facts.semi_join(values.filter(~values.steady), ["customer_id", "name"])
    changes = steady.union(_turns(unsteady).select(*steady.columns))
    code = ibis.coalesce(ibis.literal("+").concat(changes.value), _NOTHING)
    return changes.select("customer_id", "since", "known_at", "name", code=code)


def _turns(facts: Table) -> Table:
    """Moments at which the newest stated value became another one, or went away (null)."""
    keys = ("customer_id", "name")
    # Of one event, one version is alive at a time: log_pos only makes the number a fixed one.
    order_by = [facts.time_us, facts.event_key, facts.log_pos]
    by_event = ibis.window(group_by=list(keys), order_by=order_by)
    ranked = facts.mutate(rank=ibis.row_number().over(by_event))
    added = expand(ranked, keys)
    so_far = ibis.cumulative_window(
        group_by=[*keys, "segment"], order_by=[added.known_from, added.log_pos]
    )
    running = added.mutate(newest=added["rank"].max().over(so_far))
    moments = running.group_by(*keys, "since", "known_at").agg(newest=running.newest.max())
    values = ranked.select(*keys, "value", newest="rank")
    told = moments.left_join(values, [*keys, "newest"]).select(*keys, "since", "known_at", "value")
    order = ibis.window(group_by=list(keys), order_by=told.known_at)
    marked = told.mutate(turned=~told.value.identical_to(told.value.lag().over(order)))
    return marked.filter(marked.turned).drop("turned")
