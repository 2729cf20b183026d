"""What Prometheus may know of connectors. Names come from the file, so labels stay few."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0)
_CALL: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

FATES: Final = (
    *("delivered", "unknown", "dead", "expired"),
    *("older", "repeated", "superseded", "other_target"),
)


class ConnectorMetrics:
    """The series of all connectors of a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"foresend_connector_{name}", text, ("connector",), registry=registry)

        self._messages = Counter(
            "foresend_connector_messages",
            "Messages by what became of them.",
            ("connector", "fate"),
            registry=registry,
        )
        self._retries = Counter(
            "foresend_connector_retries",
            "Messages that have to be sent again.",
            ("connector",),
            registry=registry,
        )
        self._delay = Histogram(
            "foresend_connector_delay_seconds",
            "From the moment a message was published to its delivery.",
            ("connector",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._round = Histogram(
            "foresend_connector_deliver_seconds",
            "Time of one batch, its lookups included.",
            ("connector",),
            buckets=_CALL,
            registry=registry,
        )
        self._held = gauge("held_messages", "Messages in hand and not acknowledged.")
        self._open = gauge("circuit_open", "1 while the tool is left alone after failures.")
        self._backlog = gauge("backlog_messages", "Messages in the queue, those in hand included.")
        self._oldest = gauge("oldest_age_seconds", "Age of the oldest of them.")

    def known(self, connector: str) -> None:
        """Show its series from the beginning."""
        for fate in FATES:
            self._messages.labels(connector, fate)
        self._retries.labels(connector)
        self.state(connector, held=0, is_open=False)

    def fate(self, connector: str, fate: str, count: int = 1) -> None:
        """Count messages, by one of `FATES`."""
        self._messages.labels(connector, fate).inc(count)

    def retried(self, connector: str, count: int) -> None:
        """Count messages that have to be sent again."""
        self._retries.labels(connector).inc(count)

    def delivered(self, connector: str, delay_s: float) -> None:
        """Count a delivery."""
        self.fate(connector, "delivered")
        self._delay.labels(connector).observe(delay_s)

    def round(self, connector: str, seconds: float) -> None:
        """Show how long a batch took."""
        self._round.labels(connector).observe(seconds)

    def state(self, connector: str, *, held: int, is_open: bool) -> None:
        """Show what it is in."""
        self._held.labels(connector).set(held)
        self._open.labels(connector).set(float(is_open))

    def backlog(self, connector: str, messages: int, oldest_age_s: float) -> None:
        """Show what waits in the queue."""
        self._backlog.labels(connector).set(messages)
        self._oldest.labels(connector).set(oldest_age_s)
