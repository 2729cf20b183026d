from __future__ import annotations

import numpy as np
import pytest

from monitoring.signatures import explain
from serving.profile import profile

RNG = np.random.default_rng(3)
MONEY = np.where(RNG.random(4000) < 0.3, 0.0, RNG.lognormal(3, 1.2, 4000))
HOURS = RNG.exponential(400, 4000)


@pytest.mark.parametrize(
    ("name", "launch", "now", "says"),
    [
        ("revenue_30d", MONEY, MONEY * 100, "about 100 times that at launch: a unit changed"),
        ("revenue_30d", MONEY * 100, MONEY, "about 1/100 of that at launch"),
        ("hours_since_last_open", HOURS, HOURS * 3600, "about 3600 times"),
        ("tenure_days", HOURS, HOURS * 24, "about 24 times"),
        ("opens_30d", MONEY, MONEY * 2, "has doubled"),
        ("hours_since_last_open", HOURS, HOURS + 24, "later by about 24 hours"),
        ("tenure_days", HOURS, HOURS + 90, "later by about 90 days"),
    ],
)
def test_a_fault_is_recognised_by_its_mark(
    name: str, launch: np.ndarray, now: np.ndarray, says: str
) -> None:
    clause = explain(name, profile(launch).quantiles, now)

    assert clause is not None
    assert says in clause


@pytest.mark.parametrize(
    ("launch", "now"),
    [
        (MONEY, MONEY),  # nothing happened
        (MONEY, MONEY * 1.3),  # a factor, but no unit's
        (MONEY, np.where(RNG.random(4000) < 0.3, 0.0, MONEY)),  # a default was filled in
        (MONEY, np.full(4000, np.nan)),  # nothing left
        (np.full(100, np.nan), MONEY),  # nothing was there
        (np.ones(100), np.full(100, 100.0)),  # a constant has no shape to compare
        (HOURS, RNG.permutation(HOURS) ** 1.1),  # another shape
    ],
)
def test_what_leaves_no_mark_is_not_explained(launch: np.ndarray, now: np.ndarray) -> None:
    assert explain("hours_since_last_open", profile(launch).quantiles, now) is None
