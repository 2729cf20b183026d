"""What Prometheus may know of promotions: what is refused, who rings, what the challenger does."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.registry import Version


class ShadowMetrics:
    """The series of the shadow."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._scored = Counter(
            "foresend_shadow_rows",
            "Customers the challenger scored beside the champion.",
            ("target",),
            registry=registry,
        )
        self._dropped = Counter(
            "foresend_shadow_dropped_rows",
            "Customers it was to score and did not: full, busy, failed or stopped.",
            ("reason",),
            registry=registry,
        )

    def scored(self, version: Version, rows: int) -> None:
        """Count what was scored."""
        self._scored.labels(version.target).inc(rows)

    def dropped(self, reason: str, rows: int) -> None:
        """Count what was not."""
        self._dropped.labels(reason).inc(rows)


class PromotionMetrics:
    """The series of following the registry, beside those of `serving.metrics.Metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.problem = Gauge(
            "foresend_model_problem",
            "1 while the version an alias names is refused and an older one, or none, serves.",
            ("target", "alias"),
            registry=registry,
        )
        self.rings = Counter(
            "foresend_doorbell_rings",
            "Deliveries of the registry's webhook: rung, repeated or refused.",
            ("outcome",),
            registry=registry,
        )
        self.challenger = Gauge(
            "foresend_challenger_info",
            "1 for the challenger in use.",
            ("target", "version"),
            registry=registry,
        )
        self.shadow = ShadowMetrics(registry)

    def challenger_served(self, version: Version | None, before: Version | None) -> None:
        """Show one version of a target as its challenger, or none."""
        if before is not None:
            self.challenger.remove(before.target, before.number)
        if version is not None:
            self.challenger.labels(version.target, version.number).set(1)
