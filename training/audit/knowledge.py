"""Knowledge time: every value was known by its row's time, and is the one known last."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.audit.evidence import Evidence, Labels, Limit, Mask, Source
from training.audit.finding import Check, Finding, Severity, not_checked

NAME: Final = "knowledge time"
ASKS: Final = "Is every value of every row what was known at that row's time?"

_DAY_US: Final = 86_400_000_000
_CLOSE: Final = 1e-9


def check(evidence: Evidence) -> Check:
    """Times of feature rows, joined values, and the log's own bounds on counts."""
    if not evidence.sources and not evidence.limits:
        return not_checked(NAME, ASKS, "Neither feature tables nor a log were given.")
    findings: list[Finding] = []
    numbers: dict[str, float] = {}
    for source in evidence.sources:
        numbers |= _numbers(source)
        findings += _unfounded(source) + _joined(evidence, source)
    counts = [limit for limit in evidence.limits if not limit.is_age]
    for limit in counts:
        findings += exceeded(evidence, limit, _COUNT_KIND, _COUNT_CURE)
    if counts:
        numbers["features bounded by the log"] = len(counts)
        numbers["rows bounded by the log"] = int(np.isfinite(counts[0].bound).sum())
    return Check(name=NAME, asks=ASKS, numbers=numbers, findings=tuple(findings))


_COUNT_KIND: Final = "counts what was not known"
_COUNT_CURE: Final = (
    "Compute it from events with received_time <= the row's time. If the feature tables are ours, "
    "build them anew with `foresend features build --full`."
)


def same(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> Mask:
    """Where values are bit-equal; missing equals missing."""
    if left.dtype == object or right.dtype == object:
        pairs = zip(left.tolist(), right.tolist(), strict=True)
        return np.array([a == b for a, b in pairs], dtype=np.bool_)
    return np.asarray((left == right) | (np.isnan(left) & np.isnan(right)), dtype=np.bool_)


def by_label(wrong: Mask, label: Labels) -> dict[str, float]:
    """How many rows are wrong, in all and by label."""
    shares = {
        f"share_of_label_{value}": float(wrong[label == value].mean()) if (label == value).any()
        else 0.0
        for value in (0, 1)
    }  # fmt: skip
    return {"rows": float(wrong.sum()), "compared": float(len(wrong)), **shares}


def exceeded(evidence: Evidence, limit: Limit, kind: str, cure: str) -> list[Finding]:
    """A critical finding when a value is beyond what the log allows."""
    values = evidence.dataset.columns.get(limit.feature)
    if values is None:
        return []
    slack = _CLOSE * np.maximum(np.abs(limit.bound), 1.0)
    beyond = values > limit.bound + slack if limit.is_upper else values < limit.bound - slack
    if not beyond.any():
        return []
    asked = np.isfinite(limit.bound)
    numbers = by_label(beyond[asked], evidence.dataset.label[asked])
    worst = int(np.argmax(np.where(beyond, np.abs(values - limit.bound), -1.0)))
    text = (
        f"{int(beyond.sum()):,} of {int(asked.sum()):,} rows hold a value {'above' if limit.is_upper else 'below'} {limit.says}; "  # noqa: E501
        f"the furthest has {values[worst]:g} where the log allows {limit.bound[worst]:g} "
        f"({numbers['share_of_label_1']:.1%} of rows with label 1, "
        f"{numbers['share_of_label_0']:.1%} with label 0)."
    )
    return [
        Finding(
            feature=limit.feature,
            kind=kind,
            severity=Severity.CRITICAL,
            evidence=text,
            numbers=numbers,
            cure=cure,
        )
    ]


def _numbers(source: Source) -> dict[str, float]:
    view = source.view
    return {
        f"{view}: feature rows": source.feature_rows,
        f"{view}: rows joined": source.found,
        f"{view}: freshest used, seconds before": source.least_age_us / 1e6,
        f"{view}: rows that knowledge time changed": source.prevented,
        f"{view}: values compared": len(source.rows) * len(source.columns),
    }


def _unfounded(source: Source) -> list[Finding]:
    if not source.unfounded:
        return []
    text = (
        f"{source.unfounded:,} of {source.feature_rows:,} rows of {source.view} are stamped with a "
        "time at which the log received nothing about that customer. Rows stamped when something "
        "happened, instead of when it was known, let training see it too early."
    )
    return [
        Finding(
            feature=None,
            kind="feature rows with unfounded times",
            severity=Severity.CRITICAL,
            evidence=text,
            numbers={"rows": source.unfounded, "of": source.feature_rows},
            cure=(
                "Stamp feature rows with the received_time of the event that made them. Ours: "
                "`foresend features build --full`."
            ),
        )
    ]


def _joined(evidence: Evidence, source: Source) -> list[Finding]:
    """Values of the dataset that are not those known at the row's time."""
    findings = []
    label = evidence.dataset.label[source.rows]
    for name, known in source.columns.items():
        if name not in evidence.dataset.columns:
            continue
        wrong = ~same(evidence.dataset.columns[name][source.rows], known)
        if not wrong.any():
            continue
        numbers = by_label(wrong, label)
        text = (
            f"{int(wrong.sum()):,} of {len(wrong):,} rows hold another value than the newest row "
            f"of {source.view} known at their time ({numbers['share_of_label_1']:.1%} of rows "
            f"with label 1, {numbers['share_of_label_0']:.1%} with label 0)."
        )
        findings.append(
            Finding(
                feature=name,
                kind="not the value known then",
                severity=Severity.CRITICAL,
                evidence=text,
                numbers=numbers,
                cure=(
                    "Join by knowledge time: event_timestamp and created_timestamp both at or "
                    "before the row's time, the newest of those."
                ),
            )
        )
    return findings
