"""Single features: none tells the label better than anything known beforehand could."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import lightgbm
import numpy as np
import numpy.typing as npt

from training.audit.area import LEAST, Area, area, codes_of, learned
from training.audit.evidence import Evidence, Ints, Labels
from training.audit.finding import Check, Finding, Severity, not_checked

NAME: Final = "single features"
ASKS: Final = "Does one feature alone tell the label implausibly well?"

IMPLAUSIBLE: Final = 0.95
"""From here on (both ways, as the end of a 99 % interval) a single feature is critical."""

SUSPECT: Final = 0.90
GAIN_SHARE: Final = 0.80
LEAST_CUSTOMERS: Final = 10
"""Fewest customers with either label for a verdict."""

_TREE_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Power:
    """What a feature tells alone, as the AUC furthest from chance."""

    feature: str
    best: Area
    how: str

    @property
    def certain(self) -> float:
        """Distance from 0.5 that the interval leaves, as an AUC from 0.5 on."""
        return max(self.best.low(), 1.0 - self.best.high())


def check(evidence: Evidence) -> Check:
    """AUC of each feature, and the share of a small model's gain that one feature has."""
    label, customer = evidence.dataset.label, codes_of(evidence.dataset.customer)
    spread = [len(np.unique(customer[label == value])) for value in (0, 1)]
    least = min(int(label.sum()), int((1 - label).sum()))
    if least < LEAST or min(spread) < LEAST_CUSTOMERS:
        return not_checked(
            NAME, ASKS, f"Only {least} rows of the rarer label; at least {LEAST} are needed."
        )
    powers = [
        power(name, values, label, customer) for name, values in evidence.dataset.columns.items()
    ]
    powers.sort(key=lambda found: -abs(found.best.value - 0.5))
    shares = gain_shares(evidence)
    numbers = {f"AUC of {p.feature}": p.best.value for p in powers[:5]}
    if shares:
        leader = max(shares, key=lambda name: shares[name])
        numbers[f"gain share of {leader}"] = shares[leader]
    findings = [finding for p in powers for finding in _judge(p, shares.get(p.feature, 0.0))]
    return Check(name=NAME, asks=ASKS, numbers=numbers, findings=tuple(findings))


def power(name: str, values: npt.NDArray[Any], label: Labels, customer: Ints) -> Power:
    """The best of the feature as it is, and of its rate per bin learned from other customers."""
    found = [Power(name, area(learned(values, label, customer), label, customer), "by its bins")]
    if values.dtype != object:
        present = ~np.isnan(values)
        if min(label[present].sum(), (1 - label[present]).sum()) >= LEAST:
            plain = area(values[present], label[present], customer[present])
            found.append(Power(name, plain, "by its order"))
    return max(found, key=lambda power: abs(power.best.value - 0.5))


def gain_shares(evidence: Evidence) -> dict[str, float]:
    """Each numeric feature's share of the gain of a small boosted model of the fitted rows."""
    names = [name for name in evidence.dataset.columns if name not in evidence.texts]
    rows = np.flatnonzero(evidence.split.development)
    if len(rows) > _TREE_ROWS:
        random = np.random.default_rng(evidence.seed)
        rows = np.sort(random.choice(rows, _TREE_ROWS, replace=False))
    label = evidence.dataset.label[rows]
    if not names or len(np.unique(label)) < 2:
        return {}
    matrix = np.column_stack([evidence.dataset.columns[name][rows] for name in names])
    settings = {
        "objective": "binary",
        "num_leaves": 8,
        "learning_rate": 0.15,
        "min_data_in_leaf": 20,
        "max_bin": 63,
        "num_threads": 1,
        "deterministic": True,
        "seed": evidence.seed,
        "verbosity": -1,
    }
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix, label), num_boost_round=20)
    gain = booster.feature_importance("gain")
    return dict(zip(names, (gain / max(gain.sum(), 1e-12)).tolist(), strict=True))


def _judge(found: Power, share: float) -> list[Finding]:
    findings = []
    if found.certain > SUSPECT:
        is_critical = found.certain > IMPLAUSIBLE
        text = (
            f"Alone it reaches AUC {found.best.value:.3f} {found.how} (99 % interval "
            f"{found.best.low():.3f} to {found.best.high():.3f}); what is known before the "
            f"answer seldom passes {SUSPECT:.2f}, or falls below {1 - SUSPECT:.2f}."
        )
        findings.append(
            Finding(
                feature=found.feature,
                kind="implausible alone",
                severity=Severity.CRITICAL if is_critical else Severity.WARNING,
                evidence=text,
                numbers={
                    "auc": found.best.value,
                    "low": found.best.low(),
                    "high": found.best.high(),
                },
                cure=(
                    "Find out when its value is known. If it is made after the row's time, or "
                    "from the answer, leave it out or compute it as of the row's time."
                ),
            )
        )
    if share > GAIN_SHARE:
        suspicious = found.certain > SUSPECT
        text = (
            f"It has {share:.0%} of the gain of a small boosted model, AUC {found.best.value:.3f} "
            f"alone{'' if suspicious else '; strong, and within what honest features reach'}."
        )
        findings.append(
            Finding(
                feature=found.feature,
                kind="carries the model",
                severity=Severity.WARNING if suspicious else Severity.INFO,
                evidence=text,
                numbers={"gain_share": share, "auc": found.best.value},
                cure="Look at when its value is known; leaning on one feature is fragile.",
            )
        )
    return findings
