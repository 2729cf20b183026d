"""What an audit finds: checks with their numbers, and findings that name a feature and a cure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad a finding is."""

    CRITICAL = "critical"  #: a model of these rows must not be registered
    WARNING = "warning"  #: a person should look before trusting the metrics
    INFO = "info"  #: worth knowing, nothing is wrong


class Verdict(StrEnum):
    """What a check came to."""

    CLEAN = "clean"  #: looked and found nothing above info
    FOUND = "found"  #: has a warning or a critical finding
    NOT_CHECKED = "not checked"  #: what it needs is not there; `note` says what


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or worth knowing, about a feature or about the rows."""

    #: The feature; None when it is about the rows.
    feature: str | None
    kind: str
    severity: Severity
    #: One sentence with the numbers that say so.
    evidence: str
    cure: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON takes it."""
        return {
            "feature": self.feature,
            "kind": self.kind,
            "severity": self.severity.value,
            "evidence": self.evidence,
            "numbers": _finite(self.numbers),
            "cure": self.cure,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question asked of the rows, and the answer."""

    name: str
    #: The question in words.
    asks: str
    numbers: Mapping[str, float]
    findings: tuple[Finding, ...] = ()
    #: How it was looked at: what was sampled, or why it was not checked.
    note: str = ""
    is_checked: bool = True

    @property
    def verdict(self) -> Verdict:
        """What it came to."""
        if not self.is_checked:
            return Verdict.NOT_CHECKED
        bad = any(finding.severity is not Severity.INFO for finding in self.findings)
        return Verdict.FOUND if bad else Verdict.CLEAN

    def as_dict(self) -> dict[str, Any]:
        """The check as JSON takes it, without its findings."""
        return {
            "name": self.name,
            "asks": self.asks,
            "verdict": self.verdict.value,
            "numbers": _finite(self.numbers),
            "note": self.note,
        }


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """Plain numbers; JSON has no word for what is none."""
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def not_checked(name: str, asks: str, why: str) -> Check:
    """A check whose evidence is missing."""
    return Check(name=name, asks=asks, numbers={}, note=why, is_checked=False)
