"""Faults that leave a mark: a factor at every quantile is a unit, an equal delay is a stale source.

A signature only explains a column that moved; it never decides whether it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.bins import as_numbers

UNITS: Final = (
    (100.0, "money in cents, or a share in percent"),
    (1000.0, "seconds sent as milliseconds, or thousands"),
    (60.0, "hours as minutes, or minutes as seconds"),
    (3600.0, "hours sent as seconds"),
    (24.0, "days sent as hours"),
)
"""Factors that mistaken units leave, and what each usually is."""

FACTOR_SPREAD: Final = 1.35
"""Largest over smallest ratio among the quantiles of a column that counts as one factor."""


def quantile_pairs(
    launch: Mapping[float, float], values: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The quantiles that are above zero on both sides, launch and now."""
    numbers = as_numbers(values)
    finite = numbers[np.isfinite(numbers)]
    # The outermost quantiles of a small window are mostly noise.
    inner = [q for q in launch if 0.05 <= q <= 0.95]
    if not len(finite) or not inner:
        return np.empty(0), np.empty(0)
    before = np.array([launch[q] for q in inner])
    now = np.quantile(finite, inner)
    kept = (before > 0) & (now > 0)
    return before[kept], now[kept]


def factor(launch: Mapping[float, float], values: npt.NDArray[Any]) -> float | None:
    """The one factor between all quantiles, or None when there is none.

    >>> factor({0.25: 1.0, 0.5: 2.0, 0.75: 4.0}, np.array([50.0, 100.0, 200.0, 400.0, 800.0]))
    100.0
    """
    before, now = quantile_pairs(launch, values)
    if len(before) < 2 or before.max() <= before.min():
        return None
    ratios = now / before
    middle = float(np.median(ratios))
    if ratios.max() / ratios.min() > FACTOR_SPREAD:
        return None
    return middle


def delay(launch: Mapping[float, float], values: npt.NDArray[Any]) -> float | None:
    """The one amount by which all quantiles are later, or None when there is none."""
    # The upper quantiles of a long tail are too noisy for a difference.
    lower = {q: value for q, value in launch.items() if q <= 0.5}
    before, now = quantile_pairs(lower, values)
    if len(before) < 3 or before.max() <= before.min():
        return None
    steps = now - before
    middle = float(np.median(steps))
    width = float(before.max() - before.min())
    if middle < 0.02 * width or np.abs(steps - middle).max() > max(0.3 * middle, 0.02 * width):
        return None
    return middle


def explain(name: str, launch: Mapping[float, float], values: npt.NDArray[Any]) -> str | None:
    """What the movement of a column looks like, as a clause; None when it looks like nothing."""
    unit = name_unit(factor(launch, values))
    if unit is not None:
        return unit
    if name.startswith("hours_since_") or name.endswith("_days"):
        later = delay(launch, values)
        if later is not None:
            word = "hours" if name.startswith("hours_") else "days"
            return f"every quantile is later by about {later:.3g} {word}: its source looks stale"
    return None


def name_unit(ratio: float | None) -> str | None:
    """The unit mistake that a factor points to, as a clause."""
    if ratio is None:
        return None
    for unit, meaning in UNITS:
        if abs(np.log(ratio / unit)) < 0.25:
            return (
                f"every quantile is about {unit:.0f} times that at launch: "
                f"a unit changed ({meaning})"
            )
        if abs(np.log(ratio * unit)) < 0.25:
            return (
                f"every quantile is about 1/{unit:.0f} of that at launch: "
                f"a unit changed back ({meaning})"
            )
    if 1.8 < ratio < 2.2:
        return "every quantile has doubled: rows may be counted twice by a join"
    return None
