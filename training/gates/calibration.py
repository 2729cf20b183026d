"""Whether scores can be taken at their word on the test rows, and whether the champion's could.

A level that drifted, such as a season the log has not seen, moves every model trained on it: a
version beyond the limits fails only when the champion is reliably closer to them.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from serving.calibrator import FloatArray
from training.evaluation import CURVE_BINS
from training.gates.paired import Codes, Estimate, Labels, Mean, bounded, draws
from training.gates.report import Row, Verdict
from training.promotion import Margins

_EDGE: Final = 1e-12
_NEWTON_STEPS: Final = 30
_LOGS: Final = 0.05
"""How much further from 1, in logarithms, counts as further."""


def calibration_rows(
    score: FloatArray,
    champion: FloatArray | None,
    label: Labels,
    weight: FloatArray,
    codes: Codes,
    *,
    margins: Margins,
    seed: int,
) -> list[Row]:
    """Level, slope and error of the scores; `champion` are its scores of the same rows."""
    return [
        _level_row(score, champion, label, weight, codes, margins, seed),
        _slope_row(score, champion, label, weight, codes, margins),
        _error_row(score, champion, label, weight, margins),
    ]


def slope_of(score: FloatArray, label: Labels, weight: FloatArray, codes: Codes) -> Mean:
    """Slope of the label on the score's log-odds, with an error that is robust to customers.

    Both are NaN when the scores do not differ. Newton's method on the weighted likelihood; the
    error is the sandwich of Huber and White with the customers' sums as its filling.
    """
    clipped = np.clip(score, _EDGE, 1 - _EDGE)
    logit = np.log(clipped / (1 - clipped))
    if np.ptp(logit) == 0.0:
        return Mean(math.nan, math.nan)
    design = np.column_stack([np.ones(len(logit)), logit])
    found = np.array([0.0, 1.0])
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ found, -500, 500)))
        pull = design * (weight * (label - chance))[:, None]
        bend = (design * (weight * np.maximum(chance * (1 - chance), _EDGE))[:, None]).T @ design
        step = np.linalg.solve(bend, pull.sum(axis=0))
        found = found + np.clip(step, -1.0, 1.0)
        if np.max(np.abs(step)) < 1e-10:
            break
    sums = np.column_stack([np.bincount(codes, weights=pull[:, i]) for i in (0, 1)])
    inverse = np.linalg.inv(bend)
    spread = inverse @ (sums.T @ sums) @ inverse
    return Mean(float(found[1]), float(np.sqrt(spread[1, 1])))


def error_of(score: FloatArray, label: Labels, weight: FloatArray) -> tuple[float, float]:
    """Mean distance of score and rate over equally filled bins, and what chance alone gives.

    The chance part is the mean absolute error of a binomial rate in each bin, sqrt(2 / pi) of its
    standard deviation, as if rows were independent.
    """
    distance, chance = 0.0, 0.0
    for rows in np.array_split(np.argsort(score, kind="stable"), min(CURVE_BINS, len(score))):
        heavy = weight[rows]
        distance += abs(float(np.sum(heavy * (score[rows] - label[rows]))))
        variance = np.sum(heavy**2 * score[rows] * (1 - score[rows]))
        chance += math.sqrt(2 / math.pi * float(variance))
    whole = float(weight.sum())
    return distance / whole, chance / whole


def _level_row(
    score: FloatArray,
    champion: FloatArray | None,
    label: Labels,
    weight: FloatArray,
    codes: Codes,
    margins: Margins,
    seed: int,
) -> Row:
    drawn, further = [], []
    for w in draws(codes, weight, seed):
        ratio = _level(score, label, w)
        drawn.append(ratio)
        if champion is not None:
            further.append(_off(ratio) - _off(_level(champion, label, w)))
    level = bounded(_level(score, label, weight), np.array(drawn))
    low, high = 1 - margins.calibration_ratio, 1 + margins.calibration_ratio
    is_worse = bool(further) and bounded(0.0, np.array(further)).lo > 0.0
    return _row("calibration_ratio", level, (low, high), champion is not None, is_worse)


def _level(score: FloatArray, label: Labels, weight: FloatArray) -> float:
    positive = float(np.sum(weight * label))
    return float(np.sum(weight * score)) / positive if positive else math.nan


def _off(ratio: float) -> float:
    """Distance of a ratio from 1, in logarithms."""
    return abs(math.log(ratio)) if ratio > 0 else math.nan


def _slope_row(
    score: FloatArray,
    champion: FloatArray | None,
    label: Labels,
    weight: FloatArray,
    codes: Codes,
    margins: Margins,
) -> Row:
    mean = slope_of(score, label, weight, codes)
    if math.isnan(mean.value):
        return Row(
            name="calibration_slope", verdict=Verdict.ASKS, detail="the score is the same for all"
        )
    reach = 1.645 * mean.error
    slope = Estimate(mean.value, mean.value - reach, mean.value + reach)
    is_worse = False
    if champion is not None:
        theirs = slope_of(champion, label, weight, codes).value
        is_worse = not _off(mean.value) <= _off(theirs) + _LOGS
    limits = (1 / margins.calibration_slope, margins.calibration_slope)
    return _row("calibration_slope", slope, limits, champion is not None, is_worse)


def _error_row(
    score: FloatArray,
    champion: FloatArray | None,
    label: Labels,
    weight: FloatArray,
    margins: Margins,
) -> Row:
    error, chance = error_of(score, label, weight)
    limit = margins.calibration_error + chance
    is_worse = champion is not None and error > error_of(champion, label, weight)[0] + (
        margins.calibration_error
    )
    estimate = Estimate(error, math.nan, math.nan)
    return _row("calibration_error", estimate, (0.0, limit), champion is not None, is_worse)


def _row(
    name: str,
    found: Estimate,
    limits: tuple[float, float],
    has_champion: bool,
    is_worse: bool,
) -> Row:
    low, high = limits
    lowest, highest = (found.value if math.isnan(b) else b for b in (found.lo, found.hi))
    is_within = highest >= low and lowest <= high
    words = f"between {low:.3g} and {high:.3g}" if low else f"<= {high:.3g}"
    detail = ""
    if low <= found.value <= high:
        verdict = Verdict.PASSED
    elif is_worse and not is_within:
        verdict = Verdict.FAILED
        detail = f"{name.replace('_', ' ')} is {found.value:.3g}, and the champion's is closer"
    elif has_champion and not is_worse:
        verdict = Verdict.NOTED
        detail = (
            f"{name.replace('_', ' ')} is {found.value:.3g}; the champion's is not surely closer"
        )
    else:
        verdict = Verdict.ASKS
        detail = f"{name.replace('_', ' ')} is {found.value:.3g}, not {words}"
    return Row(
        name=name,
        verdict=verdict,
        value=found.value,
        lo=found.lo,
        hi=found.hi,
        limit=words,
        detail=detail,
    )
