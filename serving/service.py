"""One request from customers to answers: read, score, remember, log. Knows no HTTP."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import structlog

from feature_repo.errors import StoreUnavailable
from serving.errors import NoModel, UnknownTarget
from serving.metrics import Metrics
from serving.placement import Placement, placement_of
from serving.prediction_log import PredictionBatch
from serving.prediction_writer import PredictionWriter
from serving.schemas import Customer, ScoreRequest
from serving.scoring import (
    Degradation,
    LastScore,
    Rules,
    Scored,
    iso,
    iso_epoch,
    score_stored,
    score_without_store,
)
from serving.store import FeatureStore
from serving.tiers import TierPolicy
from serving.watch import ModelWatch, Serving

INLINE_ROWS: Final = 64
"""Up to this many customers are scored on the event loop; more would stall other requests."""

log = structlog.get_logger()


@dataclass
class LastScores:
    """The newest scores of this process by target and customer, the oldest forgotten first."""

    capacity: int
    _held: OrderedDict[tuple[str, str], LastScore] = field(default_factory=OrderedDict)

    def get(self, target: str, customer_ids: Sequence[str]) -> list[LastScore | None]:
        """The last score of each customer."""
        return [self._held.get((target, customer)) for customer in customer_ids]

    def put(self, target: str, customer_id: str, last: LastScore) -> None:
        """Remember a score."""
        self._held[target, customer_id] = last
        self._held.move_to_end((target, customer_id))
        while len(self._held) > self.capacity:
            self._held.popitem(last=False)


@dataclass
class ScoringService:
    """Everything a request needs."""

    watch: ModelWatch
    store: FeatureStore
    predictions: PredictionWriter
    metrics: Metrics
    rules: Rules
    clock: Callable[[], datetime]
    last_scores: LastScores
    _store_is_away: bool = False

    async def score(self, ask: ScoreRequest, request_id: str) -> dict[str, Any]:
        """The answer to a request, as `schemas.ScoreResponse` describes it.

        Raises:
            UnknownTarget: it is not configured.
            NoModel: none was ever loaded for it.
        """
        serving = self._serving(ask.target)
        now = self.clock()
        send_at = ask.send_at or now
        ids = [customer.customer_id for customer in ask.customers]
        scored = await self._scored(serving, ask.customers, ids, send_at=send_at, now=now)
        tiers = _tiers(serving.policy, scored)
        self._count(ask.target, scored, tiers)
        self._remember(ask.target, ids, scored, serving, now)
        self.predictions.add(_batch(ask, ids, scored, tiers, serving, send_at, now, request_id))
        return _answer(ask.target, ids, scored, tiers, serving, send_at, request_id)

    def _serving(self, target: str) -> Serving:
        if target not in self.watch.states:
            known = ", ".join(sorted(self.watch.states))
            message = f"No target is called {target!r}. Known targets: {known}."
            raise UnknownTarget(message)
        serving = self.watch.serving(target)
        if serving is None:
            state = self.watch.states[target]
            reason = state.problem or self.watch.unavailable or "no version is its champion yet"
            message = (
                f"No model of {target!r} is loaded: {reason}. Train one with `foresend train "
                f"{target}` or promote one with `foresend models promote {target} VERSION`."
            )
            raise NoModel(message, headers={"Retry-After": "5"})
        return serving

    async def _scored(
        self,
        serving: Serving,
        customers: Sequence[Customer],
        ids: Sequence[str],
        *,
        send_at: datetime,
        now: datetime,
    ) -> Scored:
        try:
            with self.metrics.store_latency.time():
                stored = await self.store.read(ids)
        except StoreUnavailable as exc:
            self._store_seen(str(exc))
            last = self.last_scores.get(serving.version.target, ids)
            return score_without_store(serving.model.base_rate, last, now=now)
        self._store_seen(None)
        offsets = np.array(
            [np.nan if c.utc_offset_minutes is None else c.utc_offset_minutes for c in customers]
        )

        def work() -> Scored:
            return score_stored(
                serving.model,
                stored,
                send_at=send_at,
                now=now,
                utc_offsets=offsets,
                rules=self.rules,
            )

        return work() if len(ids) <= INLINE_ROWS else await asyncio.to_thread(work)

    def _store_seen(self, problem: str | None) -> None:
        """Log when the store goes and when it comes back, not once per request."""
        if problem is not None and not self._store_is_away:
            log.warning("store_unavailable", reason=problem)
        if problem is None and self._store_is_away:
            log.info("store_back")
        self._store_is_away = problem is not None

    def _count(self, target: str, scored: Scored, tiers: Sequence[str | None]) -> None:
        self.metrics.rows.labels(target).inc(len(scored.degraded))
        modelled = None if scored.modelled is None else scored.modelled.tolist()
        self.metrics.tiers.count(target, tiers, modelled)
        for degradation in scored.degraded:
            if degradation is not None:
                self.metrics.degraded.labels(target, degradation.cause.value).inc()

    def _remember(
        self, target: str, ids: Sequence[str], scored: Scored, serving: Serving, now: datetime
    ) -> None:
        if scored.modelled is None:
            return
        version = serving.version.number
        values = zip(
            ids,
            scored.scores.tolist(),
            scored.as_of.tolist(),
            scored.modelled.tolist(),
            strict=True,
        )
        for customer, score, as_of, modelled in values:
            if modelled:
                self.last_scores.put(target, customer, LastScore(score, as_of, now, version))


def _tiers(policy: TierPolicy | None, scored: Scored) -> Sequence[str | None]:
    return [None] * len(scored.degraded) if policy is None else policy.tiers(scored.scores)


def _answer(
    target: str,
    ids: Sequence[str],
    scored: Scored,
    tiers: Sequence[str | None],
    serving: Serving,
    send_at: datetime,
    request_id: str,
) -> dict[str, Any]:
    at = send_at.timestamp()
    rows = zip(
        ids,
        scored.scores.tolist(),
        tiers,
        scored.as_of.tolist(),
        _placements(scored),
        scored.degraded,
        strict=True,
    )
    return {
        "request_id": request_id,
        "target": target,
        "send_at": iso(send_at),
        "model": {
            "name": target,
            "version": serving.version.number,
            "run_id": serving.version.run_id,
            "loaded_at": iso(serving.loaded_at),
        },
        "tier_policy": _policy(serving),
        "scores": [
            {
                "customer_id": customer,
                "score": score,
                "tier": tier,
                "as_of": iso_epoch(as_of),
                "age_s": None if as_of != as_of else round(at - as_of, 6),
                "placement": placement,
                "degraded": _declared(degradation),
            }
            for customer, score, tier, as_of, placement, degradation in rows
        ],
    }


def _policy(serving: Serving) -> dict[str, Any] | None:
    policy = serving.policy
    if policy is None:
        return None
    return {
        "model_version": policy.model_version,
        "approved_by": policy.approved_by,
        "approved_at": iso(policy.approved_at),
        "is_current": serving.policy_is_current,
        "names": policy.names,
        "cuts": policy.cuts,
    }


def _placements(scored: Scored) -> Sequence[Placement | None]:
    if scored.p_inbox_28d is None or scored.ghost is None:
        return [None] * len(scored.degraded)
    known = zip(scored.p_inbox_28d.tolist(), scored.ghost.tolist(), strict=True)
    return [placement_of(p_inbox_28d, ghost) for p_inbox_28d, ghost in known]


def _declared(degradation: Degradation | None) -> dict[str, str] | None:
    if degradation is None:
        return None
    return {
        "cause": degradation.cause.value,
        "score_is": degradation.score_is.value,
        "detail": degradation.detail,
    }


def _batch(
    ask: ScoreRequest,
    ids: Sequence[str],
    scored: Scored,
    tiers: Sequence[str | None],
    serving: Serving,
    send_at: datetime,
    now: datetime,
    request_id: str,
) -> PredictionBatch:
    model = serving.model
    return PredictionBatch(
        scored_at=now,
        request_id=request_id,
        target=ask.target,
        model_version=serving.version.number,
        feature_service=model.feature_service,
        feature_names=model.feature_names,
        text_names=model.categorical,
        customer_ids=ids,
        send_at=send_at,
        scores=scored.scores,
        as_of=scored.as_of,
        degraded=[None if d is None else d.cause.value for d in scored.degraded],
        campaign_ids=[customer.campaign_id for customer in ask.customers],
        message_ids=[customer.message_id for customer in ask.customers],
        features=scored.features,
        texts=scored.texts,
        modelled=scored.modelled,
        tiers=tiers,
        tier_policy=None if serving.policy is None else serving.policy.model_version,
        p_inbox_28d=scored.p_inbox_28d,
        ghost=scored.ghost,
    )
