"""What Prometheus may know of ingestion. Labels are few and closed: never a customer or a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from feature_repo.ingest.rejected import Rejected

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)


class RawMetrics:
    """The series of the raw store."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "foresend_ingest_raw_records", "Records made durable.", registry=registry
        )
        self.size = Counter(
            "foresend_ingest_raw_bytes", "Bytes made durable, compressed.", registry=registry
        )
        self.commits = Histogram(
            "foresend_ingest_raw_commit_seconds",
            "Writing and syncing what came together.",
            buckets=_BUCKETS,
            registry=registry,
        )

    def committed(self, records: int, size: int, seconds: float) -> None:
        """Count one group commit."""
        self.records.inc(records)
        self.size.inc(size)
        self.commits.observe(seconds)


class MapperMetrics:
    """The series of the mapper."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "foresend_ingest_events",
            "Events published.",
            ("provider", "type"),
            registry=registry,
        )
        self._rejected = Counter(
            "foresend_ingest_rejected",
            "Events put into quarantine.",
            ("provider", "reason"),
            registry=registry,
        )
        self.retries = Counter(
            "foresend_ingest_mapper_retries",
            "Steps of the mapper that failed and were tried again.",
            ("step",),
            registry=registry,
        )
        self.batch = Histogram(
            "foresend_ingest_map_seconds",
            "From reading a batch of records to its cursor.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._backlog = Gauge(
            "foresend_ingest_backlog_bytes", "Landed and not mapped.", registry=registry
        )
        self._lag = Gauge(
            "foresend_ingest_lag_seconds",
            "Age of the oldest record that is not mapped.",
            registry=registry,
        )

    def follow(self, backlog: Callable[[], float], lag: Callable[[], float]) -> None:
        """Read these two whenever metrics are asked for."""
        self._backlog.set_function(backlog)
        self._lag.set_function(lag)

    def mapped(self, events: Mapping[tuple[str, str], int], rejected: Iterable[Rejected]) -> None:
        """Count what became of a batch: events by provider and type."""
        for labels, count in events.items():
            self._events.labels(*labels).inc(count)
        for item in rejected:
            self._rejected.labels(item.provider, item.reason).inc()


class Metrics:
    """The series of one ingest process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "foresend_ingest_requests", "Answers.", ("provider", "status"), registry=registry
        )
        self._latency = Histogram(
            "foresend_ingest_request_seconds",
            "From the first byte of a delivery to its answer.",
            ("provider",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self.received = Counter(
            "foresend_ingest_received_bytes", "Body bytes, as sent.", registry=registry
        )
        self.in_flight = Gauge(
            "foresend_ingest_in_flight", "Deliveries being taken.", registry=registry
        )
        self.pressure = Gauge(
            "foresend_ingest_refusing",
            "1 while deliveries are refused for this cause.",
            ("cause",),
            registry=registry,
        )
        self._answers: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self.raw = RawMetrics(registry)
        self.mapper = MapperMetrics(registry)

    def answered(self, provider: str, status: int, seconds: float) -> None:
        """Count one answer."""
        found = self._answers.get((provider, status))
        if found is None:
            # Looking up labels costs as much as verifying a signature.
            found = (self._requests.labels(provider, str(status)), self._latency.labels(provider))
            self._answers[provider, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def exposition(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self.registry)
