"""The chance of the inbox: collapses are found from any source, and noise is not one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from feature_repo.deliverability.estimate import FRESH, START, estimate
from feature_repo.deliverability.observed import Floats, Observed

PROVIDERS = ("google", "microsoft", "yahoo")
CELLS = 6
DAYS = 90
COLLAPSE = slice(60, 74)
ALWAYS: Floats = np.full((CELLS, DAYS), 0.95)


def collapsed(cell: int = 0) -> Floats:
    """Placement that falls to a twentieth in one cell for fourteen days."""
    placement = ALWAYS.copy()
    placement[cell, COLLAPSE] = 0.05
    return placement


def programme(
    placement: Floats,
    worlds: int = 1,
    *,
    mails: int = 60,
    reading: float = 0.25,
    canaries: int = 12,
    seeds: int = 8,
) -> Observed:
    """Binomial counts of programmes with this placement by cell and day, side by side.

    People read a quarter of what they find in the inbox, more or less by the campaign of the day.
    """
    rng = np.random.default_rng(worlds)
    placement = np.tile(placement, (worlds, 1))
    domains = len(placement) // len(PROVIDERS)
    quality = np.exp(rng.normal(0.0, 0.2, (domains, DAYS))).repeat(len(PROVIDERS), axis=0)
    seen_p = np.clip(reading * quality * (placement + (1 - placement) * 0.03), 0.0, 1.0)
    seen = rng.binomial(mails, seen_p)
    fetched = rng.binomial(canaries, 0.9 * placement)
    inside = rng.binomial(seeds, placement)
    shape = (1, *placement.shape)
    cell, day = (axis.ravel() for axis in np.indices(placement.shape))
    order = np.argsort(day, kind="stable")

    def every(values: npt.ArrayLike) -> Floats:
        return np.broadcast_to(np.asarray(values, dtype=np.float64), shape).copy()

    return Observed(
        cells=tuple((f"{number:03}.example", p) for number in range(domains) for p in PROVIDERS),
        first_day=20_000,
        mails=every(float(mails)),
        seen=every(seen),
        canary_seen=every(fetched),
        canary_expected=every(0.9 * canaries),
        seeds_in=every(inside),
        seeds=every(float(seeds)),
        alarm=every(0.0),
        cell=cell[order],
        day=day[order],
        campaign=day[order],
        habitual_seen=every(seen).reshape(1, -1)[:, order],
        habitual_expected=np.full((1, placement.size), reading * mails)[:, order],
    )


def only(source: str, **more: int) -> dict[str, int]:
    """Options that silence all sources but one."""
    silent = {"seeds": 0, "canaries": 0, "mails": 0}
    kept = {"seeds": 8, "canaries": 12, "mails": 60}[source]
    # Without mail nobody sees any; canaries and seeds need none here.
    return silent | {source: kept} | more


@pytest.mark.parametrize("sources", [{}, only("seeds"), only("canaries"), only("mails")])
def test_a_collapse_is_found_within_two_days_and_over_when_it_is_over(
    sources: dict[str, int],
) -> None:
    impaired = estimate(programme(collapsed(), **sources)).is_impaired

    assert impaired[:, 0, 61:74].all()
    assert not impaired[:, 0, 76:].any()
    assert not impaired[:, 0, :60].any()
    assert not impaired[:, 1:].any()


SOURCES = [{}, only("mails"), {"mails": 8, "canaries": 1, "seeds": 2}]
"""All sources, the noisiest one alone, and little of each."""


@pytest.mark.parametrize("sources", SOURCES)
def test_perfect_placement_is_never_impaired_over_fifty_seeds(sources: dict[str, int]) -> None:
    assert not estimate(programme(np.ones_like(ALWAYS), 50, **sources)).is_impaired.any()


@pytest.mark.parametrize("sources", SOURCES)
def test_usual_placement_is_hardly_ever_taken_for_impaired(sources: dict[str, int]) -> None:
    # 27,000 days of cells; what there is comes from seeds that fell into spam on a first day.
    assert estimate(programme(ALWAYS, 50, **sources)).is_impaired.mean() < 3e-4


def test_perfect_placement_stays_near_one() -> None:
    found = estimate(programme(np.ones_like(ALWAYS)))

    assert found.p_inbox[:, :, 30:].min() > 0.9
    assert not found.is_impaired.any()


def test_without_any_evidence_the_interval_is_wide_and_nothing_is_impaired() -> None:
    silent = programme(ALWAYS, **only("seeds", seeds=0))
    found = estimate(replace(silent, mails=silent.mails * 0))

    assert not found.is_impaired.any()
    assert (found.high - found.low).min() > 0.4
    assert found.trials.max() < 5.0
    assert np.isnan(found.seen_index).all()


def test_evidence_narrows_the_interval_which_holds_the_truth() -> None:
    silent = estimate(programme(ALWAYS, **only("seeds", seeds=0)))
    placement = np.full_like(ALWAYS, 0.4)
    found = estimate(programme(placement, **only("seeds", seeds=30)))

    width = (found.high - found.low)[:, :, -1]
    assert width.max() < 0.4 < (silent.high - silent.low)[:, :, -1].min()
    covered = (found.low <= 0.4) & (found.high >= 0.4)
    # Seeds count for less than they are, so the interval is the wider.
    assert covered[0, :, 10:].mean() >= 0.9


def test_a_low_spam_rate_says_nothing_and_a_high_one_speaks_against_the_inbox() -> None:
    down = programme(collapsed(), seeds=0)
    # Complaints come from the inbox: in a collapse there is nothing to complain about.
    quiet = estimate(down)
    silent = programme(ALWAYS, **only("seeds", seeds=0))
    warned = replace(silent, alarm=np.full_like(silent.alarm, 1.0))

    assert quiet.is_impaired[:, 0, 61:74].all()
    assert (estimate(warned).p_inbox < estimate(silent).p_inbox).all()


def test_missing_days_of_a_source_are_no_zeros() -> None:
    steady = programme(ALWAYS, seeds=0, mails=0)
    gap = slice(40, 60)
    for counts in (steady.canary_seen, steady.canary_expected):
        counts[:, :, gap] = 0.0

    assert not estimate(steady).is_impaired.any()


def test_a_bad_campaign_is_told_from_a_bad_mailbox_by_the_other_mailboxes() -> None:
    steady = programme(ALWAYS, **only("mails"))
    dull = steady.day == 70
    everywhere, here = (s.habitual_seen.copy() for s in (steady, steady))
    everywhere[:, dull] *= 0.5
    here[:, dull & (steady.cell == 0)] *= 0.5

    below = [
        estimate(replace(steady, habitual_seen=seen)).below[0, 0, 70] for seen in (everywhere, here)
    ]

    assert below[0] < below[1]


def test_what_was_said_of_a_day_does_not_change_with_later_days() -> None:
    full = programme(collapsed())
    half = replace(
        full,
        **{
            name: getattr(full, name)[:, :, :65]
            for name in (
                "mails",
                "seen",
                "canary_seen",
                "canary_expected",
                "seeds_in",
                "seeds",
                "alarm",
            )
        },
    )

    np.testing.assert_array_equal(estimate(half).p_inbox, estimate(full).p_inbox[:, :, :65])


def test_what_may_come_after_a_change_is_mostly_good() -> None:
    for density in (FRESH, START):
        assert density.sum() == pytest.approx(1.0)
        assert density[:80].sum() < 0.5
