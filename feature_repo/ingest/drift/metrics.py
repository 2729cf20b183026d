"""What drift and quarantine tell Prometheus. Labels are our words and providers' names alone."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class DriftMetrics:
    """The series of the process that maps; made once and given to Quarantine and Ledger."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.quarantined = Counter(
            "foresend_quarantine_events",
            "Foreign events that came into quarantine.",
            ("provider", "reason"),
            registry=registry,
        )
        self.open = Gauge(
            "foresend_quarantine_open",
            "Entries of the quarantine that nobody has resolved.",
            registry=registry,
        )
        self.seen = Counter(
            "foresend_drift_events",
            "Foreign events looked at, by whether they fitted a mapping.",
            ("provider", "mapped"),
            registry=registry,
        )
        self.observations = Counter(
            "foresend_drift_observations",
            "Changes of structure, when first seen.",
            ("provider", "kind"),
            registry=registry,
        )
        self.unwritten = Counter(
            "foresend_drift_flush_failures",
            "Times the drift ledger could not be written; it tries again.",
            registry=registry,
        )


def unexposed() -> DriftMetrics:
    """Metrics that nobody reads, for commands and tests."""
    return DriftMetrics(CollectorRegistry())
