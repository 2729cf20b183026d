"""Reads of the feature store that never fail: measured, and logged when it goes or comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from feature_repo.errors import StoreUnavailable
from serving.asks import Ask
from serving.metrics import Metrics
from serving.store import FeatureStore, Stored
from serving.traced import Part

log = structlog.get_logger()


@dataclass
class StoreReads:
    """The store as the service reads it."""

    store: FeatureStore
    metrics: Metrics
    monotonic: Callable[[], float]
    part: Part
    _is_away: bool = field(init=False, default=False)

    async def read(
        self, customer_ids: Sequence[str], asks: Sequence[Ask], *, bulk: bool
    ) -> Stored | None:
        """What the store holds of the customers of these requests, None when it does not answer."""
        began = self.monotonic()
        try:
            with self.part("store read", asks):
                stored = await self.store.read(customer_ids, bulk=bulk)
        except StoreUnavailable as exc:
            self._seen(str(exc))
            return None
        finally:
            self.metrics.store_latency.observe(self.monotonic() - began)
        self._seen(None)
        return stored

    def _seen(self, problem: str | None) -> None:
        """Log when the store goes and when it comes back, not once per request."""
        if problem is not None and not self._is_away:
            log.warning("store_unavailable", reason=problem)
        if problem is None and self._is_away:
            log.info("store_back")
        self._is_away = problem is not None
