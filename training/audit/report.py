"""The audit's result: every check with its numbers, the findings, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.audit.finding import Check, Finding, Severity
from training.audit.page import render

_ORDER = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What an audit of one dataset came to."""

    target: str
    rows: int
    positives: int
    customers: int
    features: int
    #: As the log was known then; empty when the rows came without one.
    as_of: str
    checks: tuple[Check, ...]
    #: How the evidence was collected.
    notes: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, the worst first."""
        every = [finding for check in self.checks for finding in check.findings]
        return tuple(sorted(every, key=lambda finding: _ORDER[finding.severity]))

    @property
    def is_critical(self) -> bool:
        """Whether a model of these rows must not be registered."""
        return any(finding.severity is Severity.CRITICAL for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One sentence."""
        counts = {s: sum(f.severity is s for f in self.findings) for s in Severity}
        skipped = sum(not check.is_checked for check in self.checks)
        state = "not fit to be registered" if self.is_critical else "no leak found"
        left = f"; {skipped} not checked" if skipped else ""
        return (
            f"{state}: {counts[Severity.CRITICAL]} critical, {counts[Severity.WARNING]} warnings, "
            f"{counts[Severity.INFO]} notes in {len(self.checks)} checks{left}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {
            "target": self.target,
            "as_of": self.as_of,
            "rows": self.rows,
            "positives": self.positives,
            "customers": self.customers,
            "features": self.features,
            "critical": self.is_critical,
            "verdict": self.verdict,
            "checks": [check.as_dict() for check in self.checks],
            "findings": [finding.as_dict() for finding in self.findings],
            "notes": list(self.notes),
        }

    def to_html(self) -> str:
        """The report as one page that asks nothing of elsewhere."""
        return render(self.as_dict())
