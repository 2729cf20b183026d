"""The XGBoost candidate: shallow trees grown level by level, as many as later rows can bear."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from serving.calibrator import FloatArray
from serving.encoder import Encoder
from serving.xgb import XgBoost, feature_types
from training.boosted import MOST_TREES, PATIENCE
from training.learning import Later, Watched
from training.weighting import Labels, or_none

DEFAULTS: Final[Mapping[str, float]] = {
    "eta": 0.05,
    "max_depth": 3,
    "min_child_weight": 20.0,
    "reg_lambda": 10.0,
    "colsample_bytree": 0.6,
    "subsample": 0.8,
}
"""What a search may change."""


def library() -> Any:
    """The module `xgboost`.

    Imported on first use and not above: it takes two seconds, and only a run that fits such a
    model should wait for it.
    """
    return importlib.import_module("xgboost")


def fit_xgboosted(
    matrix: FloatArray,
    label: Labels,
    encoder: Encoder,
    *,
    trees: int,
    seed: int,
    setting: Mapping[str, float] = DEFAULTS,
    weight: FloatArray | None = None,
    signs: Mapping[str, int] | None = None,
) -> XgBoost:
    """A booster of exactly `trees` trees."""
    booster = library().train(
        _parameters(setting, encoder, signs or {}, seed),
        _data(matrix, label, encoder, weight),
        num_boost_round=trees,
    )
    return XgBoost(booster)


def watch_xgboosted(
    matrix: FloatArray,
    label: Labels,
    encoder: Encoder,
    later: Later,
    *,
    seed: int,
    setting: Mapping[str, float] = DEFAULTS,
    weight: FloatArray | None = None,
    signs: Mapping[str, int] | None = None,
) -> Watched:
    """A booster that stops when the later rows no longer gain, and their log-loss per tree."""
    data = _data(later.matrix, later.label, encoder, later.weight)
    curve: dict[str, Any] = {}
    booster = library().train(
        _parameters(setting, encoder, signs or {}, seed),
        _data(matrix, label, encoder, weight),
        num_boost_round=MOST_TREES,
        evals=[(data, "later")],
        evals_result=curve,
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )

    def margin(trees: int) -> FloatArray:
        found = booster.predict(data, output_margin=True, iteration_range=(0, trees))
        return np.asarray(found, dtype=np.float64)

    return Watched(np.asarray(curve["later"]["logloss"], dtype=np.float64), margin)


def _parameters(
    setting: Mapping[str, float], encoder: Encoder, signs: Mapping[str, int], seed: int
) -> dict[str, Any]:
    constrained = (
        {"monotone_constraints": tuple(signs.get(name, 0) for name in encoder.features)}
        if signs
        else {}
    )
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        **setting,
        "seed": seed,
        # As for LightGBM: one thread gives equal trees everywhere, and on a busy machine sooner.
        "nthread": 1,
        "verbosity": 0,
        **constrained,
    }


def _data(matrix: FloatArray, label: Labels, encoder: Encoder, weight: FloatArray | None) -> Any:
    return library().DMatrix(
        np.ascontiguousarray(matrix),
        label,
        weight=or_none(weight),
        feature_names=list(encoder.features),
        feature_types=feature_types(encoder.features, encoder.categories),
        missing=np.nan,
        enable_categorical=True,
        nthread=1,
    )
