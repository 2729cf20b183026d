"""The verdict on a window: one status, what moved, and the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from monitoring.drift import (
    ALERT_QPSI,
    FEWEST_CUSTOMERS,
    Finding,
    Status,
    judge_features,
    judge_score,
    worst,
)
from monitoring.launch import Launch
from monitoring.statistics import Shift
from monitoring.windows import Window

NESTED_DAYS: Final = (1, 7, 28, 90)
"""Shorter windows judged beside the asked one: a fault of yesterday shows in a day's window at
once, and in one of ninety days only weeks later."""

NAMED_PER_VIEW: Final = 3


@dataclass(frozen=True, slots=True)
class Judged:
    """One window with its findings, worst first."""

    window: Window
    status: Status
    features: tuple[Finding, ...]
    score: Finding

    def moved(self) -> list[Finding]:
        """The score, if it moved, and the features that did."""
        return [f for f in (self.score, *self.features) if f.status in _MOVED]


_MOVED: Final = frozenset({Status.WARN, Status.DRIFT})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a report says. The asked window decides `status`; a shorter one raises OK to WARN."""

    launch: Launch
    status: Status
    asked: Judged
    nested: tuple[Judged, ...]
    #: Sentences that name what moved, worst first.
    causes: tuple[str, ...]
    #: Sentences about what was compared and what was not.
    remarks: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 when the asked window drifted, else 0."""
        return 1 if self.status is Status.DRIFT else 0

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        window = self.asked.window
        span = f"the last {days_word(window.days)}"
        if self.status is Status.INSUFFICIENT:
            return (
                f"NOT ENOUGH DATA to judge {self.launch.target}: {window.customers} customers were "
                f"scored in {span}, at least {FEWEST_CUSTOMERS} are needed. This is no all-clear."
            )
        moved = sum(f.status in _MOVED for f in self.asked.features)
        of = f"{moved} of {len(self.asked.features)} features"
        if self.status is Status.DRIFT:
            return f"{self.launch.target} has drifted: in {span}, {of} moved away from launch."
        if self.status is Status.WARN:
            return f"{self.launch.target} is worth a look: in {span}, {of} moved a little."
        return f"{self.launch.target} is as at launch: nothing moved in {span}."


def judge(launch: Launch, window: Window) -> Verdict:
    """Judge a window and the shorter ones nested in it."""
    spans = sorted({d for d in NESTED_DAYS if d < window.days} | {window.days})
    checks = len(spans) * (len(launch.profile.features) + 1)
    judged = [_judge_window(launch, window.last(days), checks) for days in spans]
    asked, nested = judged[-1], tuple(judged[:-1])
    early = [j for j in nested if j.status is Status.DRIFT and asked.status is not Status.DRIFT]
    status = asked.status
    if early and status is Status.OK:
        status = Status.WARN
    causes = _causes(asked)
    if early:
        causes = [_early(early[0]), *causes]
    return Verdict(launch, status, asked, nested, tuple(causes), tuple(_remarks(launch, asked)))


def _judge_window(launch: Launch, window: Window, checks: int) -> Judged:
    features = judge_features(launch.profile, window.columns, checks=checks)
    score = judge_score(launch.profile, window.scores_of(launch.model_version), checks=checks)
    status = worst([score.status, *(finding.status for finding in features)])
    if window.customers < FEWEST_CUSTOMERS:
        status = Status.INSUFFICIENT
    return Judged(window, status, tuple(features), score)


def _causes(judged: Judged) -> list[str]:
    """The score's sentence, then one per feature view that moved, strongest view first."""
    causes = [judged.score.sentence] if judged.score.status in _MOVED else []
    views: dict[str, list[Finding]] = {}
    for finding in judged.features:
        if finding.status in _MOVED:
            views.setdefault(finding.view, []).append(finding)
    totals = _per_view(judged.features)
    for view, moved in views.items():
        drifted = sum(f.status is Status.DRIFT for f in moved)
        named = " ".join(f.sentence for f in moved[:NAMED_PER_VIEW])
        rest = len(moved) - NAMED_PER_VIEW
        more = f" And {rest} more." if rest > 0 else ""
        extent = f"{len(moved)} of {totals[view]} features moved ({drifted} drifted)"
        causes.append(f"View {view}: {extent}. {named}{more}")
    return causes


