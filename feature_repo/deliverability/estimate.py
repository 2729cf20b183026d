"""The chance that mail reached the inbox, by day: a recursion over days on a grid of chances.

For a cell (sending domain x mailbox provider), theta is the share of a day's mail in the inbox. Its
distribution of yesterday, discounted by the chance that something changed, is today's prior:

    prior_t = (1 - CHANGE) * spread(posterior_{t-1}) + CHANGE * FRESH

and is multiplied by the likelihood of what each source saw. Placement is steady for months and then
falls in a day, so a mixture tells a bad campaign from a collapse, where a discounted Beta needs
days for it. The sources:

    seeds      binomial, weighted by SEED_WEIGHT and capped at SEED_CAP a day: seeds have no history
    canaries   Apple's fetches against those expected (evidence.py)
    engagers   people who saw the mail against those expected by their habit and by how the
               campaign did at the other mailbox providers
    warnings   one-sided: they lower theta, their absence does nothing

Canaries and engagers are counts with mean `expected * level * shift(theta)`, level being the cell's
own long-run ratio, and more spread than Poisson: negative binomial, with the variance that the
source has shown on good days. A source that is silent, or has no long run yet, says nothing.
Recipe after "ghost engagement", see docs/placement.md. No store, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from feature_repo.deliverability.observed import Floats, Observed

IMPAIRED_BELOW: Final = 0.8
"""A cell is impaired when its theta is below this more likely than not."""

CHANGE: Final = 0.02
"""Chance per day that placement becomes another one altogether."""

SEED_CAP: Final = 15.0
SEED_WEIGHT: Final = 0.7
LEAK_SEEN: Final = 0.03
"""What is left of the chance to see a message when it lies in spam."""

LEAK_CANARY: Final = 0.01
USUAL: Final = 0.95
"""Placement where nothing is known of it: a good sender's."""

_GRID: Final = (np.arange(100) + 0.5) / 100
_SPREAD: Final = 0.1
_MEMORY: Final = 0.97
"""Of the long run, per day with mail."""

_FEWEST_EXPECTED: Final = 5.0
_FEWEST_DAYS: Final = 7.0
_CAMPAIGN_WEIGHT: Final = 5.0
_CAMPAIGN_RANGE: Final = (0.6, 1.5)
_SPREADS: Final = {"engagers": (0.25, 0.2), "canaries": (0.12, 0.05)}
"""Relative standard deviation of a source's day before it has shown its own, and the least that is
believed: people's days depend on one another, Apple's fetches hardly do."""

_SPREAD_WEIGHT: Final = 300.0


def _beta(a: float, b: float) -> Floats:
    density = _GRID ** (a - 1) * (1 - _GRID) ** (b - 1)
    return np.asarray(density / density.sum())


FRESH: Final = 0.8 * _beta(38.0, 2.0) + 0.2 * _beta(1.0, 1.0)
"""What placement may be after a change: mostly good."""

