"""No group of customers pays for the others' gain: log-loss against the champion's, by segment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.calibrator import FloatArray
from training.dataset import Dataset
from training.evaluation import log_losses
from training.gates.paired import Codes, Mean, chance_above, clustered_mean, holm
from training.gates.report import Row, Verdict
from training.promotion import Margins

TEXTS: Final = ("mailbox_provider", "country")
TENURE: Final = "tenure_days"
TENURE_EDGES: Final = (30.0, 180.0, 365.0)

MOST_LEVELS: Final = 8
LEAST_OF_LABEL: Final = 30
"""Fewest rows of each label in a segment that can be judged."""

SIGNIFICANT: Final = 0.05


def segment_rows(
    test: Dataset,
    challenger: FloatArray,
    champion: FloatArray,
    codes: Codes,
    *,
    margins: Margins,
) -> list[Row]:
    """One row per segment. Fails where the loss beyond the margin is significant after Holm.

    A segment that is too small is `inconclusive` and blocks nothing: the whole is judged too.
    """
    ours, theirs = log_losses(challenger, test.label), log_losses(champion, test.label)
    judged: list[tuple[str, Mean, float]] = []
    rows: list[Row] = []
    for name, mask in segments(test):
        positives = int(test.label[mask].sum())
        if min(positives, int(mask.sum()) - positives) < LEAST_OF_LABEL:
            rows.append(_too_small(name, int(mask.sum()), positives))
            continue
        weight = test.weight[mask]
        difference = clustered_mean((ours - theirs)[mask], weight, codes[mask])
        judged.append((name, difference, float(np.average(theirs[mask], weights=weight))))
    chances = holm([chance_above(mean, margins.log_loss * before) for _, mean, before in judged])
    rows += [
        _judged(name, mean, before, chance, margins.log_loss)
        for (name, mean, before), chance in zip(judged, chances, strict=True)
    ]
    return sorted(rows, key=lambda row: row.name)


def segments(test: Dataset) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Name and rows of every segment of every dimension the columns have."""
    for column in TEXTS:
        if column in test.columns:
            yield from _levels(column, test.columns[column])
    if TENURE in test.columns:
        values = test.columns[TENURE]
        place = np.where(np.isnan(values), -1, np.searchsorted(TENURE_EDGES, values, "right"))
        names = ["to_30d", "to_180d", "to_365d", "longer", "unknown"]
        for number, name in zip((0, 1, 2, 3, -1), names, strict=True):
            if np.any(place == number):
                yield f"segment.tenure.{name}", place == number


def _levels(column: str, values: npt.NDArray[Any]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """The most frequent texts, and all others together; missing is a level of its own."""
    known = np.array(["unknown" if value is None else str(value) for value in values])
    level, count = np.unique(known, return_counts=True)
    if len(level) == 1:
        return
    kept = [str(level[i]) for i in np.argsort(-count, kind="stable")[:MOST_LEVELS]]
    for name in kept:
        yield f"segment.{column}.{_word(name)}", known == name
    if len(level) > len(kept):
        yield f"segment.{column}.others", ~np.isin(known, kept)


def _word(text: str) -> str:
    """A text as MLflow takes it in a metric's name."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in text)[:40]


def _too_small(name: str, rows: int, positives: int) -> Row:
    return Row(
        name=name,
        verdict=Verdict.INCONCLUSIVE,
        limit=f">= {LEAST_OF_LABEL} of each label",
        detail=f"{rows:,} rows, {positives:,} positive: too few to judge alone",
        is_blocking=False,
    )


def _judged(name: str, mean: Mean, before: float, chance: float, margin: float) -> Row:
    is_worse = chance < SIGNIFICANT
    reach = 1.645 * mean.error
    return Row(
        name=name,
        verdict=Verdict.FAILED if is_worse else Verdict.PASSED,
        value=mean.value / before,
        lo=(mean.value - reach) / before,
        hi=(mean.value + reach) / before,
        limit=f"log-loss not significantly over {margin:.2%} of the champion's",
        detail=f"{name} loses {mean.value / before:.1%} of log-loss (adjusted p {chance:.3f})"
        if is_worse
        else "",
    )
