"""The router of an installation as a process: settings become ports."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from typing import Final

import redis

from feature_repo.config import load_config
from feature_repo.errors import ConfigError
from feature_repo.settings import Settings
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.settings import load_queue_settings
from serving.opened import open_service
from serving.routing.router import Router, open_router
from serving.routing.service_scorer import ServiceScorer
from serving.routing.settings import routing_settings
from serving.settings import load_serving_settings

READ_TIMEOUT_S: Final = 1.0
"""For one read of the feature store: a queue can wait where a request over HTTP cannot."""


def open_rounds(
    settings: Settings,
    client: redis.Redis,
    clock: Callable[[], datetime],
    closing: ExitStack,
    metrics: WorkerMetrics,
) -> Router:
    """The router; what it holds open is closed by `closing`.

    Raises:
        ConfigError: a setting cannot be used, or routing is off.
        StoreUnavailable: no queue is known, or it does not answer.
    """
    config = load_config(settings)
    routing = routing_settings(config)
    if not routing.enabled:
        message = f"{config.path}: routing.enabled is false; set it to true to run a router."
        raise ConfigError(message)
    limits = load_serving_settings().model_copy(update={"redis_read_timeout_s": READ_TIMEOUT_S})
    scorer = ServiceScorer(lambda: open_service(settings, limits, clock))
    closing.callback(scorer.close)
    return open_router(
        settings,
        routing,
        client,
        scorer,
        metrics,
        closing,
        clock=clock,
        queue_settings=load_queue_settings(),
    )
