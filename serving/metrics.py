"""What Prometheus may know. Labels are few and closed: never a customer, never a key."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.http.series import HttpSeries
from serving.promotion_metrics import PromotionMetrics
from serving.registry import Version
from serving.tier_metrics import TierMetrics

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class LogMetrics:
    """The series of the prediction log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queue = Gauge(
            "foresend_prediction_log_queue_rows", "Rows not yet written.", registry=registry
        )
        self.written = Counter(
            "foresend_prediction_log_written_rows", "Rows written.", registry=registry
        )
        self.dropped = Counter(
            "foresend_prediction_log_dropped_rows",
            "Rows lost: the queue was full, the last flush failed, or they could not be written.",
            registry=registry,
        )
        self.writing = Gauge(
            "foresend_prediction_log_writing",
            "1 while there is a thread that writes; 0: all rows are dropped.",
            registry=registry,
        )
        self.failures = Counter(
            "foresend_prediction_log_write_failures",
            "Flushes that failed; their rows are tried again.",
            registry=registry,
        )


class ScoringMetrics:
    """The series of micro-batches."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.batch = Histogram(
            "foresend_score_batch_customers",
            "Customers of all requests that were read and scored together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.canary = Counter(
            "foresend_canary_rows",
            "Customers answered for by the challenger.",
            ("target",),
            registry=registry,
        )
        self.too_late = Counter(
            "foresend_deadline_exceeded_requests",
            "Requests given up because their deadline had passed.",
            registry=registry,
        )
        self.reasons_left_out = Counter(
            "foresend_reasons_left_out_rows",
            "Customers whose reasons were wanted and left out, because the server was busy.",
            registry=registry,
        )


class Metrics:
    """The series of one application."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.http = HttpSeries()
        registry.register(self.http)
        self.store_latency = Histogram(
            "foresend_store_read_seconds",
            "Reading the features of one micro-batch.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.rows = Counter(
            "foresend_scored_rows", "Customers answered for.", ("target",), registry=registry
        )
        self.degraded = Counter(
            "foresend_degraded_rows",
            "Customers answered for with less than a fresh score.",
            ("target", "cause"),
            registry=registry,
        )
        self.scoring = ScoringMetrics(registry)
        self.model = Gauge(
            "foresend_model_info",
            "1 for the version in use.",
            ("target", "version"),
            registry=registry,
        )
        self.model_failures = Counter(
            "foresend_model_load_failures",
            "Versions that were refused.",
            ("target",),
            registry=registry,
        )
        self.registry_polled = Gauge(
            "foresend_registry_polled_timestamp_seconds",
            "When the model registry last answered.",
            registry=registry,
        )
        self.registry_failures = Counter(
            "foresend_registry_poll_failures", "Polls that failed.", registry=registry
        )
        self.log = LogMetrics(registry)
        self.promotion = PromotionMetrics(registry)
        self.tiers = TierMetrics(registry)

    def model_served(self, version: Version, before: Version | None) -> None:
        """Show one version of a target as the one in use."""
        if before is not None and before.number != version.number:
            self.model.remove(before.target, before.number)
        self.model.labels(version.target, version.number).set(1)

    def exposition(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self.registry)
