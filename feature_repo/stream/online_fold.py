"""Fold rows about a customer into the customer's state, each once, in any order."""

from __future__ import annotations

from typing import Final, NamedTuple

from feature_repo import activity, exact, naming
from feature_repo.event import HUMAN_MACHINES, Event, EventType, Op, amount_micros
from feature_repo.history.log_content import content_hash, id_key
from feature_repo.history.versions import EVENT_KEY_DIGITS
from feature_repo.stream.online_recent import (
    KEY_BYTES,
    holds,
    holds_event,
    holds_row,
    record,
    remember,
)
from feature_repo.stream.online_state import SUMS, TIMES, TOTALS, StreamState

SUBSCRIPTION: Final = {
    EventType.SUBSCRIBED: 1.0,
    EventType.UNSUBSCRIBED: 0.0,
    EventType.COMPLAINED: 0.0,
}
"""What an event says of `is_subscribed`."""

PROFILE_AT: Final = len(naming.ACTIVITY)
"""Columns are numbered through: those of `activity`, then those of `customer_profile`."""

_MINUTE_US: Final = 60_000_000
_DAY_US: Final = 24 * 60 * _MINUTE_US
_BLOCK_US: Final = _DAY_US // naming.BLOCKS
_BLOCK_SUM: Final = SUMS.index(naming.block_state(0))
_PERIODS: Final = tuple(map(exact.period, naming.HALF_LIVES_DAYS))
_BLOCK_POWER: Final = naming.HALF_LIVES_DAYS.index(naming.BLOCK_HALF_LIFE_DAYS)
_TIMES_AT: Final = len(SUMS)
_TOTALS_AT: Final = _TIMES_AT + len(TIMES)
_TIE_BYTES: Final = EVENT_KEY_DIGITS // 2


class Row(NamedTuple):
    """One row about a customer, reduced to what its state depends on."""

    event_key: bytes
    content_key: bytes
    retracts: bool
    #: `activity.kind_code`.
    kind: int
    time_us: int
    received_us: int
    micros: int
    utc_offset_minutes: int | None
    #: By place in naming.CUSTOMER_PROFILE, None where it states nothing.
    stated: tuple[str | float | None, ...]


def row_of(event: Event) -> Row:
    """An event as a row."""
    offset = event.utc_offset_minutes
    return Row(
        id_key(event.event_id)[:KEY_BYTES],
        bytes.fromhex(content_hash(event)[: 2 * KEY_BYTES]),
        event.op is Op.RETRACT,
        activity.kind_code(event.type, human=event.machine in HUMAN_MACHINES),
        activity.micros_since_epoch(event.event_time),
        activity.micros_since_epoch(event.received_time),
        amount_micros(event.amount) or 0,
        offset,
        stated(
            event.country,
            event.mailbox_provider,
            event.currency,
            offset,
            SUBSCRIPTION.get(event.type),
        ),
    )


def stated(
    country: str | None,
    mailbox_provider: str | None,
    currency: str | None,
    utc_offset_minutes: int | None,
    is_subscribed: float | None,
) -> tuple[str | float | None, ...]:
    """Profile values in the order of naming.CUSTOMER_PROFILE.

    >>> stated("GB", None, None, 60, None)
    ('GB', None, None, 60.0, None)
    """
    offset = None if utc_offset_minutes is None else float(utc_offset_minutes)
    return country, mailbox_provider, currency, offset, is_subscribed


