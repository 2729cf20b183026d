"""What the model uses: its contributions to the scores of some test rows, drawn and ranked.

A contribution is what a feature adds to a row's log-odds: SHAP values for trees, the terms of a
regression against their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from serving.calibrator import FloatArray
from serving.model import ScoringModel
from training.dataset import Columns, Dataset

SAMPLE_ROWS: Final = 2_000
TOP: Final = 20

_DPI: Final = 110
_UNKNOWN: Final = "#b0b0b0"
_LANES: Final = 40
"""Bins along one feature; points that share one are moved apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributions:
    """Contributions of every feature to some rows, and those rows."""

    features: tuple[str, ...]
    #: (rows, features), in log-odds.
    values: FloatArray
    columns: Columns

    def importance(self) -> list[tuple[str, float]]:
        """Share of each feature in the mean size of the contributions, greatest first."""
        size = np.abs(self.values).mean(axis=0)
        whole = float(size.sum()) or 1.0
        shares = zip(self.features, (size / whole).tolist(), strict=True)
        return sorted(shares, key=lambda item: (-item[1], item[0]))


def attributions(model: ScoringModel, test: Dataset, seed: int) -> Attributions:
    """Contributions to at most SAMPLE_ROWS of the test rows, taken at random."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(test))[:SAMPLE_ROWS])
    sample = test.take(rows)
    columns = sample.columns | sample.context
    return Attributions(
        features=model.feature_names,
        # The last column is what all rows share.
        values=model.contributions(columns)[:, : len(model.feature_names)],
        columns={name: columns[name] for name in model.feature_names},
    )


def draw_importance(path: Path, importance: Sequence[tuple[str, float]]) -> None:
    """The features that weigh most."""
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    top = [item for item in importance[:TOP] if item[1] > 0][::-1]
    axes.barh([name for name, _ in top], [share for _, share in top])
    axes.set(xlabel="share of the mean contribution", title="What the model uses")
    figure.savefig(path, dpi=_DPI)


def draw_summary(path: Path, found: Attributions) -> None:
    """One point per row and feature: where it moved the score, coloured by the feature's value."""
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    top = [name for name, share in found.importance()[:TOP] if share > 0][::-1]
    points = None
    for lane, name in enumerate(top):
        moved = found.values[:, found.features.index(name)]
        height = lane + _apart(moved)
        rank = _rank(found.columns[name])
        known = ~np.isnan(rank)
        axes.scatter(moved[~known], height[~known], s=4, color=_UNKNOWN, linewidths=0)
        points = axes.scatter(
            moved[known],
            height[known],
            s=4,
            c=rank[known],
            cmap="coolwarm",
            vmin=0,
            vmax=1,
            linewidths=0,
        )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(top)), top)
    axes.set_ylim(-0.7, len(top) - 0.3)
    axes.set(xlabel="moves the log-odds by", title="Contributions to the scores of test rows")
    if points is not None:
        bar = figure.colorbar(points, ax=axes, ticks=[0, 1], aspect=40)
        bar.set_ticklabels(["low", "high"])
        bar.set_label("value of the feature (grey: missing or text)")
    figure.savefig(path, dpi=_DPI)


def _apart(moved: FloatArray) -> FloatArray:
    """Offsets within a lane: points that lie together are spread in turn above and below."""
    width = float(np.ptp(moved)) or 1.0
    place = np.floor((moved - moved.min()) / width * _LANES).astype(np.int64)
    order = np.argsort(place, kind="stable")
    counts = np.bincount(place)
    within = np.empty(len(moved))
    within[order] = np.concatenate([np.arange(count) for count in counts])
    sign = np.where(within % 2 == 0, 1.0, -1.0)
    return np.asarray(0.4 * sign * within / max(1, int(counts.max())), dtype=np.float64)


def _rank(values: npt.NDArray[Any]) -> FloatArray:
    """Place of each number among the known ones, from 0 to 1; NaN for texts and missing."""
    if values.dtype == object:
        return np.full(len(values), np.nan)
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return np.full(len(values), np.nan)
    middle = (np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / 2
    return np.where(np.isnan(values), np.nan, middle / len(known))
