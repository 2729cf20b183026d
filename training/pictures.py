"""What a person looks at before promoting: ranking, calibration, lift, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from serving.calibrator import FloatArray
from training.gates.paired import Labels

_DPI: int = 110
_GREY: str = "#888888"
Scores = Mapping[str, FloatArray]
"""Scores of the same rows by the name of who gave them; the model itself first."""


def draw_roc(path: Path, scores: Scores, label: Labels, weight: FloatArray) -> None:
    """Hits against false alarms, over all thresholds."""
    figure, axes = _square()
    for name, score in scores.items():
        false, hit, _ = roc_curve(label, score, sample_weight=weight)
        # roc_curve is a step short of 0 or 1 only by rounding.
        axes.plot(false, hit, label=f"{name}, AUC {float(np.trapezoid(hit, false)):.3f}")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="by chance")
    axes.set(xlabel="share of negatives above", ylabel="share of positives above", title="ROC")
    _save(figure, axes, path)


def draw_precision_recall(path: Path, scores: Scores, label: Labels, weight: FloatArray) -> None:
    """Rate among those above each threshold, against how many positives are found."""
    figure, axes = _square()
    rate = float(np.average(label, weights=weight))
    for name, score in scores.items():
        precision, recall, _ = precision_recall_curve(label, score, sample_weight=weight)
        # At a recall of a few rows precision is noise that sets the scale.
        shown = recall >= 0.01
        axes.plot(recall[shown], precision[shown], label=name)
    axes.axhline(rate, color=_GREY, linestyle=":", label=f"rate of all, {rate:.3f}")
    axes.set(
        xlabel="share of positives above (recall)",
        ylabel="rate above (precision)",
        title="Precision and recall",
        ylim=(0, None),
    )
    _save(figure, axes, path)


def draw_calibration(path: Path, scores: Scores, label: Labels, weight: FloatArray) -> None:
    """Observed rate against mean score over ten equally filled bins; the model's with 95 % bars."""
    figure, axes = _square()
    furthest = 0.0
    for number, (name, score) in enumerate(scores.items()):
        bins = np.array(_bins(score, label, weight))
        furthest = max(furthest, float(bins[:, :2].max()))
        bars = 1.96 * bins[:, 2] if number == 0 else None
        axes.errorbar(
            bins[:, 0], bins[:, 1], yerr=bars, fmt="o-", markersize=4, capsize=2, label=name
        )
    axes.plot([0, furthest], [0, furthest], color=_GREY, linestyle=":", label="right")
    axes.set(xlabel="mean score", ylabel="observed rate", title="Calibration on the test period")
    _save(figure, axes, path)


def draw_lift(path: Path, scores: Scores, label: Labels, weight: FloatArray) -> None:
    """Share of all positives that are among the highest scored, and lift of the first of them."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    gain, lift = figure.subplots(1, 2)
    for name, score in scores.items():
        order = np.argsort(-score, kind="stable")
        rows = np.cumsum(weight[order]) / weight.sum()
        hits = np.cumsum((weight * label)[order]) / np.sum(weight * label)
        gain.plot(np.append(0, rows), np.append(0, hits), label=name)
        shown = rows >= 0.01
        lift.plot(rows[shown], (hits / rows)[shown], label=name)
    gain.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="by chance")
    lift.axhline(1, color=_GREY, linestyle=":")
    lift.axvline(0.1, color=_GREY, linewidth=0.8)
    gain.set(xlabel="share contacted, best first", ylabel="share of positives", title="Gain")
    lift.set(xlabel="share contacted, best first", ylabel="times the rate of all", title="Lift")
    lift.set_ylim(bottom=0)
    gain.legend()
    _save(figure, lift, path)


def draw_scores(
    path: Path, score: FloatArray, label: Labels, cuts: Sequence[tuple[str, float]] = ()
) -> None:
    """How the scores are spread, by what happened; `cuts` are names and scores of tier limits."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0.0, max(float(score.max()), 1e-9), 51).tolist()
    both = [score[label == value] for value in (0, 1)]
    axes.hist(both, bins=edges, stacked=True, label=["label 0", "label 1"])
    for name, cut in cuts:
        axes.axvline(cut, color="black", linestyle="--", linewidth=1)
        axes.text(
            cut, 0.98, f" {name}", rotation=90, va="top", transform=axes.get_xaxis_transform()
        )
    axes.set(xlabel="score", ylabel="decisions", title="Scores of the test period")
    _save(figure, axes, path)


def _bins(score: FloatArray, label: Labels, weight: FloatArray) -> list[tuple[float, float, float]]:
    """Mean score, rate and its standard error of ten equally filled bins."""
    found = []
    for rows in np.array_split(np.argsort(score, kind="stable"), min(10, len(score))):
        heavy = weight[rows]
        rate = float(np.average(label[rows], weights=heavy))
        error = float(np.sqrt(np.sum(heavy**2) * rate * (1 - rate)) / heavy.sum())
        found.append((float(np.average(score[rows], weights=heavy)), rate, error))
    return found


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 6), layout="constrained")
    return figure, figure.subplots()


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    axes.legend()
    figure.savefig(path, dpi=_DPI)
