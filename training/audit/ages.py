"""Impossible values: ages below zero, and times that lie after the row's own."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from training.audit.evidence import Evidence, Floats, Ints
from training.audit.finding import Check, Finding, Severity

NAME: Final = "impossible values"
ASKS: Final = "Does an age lie below zero, a time after the row's, or a value beyond all bounds?"

_AGE: Final = re.compile(r"(^|_)(since|tenure|recency|age)(_|$)")
_TIME: Final = re.compile(r"(_at|_time|_timestamp)$")
_SECOND: Final = (5e8, 5e9)
"""Between these, numbers are epoch seconds of 1985 to 2128."""


def check(evidence: Evidence) -> Check:
    """Ages and times by their names; what they say against the row's time."""
    findings: list[Finding] = []
    ages = times = 0
    for name, values in evidence.dataset.columns.items():
        if name in evidence.texts:
            continue
        findings += _infinite(name, values)
        if _AGE.search(name):
            ages += 1
            findings += _negative(name, values)
        elif _TIME.search(name):
            times += 1
            findings += _later(name, values, evidence.dataset.at_us)
    return Check(
        name=NAME,
        asks=ASKS,
        numbers={"ages": ages, "times": times, "rows": len(evidence.dataset)},
        findings=tuple(findings),
        note="Ages and times are known by their names: since, tenure, recency, age; _at, _time.",
    )


def _infinite(name: str, values: Floats) -> list[Finding]:
    rows = int(np.isinf(values).sum())
    if not rows:
        return []
    return [
        Finding(
            feature=name,
            kind="infinite values",
            severity=Severity.WARNING,
            evidence=f"{rows:,} of {len(values):,} rows hold an infinite value.",
            numbers={"rows": rows},
            cure="Write what is not known, or undefined, as missing.",
        )
    ]


def _negative(name: str, values: Floats) -> list[Finding]:
    below = (values < 0) & np.isfinite(values)
    if not below.any():
        return []
    text = (
        f"{int(below.sum()):,} of {len(values):,} rows hold an age below zero, down to "
        f"{values[below].min():g}: it is counted from an event after the row's time."
    )
    return [_finding(name, "age below zero", text, float(below.sum()))]


def _later(name: str, values: Floats, at_us: Ints) -> list[Finding]:
    present = values[~np.isnan(values)]
    if not len(present) or not _SECOND[0] < float(np.median(present)) < _SECOND[1]:
        return []
    ahead = values - at_us / 1e6
    later = ahead > 0
    if not later.any():
        return []
    text = (
        f"{int(later.sum()):,} of {len(values):,} rows hold a time after their own, by up to "
        f"{float(np.nanmax(ahead)) / 3600:.1f} hours."
    )
    return [_finding(name, "time after the row's", text, float(later.sum()))]


def _finding(name: str, kind: str, text: str, rows: float) -> Finding:
    return Finding(
        feature=name,
        kind=kind,
        severity=Severity.CRITICAL,
        evidence=text,
        numbers={"rows": rows},
        cure="Compute it from events received by the row's time, and measure to that time.",
    )
