"""Null runs: with labels that mean nothing, the fitted model must not know them.

Labels are shuffled before the rows are parted, rows of one customer and time staying together; then
a small model is fitted on the development rows and judged on the test rows. Whatever it still gets
right came through the split or through rows that stand twice, not from the features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from training.audit.area import LEAST, Area, area_within, codes_of
from training.audit.evidence import Evidence, Floats, Ints, Labels
from training.audit.finding import Check, Finding, Severity, not_checked
from training.audit.model import fit_scores, shape_of

NAME: Final = "null runs"
ASKS: Final = "With labels that mean nothing, is the fitted model's AUC 0.5 within its interval?"

RUNS: Final = 4
"""Shuffles of each kind; their mean is judged."""

_Z: Final = 4.5
"""Standard errors beyond which chance is no explanation: 7 in a million."""

_LEAST_TIED: Final = 5
_DAY_US: Final = 86_400_000_000


def check(evidence: Evidence) -> Check:
    """Permuted labels, labels permuted within time, and labels of other times of the customer."""
    dataset, split = evidence.dataset, evidence.split
    test = dataset.label[split.test]
    if min(test.sum(), (1 - test).sum()) < LEAST:
        return not_checked(NAME, ASKS, "Too few rows of the rarer label in the test period.")
    design = shape_of(dataset.columns, split.development).design(dataset.columns)
    unit, customer = _units(evidence), codes_of(dataset.customer)
    everywhere = np.zeros(len(dataset), dtype=np.int64)
    when = _times(dataset.at_us)
    kinds: dict[str, Ints] = {
        "labels permuted": everywhere,
        "labels permuted within time": when,
        "labels of other times of the customer": customer,
    }
    numbers: dict[str, float] = {}
    findings: list[Finding] = []
    for number, (kind, group) in enumerate(kinds.items()):
        shuffle = _shuffles(dataset.label, unit, group, evidence.seed + 101 * number)
        found = _run(evidence, design, shuffle, group, customer)
        if np.isnan(found.value) or found.error == 0.0:
            continue
        numbers[f"AUC, {kind}"] = found.value
        numbers[f"AUC, {kind}: standard error"] = found.error
        findings += _judge(kind, found)
    real = fit_scores(design, dataset.label, split.development, evidence.seed)[split.test]
    numbers["AUC with the real labels"] = area_within(
        real, test, everywhere[split.test], customer[split.test]
    ).value
    return Check(
        name=NAME,
        asks=ASKS,
        numbers=numbers,
        findings=tuple(findings),
        note=f"Mean of {RUNS} shuffles each; found when beyond {_Z:g} standard errors.",
    )


def _units(evidence: Evidence) -> Ints:
    """Rows of one customer and time are one: copies of a row keep a common label."""
    customer = codes_of(evidence.dataset.customer)
    width = int(customer.max(initial=0)) + 1
    return codes_of(codes_of(evidence.dataset.at_us) * width + customer)


def _times(at_us: Ints) -> Ints:
    """Rows of equal time, or of one day or week where times are seldom shared."""
    for width in (1, _DAY_US, 7 * _DAY_US):
        code = codes_of(at_us // width)
        if len(at_us) / (int(code.max()) + 1) >= _LEAST_TIED:
            return code
    return np.zeros(len(at_us), dtype=np.int64)


def _shuffles(label: Labels, unit: Ints, group: Ints, seed: int) -> Callable[[], Iterator[Labels]]:
    """Labels shuffled among the units of each group, RUNS times."""
    first = np.unique(unit, return_index=True)[1]
    held, inside = label[first], group[first]
    home = np.argsort(inside, kind="stable")

    def shuffled() -> Iterator[Labels]:
        random = np.random.default_rng(seed)
        for _ in range(RUNS):
            drawn = np.lexsort((random.random(len(held)), inside))
            moved = np.empty_like(held)
            moved[home] = held[drawn]
            yield moved[unit]

    return shuffled


def _run(
    evidence: Evidence,
    design: Floats,
    shuffled: Callable[[], Iterator[Labels]],
    group: Ints,
    customer: Ints,
) -> Area:
    """Mean AUC within groups over the shuffles; shuffled labels of rows are independent."""
    fit, test = evidence.split.development, evidence.split.test
    rows = np.arange(int(test.sum()))
    found = []
    for number, label in enumerate(shuffled()):
        score = fit_scores(design, label, fit, evidence.seed + number)
        found.append(area_within(score[test], label[test], group[test], rows))
    usable = [one for one in found if not np.isnan(one.value)]
    if not usable:
        return Area(float("nan"), float("nan"))
    error = float(np.sqrt(sum(one.error**2 for one in usable))) / len(usable)
    return Area(float(np.mean([one.value for one in usable])), error)


def _judge(kind: str, found: Area) -> list[Finding]:
    if abs(found.value - 0.5) <= _Z * found.error:
        return []
    text = (
        f"With {kind} the model still reaches AUC {found.value:.3f} (standard error "
        f"{found.error:.4f}) on the test rows, where 0.5 is all there is to know."
    )
    return [
        Finding(
            feature=None,
            kind="null run is not null",
            severity=Severity.CRITICAL,
            evidence=text,
            numbers={"auc": found.value, "standard_error": found.error},
            cure=(
                "Rows judged by were fitted on, or stand twice under other times: look at the "
                "split and at joins that fan out."
            ),
        )
    ]
