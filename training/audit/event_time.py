"""As known against by event time: which features a careless join would fill, and what it lends.

The rows are joined a second time, as if every event had been known the moment it happened. What
differs is what knowledge time prevents; it is told as information. It is critical only when the
audited rows are the careless ones.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from training.audit.area import LEAST, area, codes_of, halves, learned
from training.audit.evidence import ByEventTime, Evidence, Floats, Ints, Labels, Mask
from training.audit.finding import Check, Finding, Severity, not_checked
from training.audit.knowledge import by_label, same
from training.audit.model import fit_scores, shape_of
from training.dataset import Columns

NAME: Final = "by event time"
ASKS: Final = "Which features would differ had events counted when they happened, not when known?"

_TOLD: Final = 12
"""Most features named as information: those with the most to lend."""


def check(evidence: Evidence) -> Check:
    """Name what differs and what each difference lends; find rows that were joined so."""
    variant = evidence.by_event_time
    if variant is None or not len(variant.rows):
        return not_checked(NAME, ASKS, "No log was given to join by event time.")
    held = {name: evidence.dataset.columns[name][variant.rows] for name in variant.columns}
    label = evidence.dataset.label[variant.rows]
    customer = codes_of(evidence.dataset.customer[variant.rows])
    differing = {
        name: differs
        for name, values in held.items()
        if (differs := ~same(values, variant.columns[name])).any()
    }
    numbers = {
        "rows compared": float(len(label)),
        "features compared": float(len(held)),
        "features that differ": float(len(differing)),
        **_fitted(held, variant.columns, label, customer, evidence.seed, bool(differing)),
    }
    told = [_told(name, differing[name], held, variant, label, customer) for name in differing]
    told.sort(key=lambda finding: -finding.numbers.get("lent_auc", 0.0))
    return Check(
        name=NAME,
        asks=ASKS,
        numbers=numbers,
        findings=(*_careless(evidence, variant), *told[:_TOLD]),
        note=_note(told),
    )


def _note(told: list[Finding]) -> str:
    more = [str(finding.feature) for finding in told[_TOLD:]]
    also = f" These differ as well, lending less: {', '.join(more)}." if more else ""
    return f"A sample of customers by hash, all their rows.{also}"


def _told(
    name: str,
    differs: Mask,
    held: Columns,
    variant: ByEventTime,
    label: Labels,
    customer: Ints,
) -> Finding:
    known, careless = (
        _power(columns[name], label, customer) for columns in (held, variant.columns)
    )
    numbers = by_label(differs, label)
    text = (
        f"Joined by event time {int(differs.sum()):,} of {len(differs):,} values would differ "
        f"({numbers['share_of_label_1']:.1%} of rows with label 1, "
        f"{numbers['share_of_label_0']:.1%} with label 0)"
    )
    if np.isfinite(known):
        lent = careless - known
        numbers |= {"auc_as_known": known, "auc_by_event_time": careless, "lent_auc": lent}
        text += f" and the feature alone would reach AUC {careless:.3f} instead of {known:.3f}"
    return Finding(
        feature=name,
        kind="differs by event time",
        severity=Severity.INFO,
        evidence=f"{text}.",
        numbers=numbers,
        cure="Nothing to do: the rows are as known. Do not join these tables by event time.",
    )


def _power(values: Floats, label: Labels, customer: Ints) -> float:
    """AUC of a feature's rate per bin, learned from other customers."""
    if min(label.sum(), (1 - label).sum()) < LEAST:
        return float("nan")
    return area(learned(values, label, customer), label, customer).value


def _fitted(
    held: Columns, careless: Columns, label: Labels, customer: Ints, seed: int, differs: bool
) -> dict[str, float]:
    """AUC of a logistic regression on both joins, fitted on half the customers, read on others."""
    judge = halves(customer)
    least = min(
        min(int(label[side].sum()), int((1 - label[side]).sum())) for side in (judge, ~judge)
    )
    if least < LEAST:
        return {}
    aucs = []
    for columns in (held, careless) if differs else (held,):
        design = shape_of(columns, ~judge).design(columns)
        score = fit_scores(design, label, ~judge, seed)
        aucs.append(area(score[judge], label[judge], customer[judge]).value)
    return {
        "fitted AUC as known": aucs[0],
        "fitted AUC by event time": aucs[-1],
        "fitted AUC lent": aucs[-1] - aucs[0],
    }


def _careless(evidence: Evidence, variant: ByEventTime) -> list[Finding]:
    """Features whose audited values are the careless ones where the two ways differ."""
    if not evidence.replays:
        return []
    replayed = np.concatenate([replay.rows for replay in evidence.replays])
    rows, in_truth, in_variant = np.intersect1d(replayed, variant.rows, return_indices=True)
    findings = []
    for name, values in variant.columns.items():
        if name not in evidence.dataset.columns:
            continue
        truth = np.concatenate([replay.columns[name] for replay in evidence.replays])[in_truth]
        careless = values[in_variant]
        apart = ~same(truth, careless)
        taken = apart & same(evidence.dataset.columns[name][rows], careless)
        if not taken.any():
            continue
        text = (
            f"In {int(taken.sum()):,} of the {int(apart.sum()):,} sampled rows where as known and "
            "by event time differ, the rows hold the value by event time."
        )
        findings.append(
            Finding(
                feature=name,
                kind="joined by event time",
                severity=Severity.CRITICAL,
                evidence=text,
                numbers={"rows": float(taken.sum()), "of": float(apart.sum())},
                cure=(
                    "Stamp feature rows with the time they were known (received_time) and join on "
                    "that. Ours: `foresend features build --full`."
                ),
            )
        )
    return findings
