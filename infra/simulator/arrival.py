"""When events reach us: minutes later, a few days later, some twice, some wrong at first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from feature_repo.event import MICROS, EventType
from infra.simulator.acts import KIND, Acts, size
from infra.simulator.customers import DAY_US
from infra.simulator.options import Options
from infra.simulator.population import Flags, Ints
from infra.simulator.randomness import Purpose, draw
from infra.simulator.sending import HOUR_US

LONGEST: Final = timedelta(days=60)
"""No event of a day arrives later than this after the day."""

_CORRECTED_AFTER_US: Final = 3 * DAY_US + 10 * HOUR_US
_TWICE_COUNTED: Final = 0.1
"""Share of the opens of a wrong day that are withdrawn later."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Rows as they arrive: which act, when, and what the row does to its event."""

    #: Position of the act.
    row: Ints
    received: Ints
    #: The row withdraws its event.
    retracts: Flags
    #: The row repeats an earlier one.
    repeats: Flags
    #: The row says an amount that is put right later.
    is_wrong: Flags
    #: The row puts right what an earlier one said.
    repairs: Flags

    def chosen(self, rows: Flags | Ints) -> Arrivals:
        """Some of them."""
        return Arrivals(
            self.row[rows],
            self.received[rows],
            self.retracts[rows],
            self.repeats[rows],
            self.is_wrong[rows],
            self.repairs[rows],
        )


def arrive(options: Options, block: Acts, day: int) -> tuple[Acts, Arrivals]:
    """The arrivals of a day's acts, and the acts with what was said wrong about them."""
    rng = draw(options.seed, Purpose.ARRIVAL, day)
    count = size(block)
    at = block["at"].astype(np.int64)
    received = at + _lags(options, rng, count)
    twice = np.flatnonzero(rng.random(count) < options.duplicates)
    again = received[twice] + _lognormal(rng, 600.0, 1.5, len(twice))
    wrong, withdrawn = _mistakes(options, block, day)
    said = dict(block)
    said["wrong_micros"] = np.where(wrong, block["micros"].astype(np.int64) * 100, -1)
    fixed, gone = np.flatnonzero(wrong), np.flatnonzero(withdrawn)
    # The day's midnight counts, so that all is put right in one piece; nothing before it was said.
    repair = at // DAY_US * DAY_US + DAY_US + _CORRECTED_AFTER_US
    parts = [
        (np.arange(count), received, False, False, wrong, False),
        (twice, again, False, True, wrong[twice], False),
        (fixed, np.maximum(repair, received + HOUR_US)[fixed], False, False, False, True),
        (gone, np.maximum(repair, received + HOUR_US)[gone], True, False, False, True),
    ]
    columns = [
        np.concatenate([np.broadcast_to(np.asarray(part[n]), len(part[0])) for part in parts])
        for n in range(6)
    ]
    return said, Arrivals(*columns)


def within(options: Options, arrivals: Arrivals) -> Arrivals:
    """Those that arrive in the time that is asked for, in the order they arrive."""
    kept = np.ones(len(arrivals.row), dtype=bool)
    if options.since is not None:
        kept &= arrivals.received > to_us(options.since)
    if options.until is not None:
        kept &= arrivals.received <= to_us(options.until)
    order = np.flatnonzero(kept)
    order = order[np.lexsort((arrivals.row[order], arrivals.received[order]))]
    return arrivals.chosen(order)


def to_us(at: datetime) -> int:
    """A time in microseconds since the Unix epoch."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def from_us(at: int) -> datetime:
    """The time that `to_us` made this of."""
    return _EPOCH + timedelta(microseconds=at)


def _lags(options: Options, rng: np.random.Generator, count: int) -> Ints:
    """From the event to its arrival: log-normal minutes, and for a share hours to days."""
    usual = _lognormal(rng, max(options.late_median_s, 0.001), 1.2, count)
    late = rng.random(count) < options.late_share
    # Most of the late ones within the first day or two.
    days = options.late_days * rng.random(count) ** 2
    lags: Ints = np.where(late, HOUR_US + (days * DAY_US).astype(np.int64), usual)
    return lags


def _mistakes(options: Options, block: Acts, day: int) -> tuple[Flags, Flags]:
    """Purchases with a wrong amount, and opens that were counted twice, of days put right later."""
    none = np.zeros(size(block), dtype=bool)
    if not options.corrected_days:
        return none, none
    first = to_us(options.start) // DAY_US
    on_day = np.isin(block["at"].astype(np.int64) // DAY_US - first, options.corrected_days)
    rng = draw(options.seed, Purpose.CORRECTIONS, day)
    wrong = on_day & (block["kind"] == KIND[EventType.PURCHASED])
    opened = on_day & (block["kind"] == KIND[EventType.OPENED])
    return wrong, opened & (rng.random(size(block)) < _TWICE_COUNTED)


def _lognormal(rng: np.random.Generator, median: float, spread: float, count: int) -> Ints:
    seconds = np.exp(rng.normal(np.log(median), spread, count))
    lags: Ints = np.minimum(seconds * MICROS, 2.0 * DAY_US).astype(np.int64)
    return lags


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
