"""Decides what a movement means: ok, worth a look, or drift; and says it in a sentence.

Thresholds are effect sizes, raised to the noise floor of the window's size (docs/drift.md gives the
measurements they come from).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feature_repo import contract
from monitoring.signatures import explain
from monitoring.statistics import Movement, Shift, Sizes, mean_shift, measure
from serving.bins import ATOM_SHARE, INFINITE, MISSING, OTHER, NumberBins, TextBins, as_texts
from serving.profile import ColumnProfile, LaunchProfile, histogram, logit

WARN_QPSI: Final = 0.02
ALERT_QPSI: Final = 0.1
NULL_SHARE: Final = 0.02
VALUE_SHARE: Final = 0.03
OUTSIDE_SHARE: Final = 0.01
WARN_LOGIT: Final = 0.05
ALERT_LOGIT: Final = 0.15

FEWEST_CUSTOMERS: Final = 100
"""Below this only gross faults could be told from chance, so nothing is decided."""

CONTEXT: Final = frozenset({"local_hour", "local_weekday", "block_affinity"})
"""Chosen by the sender with the time of the send: a change is news, never a fault of the data."""


class Status(StrEnum):
    """What is known of a column, a window or a report."""

    OK = "ok"
    WARN = "warn"
    DRIFT = "drift"
    INSUFFICIENT = "insufficient"  #: too few customers to decide


_RANK: Final = {Status.INSUFFICIENT: 0, Status.OK: 1, Status.WARN: 2, Status.DRIFT: 3}


def worst(statuses: list[Status]) -> Status:
    """The worst of some statuses; INSUFFICIENT only when there is no other."""
    return max(statuses, key=_RANK.__getitem__, default=Status.INSUFFICIENT)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one column of one window did."""

    name: str
    view: str
    status: Status
    sentence: str
    movement: Movement | None = None
    #: Of the score only: its mean in log-odds.
    mean_logit: Shift | None = None
    #: Strength for ranking: the largest of the effects, each over its alert threshold.
    severity: float = 0.0


def view_of(feature: str) -> str:
    """The feature view a model feature comes from."""
    for view, columns in contract.VIEWS.items():
        if feature in columns:
            return view
    return contract.SEND_TIME


def judge_features(
    profile: LaunchProfile, columns: Mapping[str, npt.NDArray[Any]], *, checks: int
) -> list[Finding]:
    """One finding per feature of the launch profile, worst first.

    `columns` holds one row per customer; a feature that no row carries may be left out.
    """
    found = [
        _judge_feature(name, column, columns.get(name), profile.customers, checks)
        for name, column in profile.features.items()
    ]
    return sorted(found, key=lambda f: (-_RANK[f.status], -f.severity, f.name))


def judge_score(profile: LaunchProfile, score: npt.NDArray[Any], *, checks: int) -> Finding:
    """The finding on the score: by qPSI, by a frequent value, and by its mean in log-odds."""
    if len(score) < FEWEST_CUSTOMERS:
        return Finding("score", "score", Status.INSUFFICIENT, _too_few(len(score)))
    sizes = Sizes(profile.customers, len(score), checks)
    column = profile.score
    movement = measure(column, histogram(column, score), score, sizes)
    odds = logit(score)
    deviation = _deviation(profile.score_logit)
    shift = mean_shift(profile.score_logit.launch.mean, odds, deviation, sizes)
    status, reasons = _judge(movement, Status.DRIFT)
    severity = max(_severity(movement), abs(shift.delta) / ALERT_LOGIT)
    if shift.exceeds(WARN_LOGIT):
        level = Status.DRIFT if shift.exceeds(ALERT_LOGIT) else Status.WARN
        status = worst([status, level])
        odds_ratio = math.exp(shift.delta)
        reasons.insert(0, f"mean log-odds moved by {shift.delta:+.2f} (odds x {odds_ratio:.2f})")
    sentence = f"score: {'; '.join(reasons)}." if reasons else "score is as at launch."
    return Finding("score", "score", status, sentence, movement, shift, severity)


