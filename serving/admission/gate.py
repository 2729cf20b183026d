"""The gate: how many score requests may be in hand at once, and how many were.

Small requests and bulk have places of their own; what finds none is refused by the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from feature_repo.protocol import Bounds

BUSY: Final = 0.7
"""Share of the places from which on what can be left out of an answer is left out."""

BULK_ENDS: Final = 0.85
"""Share of the singles' places from which on bulk is refused, so that singles go on longest."""


@dataclass(slots=True)
class Budget:
    """The places of one kind of request."""

    limit: int
    in_flight: int = 0
    admitted: int = 0
    refused: int = 0


@dataclass(slots=True)
class Gate:
    """Counts of one worker; read by its metrics and by the service."""

    singles: Budget
    bulk: Budget
    #: Bytes of a refused body that are read and thrown away to keep the connection.
    swallow_bytes: int = 1 << 20
    bounds: Bounds = field(default_factory=Bounds)

    def load(self) -> float:
        """Share of the singles' places that is taken."""
        return self.singles.in_flight / self.singles.limit

    def is_busy(self) -> bool:
        """Whether answers should be cheap rather than complete."""
        return self.load() >= BUSY

    def has_place(self, budget: Budget) -> bool:
        """Whether one more is let in now."""
        if budget is self.bulk and self.load() >= BULK_ENDS:
            return False
        return budget.in_flight < budget.limit

    def enter(self, budget: Budget) -> bool:
        """Take a place; False when there is none, which is counted."""
        if not self.has_place(budget):
            budget.refused += 1
            return False
        budget.admitted += 1
        budget.in_flight += 1
        return True


class GateMetrics(Collector):
    """The gate's counts as Prometheus series, read when they are asked for."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def collect(self) -> Iterable[Metric]:
        """One series for each kind of request."""
        label = ["kind"]
        admitted = CounterMetricFamily("foresend_gate_admitted", "Let in.", labels=label)
        refused = CounterMetricFamily(
            "foresend_gate_refused", "Answered 429 because too many were in hand.", labels=label
        )
        in_flight = GaugeMetricFamily("foresend_gate_in_flight", "In hand.", labels=label)
        limit = GaugeMetricFamily("foresend_gate_limit", "In hand at most.", labels=label)
        for kind, budget in (("single", self._gate.singles), ("bulk", self._gate.bulk)):
            admitted.add_metric([kind], budget.admitted)
            refused.add_metric([kind], budget.refused)
            in_flight.add_metric([kind], budget.in_flight)
            limit.add_metric([kind], budget.limit)
        return admitted, refused, in_flight, limit
