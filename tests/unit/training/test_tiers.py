"""Tier proposals: modes are found where there are any and nowhere else, and the rest falls back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pytest

from serving.tiers import BadPolicy, TierPolicy
from training.tiers.method import ScoredRows, find_cuts
from training.tiers.proposal import NEW_SCORES, OWN_SCORES, proposal_from
from training.tiers.propose import InForce, names_for, propose, propose_own
from training.tiers.rates import Outcomes, rates, wilson
from training.tiers.rules import Method, TierRules

Floats = npt.NDArray[np.float64]
Random = np.random.Generator

SEEDS = range(20)


def mixture(random: Random, n: int, parts: list[tuple[float, float, float]]) -> Floats:
    """Scores of beta distributions: (weight, a, b) each."""
    which = random.choice(len(parts), n, p=[weight for weight, _, _ in parts])
    drawn = np.stack([random.beta(a, b, n) for _, a, b in parts])
    return np.asarray(drawn[which, np.arange(n)], dtype=np.float64)


SHAPES: dict[str, Callable[[Random, int], Floats]] = {
    "unimodal": lambda random, n: random.beta(5, 8, n),
    "skewed": lambda random, n: random.beta(1.1, 14, n),
    "rounded": lambda random, n: np.round(random.beta(1.1, 14, n), 2),
    "atoms": lambda random, n: random.choice(
        random.beta(1.5, 8, 25), n, p=random.dirichlet(np.full(25, 3.0))
    ),
    "bimodal": lambda random, n: mixture(random, n, [(0.7, 4, 40), (0.3, 30, 12)]),
    "trimodal": lambda random, n: mixture(random, n, [(0.5, 5, 120), (0.3, 30, 60), (0.2, 60, 15)]),
}


def rows_of(
    score: Floats, *, label: Floats | None = None, customer: npt.NDArray[np.int64] | None = None
) -> ScoredRows:
    return ScoredRows(
        score=score,
        weight=np.ones(len(score)),
        customer=np.arange(len(score)) if customer is None else customer,
        label=label,
    )


def drawn(shape: str, seed: int, n: int) -> ScoredRows:
    return rows_of(SHAPES[shape](np.random.default_rng(seed), n))


def judged(score: Floats, seed: int = 0) -> ScoredRows:
    """Rows whose outcomes come out as their scores say."""
    label = (np.random.default_rng(seed).random(len(score)) < score).astype(np.float64)
    return rows_of(score, label=label)


@pytest.mark.parametrize("n", [1_000, 10_000])
@pytest.mark.parametrize("shape", ["unimodal", "skewed", "rounded", "atoms"])
def test_scores_without_stable_modes_fall_back_to_capacity(shape: str, n: int) -> None:
    methods = {find_cuts(drawn(shape, seed, n), TierRules(), seed).method for seed in SEEDS}

    assert methods == {"capacity"}


@pytest.mark.parametrize("n", [1_000, 10_000])
@pytest.mark.parametrize(("shape", "cuts"), [("bimodal", 1), ("trimodal", 2)])
def test_modes_are_parted_at_the_valleys_between_them(shape: str, cuts: int, n: int) -> None:
    found = [find_cuts(drawn(shape, seed, n), TierRules(), seed) for seed in SEEDS]

    assert {(one.method, len(one.cuts)) for one in found} == {("valleys", cuts)}
    # The densities of the parts are equal there, to two digits.
    for one in found:
        low, high = (0.08, 0.6) if cuts == 2 else (0.3, 0.45)
        assert low < min(one.cuts)
        assert max(one.cuts) < high + 0.1
        assert max(one.stability.cut_sd) <= 0.03


def test_steps_are_cut_between_them_never_inside_one() -> None:
    rows = drawn("atoms", 3, 5_000)

    found = find_cuts(rows, TierRules(capacity=(0.6, 0.3, 0.1)), 0)

    assert not set(found.cuts) & set(rows.score.tolist())
    assert "25 different values" in found.reason


def test_one_score_for_many_rows_is_no_mode() -> None:
    score = np.random.default_rng(0).beta(5, 8, 5_000)
    score[:250] = 0.9

    found = find_cuts(rows_of(score), TierRules(), 0)

    assert found.method == "capacity"
    assert "5.0% of the rows" in found.reason


def test_declared_shares_are_kept_as_nearly_as_ties_allow() -> None:
    rules = TierRules(("low", "medium", "high"), (0.6, 0.3, 0.1))

    smooth = propose("t", "1", drawn("unimodal", 0, 10_000), rules)
    tied = propose("t", "1", rows_of(np.repeat([0.1, 0.5, 0.9], [50, 30, 20])), rules)

    assert smooth.shares == pytest.approx((0.6, 0.3, 0.1), abs=1e-3)
    assert tied.shares == pytest.approx((0.5, 0.3, 0.2))
    assert smooth.names == ("low", "medium", "high")


def test_without_a_declared_capacity_outcomes_decide() -> None:
    proposal = propose("t", "1", judged(np.random.default_rng(0).beta(2, 8, 20_000)), TierRules())

    assert proposal.method == "response"
    rates = [tier.observed for tier in proposal.tiers]
    assert len(rates) == 3
    assert rates == sorted(rates, key=lambda rate: rate or 0.0)
    for below, above in zip(proposal.tiers, proposal.tiers[1:], strict=False):
        assert (below.observed_high or 1.0) < (above.observed_low or 0.0)
    assert proposal.warnings == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_that_say_nothing_are_one_tier(seed: int) -> None:
    random = np.random.default_rng(seed)
    label = (random.random(5_000) < 0.1).astype(np.float64)

    proposal = propose("t", "1", rows_of(random.beta(5, 8, 5_000), label=label), TierRules())

    assert (proposal.names, proposal.cuts) == (("all",), ())
    assert "nothing tells the scores apart" in proposal.reason.lower()


def test_neighbours_that_do_not_differ_are_merged() -> None:
    random = np.random.default_rng(1)
    score = np.sort(random.beta(5, 8, 10_000))
    # Only the highest quarter buys more; three tiers are asked for.
    rate = np.where(np.arange(10_000) < 7_500, 0.05, 0.2)
    label = (random.random(10_000) < rate).astype(np.float64)

    proposal = propose("t", "1", rows_of(score, label=label), TierRules())

    assert proposal.names == ("low", "high")
    assert proposal.shares == pytest.approx((0.75, 0.25), abs=0.051)


def test_a_declared_method_looks_for_no_valleys() -> None:
    rules = TierRules(capacity=(0.5, 0.3, 0.2), method=Method.CAPACITY)

    found = find_cuts(drawn("bimodal", 0, 5_000), rules, 0)

    assert found.method == "capacity"


def test_an_equal_seed_gives_an_equal_proposal() -> None:
    rows = judged(SHAPES["skewed"](np.random.default_rng(5), 5_000))

    first, second = (propose("t", "1", rows, TierRules(), seed=7) for _ in range(2))

    assert first == second


def test_many_rows_of_one_customer_widen_the_intervals() -> None:
    random = np.random.default_rng(2)
    # A tenth of the customers buys, and then with each of its 20 mails.
    buys = random.random(500) < 0.1
    label = np.repeat(buys, 20).astype(np.float64)
    score = np.full(10_000, 0.1)
    known = rows_of(score, label=label, customer=np.repeat(np.arange(500), 20))

    together = propose("t", "1", known, TierRules()).tiers[0]
    apart = propose("t", "1", rows_of(score, label=label), TierRules()).tiers[0]

    widths = [(t.observed_high or 0.0) - (t.observed_low or 0.0) for t in (together, apart)]
    # Of 20 rows 19 tell nothing: the square root of 20 is about 4.5.
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(20), rel=0.1)


def test_intervals_hold_the_true_rate_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        customers = random.beta(2, 18, 300)
        label = (random.random(3_000) < np.repeat(customers, 10)).astype(np.float64)
        outcomes = Outcomes(label, np.ones(3_000), np.repeat(np.arange(300), 10))
        found = rates(np.zeros(3_000, np.int64), 1, outcomes)
        low, high = wilson(float(found.rate[0]), float(found.effective[0]))
        held += low <= 0.1 <= high

    assert 180 <= held <= 199


def in_force(*, cuts: tuple[float, ...] = (0.2,)) -> TierPolicy:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    return TierPolicy("t", "1", "run-1", ("low", "high"), cuts, "ann", at)


def test_who_moves_is_counted_on_the_same_rows() -> None:
    rows = rows_of(np.array([0.1, 0.25, 0.35, 0.9]))
    old = np.array([0.3, 0.3, 0.1, 0.9])

    by_old = propose_own(
        "t", "2", rows, ["low", "high"], [0.3], by="ann", in_force=InForce(in_force(), old)
    ).moves
    by_new = propose_own(
        "t", "2", rows, ["low", "high"], [0.3], by="ann", in_force=InForce(in_force())
    ).moves

    assert by_old is not None
    assert by_new is not None
    assert (by_old.counts, by_old.moved, by_old.basis) == (((0, 1), (2, 1)), 3, OWN_SCORES)
    assert (by_new.counts, by_new.moved, by_new.basis) == (((1, 0), (1, 2)), 1, NEW_SCORES)


def test_a_proposal_comes_back_from_its_file_and_its_policy_fits_a_tag() -> None:
    proposal = propose(
        "t",
        "2",
        judged(SHAPES["trimodal"](np.random.default_rng(0), 5_000)),
        TierRules(),
        in_force=InForce(in_force()),
    )

    assert proposal_from(json.loads(json.dumps(proposal.as_dict()))) == proposal
    assert len(json.dumps(proposal.policy())) < 4_900


def test_an_owner_s_cuts_are_judged_like_ours() -> None:
    rows = judged(np.random.default_rng(0).beta(5, 8, 2_000))

    proposal = propose_own("t", "1", rows, ["a", "b"], [0.999], by="ann")

    assert proposal.method == "manual"
    assert any("b holds only" in warning for warning in proposal.warnings)
    with pytest.raises(BadPolicy, match="must rise"):
        propose_own("t", "1", rows, ["a", "b", "c"], [0.5, 0.4], by="ann")


@pytest.mark.parametrize("tiers", range(1, 6))
def test_names_are_as_many_as_tiers_and_all_different(tiers: int) -> None:
    assert len(set(names_for(tiers, ("low", "medium", "high")))) == tiers


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_constant_scores_are_one_tier(value: float) -> None:
    proposal = propose("t", "1", rows_of(np.full(1_000, value)), TierRules())

    assert proposal.cuts == ()
    assert sum(proposal.histogram.shares) == pytest.approx(1.0)
