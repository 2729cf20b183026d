"""Calls of a model: `ScoringModel.score_matrix` against `Booster.predict` and the packages.

One row is what a request asks, 64 a micro-batch, 1,000 a part of a job. The model is a LightGBM of
40 features and 300 trees of 31 leaves, and a blend of it with XGBoost and a regression.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
import numpy.typing as npt
import xgboost

from serving.calibrator import Platt, sigmoid
from serving.encoder import Encoder
from serving.estimators import Blend, Estimator
from serving.logistic import Logistic, NumberTerm, squash
from serving.model import ScoringModel
from serving.trees import LightGbm
from serving.xgb import XgBoost

Floats = npt.NDArray[np.float64]
Call = Callable[[Floats], Any]

FEATURES: Final = tuple(f"feature_{at:02d}" for at in range(40))
TREES: Final = 300
LEAVES: Final = 31
SIZES: Final = (1, 64, 1_000)
REPEATS: Final = 7
_ROWS: Final = 20_000
_PER_REPEAT: Final = 2_000
"""Rows scored between two looks at the clock; other rows in each call, as in life."""


def run(workdir: Path, trees: int = TREES) -> dict[str, Any]:
    """Microseconds per call for one row, ours and LightGBM's own; the others in `more`."""
    matrix = _matrix()
    label = np.nan_to_num(matrix[:, 0]) + matrix[:, 1] * matrix[:, 2] > 0
    lights, extremes = _light(matrix, label, trees), _extreme(matrix, label, trees)
    own = _saved(workdir / "lightgbm", LightGbm(lights))
    blend = _saved(workdir / "blend", _blend(lights, extremes))
    theirs = _packages(lights, extremes)
    calls: Mapping[str, Call] = {
        "lightgbm": own.score_matrix,
        "lightgbm_package": lambda rows: lights.predict(rows, num_threads=1),
        "lightgbm_reasons": own.explain,
        "lightgbm_shap": lambda rows: lights.predict(rows, pred_contrib=True, num_threads=1),
        "blend": blend.score_matrix,
        "blend_packages": theirs,
        "blend_reasons": blend.explain,
    }
    more: dict[str, Any] = {}
    for size in SIZES:
        chosen = {name: call for name, call in calls.items() if size == 1 or "shap" not in name}
        more |= {
            f"{name}_{size}_us": us for name, us in _microseconds(chosen, matrix, size).items()
        }
    more["same_bits"] = _same_bits(own, lights, matrix)
    more["load_ms"] = _load_ms(workdir / "lightgbm")
    ours, baseline = more["lightgbm_1_us"], more["lightgbm_package_1_us"]
    return {
        "ours": ours,
        "baseline": baseline,
        "ratio": baseline / ours,
        "unit": "us/row",
        "more": more,
    }


def _matrix() -> Floats:
    random = np.random.default_rng(7)
    matrix = random.normal(size=(_ROWS, len(FEATURES)))
    matrix[:, 3:][random.random((_ROWS, len(FEATURES) - 3)) < 0.08] = np.nan
    return matrix


def _light(matrix: Floats, label: npt.NDArray[np.bool_], trees: int) -> lightgbm.Booster:
    settings = {"objective": "binary", "num_leaves": LEAVES, "verbosity": -1, "num_threads": 2}
    data = lightgbm.Dataset(matrix, label, feature_name=list(FEATURES))
    return lightgbm.train(settings, data, num_boost_round=trees)


def _extreme(matrix: Floats, label: npt.NDArray[np.bool_], trees: int) -> xgboost.Booster:
    settings = {"objective": "binary:logistic", "max_depth": 3, "verbosity": 0, "nthread": 1}
    names, types = list(FEATURES), ["float"] * len(FEATURES)
    data = xgboost.DMatrix(matrix, label, feature_names=names, feature_types=types)
    return xgboost.train(settings, data, num_boost_round=trees)


def _blend(lights: lightgbm.Booster, extremes: xgboost.Booster) -> Blend:
    terms = tuple(NumberTerm(name, -3.0, 3.0, 0.0, 1.0, 0.1, 0.0) for name in FEATURES)
    members = (Logistic(0.0, terms, ()), LightGbm(lights), XgBoost(extremes))
    return Blend(members, (0.2, 0.4, 0.4))


def _saved(folder: Path, estimator: Estimator) -> ScoringModel:
    """The model as a server has it: written, read and checked."""
    model = ScoringModel(
        target="bench",
        feature_service="bench",
        encoder=Encoder(FEATURES, {}),
        estimator=estimator,
        calibrator=Platt(1.0, 0.0),
        trained_through="2026-01-01T00:00:00+00:00",
        base_rate=0.5,
    )
    examples = _matrix()[:64]
    columns = {name: examples[:, at] for at, name in enumerate(FEATURES)}
    model.with_examples(columns).save(folder)
    return ScoringModel.load(folder)


def _packages(lights: lightgbm.Booster, extremes: xgboost.Booster) -> Call:
    """The same blend by the packages' own calls, and the regression as one sum."""
    extremes.set_param({"nthread": 1})

    def score(rows: Floats) -> Floats:
        straight = np.nansum(0.1 * squash(np.clip(rows, -3.0, 3.0)), axis=1)
        one = lights.predict(rows, raw_score=True, num_threads=1)
        other = extremes.inplace_predict(rows, predict_type="margin", validate_features=False)
        return sigmoid(0.2 * straight + 0.4 * np.asarray(one) + 0.4 * np.asarray(other))

    return score


def _microseconds(calls: Mapping[str, Call], matrix: Floats, size: int) -> dict[str, float]:
    """Of each call the quickest of REPEATS rounds, the calls taken in turn.

    A neighbour's load only ever makes a round slower.
    """
    best = dict.fromkeys(calls, float("inf"))
    for repeat in range(REPEATS):
        batches = _batches(matrix, size, repeat)
        for name, call in calls.items():
            few = batches[:20] if "shap" in name or "reasons" in name else batches
            started = time.perf_counter()
            for rows in few:
                call(rows)
            spent = (time.perf_counter() - started) / len(few) * 1e6
            best[name] = min(best[name], spent)
    return best


def _batches(matrix: Floats, size: int, seed: int) -> Sequence[Floats]:
    random = np.random.default_rng(seed)
    count = max(_PER_REPEAT // size, 4)
    return [matrix[random.integers(0, len(matrix), size)] for _ in range(count)]


def _same_bits(model: ScoringModel, lights: lightgbm.Booster, matrix: Floats) -> bool:
    """Whether every row, among others and alone, has the log-odds of `Booster.predict`."""
    wanted = np.asarray(lights.predict(matrix, raw_score=True, num_threads=1))
    together = model.estimator.margin(matrix, FEATURES)
    alone = [model.estimator.margin(matrix[at : at + 1], FEATURES)[0] for at in range(2_000)]
    return bool((together == wanted).all() and (wanted[:2_000] == alone).all())


def _load_ms(folder: Path) -> float:
    spent = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        ScoringModel.load(folder)
        spent.append((time.perf_counter() - started) * 1e3)
    return min(spent)