START: Final = 0.9 * _beta(38.0, 2.0) + 0.1 * _beta(1.0, 1.0)
"""What it may be before anything is known."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Arrays by [horizon, cell, day]."""

    #: Posterior mean of theta, and its central 90 %.
    p_inbox: Floats
    low: Floats
    high: Floats
    #: Probability that theta is below IMPAIRED_BELOW.
    below: Floats
    #: Trials that would give as narrow a distribution.
    trials: Floats
    #: Share of the cell's mail that is seen on good days.
    seen_rate: Floats
    #: Seen and fetched over expected, NaN where nothing was expected or there is no long run.
    seen_index: Floats
    canary_index: Floats

    @property
    def is_impaired(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Where theta is more likely than not below IMPAIRED_BELOW."""
        return self.below >= 0.5


class _LongRun:
    """A source's ratio of observed to expected on good days, and how much it varies."""

    def __init__(self, shape: tuple[int, ...], spreads: tuple[float, float]) -> None:
        spread, self._least = spreads
        self._seen, self._expected, self._days = (np.zeros(shape) for _ in range(3))
        self._excess = np.full(shape, _SPREAD_WEIGHT * spread**2)
        self._weight = np.full(shape, _SPREAD_WEIGHT)

    def level(self) -> Floats:
        """Observed over expected in the long run, NaN before there is one."""
        known = (self._seen >= _FEWEST_EXPECTED) & (self._days >= _FEWEST_DAYS)
        return np.where(known, self._seen / np.maximum(self._expected, 1e-9), np.nan)

    def variance(self) -> Floats:
        """Relative variance of a day beyond Poisson, with that of the level itself."""
        own = np.maximum(self._excess / self._weight, self._least**2)
        return np.asarray(own + 1 / np.maximum(self._seen, 1.0) + own / np.maximum(self._days, 1.0))

    def learn(self, seen: Floats, expected: Floats, is_good: Floats) -> None:
        """Take in a day's counts where `is_good` is 1.0 and something was expected."""
        mean = np.nan_to_num(self.level() * expected)
        counts = is_good * (expected > 0)
        keep = np.where(counts > 0, _MEMORY, 1.0)
        squares = counts * mean**2
        self._excess = keep * self._excess + counts * (mean > 0) * ((seen - mean) ** 2 - mean)
        self._excess = np.maximum(self._excess, 0.0)
        self._weight = keep * self._weight + squares
        # What is forgotten of the own experience gives way to the assumption again.
        self._seen = keep * self._seen + counts * seen
        self._expected = keep * self._expected + counts * expected
        self._days = keep * self._days + counts


def estimate(observed: Observed) -> Estimate:
    """The distribution of theta for every horizon, cell and day, each from what was known then."""
    shape = observed.mails.shape
    results = {name: np.full(shape, np.nan) for name in Estimate.__dataclass_fields__}
    engagers = _LongRun(shape[:2], _SPREADS["engagers"])
    canaries = _LongRun(shape[:2], _SPREADS["canaries"])
    good_mails, good_seen = np.full(shape[:2], 20.0), np.full(shape[:2], 4.0)
    posterior = np.broadcast_to(START, (*shape[:2], _GRID.size)).copy()
    good_level = np.full(shape[:2], USUAL)
    was_good = np.ones(shape[:2])
    rows = np.searchsorted(observed.day, np.arange(shape[2] + 1))
    for t in range(shape[2]):
        people = _people(observed, slice(rows[t], rows[t + 1]), engagers.level(), was_good)
        fetched = observed.canary_seen[:, :, t], observed.canary_expected[:, :, t]
        log_likelihood = (
            _seeds(observed.seeds_in[:, :, t], observed.seeds[:, :, t])
            + _counts(*people, engagers, good_level, LEAK_SEEN)
            + _counts(*fetched, canaries, good_level, LEAK_CANARY)
            + observed.alarm[:, :, t, np.newaxis] * np.log(1 - _GRID)
        )
        posterior = _updated(posterior, log_likelihood)
        day = _read(posterior)
        day |= {"seen_index": _index(*people, engagers), "canary_index": _index(*fetched, canaries)}
        day["seen_rate"] = good_seen / good_mails
        for name, values in day.items():
            results[name][:, :, t] = values
        was_good = (day["below"] < 0.5).astype(np.float64)
        engagers.learn(*people, was_good)
        canaries.learn(*fetched, was_good)
        has_mail = was_good * (observed.mails[:, :, t] > 0)
        keep = np.where(has_mail > 0, _MEMORY, 1.0)
        good_mails = keep * good_mails + has_mail * observed.mails[:, :, t]
        good_seen = keep * good_seen + has_mail * observed.seen[:, :, t]
        good_level += 0.05 * has_mail * (day["p_inbox"] - good_level)
    return Estimate(**results)


def _people(
    observed: Observed, rows: slice, level: Floats, was_good: Floats
) -> tuple[Floats, Floats]:
    """People who saw a day's mail, and how many would by habit, at this day's campaigns."""
    cells, campaigns = observed.cell[rows], observed.campaign[rows]
    _, campaign = np.unique(campaigns, return_inverse=True)
    domains = [domain for domain, _ in observed.cells]
    domain = np.unique(domains, return_inverse=True)[1][cells] if domains else cells
    group = campaign * (len(observed.cells) + 1) + domain
    _, group = np.unique(group, return_inverse=True)
    seen = np.zeros(level.shape)
    expected = np.zeros(level.shape)
    for h in range(level.shape[0]):
        mean = np.nan_to_num(level[h][cells]) * observed.habitual_expected[h, rows]
        tells = was_good[h][cells] * (mean > 0)
        got, meant = observed.habitual_seen[h, rows] * tells, mean * tells
        others_got = np.bincount(group, got, group.size + 1)[group] - got
        others_meant = np.bincount(group, meant, group.size + 1)[group] - meant
        factor = (others_got + _CAMPAIGN_WEIGHT) / (others_meant + _CAMPAIGN_WEIGHT)
        factor = np.clip(factor, *_CAMPAIGN_RANGE)
        np.add.at(seen[h], cells, observed.habitual_seen[h, rows])
        np.add.at(expected[h], cells, observed.habitual_expected[h, rows] * factor)
    return seen, expected


def _seeds(inbox: Floats, total: Floats) -> Floats:
    weight = SEED_WEIGHT * np.minimum(1.0, SEED_CAP / np.maximum(total, 1.0))
    return np.asarray(
        (weight * inbox)[..., np.newaxis] * np.log(_GRID)
        + (weight * (total - inbox))[..., np.newaxis] * np.log(1 - _GRID)
    )


def _counts(
    seen: Floats, expected: Floats, long_run: _LongRun, good_level: Floats, leak: float
) -> Floats:
    """Log-likelihood of a negative binomial count, by theta; flat where there is no long run."""
    usual = np.nan_to_num(long_run.level() * expected)[..., np.newaxis]
    shift = (_GRID + (1 - _GRID) * leak) / (good_level + (1 - good_level) * leak)[..., np.newaxis]
    mean = np.maximum(usual * shift, 1e-12)
    size = 1 / long_run.variance()[..., np.newaxis]
    value = seen[..., np.newaxis] * np.log(mean) - (seen[..., np.newaxis] + size) * np.log(
        size + mean
    )
    return np.where(usual > 0, value, 0.0)


def _updated(posterior: Floats, log_likelihood: Floats) -> Floats:
    moved = (1 - _SPREAD) * posterior
    moved[..., 1:] += _SPREAD / 2 * posterior[..., :-1]
    moved[..., :-1] += _SPREAD / 2 * posterior[..., 1:]
    moved[..., 0] += _SPREAD / 2 * posterior[..., 0]
    moved[..., -1] += _SPREAD / 2 * posterior[..., -1]
    prior = (1 - CHANGE) * moved + CHANGE * FRESH
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=-1, keepdims=True))
    weight = prior * likelihood
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True))


def _read(posterior: Floats) -> dict[str, Floats]:
    mean = posterior @ _GRID
    variance = np.maximum(posterior @ _GRID**2 - mean**2, 1e-12)
    cumulated = posterior.cumsum(axis=-1)
    return {
        "p_inbox": mean,
        "low": _GRID[np.minimum((cumulated < 0.05).sum(axis=-1), _GRID.size - 1)],
        "high": _GRID[np.minimum((cumulated < 0.95).sum(axis=-1), _GRID.size - 1)],
        "below": posterior[..., _GRID < IMPAIRED_BELOW].sum(axis=-1),
        "trials": np.maximum(mean * (1 - mean) / variance - 1, 0.0),
    }


def _index(seen: Floats, expected: Floats, long_run: _LongRun) -> Floats:
    usual = np.nan_to_num(long_run.level() * expected)
    return np.where(usual > 0, seen / np.where(usual > 0, usual, 1.0), np.nan)
