"""A router over a real queue and Redis, with scores that a test sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

import redis

from feature_repo import online
from feature_repo.settings import Settings
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.port import Delivery, Queue, Stream
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import ROUTER
from feature_repo.stream.settings import QueueSettings
from serving.asks import Ask
from serving.routing import messages
from serving.routing.message import Routed
from serving.routing.router import Router, open_router
from serving.routing.scorer import Verdict
from serving.routing.settings import RoutingSettings

TARGET = "buy"
SCORES = "test:scores"
"""Hash in Redis: what each customer's score is now."""


class RedisScorer:
    """Scores as the hash says, 0.5 without; of another target than TARGET there is no model."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def score(self, asks: Sequence[Ask]) -> list[list[Verdict] | None]:
        with online.answers():
            held = {k.decode(): float(v) for k, v in self._client.hgetall(SCORES).items()}
        return [
            [_verdict(held.get(one.customer_id, 0.5)) for one in ask.customers]
            if ask.target == TARGET
            else None
            for ask in asks
        ]

    def close(self) -> None:
        """Nothing is held open."""


def _verdict(score: float) -> Verdict:
    return Verdict(
        score=score,
        tier="high" if score >= 0.6 else "low",
        model_version="1",
        tier_policy="1",
        as_of="2026-03-01T00:00:00Z",
    )


def routing(**changes: object) -> RoutingSettings:
    given = {"targets": (TARGET,), "all_targets": (TARGET, "untrained"), **changes}
    return RoutingSettings(**given)  # type: ignore[arg-type]  # any field


def router_of(
    settings: Settings,
    client: redis.Redis,
    closing: ExitStack,
    rules: RoutingSettings,
    queue_settings: QueueSettings | None = None,
) -> Router:
    return open_router(
        settings,
        rules,
        client,
        RedisScorer(client),
        WorkerMetrics(ROUTER),
        closing,
        clock=lambda: datetime.now(UTC),
        queue_settings=queue_settings or QueueSettings(),
    )


def ask(queue: Queue, *requests: dict[str, object]) -> None:
    """Publish requests to TARGET, or as they say."""
    bodies = [json.dumps({"target": TARGET, **one}).encode() for one in requests]
    queue.publisher().publish(bodies)


class Reader:
    """Someone who reads a stream of messages from its beginning."""

    def __init__(self, settings: Settings, stream: Stream, group: str = "reader") -> None:
        self._queue = open_queue(settings, QueueSettings(kafka_session_s=5.0), stream=stream)
        self._consumer = self._queue.consumer(group, "reader")
        self.messages: list[Routed] = []

    def read(self, wait_s: float = 0.05) -> list[Routed]:
        """What is new; `messages` has all of it."""
        taken: list[Delivery] = self._consumer.take(1_000, wait_s)
        new = [messages.unpack(one.body) for one in taken]
        self._consumer.ack([one.id for one in taken])
        self.messages += new
        return new

    def close(self) -> None:
        self._consumer.close()
        self._queue.close()
