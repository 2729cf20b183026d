"""Label windows: what was fitted on was closed at the border, and no feature reaches into them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from training.audit.area import codes_of
from training.audit.evidence import Evidence, Ints, Mask
from training.audit.finding import Check, Finding, Severity
from training.audit.knowledge import exceeded
from training.folds import Split

NAME: Final = "label windows"
ASKS: Final = (
    "Do label windows of fitted rows reach into the rows judged by, or features into them?"
)

_DAY_US: Final = 86_400e6


def check(evidence: Evidence) -> Check:
    """Borders of the split and of the folds; ages that only a later event explains."""
    findings: list[Finding] = []
    for where, fit, judge in _borders(evidence.split):
        findings += _overlap(evidence, where, fit, judge)
    ages = [limit for limit in evidence.limits if limit.is_age]
    for limit in ages:
        findings += exceeded(evidence, limit, "reads an event that was not known", _CURE)
    return Check(
        name=NAME, asks=ASKS, numbers=_numbers(evidence, len(ages)), findings=tuple(findings)
    )


_CURE: Final = (
    "Measure the time from the newest event known at the row's time to that time, not to the time "
    "of labelling."
)


def _borders(split: Split) -> Iterable[tuple[str, Mask, Mask]]:
    yield "development and test", split.development, split.test
    for number, fold in enumerate(split.folds, start=1):
        yield f"the two sides of fold {number}", fold.fit, fold.judge


def _numbers(evidence: Evidence, ages: int) -> dict[str, float]:
    at = evidence.dataset.at_us
    development, test = evidence.split.development, evidence.split.test
    gap = float(at[test].min() - at[development].max()) if test.any() and development.any() else 0
    customer = codes_of(evidence.dataset.customer)
    return {
        "horizon, days": evidence.horizon_us / _DAY_US,
        "grace, days": evidence.grace_us / _DAY_US,
        "embargo held, days": gap / _DAY_US,
        "rows in the embargo": float((~development & ~test).sum()),
        "ages bounded by the log": ages,
        # Overlapping windows of one customer share their events: fewer answers than rows.
        "rows per customer and horizon": _concurrency(customer, at, evidence.horizon_us),
    }


def _concurrency(customer: Ints, at: Ints, horizon_us: int) -> float:
    """Mean number of rows of the same customer decided within one horizon from a row on."""
    order = np.lexsort((at, customer))
    span = int(at.max() - at.min()) + horizon_us + 1 if len(at) else 1
    line = customer[order] * span + (at[order] - at.min())
    inside = np.searchsorted(line, line + horizon_us, side="left") - np.arange(len(line))
    return float(inside.mean()) if len(line) else 0.0


def _overlap(evidence: Evidence, where: str, fit: Mask, judge: Mask) -> list[Finding]:
    """A critical finding when a fitted label was not known at the first judged row's time."""
    if not fit.any() or not judge.any():
        return []
    at = evidence.dataset.at_us
    both = fit & judge
    opens = int(at[judge].min())
    late = fit & (at + evidence.horizon_us + evidence.grace_us > opens)
    if not late.any() and not both.any():
        return []
    codes = codes_of(evidence.dataset.customer)
    shared = np.intersect1d(codes[late], codes[judge])
    text = (
        f"Between {where}: the labels of {int(late.sum()):,} fitted rows were not yet known when "
        f"the first judged row was decided, {len(shared):,} of their customers are judged too"
        f"{f', and {int(both.sum()):,} rows are on both sides' if both.any() else ''}."
    )
    return [
        Finding(
            feature=None,
            kind="label windows overlap the border",
            severity=Severity.CRITICAL,
            evidence=text,
            numbers={
                "rows": float(late.sum()),
                "customers": float(len(shared)),
                "rows_on_both_sides": float(both.sum()),
            },
            cure="Keep an embargo of horizon + grace between rows fitted on and rows judged by.",
        )
    ]
