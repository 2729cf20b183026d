"""Which candidate is used, and why in words.

The rule is that of one standard error: the plainest candidate whose mean log-loss over the folds
is within one standard error of the best one's. The plain model errs less far outside its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.candidates import BLEND, LIGHTGBM, LOGISTIC, XGBOOST
from training.learning import Learning, Trial

PLAINEST_FIRST: Final = (LOGISTIC, LIGHTGBM, XGBOOST, BLEND)

FEW_FEATURES: Final = 30
THIN: Final = 1_000
"""Labels of the rarer kind before the test period below which trees mostly learn noise."""

STRICT: Final = 2.0
"""Standard errors that anything must gain over the logistic on few features and thin data."""

_LONE_FOLD_GAIN: Final = 0.01
"""One fold has no standard error: a hundredth of the loss stands in."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much there is to learn from."""

    #: Features that are not the same in every row before the test period.
    features: int
    #: Rows of the rarer label before the test period.
    rarer: int

    @property
    def is_thin(self) -> bool:
        """Whether the logistic is to be left only for a clear gain."""
        return self.features < FEW_FEATURES and self.rarer < THIN


@dataclass(frozen=True, slots=True)
class Choice:
    """A trial and why it was chosen."""

    trial: Trial
    reason: str


def evidence_of(learning: Learning) -> Evidence:
    """What the rows before the test period hold."""
    rows = learning.matrix[learning.development]
    known = ~np.isnan(rows)
    lowest = np.where(known, rows, np.inf).min(axis=0)
    highest = np.where(known, rows, -np.inf).max(axis=0)
    some = known.any(axis=0)
    varies = some & ((lowest < highest) | ~known.all(axis=0))
    label = learning.label[learning.development]
    positives = int(label.sum())
    return Evidence(int(varies.sum()), min(positives, len(label) - positives))


def choose(trials: Sequence[Trial], kinds: Mapping[str, str], evidence: Evidence) -> Choice:
    """The trial the rule picks. `kinds` are the trials' kinds (of PLAINEST_FIRST) by name."""
    by_kind = {k: [t for t in trials if kinds[t.name] == k] for k in PLAINEST_FIRST}
    # The best of each kind: what lost a search is not a candidate of its own.
    ordered = [min(same, key=_mean_loss) for same in by_kind.values() if same]
    best = min(ordered, key=_mean_loss)
    for trial in ordered:
        errors = STRICT if kinds[trial.name] == LOGISTIC and evidence.is_thin else 1.0
        if trial is best or _gain(trial, best) <= errors * _error(trial, best):
            plainer = ordered[: ordered.index(trial)]
            return Choice(trial, _reason(trial, best, plainer, ordered, evidence))
    return Choice(best, _reason(best, best, [], ordered, evidence))


def _mean_loss(trial: Trial) -> float:
    return float(np.mean(trial.losses))


def _gain(trial: Trial, other: Trial) -> float:
    """How much less the other loses, on average over the folds."""
    return _mean_loss(trial) - _mean_loss(other)


def _error(trial: Trial, other: Trial) -> float:
    """Standard error of the gain, fold by fold."""
    gains = np.array(trial.losses) - np.array(other.losses)
    if len(gains) == 1:
        return _LONE_FOLD_GAIN * _mean_loss(trial)
    return float(gains.std(ddof=1) / np.sqrt(len(gains)))


def _reason(
    trial: Trial,
    best: Trial,
    plainer: Sequence[Trial],
    ordered: Sequence[Trial],
    evidence: Evidence,
) -> str:
    """Why this one, with the numbers: log-loss, gain and its standard error over the folds."""
    folds = len(trial.losses)
    base = (
        f"log-loss {_mean_loss(trial):.4f} over {folds} fold{'s' if folds > 1 else ''}, "
        f"{evidence.features} features that vary, {evidence.rarer:,} rows of the rarer label. "
    )
    sentences = []
    if plainer:
        beaten = min(plainer, key=_mean_loss)
        sentences.append(
            f"{trial.name} loses {_gain(beaten, trial):.4f} less than {beaten.name}, the best of "
            f"the plainer ones (standard error {_error(beaten, trial):.4f})"
        )
    if trial is not best:
        thin = (
            f"; with fewer than {FEW_FEATURES} features and {THIN:,} rows of the rarer label, "
            f"{STRICT:g} standard errors are asked for"
            if evidence.is_thin and trial is ordered[0]
            else ""
        )
        sentences.append(
            f"{best.name} is better by {_gain(trial, best):.4f}, which is within its standard "
            f"error of {_error(trial, best):.4f}: in doubt the plainer one is used{thin}"
            if not thin
            else f"{best.name} is better by {_gain(trial, best):.4f} (standard error "
            f"{_error(trial, best):.4f}){thin}: in doubt the plainer one is used"
        )
    elif not plainer:
        sentences.append("it is the plainest one and no other loses less")
    return base + ". ".join(s[0].upper() + s[1:] for s in sentences) + "."
