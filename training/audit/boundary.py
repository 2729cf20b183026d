"""The label's boundary: at T, just inside the horizon and just outside look alike.

Rows whose next event comes shortly before T + horizon have label 1, those whose event comes shortly
after have label 0, and at T nothing tells them apart. A feature whose mean rank jumps there reads
the label's window. The jump is that of a local linear regression on both sides (a regression
discontinuity, Imbens and Lemieux 2008), with errors by customer. Beside it, features that are the
time of the label event itself: constant minus (or plus) it, or in its order.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from training.audit.area import codes_of, rank_correlation, ranks
from training.audit.evidence import Evidence, Floats, Ints, Mask, Timing
from training.audit.finding import Check, Finding, Severity, not_checked

NAME: Final = "label boundary"
ASKS: Final = "Does a feature jump where an event falls in or out of the label's window?"

BAND: Final = 0.5
"""Width of each side, as a share of the horizon."""

LEAST_SIDE: Final = 50
"""Fewest rows on each side, from as many as a fifth of that in customers."""

JUMP: Final = 0.05
"""Jump in mean rank (0 to 1; 0.5 is full separation) that is critical when beyond doubt."""

_Z: Final = 5.0
"""Standard errors a jump must pass: it is asked of every feature."""

_Z_SIZE: Final = 2.0
_IN_ORDER: Final = 0.9
_LEAST_POSITIVES: Final = 40
_UNITS_US: Final = {"seconds": 1e6, "minutes": 60e6, "hours": 3600e6, "days": 86_400e6}


def check(evidence: Evidence) -> Check:
    """Jumps at the boundary, and features in step with the time of the label event."""
    timing = evidence.timing
    if timing is None:
        return not_checked(NAME, ASKS, "The times of label events were not given.")
    names = [name for name in evidence.dataset.columns if name not in evidence.texts]
    until = timing.next_event_us - evidence.dataset.at_us
    customer = codes_of(evidence.dataset.customer)
    near, numbers = _near(evidence, timing, until)
    findings: list[Finding] = []
    note = ""
    if min(numbers.values()) < LEAST_SIDE or _customers(customer, near) < LEAST_SIDE / 5:
        note = (
            f"Too few rows near the boundary to see a jump; {LEAST_SIDE} on each side are needed."
        )
    else:
        findings += _jumps(evidence, names, near, until, customer)
        numbers["features looked at"] = len(names)
    inside = np.isfinite(until) & (until <= evidence.horizon_us)
    numbers["rows with an event in the window"] = float(inside.sum())
    if inside.sum() >= _LEAST_POSITIVES and _customers(customer, inside) >= LEAST_SIDE / 5:
        for name in names:
            findings += _in_step(name, evidence.dataset.columns[name][inside], until[inside])
    return Check(name=NAME, asks=ASKS, numbers=numbers, findings=tuple(findings), note=note)


def _customers(customer: Ints, rows: Ints | Mask) -> int:
    return len(np.unique(customer[rows]))


def _near(evidence: Evidence, timing: Timing, until: Floats) -> tuple[Ints, dict[str, float]]:
    """Rows near the boundary on both sides, of those observed beyond it."""
    horizon, width = evidence.horizon_us, BAND * evidence.horizon_us
    observed = evidence.dataset.at_us + horizon + width <= timing.observed_until_us
    near = observed & (np.abs(until - horizon) < width)
    inside = float((near & (until <= horizon)).sum())
    return np.flatnonzero(near), {
        "rows just inside": inside,
        "rows just outside": float(near.sum()) - inside,
    }


def _jumps(
    evidence: Evidence, names: list[str], near: Ints, until: Floats, customer: Ints
) -> list[Finding]:
    away = (until[near] - evidence.horizon_us) / evidence.horizon_us
    inside = (away <= 0).astype(np.float64)
    design = np.column_stack([np.ones(len(near)), inside, away, inside * away])
    solver = np.linalg.pinv(design)
    units = codes_of(customer[near])
    findings = []
    for name in names:
        rank = ranks(evidence.dataset.columns[name][near])
        fitted = solver @ rank
        influence = solver[1] * (rank - design @ fitted)
        error = float(np.sqrt(np.sum(np.bincount(units, influence) ** 2)))
        jump = float(fitted[1])
        if abs(jump) > _Z * error and abs(jump) - _Z_SIZE * error > JUMP:
            findings.append(_jump(name, jump, error, len(near)))
    return findings


def _jump(name: str, jump: float, error: float, rows: int) -> Finding:
    text = (
        f"Among {rows:,} rows whose next event lies near the end of the label's window, its mean "
        f"rank jumps by {jump:+.2f} (standard error {error:.3f}) where the event falls inside. "
        "At the row's time nobody can know that."
    )
    return Finding(
        feature=name,
        kind="jumps at the label boundary",
        severity=Severity.CRITICAL,
        evidence=text,
        numbers={"jump": jump, "standard_error": error, "rows": rows},
        cure="Its window reaches past the row's time: end it there, by received_time.",
    )


def _in_step(name: str, values: Floats, until: Floats) -> list[Finding]:
    """A critical finding when the feature says when the label event will happen."""
    present = ~np.isnan(values)
    if present.sum() < _LEAST_POSITIVES or np.ptp(values[present]) == 0.0:
        return []
    values, until = values[present], until[present]
    rho = rank_correlation(values, until)
    unit = _unit(values, until)
    slack = 3.0 / np.sqrt(len(values))
    if unit is None and abs(rho) - slack < _IN_ORDER:
        return []
    exact = f"; counted in {unit} it is that time but for a constant" if unit else ""
    text = (
        f"Over {len(values):,} rows with an event in the window its rank correlation with the "
        f"time until that event is {rho:+.2f}{exact}."
    )
    return [
        Finding(
            feature=name,
            kind="says when the label event happens",
            severity=Severity.CRITICAL,
            evidence=text,
            numbers={"rank_correlation": rho, "rows": float(len(values))},
            cure=(
                "It is measured at labelling time. Measure it at the row's time, from events "
                "received by then."
            ),
        )
    ]


def _unit(values: Floats, until: Floats) -> str | None:
    """The unit in which values +- the time until the event hardly vary, where that time does."""
    spread = _iqr(until)
    if spread == 0.0:
        return None
    for unit, us in _UNITS_US.items():
        for sign in (1.0, -1.0):
            if _iqr(values * us + sign * until) < 0.1 * spread:
                return unit
    return None


def _iqr(values: Floats) -> float:
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low)
