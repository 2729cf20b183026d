"""Sums over rows that count differently. Weights that are all 1 change no bit of any result."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.calibrator import FloatArray, sigmoid

Labels = npt.NDArray[np.int8]

_FARTHEST = 50.0
_HALVINGS = 60
_STEPS = 50
_SETTLED = 1e-10


def or_none(weight: FloatArray | None) -> FloatArray | None:
    """The weights, or None when every row counts the same as without them.

    Libraries add in another order once they are given weights; without need they are not.
    """
    return None if weight is None or bool(np.all(weight == 1.0)) else weight


def mean(values: npt.NDArray[np.float64] | Labels, weight: FloatArray | None) -> float:
    """The weighted mean.

    >>> mean(np.array([1.0, 4.0]), np.array([2.0, 1.0])), mean(np.array([1.0, 4.0]), None)
    (2.0, 2.5)
    """
    if weight is None:
        return float(values.mean())
    return float(np.sum(weight * values) / np.sum(weight))


def level_shift(margin: FloatArray, label: Labels, weight: FloatArray | None = None) -> float:
    """What is to be added to the margins so that their mean score is the rate of the labels."""
    rate = mean(label, weight)
    low, high = -_FARTHEST, _FARTHEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if mean(sigmoid(margin + middle), weight) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def fit_line(margin: FloatArray, label: Labels, weight: FloatArray | None) -> tuple[float, float]:
    """Slope and intercept of greatest likelihood of the label's log-odds on the margin.

    Newton's steps, halved while they do not gain. A whiff of a penalty on the slope keeps it
    finite where the margin parts the labels without fault. Needs margins that vary.
    """
    counted = np.ones(len(margin)) if weight is None else weight
    centre, scale = float(margin.mean()), float(margin.std())
    x = (margin - centre) / scale
    place = np.array([0.0, 0.0])
    loss = _loss(place, x, label, counted)
    for _ in range(_STEPS):
        step = _newton_step(place, x, label, counted)
        for _ in range(_STEPS):
            new = _loss(place + step, x, label, counted)
            if new <= loss:
                break
            step = step / 2
        place, loss = place + step, new
        if float(np.abs(step).max()) < _SETTLED:
            break
    slope = float(place[1]) / scale
    return slope, float(place[0]) - slope * centre


_PENALTY = 1e-6


def _loss(place: FloatArray, x: FloatArray, label: Labels, weight: FloatArray) -> float:
    line = place[0] + place[1] * x
    losses = np.logaddexp(0.0, line) - label * line
    return float(np.sum(weight * losses) + _PENALTY / 2 * place[1] ** 2)


def _newton_step(place: FloatArray, x: FloatArray, label: Labels, weight: FloatArray) -> FloatArray:
    score = sigmoid(place[0] + place[1] * x)
    short = weight * (label - score)
    bend = weight * score * (1.0 - score)
    across = float(np.sum(bend * x))
    curvature = np.array(
        [[float(np.sum(bend)) + _PENALTY, across], [across, float(np.sum(bend * x * x)) + _PENALTY]]
    )
    gradient = np.array(
        [float(np.sum(short)), float(np.sum(short * x)) - _PENALTY * float(place[1])]
    )
    return np.asarray(np.linalg.solve(curvature, gradient), dtype=np.float64)
