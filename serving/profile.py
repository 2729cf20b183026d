"""What the model saw at launch, kept as histograms that later windows are counted against.

The bins (serving/bins.py) are frozen at launch. Counts over frozen bins can be added, so a day's
histogram is a summand of every window the day lies in, and the launch rows need not be kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.bins import (
    Bins,
    Counts,
    Floats,
    NumberBins,
    TextBins,
    as_numbers,
    is_text,
    number_bins,
    text_bins,
)

FORMAT: Final = 1
QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_LOGIT_EDGE: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Histogram:
    """One column of some rows, counted by frozen bins. A sum of two is that of all their rows."""

    counts: Counts
    #: Exact zeros among the rows.
    zeros: int = 0
    #: Sum and number of the finite values; both 0 for text.
    total: float = 0.0
    finite: int = 0
    #: Rows below the launch minimum and above the launch maximum.
    below: int = 0
    above: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf

    @property
    def rows(self) -> int:
        """Rows counted, nulls included."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean of the finite values; NaN when there are none."""
        return self.total / self.finite if self.finite else math.nan

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(
            self.counts + other.counts,
            self.zeros + other.zeros,
            self.total + other.total,
            self.finite + other.finite,
            self.below + other.below,
            self.above + other.above,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column as it was at launch."""

    bins: Bins
    launch: Histogram
    #: Quantiles of the finite values by probability; empty for text or when there are none.
    quantiles: Mapping[float, float]

    @property
    def is_number(self) -> bool:
        """Whether the column is numeric; otherwise it is text."""
        return isinstance(self.bins, NumberBins)

    @property
    def null_share(self) -> float:
        """Share of launch rows without a value."""
        return null_share(self, self.launch)

    def as_json(self) -> dict[str, Any]:
        """The column as JSON values."""
        launch = self.launch
        shape: dict[str, Any] = (
            {"edges": self.bins.edges.tolist(), "atoms": self.bins.atoms.tolist()}
            if isinstance(self.bins, NumberBins)
            else {"categories": list(self.bins.categories)}
        )
        return {
            "kind": "number" if self.is_number else "text",
            **shape,
            "counts": launch.counts.tolist(),
            "zeros": launch.zeros,
            "total": launch.total,
            "finite": launch.finite,
            "min": launch.minimum if launch.finite else None,
            "max": launch.maximum if launch.finite else None,
            "quantiles": {str(q): value for q, value in self.quantiles.items()},
        }


@dataclass(frozen=True, slots=True)
class LaunchProfile:
    """Everything a later window is compared with."""

    rows: int
    #: Distinct customers among the rows: the independent observations.
    customers: int
    created_at: datetime
    features: Mapping[str, ColumnProfile]
    score: ColumnProfile
    #: The score again, in log-odds: its mean moves visibly where the probability's does not.
    score_logit: ColumnProfile


def launch_profile(
    columns: Mapping[str, npt.NDArray[Any]],
    score: npt.NDArray[Any],
    *,
    customers: int,
    created_at: datetime,
) -> dict[str, Any]:
    """Profile of the rows a model was released on, as one JSON object.

    Args:
        columns: model features by name; text columns as object arrays, None or NaN for missing.
        score: calibrated probabilities of the same rows.
        customers: distinct customers among the rows.
        created_at: when the profile was made, with a timezone.

    Raises:
        ValueError: there are no rows, lengths differ or `created_at` has no timezone.
    """
    if created_at.tzinfo is None:
        message = f"created_at {created_at.isoformat()} has no timezone; pass an aware datetime"
        raise ValueError(message)
    rows = len(score)
    if rows == 0:
        message = "a launch profile of no rows; pass the rows the model was evaluated on"
        raise ValueError(message)
    for name, values in columns.items():
        if len(values) != rows:
            message = f"feature {name} has {len(values)} values for {rows} scores"
            raise ValueError(message)
    return {
        "format": FORMAT,
        "created_at": created_at.isoformat(),
        "rows": rows,
        "customers": customers,
        "features": {name: profile(values).as_json() for name, values in columns.items()},
        "score": profile(score).as_json(),
        "score_logit": profile(logit(score)).as_json(),
    }


def read_profile(document: Mapping[str, Any]) -> LaunchProfile:
    """The profile that `launch_profile` wrote.

    Raises:
        ValueError: the document has another form, or names another format.
    """
    if document.get("format") != FORMAT:
        message = f"launch profile has format {document.get('format')!r}, this reads {FORMAT}"
        raise ValueError(message)
    try:
        return LaunchProfile(
            rows=int(document["rows"]),
            customers=int(document["customers"]),
            created_at=datetime.fromisoformat(document["created_at"]),
            features={name: _column(entry) for name, entry in document["features"].items()},
            score=_column(document["score"]),
            score_logit=_column(document["score_logit"]),
        )
    except (KeyError, TypeError, AttributeError) as exc:
        message = f"launch profile is not complete: {exc!r}"
        raise ValueError(message) from exc


def profile(values: npt.NDArray[Any]) -> ColumnProfile:
    """Bins made from these values, and the values counted by them."""
    bins: Bins = text_bins(values) if is_text(values) else number_bins(values)
    quantiles: dict[float, float] = {}
    if isinstance(bins, NumberBins):
        numbers = as_numbers(values)
        finite = numbers[np.isfinite(numbers)]
        if len(finite):
            found = np.quantile(finite, QUANTILES)
            quantiles = dict(zip(QUANTILES, found.tolist(), strict=True))
    empty = ColumnProfile(bins, Histogram(np.zeros(bins.cells, dtype=np.int64)), quantiles)
    return ColumnProfile(bins, histogram(empty, values), quantiles)


def histogram(column: ColumnProfile, values: npt.NDArray[Any]) -> Histogram:
    """New values of a column, counted by its frozen bins."""
    counts = column.bins.count(values)
    if not column.is_number:
        return Histogram(counts)
    numbers = as_numbers(values)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return Histogram(counts)
    low, high = column.launch.minimum, column.launch.maximum
    known = column.launch.finite > 0
    return Histogram(
        counts,
        zeros=int((finite == 0).sum()),
        total=float(finite.sum()),
        finite=len(finite),
        below=int((finite < low).sum()) if known else 0,
        above=int((finite > high).sum()) if known else 0,
        minimum=float(finite.min()),
        maximum=float(finite.max()),
    )


def null_share(column: ColumnProfile, counted: Histogram) -> float:
    """Share of rows without a value."""
    cell = -2 if column.is_number else -1
    return float(counted.counts[cell] / counted.rows) if counted.rows else 0.0


def logit(score: npt.NDArray[Any]) -> Floats:
    """Log-odds of probabilities; those within 1e-5 of 0 or 1 are taken as that near."""
    clipped = np.clip(as_numbers(score), _LOGIT_EDGE, 1 - _LOGIT_EDGE)
    return np.log(clipped / (1 - clipped))


def _column(entry: Mapping[str, Any]) -> ColumnProfile:
    bins: Bins
    if entry["kind"] == "number":
        bins = NumberBins(np.array(entry["edges"], float), np.array(entry["atoms"], float))
    else:
        bins = TextBins(tuple(entry["categories"]))
    counts = np.array(entry["counts"], dtype=np.int64)
    if len(counts) != bins.cells:
        message = f"launch profile has {len(counts)} counts for {bins.cells} cells"
        raise ValueError(message)
    launch = Histogram(
        counts,
        zeros=int(entry["zeros"]),
        total=float(entry["total"]),
        finite=int(entry["finite"]),
        minimum=math.inf if entry["min"] is None else float(entry["min"]),
        maximum=-math.inf if entry["max"] is None else float(entry["max"]),
    )
    quantiles = {float(q): float(value) for q, value in entry["quantiles"].items()}
    return ColumnProfile(bins, launch, quantiles)
