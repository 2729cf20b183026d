"""Every candidate on the same folds, from the plainest to the least plain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from sklearn.metrics import roc_auc_score

from serving.calibrator import FloatArray, sigmoid
from serving.encoder import Encoder
from serving.estimators import Blend
from training import boosted, xgboosted
from training.boosted import best_count, fit_boosted, watch_boosted
from training.dataset import Columns
from training.evaluation import log_losses
from training.folds import Fold
from training.learning import Fit, Learning, Trial, Watched
from training.regression import STRENGTHS, fit_logistic
from training.weighting import Labels, mean, or_none
from training.xgboosted import fit_xgboosted, watch_xgboosted

LOGISTIC: Final = "logistic"
LIGHTGBM: Final = "lightgbm"
XGBOOST: Final = "xgboost"
BLEND: Final = "blend"

LEAST_LEVEL_ROWS: Final = 50
MOST_LEVELS: Final = 30


def encoder_for(columns: Columns, features: Sequence[str], texts: Sequence[str]) -> Encoder:
    """The encoder of these features: a level is a text of LEAST_LEVEL_ROWS rows or more."""
    categories: dict[str, tuple[str, ...]] = {}
    for name in features:
        if name in texts:
            present = np.array([text for text in columns[name] if text is not None], dtype=str)
            level, count = np.unique(present, return_counts=True)
            frequent = np.argsort(-count, kind="stable")[:MOST_LEVELS]
            kept = sorted(str(level[i]) for i in frequent if count[i] >= LEAST_LEVEL_ROWS)
            categories[name] = tuple(kept)
    return Encoder(tuple(features), categories)


def try_logistic(learning: Learning) -> Trial:
    """Logistic regression on the folds, with the strength that is best for all of them."""
    trials = []
    for strength in STRENGTHS:
        fit = partial(
            fit_logistic, encoder=learning.encoder, strength=strength, signs=learning.signs
        )
        margins = [_margin_of(fit, learning, fold) for fold in learning.folds]
        trials.append(judged(LOGISTIC, {"strength": strength}, margins, learning, fit))
    return min(trials, key=lambda trial: float(np.mean(trial.losses)))


def try_lightgbm(
    learning: Learning,
    setting: Mapping[str, float] = boosted.DEFAULTS,
    name: str = LIGHTGBM,
) -> Trial:
    """LightGBM on the folds; the number of trees is the one that is best for all of them."""
    return _try_trees(learning, name, setting, watch_boosted, fit_boosted)


def try_xgboost(
    learning: Learning,
    setting: Mapping[str, float] = xgboosted.DEFAULTS,
    name: str = XGBOOST,
) -> Trial:
    """XGBoost on the folds; the number of trees is the one that is best for all of them."""
    return _try_trees(learning, name, setting, watch_xgboosted, fit_xgboosted)


def blend(learning: Learning, plain: Trial, trees: Sequence[Trial]) -> Trial:
    """The mean of the plain candidate's log-odds and those of the trees, half and half.

    Lines and trees err apart: lines run on beyond what was seen, trees stand still there.
    """
    members = (plain, *trees)
    shares = (0.5, *(0.5 / len(trees) for _ in trees))

    def fit(matrix: FloatArray, label: Labels, *, weight: FloatArray) -> Blend:
        return Blend(tuple(m.fit(matrix, label, weight=weight) for m in members), shares)

    margins = [
        np.sum([share * values for share, values in zip(shares, fold, strict=True)], axis=0)
        for fold in zip(*(member.margins for member in members), strict=True)
    ]
    setting = {member.name: share for member, share in zip(members, shares, strict=True)}
    return judged(BLEND, setting, margins, learning, fit)


def judged(
    name: str,
    setting: Mapping[str, float],
    margins: Sequence[FloatArray],
    learning: Learning,
    fit: Fit,
) -> Trial:
    """A trial from its margins of each fold's later rows."""
    losses, aucs = [], []
    for margin, fold in zip(margins, learning.folds, strict=True):
        label, weight = learning.label[fold.judge], or_none(learning.weight[fold.judge])
        losses.append(mean(log_losses(sigmoid(margin), label), weight))
        aucs.append(float(roc_auc_score(label, margin, sample_weight=weight)))
    return Trial(
        name=name,
        setting=setting,
        losses=tuple(losses),
        aucs=tuple(aucs),
        margins=tuple(margins),
        fit=fit,
    )


def _margin_of(fit: Fit, learning: Learning, fold: Fold) -> FloatArray:
    matrix, rows = learning.matrix, fold.fit
    fitted = fit(matrix[rows], learning.label[rows], weight=learning.weight[rows])
    return fitted.margin(matrix[fold.judge], learning.encoder.features)


def _try_trees(
    learning: Learning,
    name: str,
    setting: Mapping[str, float],
    watch: Callable[..., Watched],
    fit: Callable[..., Any],
) -> Trial:
    settled: dict[str, Any] = {
        "encoder": learning.encoder,
        "seed": learning.seed,
        "setting": setting,
        "signs": learning.signs,
    }
    watched = [
        watch(
            learning.matrix[fold.fit],
            learning.label[fold.fit],
            later=learning.later(fold),
            weight=learning.weight[fold.fit],
            **settled,
        )
        for fold in learning.folds
    ]
    rows = [int(fold.fit.sum()) for fold in learning.folds]
    trees = best_count([one.curve for one in watched], rows)
    margins = [one.margin(trees) for one in watched]
    whole: Fit = partial(fit, trees=trees, **settled)
    return judged(name, {**setting, "trees": trees}, margins, learning, whole)
