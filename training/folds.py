"""How rows are parted by time: a last period that nothing is fitted on, and folds before it.

Between what is fitted and what it is judged by lies an embargo of horizon plus grace: the labels
fitted on were all known when the first row judged by was decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feature_repo.errors import ForesendError
from training.reading import from_us

TEST_SHARE: Final = 0.2
"""Share of the time between the first and the last decision that is kept for the test."""

FOLDS: Final = 4
FIRST_FIT_SHARE: Final = 0.3
"""Share of the time open to folds that the first of them fits on."""

LEAST_POSITIVES: Final = 30
"""Fewest labels of each kind before the test period."""

LEAST_TEST_POSITIVES: Final = 10
LEAST_FOLD_POSITIVES: Final = 10

Mask = npt.NDArray[np.bool_]


class TooFewRows(ForesendError):
    """There are not enough mature decisions to fit a model and to judge it."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows to fit on and later rows to judge by."""

    fit: Mask
    judge: Mask


@dataclass(frozen=True, slots=True)
class Split:
    """All rows parted. Rows in the embargo before the test are in neither part."""

    development: Mask
    test: Mask
    #: Expanding: each fits on everything known before the rows it judges by.
    folds: tuple[Fold, ...]
    test_starts_us: int

    def describe(self, at_us: npt.NDArray[np.int64]) -> dict[str, Any]:
        """The parts in words: rows and times of each."""
        return {
            "test": _span(at_us, self.test),
            "development": _span(at_us, self.development),
            "folds": [
                {"fit": _span(at_us, fold.fit), "judge": _span(at_us, fold.judge)}
                for fold in self.folds
            ],
        }


def split(at_us: npt.NDArray[np.int64], label: npt.NDArray[np.int8], embargo: timedelta) -> Split:
    """Part the rows by decision time.

    Raises:
        TooFewRows: a part would have too few rows of a label; the message gives the numbers.
    """
    _need("mature decisions", label, LEAST_POSITIVES + LEAST_TEST_POSITIVES)
    gap = embargo // timedelta(microseconds=1)
    first, last = int(at_us.min()), int(at_us.max())
    test_starts = _first_at_or_after(at_us, first + (last - first) * (1 - TEST_SHARE))
    test = at_us >= test_starts
    development = at_us + gap <= test_starts
    span = f"the decisions span {_days(last - first)} days, the embargo is {_days(gap)}"
    _need("decisions in the test period", label[test], LEAST_TEST_POSITIVES, span)
    _need("decisions before the test period", label[development], LEAST_POSITIVES, span)
    folds = _folds(at_us, label, development, gap)
    if not folds:
        message = (
            f"No fold can be made before the test period: {span}. Decisions over at least three "
            "times the embargo are needed, with both labels among them; import more history, or "
            "declare a shorter horizon_days."
        )
        raise TooFewRows(message)
    return Split(development, test, folds, test_starts)


def _folds(
    at_us: npt.NDArray[np.int64], label: npt.NDArray[np.int8], development: Mask, gap: int
) -> tuple[Fold, ...]:
    """As many folds as have enough rows, FOLDS at most, equally long in time."""
    times = at_us[development]
    first, last = int(times.min()), int(times.max())
    opens = first + gap
    opens += round((last - opens) * FIRST_FIT_SHARE)
    for count in range(FOLDS, 0, -1):
        edges = np.linspace(opens, last + 1, count + 1).round().astype(np.int64)
        made = tuple(
            Fold(
                fit=at_us + gap <= _first_at_or_after(at_us, begins),
                judge=development & (at_us >= begins) & (at_us < ends),
            )
            for begins, ends in pairwise(edges.tolist())
            if begins <= last
        )
        if made and all(_is_enough(label[f.fit]) and _is_enough(label[f.judge]) for f in made):
            return made
    return ()


def _is_enough(label: npt.NDArray[np.int8]) -> bool:
    positives = int(label.sum())
    return min(positives, len(label) - positives) >= LEAST_FOLD_POSITIVES


def _first_at_or_after(at_us: npt.NDArray[np.int64], time: float) -> int:
    """The first decision time not before `time`."""
    return int(at_us[at_us >= time].min())


def _need(what: str, label: npt.NDArray[np.int8], least: int, span: str = "") -> None:
    positives = int(label.sum())
    negatives = len(label) - positives
    if min(positives, negatives) < least:
        message = (
            f"Too few {what}: {positives} with label 1 and {negatives} with label 0; at least "
            f"{least} of each are needed{f' ({span})' if span else ''}. Import more history, or "
            "declare a shorter horizon_days."
        )
        raise TooFewRows(message)


def _days(us: int) -> str:
    return f"{us / 86_400e6:.1f}"


def _span(at_us: npt.NDArray[np.int64], rows: Mask) -> dict[str, Any]:
    times = at_us[rows]
    return {
        "rows": int(rows.sum()),
        "first": from_us(int(times.min())).isoformat(),
        "last": from_us(int(times.max())).isoformat(),
    }
