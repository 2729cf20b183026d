"""E-mail shaped customers: zero-inflated counts, long-tailed money, recencies with gaps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from serving.profile import LaunchProfile, launch_profile, read_profile

Columns = dict[str, npt.NDArray[Any]]
Populate = Callable[[int, int], tuple[Columns, npt.NDArray[np.float64]]]


def population(seed: int, rows: int) -> tuple[Columns, npt.NDArray[np.float64]]:
    """Feature columns and scores of `rows` customers."""
    rng = np.random.default_rng(seed)
    columns: Columns = {}
    for days in (7, 30, 90, 365):
        opens = rng.poisson(1 + days / 30, rows).astype(np.float64)
        columns[f"opens_{days}d"] = np.where(rng.random(rows) < 0.4, 0.0, opens)
        money = rng.lognormal(3, 1.2, rows).round(2)
        columns[f"revenue_{days}d"] = np.where(rng.random(rows) < 0.3, 0.0, money)
        columns[f"active_days_{days}d"] = rng.binomial(days, 0.2, rows).astype(np.float64)
    for event, never in (("open", 0.0), ("click", 0.2), ("purchase", 0.4)):
        hours = rng.exponential(400.0, rows)
        hours[rng.random(rows) < never] = np.nan
        columns[f"hours_since_last_{event}"] = hours
    columns["local_hour"] = rng.integers(0, 24, rows).astype(np.float64)
    texts = np.array(["GB", "DE", "FR", None], dtype=object)
    columns["country"] = rng.choice(texts, rows, p=[0.9, 0.05, 0.03, 0.02])
    return columns, rng.beta(1.1, 14, rows)


@pytest.fixture(scope="session")
def populate() -> Populate:
    """Makes customers: `populate(seed, rows)`."""
    return population


@pytest.fixture(scope="session")
def launch() -> LaunchProfile:
    """The profile of 10,000 customers."""
    columns, score = population(1000, 10_000)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return read_profile(launch_profile(columns, score, customers=10_000, created_at=at))