def _per_view(findings: Sequence[Finding]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for finding in findings:
        totals[finding.view] = totals.get(finding.view, 0) + 1
    return totals


def _early(judged: Judged) -> str:
    worst_finding = next(f for f in judged.moved() if f.status is Status.DRIFT)
    return (
        f"New in the last {days_word(judged.window.days)}, not yet visible in the whole window: "
        f"{worst_finding.sentence}"
    )


def _remarks(launch: Launch, judged: Judged) -> list[str]:
    window, remarks = judged.window, []
    others = window.other_versions(launch.model_version)
    if others:
        counted = sum(others.values())
        named = ", ".join(sorted(others))
        remarks.append(
            f"{counted} of {window.customers} predictions were made by other model versions "
            f"({named}); the score is compared for version {launch.model_version} only, features "
            "for all."
        )
    if window.without_features:
        remarks.append(
            f"{window.without_features} more customers were answered without features (unknown, or "
            "a store was down); they are not compared."
        )
    if window.one_in > 1:
        remarks.append(
            f"One customer in {window.one_in} was compared, chosen by a hash of the identity."
        )
    floors = [f.movement.qpsi_floor for f in judged.features if f.movement is not None]
    if floors and max(floors) > ALERT_QPSI:
        remarks.append(
            f"With {window.customers} customers, a change below qPSI {max(floors):.2g} cannot be "
            f"told from chance (alert threshold {ALERT_QPSI:g}); a longer window sees more."
        )
    absent = [f.name for f in judged.features if f.movement is None]
    if absent and window.customers >= FEWEST_CUSTOMERS:
        remarks.append(f"Not compared, for lack of values: {', '.join(sorted(absent))}.")
    return remarks


def days_word(days: int) -> str:
    """`1 day`, `90 days`."""
    return "1 day" if days == 1 else f"{days} days"


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON values; a number that does not exist is null."""
    launch, asked = verdict.launch, verdict.asked
    return {
        "target": launch.target,
        "model_version": launch.model_version,
        "status": verdict.status.value,
        "headline": verdict.headline,
        "causes": list(verdict.causes),
        "remarks": list(verdict.remarks),
        "window": _window_json(asked),
        "launch": {
            "created_at": launch.profile.created_at.isoformat(),
            "rows": launch.profile.rows,
            "customers": launch.profile.customers,
        },
        "score": _finding_json(asked.score),
        "features": [_finding_json(finding) for finding in asked.features],
        "nested": [
            _window_json(judged) | {"moved": [f.name for f in judged.moved()]}
            for judged in verdict.nested
        ],
    }


def _window_json(judged: Judged) -> dict[str, Any]:
    window = judged.window
    return {
        "days": window.days,
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "rows": window.rows,
        "customers": window.customers,
        "status": judged.status.value,
    }


_MEASURED: Final = (
    "rows",
    "qpsi",
    "floor",
    "null",
    "delta_null",
    "value",
    "delta_zero",
    "outside",
)
"""Keys of a finding that are null when there was nothing to measure."""


def _finding_json(finding: Finding) -> dict[str, Any]:
    movement = finding.movement
    found: dict[str, Any] = {
        "name": finding.name,
        "view": finding.view,
        "status": finding.status.value,
        "sentence": finding.sentence,
    }
    if movement is None:
        return found | dict.fromkeys(_MEASURED)
    value = movement.value
    measured = (
        movement.rows,
        _finite(movement.qpsi),
        _finite(movement.qpsi_floor),
        _shift_json(movement.null),
        _finite(movement.null.delta),
        None if value is None else {"value": movement.valued, **_shift_json(value)},
        None if value is None else _finite(value.delta),
        _finite(movement.outside.now),
    )
    found |= dict(zip(_MEASURED, measured, strict=True))
    if finding.mean_logit is not None:
        found["mean_logit"] = _shift_json(finding.mean_logit)
    return found


def _shift_json(shift: Shift) -> Mapping[str, float | None]:
    return {"launch": _finite(shift.before), "now": _finite(shift.now)}


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
