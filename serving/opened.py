"""The scoring service of this installation for a process that serves no HTTP: router, jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import structlog

from feature_repo.addresses import mlflow_uri, redis_url
from feature_repo.config import load_config
from feature_repo.settings import Settings
from serving.doorbell import Bell
from serving.last_scores import LastScores
from serving.metrics import Metrics
from serving.model import ScoringModel
from serving.prediction_writer import PredictionWriter
from serving.registry import ModelRegistry, open_registry
from serving.scoring import Rules
from serving.service import ScoringService
from serving.settings import ServingSettings
from serving.shadow import Shadow
from serving.shelf import Shelf
from serving.store import FeatureStore, RedisStore
from serving.traced import Part, untraced
from serving.trials import trials_of
from serving.watch import ModelWatch

log = structlog.get_logger()


@asynccontextmanager
async def open_service(
    settings: Settings, limits: ServingSettings, clock: Callable[[], datetime]
) -> AsyncIterator[ScoringService]:
    """The service over this installation's Redis, MLflow and files, following promotions.

    Its prediction log is written out when the context ends.

    Raises:
        ConfigError: a setting cannot be used.
    """
    registry = open_registry(mlflow_uri(settings), timeout_s=limits.registry_timeout_s)
    store = RedisStore(redis_url(settings), project=settings.project, settings=limits)
    service = _service(settings, limits, clock, registry, store)
    try:
        async with running(service, poll_s=limits.registry_poll_s):
            yield service
    finally:
        await store.close()
        await registry.close()


def _service(
    settings: Settings,
    limits: ServingSettings,
    clock: Callable[[], datetime],
    registry: ModelRegistry,
    store: FeatureStore,
) -> ScoringService:
    config = load_config(settings)
    metrics = Metrics()
    watch = ModelWatch(
        registry,
        Shelf(settings.state_path / "models"),
        ScoringModel.load,
        tuple(config.targets),
        metrics,
        clock,
        trials=trials_of(config),
        bell=Bell(settings.state_path / "doorbell"),
    )
    return make_service(watch, store, limits, predictions=settings.predictions_path)


def make_service(
    watch: ModelWatch,
    store: FeatureStore,
    limits: ServingSettings,
    *,
    predictions: Path,
    is_busy: Callable[[], bool] = lambda: False,
    monotonic: Callable[[], float] = time.monotonic,
    part: Part = untraced,
) -> ScoringService:
    """The service of any process, over what it follows and reads; nothing is started."""
    metrics = watch.metrics
    return ScoringService(
        watch=watch,
        store=store,
        predictions=PredictionWriter(
            predictions,
            metrics,
            flush_s=limits.prediction_flush_s,
            flush_rows=limits.prediction_flush_rows,
            queue_rows=limits.prediction_queue_rows,
        ),
        metrics=metrics,
        rules=Rules(limits.stale_after_s, limits.clock_skew_s),
        clock=watch.clock,
        last_scores=LastScores(limits.last_scores),
        shadow=Shadow(metrics.promotion.shadow, is_busy=is_busy),
        is_busy=is_busy,
        monotonic=monotonic,
        part=part,
    )


@asynccontextmanager
async def running(service: ScoringService, *, poll_s: float) -> AsyncIterator[None]:
    """Start what a service runs beside its requests; end it, and lose nothing, afterwards."""
    service.predictions.start()
    if service.shadow is not None:
        service.shadow.start()
    try:
        await service.watch.start()
        following = asyncio.create_task(service.watch.run(poll_s))
        following.add_done_callback(lambda task: _report_end(task, service.watch))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.wait([following])
    finally:
        # The shadow first: what it scores last goes into the log.
        if service.shadow is not None:
            await asyncio.to_thread(service.shadow.stop)
        await asyncio.to_thread(service.predictions.stop)


def _report_end(task: asyncio.Task[None], watch: ModelWatch) -> None:
    """A watch that ends by itself is a mistake of ours; readiness shows it from then on."""
    if not task.cancelled() and task.exception() is not None:
        watch.unavailable = "Promotions are not followed any more: the watch ended. Restart."
        log.error("watch_ended", exc_info=task.exception())
