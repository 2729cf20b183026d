"""An optional search over the settings of the trees, bounded by time and by trials.

Equal rows and seed try the same settings in the same order; only how many fit into the time
differs. That many are tried on few folds makes the best of them look better than it is: the rule
of choice.py still asks for more than one standard error over the plainer candidates.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from feature_repo.errors import NotReady
from training.candidates import LIGHTGBM, XGBOOST, try_lightgbm, try_xgboost
from training.learning import Learning, Trial

MOST_TRIALS: Final = 30
"""Settings of each library that are tried at most."""

Setting = Mapping[str, float]


def search(
    learning: Learning,
    minutes: float,
    progress: Callable[[str], None],
    *,
    most_trials: int = MOST_TRIALS,
    clock: Callable[[], float] = time.monotonic,
) -> Mapping[str, list[Trial]]:
    """Trials of LightGBM and XGBoost by kind, in turn, until the time is over or all are tried.

    A trial that has begun is ended. Each kind has at least one; only its best keeps margins.

    Raises:
        NotReady: Optuna is not installed.
    """
    optuna = _optuna()
    ends = clock() + 60.0 * minutes
    studies = {
        kind: optuna.create_study(sampler=optuna.samplers.TPESampler(seed=learning.seed))
        for kind in _KINDS
    }
    found: dict[str, list[Trial]] = {kind: [] for kind in _KINDS}
    for number in range(1, most_trials + 1):
        for kind, (ask, attempt) in _KINDS.items():
            if found[kind] and clock() >= ends:
                return found
            progress(f"search: {kind}, setting {number} of at most {most_trials}")
            asked = studies[kind].ask()
            trial = attempt(learning, ask(asked), f"{kind}.search_{number:02d}")
            studies[kind].tell(asked, float(np.mean(trial.losses)))
            found[kind] = _keep_best_margins([*found[kind], trial])
    return found


def _optuna() -> Any:
    """The library of the extra `search`; imported only when a search is wanted."""
    try:
        optuna = importlib.import_module("optuna")
    except ModuleNotFoundError as exc:
        message = (
            "search_minutes is above 0 and Optuna is not installed. "
            "Run: pip install 'foresend[search]', or set search_minutes to 0."
        )
        raise NotReady(message) from exc
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _ask_lightgbm(trial: Any) -> Setting:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.15, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 3, 31, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 400, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 100.0, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
    }


def _ask_xgboost(trial: Any) -> Setting:
    return {
        "eta": trial.suggest_float("eta", 0.02, 0.15, log=True),
        "max_depth": trial.suggest_int("max_depth", 1, 5),
        "min_child_weight": trial.suggest_float("min_child_weight", 1.0, 100.0, log=True),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 100.0, log=True),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
    }


_KINDS: Final[Mapping[str, tuple[Callable[[Any], Setting], Callable[..., Trial]]]] = {
    LIGHTGBM: (_ask_lightgbm, try_lightgbm),
    XGBOOST: (_ask_xgboost, try_xgboost),
}


def _keep_best_margins(trials: list[Trial]) -> list[Trial]:
    """The trials, of which only the best keeps its margins: they are as long as the folds."""
    best = min(trials, key=lambda trial: float(np.mean(trial.losses)))
    return [trial if trial is best else replace(trial, margins=()) for trial in trials]
