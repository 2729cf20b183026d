"""What a person looks at before promoting: calibration, scores, and what the model uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from serving.calibrator import FloatArray
from serving.model import ScoringModel
from training.evaluation import calibration_curve

_TOP: int = 25


def draw_calibration(
    path: Path, score: FloatArray, baseline: FloatArray, label: npt.NDArray[np.int8]
) -> None:
    """Observed rate against mean score, over equally filled bins, beside the baseline."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    furthest = 0.0
    for name, scores in (("model", score), ("baseline", baseline)):
        bins = calibration_curve(scores, label)
        furthest = max(furthest, *(max(b["score"], b["rate"]) for b in bins))
        axes.plot([b["score"] for b in bins], [b["rate"] for b in bins], "o-", label=name)
    axes.plot([0, furthest], [0, furthest], color="grey", linestyle=":", label="right")
    axes.set(xlabel="mean score", ylabel="observed rate", title="Calibration on the test period")
    axes.legend()
    figure.savefig(path)


def draw_scores(path: Path, score: FloatArray, label: npt.NDArray[np.int8]) -> None:
    """How the scores are spread, by what happened."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0.0, max(float(score.max()), 1e-9), 51).tolist()
    for value in (0, 1):
        axes.hist(score[label == value], bins=edges, alpha=0.6, label=f"label {value}")
    axes.set(xlabel="score", ylabel="decisions", title="Scores of the test period")
    axes.legend()
    figure.savefig(path)


def draw_importance(path: Path, importance: Sequence[tuple[str, float]]) -> None:
    """The features that weigh most."""
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    top = importance[:_TOP][::-1]
    axes.barh([name for name, _ in top], [share for _, share in top])
    axes.set(xlabel="share", title="What the model uses")
    figure.savefig(path)


def importance_of(model: ScoringModel) -> list[tuple[str, float]]:
    """Share of each feature, greatest first: of the gain of trees, or of the weights."""
    if isinstance(model.estimator, lightgbm.Booster):
        gain = model.estimator.feature_importance("gain")
        raw = dict(zip(model.feature_names, gain.tolist(), strict=True))
    else:
        raw = {
            **{term.feature: abs(term.weight) for term in model.estimator.numbers},
            **{
                term.feature: max((abs(weight) for weight in term.weights), default=0.0)
                for term in model.estimator.levels
            },
        }
    whole = sum(raw.values()) or 1.0
    return sorted(((k, v / whole) for k, v in raw.items()), key=lambda item: (-item[1], item[0]))
