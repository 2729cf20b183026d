"""What a model must not be: reliably worse than knowing nothing, or than the baseline.

Only what is beyond doubt on the test rows counts. A level that drifted (a season) is reported with
the metrics and refuses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.calibrator import FloatArray
from training.evaluation import log_losses
from training.gates.paired import Codes, Labels, Mean, Ranking, clustered_mean, codes_of, draws

RESAMPLES: Final = 200
_LOSS_MARGIN: Final = 0.01
"""Share of the base rate's own loss that a model may lose by without being useless."""

NO_PROBABILITY: Final = "a score is not a probability"
WORSE_THAN_BASE_RATE: Final = "log-loss is reliably worse than always saying the base rate"
WORSE_THAN_BASELINE: Final = "AUC is reliably below the recency-frequency-money baseline's"


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict on a model."""

    #: Log-loss minus that of always saying the development rows' rate.
    loss_over_base_rate: Mean
    #: The most it may lose by.
    loss_limit: float
    #: AUC minus the baseline's.
    auc_over_baseline: Mean
    #: Why the model must not be used; empty when it passed.
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the model may be used."""
        return not self.failures


def judge(
    score: FloatArray,
    baseline: FloatArray,
    base_rate: float,
    label: Labels,
    customer: npt.NDArray[Any],
    seed: int,
    *,
    weight: FloatArray | None = None,
) -> Gate:
    """The verdict on scores of the test rows."""
    weights = np.ones(len(label)) if weight is None else weight
    codes = codes_of(customer)
    guess = log_losses(np.full(len(label), base_rate, dtype=np.float64), label)
    loss = clustered_mean(log_losses(score, label) - guess, weights, codes)
    auc = _auc_difference(Ranking(score, label), Ranking(baseline, label), weights, codes, seed)
    limit = max(2 * loss.error, _LOSS_MARGIN * float(np.average(guess, weights=weights)))
    failures = []
    if not bool(np.all((score >= 0) & (score <= 1))):
        failures.append(NO_PROBABILITY)
    if loss.value > limit:
        failures.append(WORSE_THAN_BASE_RATE)
    if auc.value < -2 * auc.error:
        failures.append(WORSE_THAN_BASELINE)
    return Gate(loss, limit, auc, tuple(failures))


def _auc_difference(
    ours: Ranking, theirs: Ranking, weight: FloatArray, codes: Codes, seed: int
) -> Mean:
    drawn = [ours.auc(w) - theirs.auc(w) for w in draws(codes, weight, seed, RESAMPLES)]
    return Mean(ours.auc(weight) - theirs.auc(weight), float(np.nanstd(drawn)))
