"""The version that is served now, loaded to be run beside its challenger."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import mlflow.artifacts
import numpy as np
import numpy.typing as npt
from mlflow.exceptions import MlflowException

from serving.calibrator import FloatArray
from serving.model import ModelUnusable, ScoringModel
from training.dataset import Dataset
from training.package import RUNTIME
from training.reading import to_us
from training.registry import CHAMPION, Registry

TEST_STARTS: Final = "test_starts"
"""Tag of a version: the first decision it did not learn from, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """A served version and its runtime."""

    version: str
    model: ScoringModel
    #: Decisions from this time on were not learned from, nor were labels of their period.
    unseen_from_us: int
    #: Rows it was trained and judged on; None when its run is gone.
    rows: float | None

    def unseen(self, test: Dataset) -> npt.NDArray[np.bool_]:
        """The test rows it may be judged on."""
        mask: npt.NDArray[np.bool_] = test.at_us >= self.unseen_from_us
        return mask

    def score(self, test: Dataset) -> FloatArray:
        """Its probabilities of the rows.

        Raises:
            ModelUnusable: it needs a feature that the rows do not have.
        """
        return self.model.predict(test.columns | test.context)


def load_champion(registry: Registry, target: str) -> Champion | None:
    """The champion of a target; None when there is none.

    Raises:
        ModelUnusable: its files are gone, damaged, or made for another Foresend.
    """
    number = registry.aliases(target).get(CHAMPION)
    if number is None:
        return None
    with registry.answering():
        version = registry.client.get_model_version(target, number)
    model = load_version(registry, target, number)
    starts = version.tags.get(TEST_STARTS) or model.trained_through
    return Champion(
        version=number,
        model=model,
        unseen_from_us=to_us(datetime.fromisoformat(starts)),
        rows=registry.metrics(version.run_id).get("rows"),
    )


def load_version(registry: Registry, target: str, number: str) -> ScoringModel:
    """The runtime of a version, after it reproduced its own examples.

    Raises:
        ModelUnusable: its files are gone, damaged, or made for another Foresend.
    """
    with tempfile.TemporaryDirectory(prefix="foresend-version-") as folder:
        try:
            found = mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{target}/{number}/{RUNTIME}",
                dst_path=folder,
                tracking_uri=registry.uri,
                registry_uri=registry.uri,
            )
        except (MlflowException, OSError) as exc:
            message = (
                f"The files of {target} version {number} cannot be had from MLflow: {exc}. "
                f"Train it again with `foresend train {target}`."
            )
            raise ModelUnusable(message) from exc
        return ScoringModel.load(Path(found))
