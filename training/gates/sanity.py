"""Whether the rows themselves are what they were: enough of them, filled, moving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from training.dataset import Dataset
from training.folds import Split
from training.gates.paired import Labels
from training.gates.references import (
    NO_PROBABILITY,
    WORSE_THAN_BASE_RATE,
    WORSE_THAN_BASELINE,
    Gate,
)
from training.gates.report import Row, Verdict

NAN_JUMP: Final = 0.2
"""Rise of a feature's share of missing values from which on a person should look.

A fall is a history that fills up."""

LABEL_JUMP: Final = 2.0
"""Times the rate of labels may change between development and test."""

LEAST_ROWS_SHARE: Final = 0.5
"""Share of the champion's rows below which a person should look for what is missing."""

VARYING_SHARE: Final = 0.01
"""Share of unusual values from which on a feature that falls silent is worth a look."""

_NAMED: Final = 5


class Audit(Protocol):
    """What the leakage audit found."""

    @property
    def findings(self) -> tuple[Any, ...]:
        """Findings with `feature`, `severity`, `evidence` and `cure`."""

    @property
    def is_critical(self) -> bool:
        """Whether a model of these rows must not be registered."""

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""

    def to_html(self) -> str:
        """The report as a page."""


def worth_rows(gate: Gate) -> list[Row]:
    """The model against knowing nothing, and against the baseline."""
    loss, auc = gate.loss_over_base_rate, gate.auc_over_baseline
    return [
        _failing(
            gate,
            Row(name="probability", verdict=Verdict.PASSED, limit="all scores in [0, 1]"),
            NO_PROBABILITY,
        ),
        _failing(
            gate,
            Row(
                name="base_rate",
                verdict=Verdict.PASSED,
                value=loss.value,
                lo=loss.value - 2 * loss.error,
                hi=loss.value + 2 * loss.error,
                limit=f"log-loss over the base rate's <= {gate.loss_limit:.4g}",
            ),
            WORSE_THAN_BASE_RATE,
        ),
        _failing(
            gate,
            Row(
                name="baseline_auc",
                verdict=Verdict.PASSED,
                value=auc.value,
                lo=auc.value - 2 * auc.error,
                hi=auc.value + 2 * auc.error,
                limit="upper bound of AUC over the baseline's >= 0",
            ),
            WORSE_THAN_BASELINE,
        ),
    ]


def _failing(gate: Gate, row: Row, failure: str) -> Row:
    if failure not in gate.failures:
        return row
    return Row(
        name=row.name,
        verdict=Verdict.FAILED,
        value=row.value,
        lo=row.lo,
        hi=row.hi,
        limit=row.limit,
        detail=failure,
    )


def audit_row(audit: Audit) -> Row:
    """The leakage audit as a gate; its own report has the evidence."""
    critical = [found for found in audit.findings if str(found.severity) == "critical"]
    words = "; ".join(f"{found.feature}: {found.evidence}" for found in critical[:_NAMED])
    verdict = Verdict.PASSED
    if audit.is_critical:
        verdict = Verdict.FAILED
    elif warnings := sum(str(found.severity) == "warning" for found in audit.findings):
        verdict = Verdict.NOTED
        words = f"{warnings} warnings; see audit.html"
    return Row(
        name="leakage_audit",
        verdict=verdict,
        value=float(len(critical)),
        limit="no critical finding",
        detail=f"leakage audit: {words}" if words else "",
    )


def sanity_rows(
    dataset: Dataset, split: Split, *, least_positives: int, champion_rows: float | None
) -> list[Row]:
    """Enough labels to tell, and rows that did not change between development and test."""
    before, after = dataset.label[split.development], dataset.label[split.test]
    jumps, stopped, constant = {}, [], 0
    # One column at a time: both parts of all of them would be the dataset once more.
    for name, values in dataset.columns.items():
        old, new = values[split.development], values[split.test]
        jumps[name] = missing_share(new) - missing_share(old)
        constant += not _varies(old)
        if _fell_silent(old, new):
            stopped.append(name)
    return [
        _labels_row(after, least_positives),
        _count_row(len(dataset), champion_rows),
        _missing_row(jumps),
        _stopped_row(stopped, constant),
        _rate_row(float(before.mean()), float(after.mean())),
    ]


