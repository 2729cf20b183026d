"""Why a score is what it is: what each feature adds to it, in probability points.

An estimator says what each feature adds to the log-odds. The calibrator bends log-odds into
probabilities; what lies between the base and the score is shared out in proportion, so that the
reasons and the base sum to the score that was answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.calibrator import Calibrator

Floats = npt.NDArray[np.float64]

_NO_CHANGE: Final = 1e-10
"""Log-odds; below it, the mean slope between two margins is more rounding than slope."""

_STEP: Final = 1e-4
"""Log-odds to either side over which the slope at one margin is taken."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """`base + points.sum(axis=1)` is the score of each row, within 1e-9."""

    #: (rows, features)
    points: npt.NDArray[np.float64]
    #: Score of a row of which every feature says nothing; (rows,), or one for all.
    base: npt.NDArray[np.float64] | float
    #: `path` or `linear`.
    method: str


def explanation(margin: Floats, parts: Floats, calibrator: Calibrator, method: str) -> Explanation:
    """Additive parts of log-odds as additive parts of probabilities.

    With `f` the calibrator, `m` the margin and `b` what is left of it without the parts, part `c`
    becomes `c * (f(m) - f(b)) / (m - b)`. Where the parts cancel out, the slope of `f` takes the
    place of the quotient.

    Args:
        margin: Log-odds of each row.
        parts: What each feature adds, (rows, features + 1); the last column is what all rows share.
        calibrator: Makes probabilities of log-odds.
        method: How the parts were found.
    """
    added = parts[:, :-1]
    moved = np.add.reduce(added, axis=1)
    both = calibrator.apply(np.concatenate((margin, margin - moved)))
    score, bare = both[: len(margin)], both[len(margin) :]
    is_still = np.abs(moved) < _NO_CHANGE
    slope = (score - bare) / np.where(is_still, 1.0, moved)
    if is_still.any():
        change = calibrator.apply(margin + _STEP) - calibrator.apply(margin - _STEP)
        slope = np.where(is_still, change / (2 * _STEP), slope)
    points = added * slope[:, None]
    # Taken from the score, so that nothing is lost to rounding where the calibrator is steep.
    return Explanation(points, score - np.add.reduce(points, axis=1), method)
