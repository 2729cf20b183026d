"""Counting answers without looking a series up by its labels each time."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from serving.answers import DegradedAnswer
from serving.metrics import Metrics
from serving.served import Route


class ScoreCounts:
    """The counters of answers, with their series at hand."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._rows: dict[str, Counter] = {}

    def add(
        self,
        route: Route,
        tiers: Sequence[str | None],
        degraded: Sequence[DegradedAnswer | None],
        modelled: npt.NDArray[np.bool_] | None,
        *,
        canary: bool,
    ) -> None:
        """Count the answers of one target's customers; `modelled` None: a model computed none."""
        target = route.champion.version.target
        rows = self._rows.get(target)
        if rows is None:
            rows = self._rows[target] = self._metrics.rows.labels(target)
        rows.inc(len(tiers))
        if canary:
            self._metrics.scoring.canary.labels(target).inc(len(tiers))
        if route.champion.policy is not None:
            self._metrics.tiers.count(target, tiers, modelled)
        causes = Tally(one.cause for one in degraded if one is not None)
        for cause, count in causes.items():
            self._metrics.degraded.labels(target, cause).inc(count)