def _judge_feature(
    name: str,
    column: ColumnProfile,
    values: npt.NDArray[Any] | None,
    launch_customers: int,
    checks: int,
) -> Finding:
    view = view_of(name)
    if values is None:
        sentence = f"{name} is in no prediction of this window; nothing to compare."
        return Finding(name, view, Status.INSUFFICIENT, sentence)
    if len(values) < FEWEST_CUSTOMERS:
        return Finding(name, view, Status.INSUFFICIENT, f"{name}: {_too_few(len(values))}")
    sizes = Sizes(launch_customers, len(values), checks)
    movement = measure(column, histogram(column, values), values, sizes)
    highest = Status.WARN if name in CONTEXT else Status.DRIFT
    status, reasons = _judge(movement, highest)
    severity = _severity(movement)
    if status is Status.OK:
        return Finding(name, view, status, f"{name} is as at launch.", movement, severity=severity)
    clause = (
        explain(name, column.quantiles, values)
        if isinstance(column.bins, NumberBins)
        else _unseen(column.bins, values)
    )
    if clause is not None:
        reasons.insert(0, clause)
    sentence = f"{name}: {'; '.join(reasons)}."
    if name in CONTEXT:
        sentence += " It follows from when messages are sent."
    return Finding(name, view, status, sentence, movement, severity=severity)


def _judge(movement: Movement, highest: Status) -> tuple[Status, list[str]]:
    """Status of a movement, `highest` at most, and its reasons as clauses."""
    levels, reasons = [Status.OK], []
    if movement.null.exceeds(NULL_SHARE):
        levels.append(Status.DRIFT)
        reasons.append(f"missing in {_from_to(movement.null)}")
    value = movement.value
    if value is not None and value.exceeds(VALUE_SHARE):
        levels.append(Status.DRIFT)
        reasons.append(f"the value {movement.valued:.6g} in {_from_to(value)}")
    if movement.outside.exceeds(OUTSIDE_SHARE):
        levels.append(Status.WARN)
        reasons.append(f"{movement.outside.now:.1%} of rows outside the range seen at launch")
    if movement.qpsi >= max(WARN_QPSI, movement.qpsi_floor):
        is_alert = movement.qpsi >= max(ALERT_QPSI, movement.qpsi_floor)
        levels.append(Status.DRIFT if is_alert else Status.WARN)
        label, before, now = movement.cell
        cell = f"{label} values" if label in {MISSING, INFINITE, OTHER} else f"values {label}"
        shares = _from_to(Shift(before, now, 0.0))
        reasons.append(f"qPSI {movement.qpsi:.2g}, mostly {cell}: {shares}")
    status = min(worst(levels), highest, key=_RANK.__getitem__)
    return status, reasons


def _severity(movement: Movement) -> float:
    effects = [
        movement.qpsi / max(ALERT_QPSI, movement.qpsi_floor),
        abs(movement.null.delta) / max(NULL_SHARE, movement.null.floor),
    ]
    if movement.value is not None:
        effects.append(abs(movement.value.delta) / max(VALUE_SHARE, movement.value.floor))
    return float(np.nanmax(effects))


def _deviation(column: ColumnProfile) -> float:
    """A standard deviation from the quartiles; the profile keeps no sum of squares."""
    low, high = column.quantiles.get(0.25), column.quantiles.get(0.75)
    return 0.0 if low is None or high is None else (high - low) / 1.349


def _from_to(shift: Shift) -> str:
    return f"{shift.now:.1%} of rows ({shift.before:.1%} at launch)"


def _unseen(bins: TextBins, values: npt.NDArray[Any]) -> str | None:
    """The most frequent category that had no cell at launch, if it would have one now."""
    texts = as_texts(values)
    seen = Counter(text for text in texts if text is not None and text not in bins.categories)
    if not seen:
        return None
    category, rows = seen.most_common(1)[0]
    share = rows / len(texts)
    if share < ATOM_SHARE:
        return None
    return f"category {category!r}, rare or unseen at launch, is {share:.1%} of rows"


def _too_few(customers: int) -> str:
    return (
        f"only {customers} customers in this window; at least {FEWEST_CUSTOMERS} are needed "
        "to tell a change from chance"
    )
