"""Target encoding: features made of the labels of the very rows they stand in.

A feature that is the label's mean of its group (plain, smoothed, or stretched) holds its own row's
label. Three marks give it away: it equals a smoothed mean of the labels to the last digits; it
agrees with the observed rates better than the labels' own noise allows anything known beforehand;
or, with the own row left out, it falls within each group exactly where the label rises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from training.audit.area import codes_of, distinct_pairs
from training.audit.evidence import Evidence, Floats, Ints, Labels
from training.audit.finding import Check, Finding, Severity

NAME: Final = "target encoding"
ASKS: Final = "Is a feature made of the labels of the rows it stands in?"

_SMOOTHINGS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_EXACT: Final = 1e-9
_UNEXPLAINED: Final = 1e-6
"""Share of a feature's variance a stretched, smoothed mean may leave and still be the feature."""

_LEAST_GROUPS: Final = 10
_LEAST_ROWS: Final = 5
_NOISE_GROUPS: Final = 20
_DEGREE: Final = 3
_NOISE_RATIO: Final = 0.3
_NOISE_CHANCE: Final = 1e-6
_FLIPPED: Final = 0.98

_Group = tuple[str, Ints]


def check(evidence: Evidence) -> Check:
    """Every numeric feature against the label's means of customers, texts and its own values."""
    dataset = evidence.dataset
    groups: list[_Group] = [("the customer", codes_of(dataset.customer))]
    groups += [(name, codes_of(dataset.columns[name])) for name in evidence.texts]
    customer = groups[0][1]
    names = [name for name in dataset.columns if name not in evidence.texts]
    findings: list[Finding] = []
    for name in names:
        values = dataset.columns[name]
        present = ~np.isnan(values)
        if not present.any() or np.ptp(values[present]) == 0.0:
            continue
        found = next(_marks(name, values, present, dataset.label, groups, customer), None)
        findings += [] if found is None else [found]
    return Check(
        name=NAME,
        asks=ASKS,
        numbers={"features": len(names), "groupings": len(groups) + 1, "rows": len(dataset)},
        findings=tuple(findings),
        note=f"Grouped by {', '.join(name for name, _ in groups)} and each feature's own values.",
    )


def _marks(
    name: str,
    values: Floats,
    present: npt.NDArray[np.bool_],
    label: Labels,
    groups: list[_Group],
    customer: Ints,
) -> Iterator[Finding]:
    for by, code in groups:
        flip = _within(values[present], label[present], code[present])
        if abs(flip) > _FLIPPED:
            yield _left_out(name, by, flip)
    own = np.unique(values[present], return_inverse=True)[1].astype(np.int64)
    if _is_pure(own, label[present], customer[present]):
        yield _left_out(name, "its own values", -1.0)
    for by, code in groups:
        first = np.zeros(int(code.max()) + 1)
        first[code] = values
        if present.all() and np.array_equal(first[code], values):
            yield from _mean_of(name, by, first, label, code)
    if own.max() + 1 <= present.sum() / _LEAST_ROWS:
        yield from _mean_of(name, "its own values", np.unique(values[present]), label[present], own)


def _mean_of(name: str, by: str, value: Floats, label: Labels, code: Ints) -> Iterator[Finding]:
    """Whether one value per group is the group's mean of the labels."""
    count = np.bincount(code).astype(np.float64)
    ones = np.bincount(code, label).astype(np.float64)
    base = float(label.mean())
    mean = ones / count
    if len(np.unique(mean)) < 2:
        return
    for smoothing in _SMOOTHINGS:
        smoothed = (ones + smoothing * base) / (count + smoothing)
        if np.max(np.abs(value - smoothed)) < _EXACT:
            yield _in_sample(name, by, f"is the label's mean smoothed by {smoothing:g} rows", 0.0)
            return
    if len(distinct_pairs(codes_of(mean), codes_of(count))[0]) >= _LEAST_GROUPS:
        left = _unexplained(value, ones, count, base)
        if left < _UNEXPLAINED:
            yield _in_sample(name, by, "is a stretched, smoothed mean of the labels", left)
            return
    if len(np.unique(value)) <= _NOISE_GROUPS:
        return
    ratio, chance = _noise(value, mean, count)
    if ratio < _NOISE_RATIO and chance < _NOISE_CHANCE:
        what = f"agrees with the labels' means {1 / max(ratio, 1e-9):.0f} times closer than chance"
        yield _in_sample(name, by, what, ratio)


