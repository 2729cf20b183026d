"""The scoring runtime: what training logs and evaluates with, and what serving serves.

A model is a folder of JSON and text, readable without MLflow, Feast or pickle:

    spec.json       features in order, levels of text features, estimator, calibrator, origin
    booster.txt     the trees of LightGBM, when the estimator has them
    xgboost.json    the trees of XGBoost, when the estimator has them
    examples.json   rows and their scores, recomputed at every load
    manifest.json   SHA-256 of the files above
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from feature_repo.errors import ForesendError
from serving.attribution import Explanation, explanation
from serving.calibrator import Calibrator, FloatArray, calibrator_from_json
from serving.encoder import Columns, Encoder
from serving.estimators import Estimator, read_estimator
from serving.kernels.libraries import EngineFailed

SCHEMA_VERSION: Final = 1
SPEC: Final = "spec.json"
EXAMPLES: Final = "examples.json"
MANIFEST: Final = "manifest.json"

TOLERANCE: Final = 1e-12
"""How far an example may be off: exp and log1p differ in their last bit between processors."""

REASONS_WITHIN: Final = 1e-9
"""How far the reasons of a score may miss it."""

_NEIGHBOURS: Final = 8
"""Copies of a row among which it is scored; more than an engine scores one by one."""


class ModelUnusable(ForesendError):
    """A model folder is damaged, incomplete, or made for another version of Foresend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringModel:
    """One model, complete: named feature columns in, calibrated probabilities out. Thread-safe."""

    target: str
    feature_service: str
    encoder: Encoder
    estimator: Estimator
    calibrator: Calibrator
    #: Newest knowledge time the training rows' labels were read at, ISO 8601.
    trained_through: str
    #: Share of positive labels among the training rows.
    base_rate: float
    #: `{"columns": {feature: values}, "scores": [...]}`; see `with_examples`.
    examples: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Every column `predict` needs."""
        return self.encoder.features

    @property
    def categorical(self) -> tuple[str, ...]:
        """The features that are texts."""
        return tuple(name for name in self.encoder.features if name in self.encoder.categories)

    @property
    def estimator_kind(self) -> str:
        """`logistic`, `lightgbm`, `xgboost` or `blend`."""
        return self.estimator.kind

    def raw(self, columns: Columns) -> FloatArray:
        """Log-odds before calibration.

        Raises:
            ModelUnusable: a feature of the model is not among the columns.
        """
        return self.estimator.margin(self._matrix(columns), self.encoder.features)

    def contributions(self, columns: Columns) -> FloatArray:
        """What each feature of `feature_names` adds to each row's log-odds before calibration.

        The last column is what all rows share; a row's values sum to its `raw`, but for rounding.

        Raises:
            ModelUnusable: a feature of the model is not among the columns.
        """
        return self.estimator.contributions(self._matrix(columns), self.encoder.features)

    def _matrix(self, columns: Columns) -> FloatArray:
        try:
            return self.encoder.matrix(columns)
        except KeyError as exc:
            message = (
                f"Model of {self.target!r} needs features that were not given: {exc.args[0]}. "
                f"It was trained with feature service {self.feature_service!r}; serve that one."
            )
            raise ModelUnusable(message) from exc

    def predict(self, columns: Columns) -> FloatArray:
        """Probability of the target for each row. Columns are taken by name; others are ignored.

        Raises:
            ModelUnusable: a feature of the model is not among the columns.
        """
        return self.score_matrix(self._matrix(columns))

    def score_matrix(self, matrix: FloatArray) -> FloatArray:
        """Probability of the target for each row of a matrix of the encoder or a MatrixReader."""
        return self.calibrator.apply(self.estimator.margin(matrix, self.encoder.features))

    def explain(self, matrix: FloatArray) -> Explanation:
        """What each feature adds to each row's probability; see `serving.attribution`."""
        margin, parts = self.estimator.reasons(matrix, self.encoder.features)
        return explanation(margin, parts, self.calibrator, self.estimator.method)

    def with_examples(self, columns: Columns) -> ScoringModel:
        """The same model, carrying these rows and their scores to check itself at load."""
        kept = {name: _plain(columns[name].tolist()) for name in self.feature_names}
        scores = self.predict(_unplain(kept, self.categorical)).tolist()
        return ScoringModel(
            target=self.target,
            feature_service=self.feature_service,
            encoder=self.encoder,
            estimator=self.estimator,
            calibrator=self.calibrator,
            trained_through=self.trained_through,
            base_rate=self.base_rate,
            examples={"columns": kept, "scores": scores},
        )

    def check(self) -> None:
        """Recompute the examples, among others and one by one, and their reasons.

        Raises:
            ModelUnusable: a score is not the one that was logged or depends on its neighbours, or
                the reasons do not sum to it.
        """
        # A row of which nothing is known is scored whatever the examples hold.
        rows = np.full((1, len(self.feature_names)), np.nan)
        if self.examples:
            columns = _unplain(self.examples["columns"], self.categorical)
            rows = np.concatenate((rows, self.encoder.matrix(columns)))
        # The calls for one row and for many are different ones.
        scores = self.score_matrix(np.repeat(rows, _NEIGHBOURS, axis=0))[::_NEIGHBOURS]
        if self.examples:
            self._check_logged(scores[1:])
        alone = [self.score_matrix(rows[at : at + 1])[0] for at in range(len(rows))]
        if alone != scores.tolist():
            message = f"Model of {self.target!r} scores a row differently among others than alone."
            raise ModelUnusable(message)
        reasons = self.explain(rows)
        off = np.abs(reasons.base + reasons.points.sum(axis=1) - scores)
        # Not a number is not within anything.
        if not (off <= REASONS_WITHIN).all():
            message = f"The reasons of the model of {self.target!r} do not sum to its scores."
            raise ModelUnusable(message)

    def _check_logged(self, scores: FloatArray) -> None:
        expected = np.asarray(self.examples["scores"], dtype=np.float64)
        if scores.shape != expected.shape or np.max(np.abs(scores - expected)) > TOLERANCE:
            message = (
                f"Model of {self.target!r} does not reproduce its own examples: it was damaged, "
                "or this installation reads it otherwise. Train it again with this installation."
            )
            raise ModelUnusable(message)

    def save(self, folder: Path) -> None:
        """Write the model; the folder is created."""
        folder.mkdir(parents=True, exist_ok=True)
        spec: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "target": self.target,
            "feature_service": self.feature_service,
            "features": list(self.encoder.features),
            "categories": {k: list(v) for k, v in self.encoder.categories.items()},
            "estimator": self.estimator_kind,
            "calibrator": self.calibrator.to_json(),
            "trained_through": self.trained_through,
            "base_rate": self.base_rate,
        }
        spec |= self.estimator.to_spec()
        files = {EXAMPLES: json.dumps(self.examples, allow_nan=False)}
        files |= self.estimator.texts()
        files[SPEC] = json.dumps(spec, indent=1, allow_nan=False)
        for name, text in files.items():
            (folder / name).write_text(text)
        hashes = {name: _sha256((folder / name).read_bytes()) for name in sorted(files)}
        (folder / MANIFEST).write_text(json.dumps(hashes, indent=1))

    @classmethod
    def load(cls, folder: Path) -> ScoringModel:
        """The model in a folder, after it reproduced its own examples.

        Raises:
            ModelUnusable: a file is missing or changed, the version is another one, the trees do
                not read the listed features, or an example comes out otherwise.
        """
        try:
            files = _verified(folder)
            spec = json.loads(files[SPEC])
            if spec["schema_version"] != SCHEMA_VERSION:
                message = f"schema_version {spec['schema_version']}, not {SCHEMA_VERSION}"
                raise ValueError(message)
            model = cls(
                target=spec["target"],
                feature_service=spec["feature_service"],
                encoder=_encoder(spec),
                estimator=read_estimator(spec, files),
                calibrator=calibrator_from_json(spec["calibrator"]),
                trained_through=spec["trained_through"],
                base_rate=float(spec["base_rate"]),
                examples=json.loads(files[EXAMPLES]),
            )
        except (OSError, KeyError, ValueError, TypeError, EngineFailed) as exc:
            message = f"Model folder {folder} cannot be used: {exc}. Train or download it again."
            raise ModelUnusable(message) from exc
        model.check()
        return model


def _verified(folder: Path) -> dict[str, str]:
    """The files of the manifest, each with the hash it was written with."""
    hashes = json.loads((folder / MANIFEST).read_text())
    files = {}
    for name, expected in hashes.items():
        content = (folder / name).read_bytes()
        if _sha256(content) != expected:
            message = f"{name} is not the file that was written"
            raise ValueError(message)
        files[name] = content.decode()
    return files


def _encoder(spec: Mapping[str, Any]) -> Encoder:
    features = tuple(spec["features"])
    categories = {name: tuple(levels) for name, levels in spec["categories"].items()}
    if len(set(features)) != len(features) or not set(categories) <= set(features):
        message = "the feature list repeats a name or lacks a text feature"
        raise ValueError(message)
    return Encoder(features, categories)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _plain(values: Sequence[Any]) -> list[Any]:
    """As JSON holds them: missing and infinite numbers become null."""
    return [None if isinstance(v, float) and not np.isfinite(v) else v for v in values]


def _unplain(columns: Mapping[str, Sequence[Any]], texts: Sequence[str]) -> Columns:
    return {
        name: np.array(values, dtype=object if name in texts else np.float64)
        for name, values in columns.items()
    }
