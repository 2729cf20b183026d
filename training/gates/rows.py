"""The challenger against the champion, on the same rows, later than either learned from.

The question is whether the challenger is not worse, not whether it is better: two equally good
models differ by chance, and "new AUC > old" promotes one of them half of the time. Each of AUC,
log-loss and lift must be shown; asking for all of them needs no correction for their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from serving.calibrator import FloatArray
from training.evaluation import log_losses
from training.gates.paired import RESAMPLES, Codes, Estimate, Labels, Ranking, bounded, draws
from training.gates.report import Row, Verdict
from training.promotion import Margins

SHIFT_BINS: Final = 10
_LEAST_SHARE: Final = 1e-4
"""Least share of a bin in the shift: an empty one would make it infinite."""

QUICK_S: Final = 0.002
"""Time per single row, in seconds, that is quick enough whatever the champion needs."""

_TIMED_ROWS: Final = 200
_ROUNDS: Final = 3


def comparison_rows(
    challenger: FloatArray,
    champion: FloatArray,
    label: Labels,
    weight: FloatArray,
    codes: Codes,
    *,
    margins: Margins,
    seed: int,
    resamples: int = RESAMPLES,
) -> list[Row]:
    """AUC, log-loss, lift and distribution of the scores, each beside the champion's."""
    ours, theirs = Ranking(challenger, label), Ranking(champion, label)
    our_loss, their_loss = log_losses(challenger, label), log_losses(champion, label)

    def differences(w: FloatArray) -> tuple[float, float, float]:
        whole = float(np.sum(w * their_loss))
        (our_auc, our_lift), (their_auc, their_lift) = ours.auc_and_lift(w), theirs.auc_and_lift(w)
        return (
            our_auc - their_auc,
            float(np.sum(w * our_loss)) / whole - 1.0 if whole else np.nan,
            our_lift / their_lift if their_lift else np.nan,
        )

    drawn = np.array([differences(w) for w in draws(codes, weight, seed, resamples)])
    auc, loss, lift = (bounded(value, drawn[:, i]) for i, value in enumerate(differences(weight)))
    return [
        _row(
            "auc", auc, _not_worse(auc.lo, auc.hi, margins.auc), f"lower bound >= -{margins.auc:g}"
        ),
        _row(
            "log_loss",
            loss,
            _not_worse(-loss.hi, -loss.lo, margins.log_loss),
            f"upper bound <= {margins.log_loss:.2%} of the champion's",
        ),
        _row("lift", lift, _lift(lift, margins.lift), f">= {margins.lift:g} of the champion's"),
        shift_row(challenger, champion, margins.score_shift),
    ]


def _not_worse(lo: float, hi: float, margin: float) -> Verdict:
    """The verdict on a difference of which more is better."""
    if not (np.isfinite(lo) and np.isfinite(hi)):
        return Verdict.INCONCLUSIVE
    if lo >= -margin:
        return Verdict.PASSED
    # Worse for sure, and not surely by less than the margin.
    return Verdict.FAILED if hi < 0 else Verdict.INCONCLUSIVE


def _lift(lift: Estimate, least: float) -> Verdict:
    """Lift of one tenth is noisy: its bound would leave most comparisons open."""
    if not np.isfinite(lift.value):
        return Verdict.INCONCLUSIVE
    if lift.value >= least:
        return Verdict.PASSED
    return Verdict.FAILED if lift.hi < 1 else Verdict.ASKS


def _row(name: str, found: Estimate, verdict: Verdict, limit: str) -> Row:
    words = {
        Verdict.FAILED: f"{name.replace('_', '-')} is reliably worse than the champion's",
        Verdict.INCONCLUSIVE: f"{name.replace('_', '-')} may be worse than the champion's by more "
        "than the margin; these rows cannot tell",
        Verdict.ASKS: f"{name.replace('_', '-')} is {found.value:.2f} of the champion's",
    }
    return Row(
        name=name,
        verdict=verdict,
        value=found.value,
        lo=found.lo,
        hi=found.hi,
        limit=limit,
        detail=words.get(verdict, ""),
    )


def shift_row(challenger: FloatArray, champion: FloatArray, limit: float) -> Row:
    """How far the distribution of the scores moved; thresholds and tiers hang on it."""
    shift = population_shift(champion, challenger)
    is_far = shift >= limit
    return Row(
        name="score_shift",
        verdict=Verdict.ASKS if is_far else Verdict.PASSED,
        value=shift,
        limit=f"PSI < {limit:g}",
        detail=f"the scores' distribution moved (PSI {shift:.2f})" if is_far else "",
    )


def population_shift(before: FloatArray, after: FloatArray) -> float:
    """Population stability index over the deciles of `before`; 0.0 when nothing moved."""
    edges = np.unique(np.quantile(before, np.linspace(0, 1, SHIFT_BINS + 1)[1:-1]))
    shares = [
        np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        / len(values)
        for values in (before, after)
    ]
    old, new = (np.maximum(share, _LEAST_SHARE) for share in shares)
    return float(np.sum((new - old) * np.log(new / old)))


def latency_row(
    challenger: Callable[[int], object],
    champion: Callable[[int], object],
    *,
    limit: float,
    timer: Callable[[], float],
) -> Row:
    """Time of one score, row by row, of both in turn on this machine, now.

    Each is given row numbers from 0. The best round counts: the others were disturbed.
    """
    new, old = (_best(score, timer) for score in (challenger, champion))
    ratio = new / old if old else 1.0
    is_slow = ratio > limit and new > QUICK_S
    return Row(
        name="latency",
        verdict=Verdict.ASKS if is_slow else Verdict.PASSED,
        value=ratio,
        limit=f"<= {limit:g} times the champion's, or <= {QUICK_S * 1e3:g} ms",
        detail=f"a score takes {new * 1e3:.2f} ms, the champion's {old * 1e3:.2f} ms",
    )


def _best(score: Callable[[int], object], timer: Callable[[], float]) -> float:
    """Seconds per row in the quickest round."""
    best = np.inf
    for _ in range(_ROUNDS):
        began = timer()
        for row in range(_TIMED_ROWS):
            score(row)
        best = min(best, (timer() - began) / _TIMED_ROWS)
    return float(best)