class Folding:
    """A state while rows are folded into it; `finish` makes it one to be written."""

    __slots__ = ("_live", "changed", "pruned", "state", "touched")

    def __init__(self, state: StreamState) -> None:
        self.state = state
        #: Numbers of the columns that became others.
        self.changed: set[int] = set()
        #: Whether anything of the state changed.
        self.touched = False
        #: Whether `recent` had to let a row go.
        self.pruned = False
        self._live: dict[int, exact.Sum] = {}

    def take(self, row: Row) -> bool:
        """Fold a row, unless it was seen before; False when the customer is owed because of it.

        That is so when it corrects or withdraws, and when it cannot be told whether it is known.
        """
        state = self.state
        if holds_row(state.recent, row.content_key) or (
            state.waiting and holds(state.waiting, row.content_key)
        ):
            return True
        if (
            row.retracts
            or (state.horizon is not None and row.time_us <= state.horizon)
            or (state.base is not None and row.received_us <= state.base)
            or holds_event(state.recent, row.event_key)
        ):
            self.wait_for(row)
            return False
        self.note(row)
        self.count(row)
        return True

    def wait_for(self, row: Row) -> None:
        """Have the row read from the log instead of folding it."""
        if not holds(self.state.waiting, row.content_key):
            self.touched = True
            self.state.waiting += row.content_key

    def note(self, row: Row) -> None:
        """Remember having seen a row."""
        state = self.state
        self.touched = True
        state.recent, pruned = remember(
            state.recent, record(row.time_us, row.event_key, row.content_key)
        )
        if pruned is not None:
            self.pruned = True
            state.horizon = pruned if state.horizon is None else max(state.horizon, pruned)
        state.known = max(state.known, row.received_us)

    def count(self, row: Row) -> None:
        """Fold what a row says, whether it was seen or not."""
        self.hear()
        if row.kind != activity.NOT_COUNTED:
            self.show_activity()
            self._add(_PLANS[row.kind], row)
        profile = self.state.profile
        for place, value in enumerate(row.stated):
            if value is None:
                continue
            held = profile[place]
            if held is None or (row.time_us, row.event_key[:_TIE_BYTES]) > held[1:]:
                profile[place] = (value, row.time_us, row.event_key[:_TIE_BYTES])
                if held is None or held[0] != value:
                    self.changed.add(PROFILE_AT + place)

    def hear(self) -> None:
        """The customer has a row of `customer_profile`."""
        if not self.state.heard:
            self.state.heard = True
            self.changed.update(_ALL_PROFILE)

    def show_activity(self) -> None:
        """The customer has a row of `activity`."""
        if not self.state.counted:
            self.state.counted = True
            self.changed.update(_ALL_TOTALS)

    def finish(self) -> StreamState:
        """The state, with every sum in the form it is kept in."""
        state = self.state
        for place, value in self._live.items():
            mantissa, state.exponents[place] = exact.canonical(value)
            state.mantissas[place] = exact.pack(mantissa)
        self._live.clear()
        return state

    def _add(self, plan: _Plan, row: Row) -> None:
        if plan.counts:
            self._add_sums(plan, row)
        times, totals, changed = self.state.times, self.state.totals, self.changed
        for place, is_first in plan.times:
            held = times[place]
            if held is None or (row.time_us < held if is_first else row.time_us > held):
                times[place] = row.time_us
                changed.add(_TIMES_AT + place)
        for place, is_money in plan.totals:
            totals[place] += row.micros if is_money else 1
            changed.add(_TOTALS_AT + place)

    def _add_sums(self, plan: _Plan, row: Row) -> None:
        powers = [exact.power(row.time_us, period) for period in _PERIODS]
        for place, power in zip(plan.counts, powers, strict=True):
            self._add_sum(place, power)
        if plan.money and row.micros:
            for place, (mantissa, exponent) in zip(plan.money, powers, strict=True):
                self._add_sum(place, (mantissa * row.micros, exponent))
        if plan.is_engagement:
            local_us = row.time_us + (row.utc_offset_minutes or 0) * _MINUTE_US
            block = local_us % _DAY_US // _BLOCK_US
            self._add_sum(_BLOCK_SUM + block, powers[_BLOCK_POWER])

    def _add_sum(self, place: int, term: exact.Sum) -> None:
        held = self._live.get(place)
        if held is None:
            state = self.state
            held = exact.unpack(state.mantissas[place]), state.exponents[place]
            self.changed.add(place)
        self._live[place] = exact.add(held, term)


class _Plan(NamedTuple):
    """Where events of a kind are counted: places in the lists of a state."""

    #: One sum per half-life; none for a kind that is not counted with decay.
    counts: tuple[int, ...]
    money: tuple[int, ...]
    is_engagement: bool
    #: With whether the first or the last time is kept.
    times: tuple[tuple[int, bool], ...]
    #: With whether the amount or one is added.
    totals: tuple[tuple[int, bool], ...]


def _plan(kind: EventType) -> _Plan:
    sums: dict[bool, tuple[int, ...]] = {}
    for measure in naming.MEASURES:
        if measure.kind is kind:
            names = [naming.log2_state(measure.plural, h) for h in naming.HALF_LIVES_DAYS]
            sums[measure.money] = tuple(map(SUMS.index, names))
    times = [(naming.last_at(m.singular), False) for m in naming.LAST_AT if m.kind is kind]
    if sums:
        times += [("first_event_at", True), ("last_event_at", False)]
    if kind is EventType.PURCHASED:
        times.append(("first_purchase_at", True))
    totals = [(naming.total(m.plural), m.money) for m in naming.TOTALS if m.kind is kind]
    return _Plan(
        sums.get(False, ()),
        sums.get(True, ()),
        kind in naming.ENGAGEMENT,
        tuple((TIMES.index(name), is_first) for name, is_first in times),
        tuple((TOTALS.index(name), is_money) for name, is_money in totals),
    )


_PLANS: Final = tuple(map(_plan, activity.KINDS))
_ALL_TOTALS: Final = range(_TOTALS_AT, _TOTALS_AT + len(TOTALS))
_ALL_PROFILE: Final = range(PROFILE_AT, PROFILE_AT + len(naming.CUSTOMER_PROFILE))
