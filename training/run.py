"""One training, from the event log to a registered version."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from feature_repo import contract
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.targets import Target
from training.fitting import fit_and_judge
from training.folds import split
from training.gate import judge
from training.register import register
from training.registry import open_registry
from training.result import Trained
from training.retrieval import decide, feature_tables, with_features

Progress = Callable[[str], None]


def train(
    settings: Settings,
    target: Target,
    *,
    as_of: datetime | None = None,
    seed: int = 0,
    progress: Progress = lambda step: None,
) -> dict[str, Any]:
    """Train, judge and register a model of a target; returns what `--json` prints.

    What can be refused is refused first: a registry that does not answer, features that lag the
    log, too few decisions.

    Raises:
        StoreUnavailable: MLflow does not answer.
        NotReady: nothing was imported, or the features are not built up to the log.
        TooFewRows: not enough mature decisions.
    """
    progress("MLflow")
    registry = open_registry(settings)
    progress("decisions and labels")
    decided = decide(settings, target, as_of)
    tables = feature_tables(settings, decided.snapshot)
    parts = split(decided.at_us, decided.label, target.horizon + decided.grace)
    progress(f"features of {len(decided.label):,} decisions")
    dataset = with_features(store := open_store(settings), decided)
    # One BLAS thread: sums come out in one order whatever the machine, and small ones faster.
    with threadpool_limits(1, user_api="blas"):
        judged = fit_and_judge(target, decided.as_of, dataset, parts, seed, progress)
    test = dataset.take(parts.test)
    gate = judge(
        judged.score,
        judged.baseline_score,
        judged.model.base_rate,
        test.label,
        test.customer,
        seed,
    )
    progress("the run and its model in MLflow")
    trained = Trained(
        decided=decided,
        dataset=dataset,
        dataset_sha256=dataset.sha256(),
        split=parts,
        judged=judged,
        gate=gate,
        seed=seed,
        feature_tables=tables,
    )
    return register(registry, trained, store.get_feature_service(contract.FEATURE_SERVICE))