def _labels_row(label: Labels, least: int) -> Row:
    positives = int(label.sum())
    fewest = min(positives, len(label) - positives)
    is_enough = fewest >= least
    return Row(
        name="test_labels",
        verdict=Verdict.PASSED if is_enough else Verdict.INCONCLUSIVE,
        value=float(fewest),
        limit=f">= {least} of each label in the test period",
        detail=""
        if is_enough
        else f"{fewest} test rows of the rarer label, {least} are needed for a verdict",
    )


def _count_row(rows: int, before: float | None) -> Row:
    name, limit = "rows", f">= {LEAST_ROWS_SHARE:g} of the champion's"
    if not before:
        return Row(name=name, verdict=Verdict.SKIPPED, value=float(rows), limit=limit)
    is_enough = rows >= LEAST_ROWS_SHARE * before
    return Row(
        name=name,
        verdict=Verdict.PASSED if is_enough else Verdict.ASKS,
        value=float(rows),
        limit=limit,
        detail="" if is_enough else f"{rows:,} rows; the champion was trained on {before:,.0f}",
    )


def _missing_row(jumps: Mapping[str, float]) -> Row:
    far = sorted((name for name, jump in jumps.items() if jump > NAN_JUMP), key=lambda n: -jumps[n])
    words = ", ".join(f"{name} {jumps[name]:+.2f}" for name in far[:_NAMED])
    return Row(
        name="missing_values",
        verdict=Verdict.ASKS if far else Verdict.PASSED,
        value=max(jumps.values(), default=0.0),
        limit=f"share of missing values rose by <= {NAN_JUMP:g}",
        detail=f"values went missing in {len(far)} features: {words}" if far else "",
    )


def _stopped_row(stopped: Sequence[str], constant: int) -> Row:
    detail = f"{constant} features do not vary at all" if constant else ""
    if stopped:
        words = ", ".join(stopped[:_NAMED])
        detail = f"{len(stopped)} features are missing or 0 for all in the test period: {words}"
    return Row(
        name="silent_features",
        verdict=Verdict.ASKS if stopped else Verdict.PASSED,
        value=float(len(stopped)),
        limit="no feature falls silent in the test period",
        detail=detail,
    )


def _rate_row(before: float, after: float) -> Row:
    ratio = after / before
    is_near = 1 / LABEL_JUMP <= ratio <= LABEL_JUMP
    return Row(
        name="label_rate",
        verdict=Verdict.PASSED if is_near else Verdict.ASKS,
        value=ratio,
        limit=f"test rate / development rate between {1 / LABEL_JUMP:g} and {LABEL_JUMP:g}",
        detail="" if is_near else f"the label's rate went from {before:.3f} to {after:.3f}",
    )


def missing_share(values: npt.NDArray[Any]) -> float:
    """Share of None and NaN."""
    if values.dtype == object:
        return sum(value is None for value in values) / max(1, len(values))
    return float(np.isnan(values).mean()) if len(values) else math.nan


def _varies(values: npt.NDArray[Any]) -> bool:
    """Whether there are two values, missing being one."""
    if values.dtype == object:
        return len(set(values.tolist())) > 1
    known = values[~np.isnan(values)]
    return len(known) > 0 and (len(known) < len(values) or bool(np.ptp(known) > 0))


def _fell_silent(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> bool:
    """Whether values that differed are all missing or zero later, as when their source stopped.

    A value that is the same for all, and not zero, is a count that filled up.
    """
    if old.dtype == object:
        return missing_share(old) < 1 - VARYING_SHARE and missing_share(new) == 1.0
    before, after = old[~np.isnan(old)], new[~np.isnan(new)]
    if not len(before) or np.any(after != 0.0):
        return False
    return float(np.mean(before != np.median(before))) > VARYING_SHARE
