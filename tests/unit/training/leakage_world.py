"""Customers who buy at random, asked about every Monday: honest rows to plant leaks in.

Rates are heavy-tailed and drift with a season, some customers never buy, half the purchases reach
us a day late, and every feature is made of what had arrived by the row's time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from training.audit.evidence import Evidence, Timing
from training.dataset import Dataset
from training.folds import Split, split

DAY_US = 86_400_000_000
HORIZON_DAYS = 28
HORIZON_US = HORIZON_DAYS * DAY_US
TEXTS = ("country", "mailbox_provider")

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """The rows, and what only the world knows of them."""

    evidence: Evidence
    #: Customer number of each row, 0, 1, 2 ...
    code: Ints
    #: Day of the next purchase after each row, infinite without one.
    next_day: Floats
    day: Floats
    #: Day of the newest purchase by the end of each row's window, infinitely early without one.
    last_day_by_label: Floats

    def with_feature(self, name: str, values: npt.NDArray[Any]) -> Evidence:
        """The evidence with one more feature."""
        columns = {**self.evidence.dataset.columns, name: values}
        return replace(self.evidence, dataset=replace(self.evidence.dataset, columns=columns))


def a_world(seed: int, customers: int = 220, weeks: int = 32) -> World:
    random = np.random.default_rng(seed)
    first_day, last_day = 140, 140 + 7 * (weeks - 1)
    rate = 0.02 * random.gamma(0.7, 1 / 0.7, customers) * (random.random(customers) < 0.85)
    buys = _purchases(random, rate, last_day + 3 * HORIZON_DAYS)
    day = np.repeat(np.arange(first_day, last_day + 1, 7, dtype=np.float64), customers)
    code = np.tile(np.arange(customers), weeks)
    known = _Known(buys, code, day)
    next_day = _next(buys, code, day)
    label = (next_day - day <= HORIZON_DAYS).astype(np.int8)
    dataset = Dataset(
        columns=_features(random, known, rate, code, day),
        label=label,
        at_us=(day * DAY_US).astype(np.int64),
        customer=np.array([f"c{number:04d}" for number in code], dtype=object),
        weight=np.ones(len(label)),
    )
    evidence = Evidence(
        target="purchase_28d",
        dataset=dataset,
        split=a_split(dataset),
        horizon_us=HORIZON_US,
        grace_us=DAY_US,
        seed=seed,
        texts=TEXTS,
        timing=Timing(
            next_event_us=np.where(np.isfinite(next_day), next_day * DAY_US, np.nan),
            observed_until_us=(last_day + 3 * HORIZON_DAYS) * DAY_US,
        ),
    )
    return World(evidence, code, next_day, day, _last(buys, code, day + HORIZON_DAYS))


def a_split(dataset: Dataset) -> Split:
    return split(dataset.at_us, dataset.label, timedelta(days=HORIZON_DAYS + 1))


def _purchases(
    random: np.random.Generator, rate: Floats, days: int
) -> list[tuple[Floats, Floats, Floats]]:
    """Per customer: days of purchases, days they were known, amounts; bunched, with a season."""
    made = []
    for each in rate:
        at = np.sort(random.uniform(0, days, random.poisson(1.3 * each * days)))
        at = at[random.random(len(at)) < 0.75 + 0.25 * np.sin(at / 40)]
        late = np.where(random.random(len(at)) < 0.5, 1.0, 0.01)
        made.append((at, at + late, np.exp(random.normal(3.0, 1.0, len(at)))))
    return made


class _Known:
    """What had arrived by each row's day."""

    def __init__(self, buys: list[tuple[Floats, Floats, Floats]], code: Ints, day: Floats) -> None:
        self._span = 10_000.0
        # Delays differ by a day at most: in order of arrival, per customer, on one line.
        order = [np.argsort(known, kind="stable") for _, known, _ in buys]
        self.at = np.concatenate([at[o] for (at, _, _), o in zip(buys, order, strict=True)])
        arrived = np.concatenate([k[o] for (_, k, _), o in zip(buys, order, strict=True)])
        owner = np.repeat(np.arange(len(buys)), [len(at) for at, _, _ in buys])
        self._line = owner * self._span + arrived
        self._spent = np.concatenate(
            [
                [0.0],
                np.cumsum(np.concatenate([m[o] for (_, _, m), o in zip(buys, order, strict=True)])),
            ]
        )
        self._code, self._day = code, day
        self._start = np.searchsorted(self._line, code * self._span)
        self._end = np.searchsorted(self._line, code * self._span + day, side="right")

    def count(self, days: float | None = None) -> Floats:
        if days is None:
            return (self._end - self._start).astype(np.float64)
        since = np.searchsorted(
            self._line, self._code * self._span + self._day - days, side="right"
        )
        return (self._end - since).astype(np.float64)

    def hours_since_last(self) -> Floats:
        some = self._end > self._start
        last = self.at[np.maximum(self._end - 1, 0)]
        return np.where(some, (self._day - last) * 24, np.nan)

    def average(self) -> Floats:
        count = self.count()
        spent = self._spent[self._end] - self._spent[self._start]
        return np.where(count > 0, spent / np.maximum(count, 1), np.nan)


