"""The scored rows stored with a version, and what the served model says of them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any, Final

import mlflow.artifacts
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from mlflow.exceptions import MlflowException

from feature_repo.errors import NotReady
from serving.model import ModelUnusable
from training.gates.champion import load_version
from training.package import LAUNCH
from training.registry import Registry
from training.tiers.method import ScoredRows
from training.tiers.propose import InForce
from training.tiers.standing import Standing, policy_in_force

_SAMPLE: Final = f"{LAUNCH}/sample.parquet"


@dataclass(frozen=True, slots=True)
class Sample:
    """Scored rows of a version with the features other versions can score them by."""

    rows: ScoredRows
    columns: dict[str, npt.NDArray[Any]]


def stored_sample(registry: Registry, standing: Standing) -> Sample:
    """The scored rows stored with a version.

    Raises:
        NotReady: it has none that can be read.
        StoreUnavailable: MLflow does not answer.
    """
    target, number = standing.target, standing.number
    with tempfile.TemporaryDirectory(prefix="foresend-tiers-") as folder:
        try:
            found = mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{target}/{number}/{_SAMPLE}",
                dst_path=folder,
                tracking_uri=registry.uri,
                registry_uri=registry.uri,
            )
            table = pq.read_table(found)
        except (MlflowException, OSError, ValueError) as exc:
            message = (
                f"{target} version {number} has no readable {_SAMPLE} ({exc}). Train it again "
                f"with `foresend train {target}`."
            )
            raise NotReady(message) from exc
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    score = columns.pop("score").astype(np.float64)
    size = len(score)
    label = columns.pop("label", None)
    return Sample(
        ScoredRows(
            score=score,
            weight=columns.pop("weight", np.ones(size)).astype(np.float64),
            customer=columns.pop("customer", np.arange(size)).astype(np.int64),
            label=None if label is None else label.astype(np.float64),
        ),
        columns,
    )


def in_force_for(registry: Registry, standing: Standing, sample: Sample) -> InForce | None:
    """The policy in force and the champion's scores of the sample, as far as they can be had."""
    policy, champion = policy_in_force(registry, standing.target)
    if policy is None or champion is None:
        return None
    if champion == standing.number:
        return InForce(policy, sample.rows.score)
    try:
        model = load_version(registry, standing.target, champion)
    except ModelUnusable:
        return InForce(policy)
    if not set(model.feature_names) <= set(sample.columns):
        return InForce(policy)
    return InForce(policy, model.predict(sample.columns))
