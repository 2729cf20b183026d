"""Counts and times of answers, kept as plain numbers and made into series when they are read.

The client library's own counters cost some microseconds an answer; these cost half of one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds, inclusive."""


@dataclass(slots=True)
class _Times:
    """Answers of one route by how long they took; the last bucket has no bound."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0


class HttpSeries(Collector):
    """Of one process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._answers: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._times: defaultdict[str, _Times] = defaultdict(_Times)

    def count(self, route: str, status: int, seconds: float) -> None:
        """One answer; `route` and `status` become labels, so both are of a closed set."""
        self._answers[route, status] += 1
        times = self._times[route]
        times.counts[bisect_left(BUCKETS_S, seconds)] += 1
        times.total_s += seconds

    def collect(self) -> Iterable[Metric]:
        """The series as they are now."""
        answers = CounterMetricFamily(
            "foresend_http_requests", "Answers.", labels=["route", "status"]
        )
        for (route, status), count in sorted(self._answers.items()):
            answers.add_metric([route, str(status)], count)
        times = HistogramMetricFamily(
            "foresend_http_request_seconds",
            "From the first byte of a request to the last of its answer.",
            labels=["route"],
        )
        bounds = [*(str(bound) for bound in BUCKETS_S), "+Inf"]
        for route, held in sorted(self._times.items()):
            buckets = list(zip(bounds, accumulate(held.counts), strict=True))
            times.add_metric([route], buckets, held.total_s)
        return answers, times