def _next(buys: list[tuple[Floats, Floats, Floats]], code: Ints, day: Floats) -> Floats:
    found = np.full(len(day), np.inf)
    for number, (at, _, _) in enumerate(buys):
        rows = np.flatnonzero(code == number)
        later = np.searchsorted(at, day[rows], side="right")
        some = later < len(at)
        found[rows[some]] = at[later[some]]
    return found


def _last(buys: list[tuple[Floats, Floats, Floats]], code: Ints, day: Floats) -> Floats:
    found = np.full(len(day), -np.inf)
    for number, (at, _, _) in enumerate(buys):
        rows = np.flatnonzero(code == number)
        before = np.searchsorted(at, day[rows], side="right")
        found[rows[before > 0]] = at[before[before > 0] - 1]
    return found


def _features(
    random: np.random.Generator, known: _Known, rate: Floats, code: Ints, day: Floats
) -> dict[str, npt.NDArray[Any]]:
    customers, rows = len(rate), len(code)
    joined = random.uniform(0, 130, customers)
    hidden = np.log(rate + 1e-3)
    survey = np.where(random.random(rows) < 0.2, np.nan, hidden[code] + random.normal(0, 0.4, rows))
    country = np.array(["GB", "DE", "FR", "ES", None], dtype=object)
    mailbox = np.array(["google", "microsoft", "yahoo", "apple", "other"], dtype=object)
    return {
        "purchases_28d": known.count(28),
        "purchases_84d": known.count(84),
        "purchases_total": known.count(),
        "hours_since_last_purchase": known.hours_since_last(),
        "average_order_value": known.average(),
        "tenure_days": day - joined[code],
        "affinity": hidden[code] + random.normal(0, 0.35, rows),
        "survey_score": survey,
        "revenue_d28": known.count(56) * np.exp(random.normal(3, 1.2, rows)),
        "price_index": 100 + day / 10 + random.normal(0, 1, rows),
        "temperature": 10 + 10 * np.sin(day / 58) + random.standard_t(2, rows),
        "heavy": random.standard_cauchy(rows),
        "local_hour": random.integers(0, 24, rows).astype(np.float64),
        "is_subscribed": (random.random(customers) < 0.9).astype(np.float64)[code],
        "constant": np.full(rows, 3.0),
        "never": np.full(rows, np.nan),
        "age_years": np.round(random.normal(40, 12, customers).clip(18, 90))[code],
        "country": country[random.choice(5, customers, p=[0.6, 0.2, 0.1, 0.05, 0.05])][code],
        "mailbox_provider": mailbox[random.integers(0, 5, customers)][code],
    }
