"""What Prometheus may know of a router, beside what it knows of every worker."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 5.0, 15.0, 60.0, 600.0)
REQUEST_FATES: Final = ("answered", "repeated", "bad", "expired", "no_model", "failed")
PARTS: Final = ("requests", "changes")
CHANGE_FATES: Final = ("told", "small", "unknown", "no_model", "failed")


class RouterMetrics:
    """The series of one router; a rule's name comes from the file, so labels stay few."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "foresend_routing_requests",
            "Requests for scores by what became of them; `repeated`: came again.",
            ("fate",),
            registry=registry,
        )
        self._changes = Counter(
            "foresend_routing_changes",
            "Customers scored anew, by target, and what came of it; `small`: not worth telling.",
            ("fate",),
            registry=registry,
        )
        self._actions = Counter(
            "foresend_routing_actions",
            "What customers' requests were answered with.",
            ("action", "rule"),
            registry=registry,
        )
        self.answer_s = Histogram(
            "foresend_routing_answer_seconds",
            "From the moment a request was published to its answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.change_s = Histogram(
            "foresend_routing_change_seconds",
            "From the change of a customer's features to the message about it.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._waiting = Gauge(
            "foresend_routing_waiting_customers",
            "Customers who changed and were not scored yet.",
            registry=registry,
        )
        self._waiting_s = Gauge(
            "foresend_routing_waiting_oldest_seconds",
            "For how long the first of those that an event changed has been waiting.",
            registry=registry,
        )
        self._stopped = Gauge(
            "foresend_routing_stopped",
            "1 while this part of the router cannot go on and is tried again now and then.",
            ("part",),
            registry=registry,
        )
        self._cut = Counter(
            "foresend_routing_cut_messages",
            "Messages dropped before every reader had them, as their stream was full.",
            ("stream",),
            registry=registry,
        )
        for part in PARTS:
            self._stopped.labels(part)
        for fate in REQUEST_FATES:
            self._requests.labels(fate)
        for fate in CHANGE_FATES:
            self._changes.labels(fate)

    def requests(self, fate: str, count: int = 1) -> None:
        """Count requests, by one of `REQUEST_FATES`."""
        self._requests.labels(fate).inc(count)

    def changes(self, fate: str, count: int = 1) -> None:
        """Count customers scored anew, by one of `CHANGE_FATES`."""
        self._changes.labels(fate).inc(count)

    def stopped(self, part: str, is_stopped: bool) -> None:
        """Show whether one of `PARTS` cannot go on."""
        self._stopped.labels(part).set(is_stopped)

    def cut(self, stream: str, count: int) -> None:
        """Count messages that a full stream dropped unread."""
        self._cut.labels(stream).inc(count)

    def action(self, kind: str, rule: str) -> None:
        """Count what a request was answered with."""
        self._actions.labels(kind, rule).inc()

    def waiting(self, customers: int, oldest_age_s: float) -> None:
        """Show who waits to be scored anew."""
        self._waiting.set(customers)
        self._waiting_s.set(oldest_age_s)