def _unexplained(value: Floats, ones: Floats, count: Floats, base: float) -> float:
    """Share of the variance that the best stretched, smoothed mean leaves."""

    def left(log_smoothing: float) -> float:
        smoothing = np.exp(log_smoothing)
        smoothed = (ones + smoothing * base) / (count + smoothing)
        correlation = np.corrcoef(value, smoothed)[0, 1] if np.ptp(smoothed) > 0 else 0.0
        return float(1.0 - correlation**2)

    bounds = (np.log(0.01), np.log(100 * float(count.max()) + 100))
    grid = np.linspace(*bounds, 12)
    best = min(grid, key=left)
    step = grid[1] - grid[0]
    found = minimize_scalar(left, bounds=(best - step, best + step), method="bounded")
    return min(left(np.log(1e-9)), float(found.fun))


def _noise(value: Floats, mean: Floats, count: Floats) -> tuple[float, float]:
    """Scatter of the groups' rates around a curve of the feature, over what chance must leave.

    Honest features leave at least the binomial noise of the rates: a ratio of 1 or more.
    """
    curve = np.polynomial.Polynomial.fit(value, mean, _DEGREE, w=np.sqrt(count))
    expected = np.clip(curve(value), 1e-6, 1 - 1e-6)
    usable = np.minimum(count * expected, count * (1 - expected)) >= 3
    freedom = int(usable.sum()) - _DEGREE - 1
    if freedom < _NOISE_GROUPS:
        return 1.0, 1.0
    scatter = count * (mean - expected) ** 2 / (expected * (1 - expected))
    total = float(scatter[usable].sum())
    return total / freedom, float(chi2.cdf(total, freedom))


def _within(values: Floats, label: Labels, code: Ints) -> float:
    """Mean correlation of feature and label inside groups with enough rows of both labels."""
    count = np.bincount(code)
    ones = np.bincount(code, label)
    usable = (count >= _LEAST_ROWS) & (ones > 0) & (ones < count)
    if usable.sum() < 2 or count[usable].sum() < 4 * _LEAST_ROWS:
        return 0.0
    safe = np.maximum(count, 1)
    away = values - (np.bincount(code, values) / safe)[code]
    off = label - (ones / safe)[code]
    both = np.bincount(code, away * off)
    scale = np.sqrt(np.bincount(code, away**2) * np.bincount(code, off**2))
    inside = usable & (scale > 1e-12)
    if inside.sum() < usable.sum() / 2:
        return 0.0
    return float(np.average(both[inside] / scale[inside], weights=count[inside]))


def _is_pure(own: Ints, label: Labels, customer: Ints) -> bool:
    """Whether every frequent value has one label only, of many customers, and both labels occur."""
    customers = np.bincount(distinct_pairs(own, customer)[0], minlength=int(own.max()) + 1)
    frequent = customers >= _LEAST_ROWS
    if frequent.sum() < 4:
        return False
    mean = (np.bincount(own, label) / np.bincount(own))[frequent]
    return bool(
        ((mean == 0) | (mean == 1)).all() and (mean == 0).sum() >= 2 and (mean == 1).sum() >= 2
    )


def _in_sample(name: str, by: str, what: str, left: float) -> Finding:
    return _finding(name, "target encoding", f"Grouped by {by} it {what}.", {"left": left})


def _left_out(name: str, by: str, correlation: float) -> Finding:
    text = (
        f"Within groups of {by} its correlation with the label is {correlation:+.3f}: it is made "
        "of the group's labels with the own row's taken out, which spells out the label."
    )
    return _finding(name, "leave-one-out target encoding", text, {"correlation": correlation})


def _finding(name: str, kind: str, text: str, numbers: dict[str, Any]) -> Finding:
    return Finding(
        feature=name,
        kind=kind,
        severity=Severity.CRITICAL,
        evidence=text,
        numbers=numbers,
        cure=(
            "Leave it out, or encode by labels that were mature before the row's time "
            "(event time + horizon + grace <= the row's time)."
        ),
    )
