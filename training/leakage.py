"""The leakage audit: does anything in the training rows know more than was known at their time?

`audit` asks the questions of CHECKS of the evidence and never touches a store; `audit/run.py`
collects the evidence from an installation. docs/leakage.md says how to read the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from training.audit import (
    ages,
    boundary,
    encoding,
    event_time,
    knowledge,
    null,
    order,
    power,
    replay,
    window,
)
from training.audit.area import codes_of
from training.audit.evidence import Evidence, Mask
from training.audit.finding import Check, Finding, Severity, Verdict
from training.audit.report import AuditReport
from training.folds import Fold, Split

__all__ = ["AuditReport", "Check", "Evidence", "Finding", "Severity", "Verdict", "audit"]

MOST_ROWS: Final = 60_000
"""Rows looked at by the checks that weigh values; more are sampled by whole customers."""

Ask = Callable[[Evidence], Check]

AS_THEY_ARE: Final[tuple[Ask, ...]] = (
    knowledge.check,
    event_time.check,
    replay.check,
    window.check,
    ages.check,
)
ON_ALL_ROWS: Final[tuple[Ask, ...]] = (
    encoding.check,
    order.check,
)
ON_A_SAMPLE: Final[tuple[Ask, ...]] = (
    power.check,
    boundary.check,
    null.check,
)


def audit(
    evidence: Evidence, *, as_of: str = "", progress: Callable[[str], None] = lambda step: None
) -> AuditReport:
    """Every check of the evidence. Deterministic: equal evidence, equal report."""
    dataset = evidence.dataset
    finite = _finite(evidence)
    sample, note = _sampled(finite)
    checks = []
    for asks, given in ((AS_THEY_ARE, evidence), (ON_ALL_ROWS, finite), (ON_A_SAMPLE, sample)):
        for ask in asks:
            check = ask(given)
            progress(f"leakage audit: {check.name}")
            checks.append(check)
    return AuditReport(
        target=evidence.target,
        rows=len(dataset),
        positives=dataset.positives,
        customers=len(np.unique(codes_of(dataset.customer))),
        features=len(dataset.columns),
        as_of=as_of,
        checks=tuple(checks),
        notes=(*evidence.notes, *note),
    )


def _finite(evidence: Evidence) -> Evidence:
    """The evidence with infinite values as missing ones; `impossible values` has told of them."""
    columns = {
        name: values
        if values.dtype == object or not np.isinf(values).any()
        else np.where(np.isinf(values), np.nan, values)
        for name, values in evidence.dataset.columns.items()
    }
    return replace(evidence, dataset=replace(evidence.dataset, columns=columns))


def _sampled(evidence: Evidence) -> tuple[Evidence, tuple[str, ...]]:
    """The evidence on about MOST_ROWS rows, whole customers by a hash; all of it when small."""
    total = len(evidence.dataset)
    if total <= MOST_ROWS:
        return evidence, ()
    code = codes_of(evidence.dataset.customer)
    random = np.random.default_rng(evidence.seed)
    keep = (random.random(int(code.max()) + 1) < MOST_ROWS / total)[code]
    timing = evidence.timing
    if timing is not None:
        timing = replace(timing, next_event_us=timing.next_event_us[keep])
    sample = Evidence(
        target=evidence.target,
        dataset=evidence.dataset.take(keep),
        split=_taken(evidence.split, keep),
        horizon_us=evidence.horizon_us,
        grace_us=evidence.grace_us,
        seed=evidence.seed,
        texts=evidence.texts,
        is_grid=evidence.is_grid,
        timing=timing,
    )
    names = "single features, label boundary and null runs"
    return sample, (f"{names}: {int(keep.sum()):,} of {total:,} rows, whole customers.",)


def _taken(split: Split, keep: Mask) -> Split:
    folds = tuple(Fold(fit=fold.fit[keep], judge=fold.judge[keep]) for fold in split.folds)
    return Split(split.development[keep], split.test[keep], folds, split.test_starts_us)
