"""Requests of `score.requests`: taken in batches, answered, and acknowledged last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from feature_repo.stream.port import Consumer, Delivery, Publisher, Queue
from feature_repo.stream.score_streams import ROUTER
from serving.routing import messages
from serving.routing.answering import FAILS, Answer, Answering
from serving.routing.message import ScoreAsked
from serving.routing.messages import BadRequest, epoch_of
from serving.routing.tools import Tools

MOST: Final = 500
"""Requests of one batch."""

LINGER_S: Final = 0.02
"""How long a batch waits to become larger."""

MOST_IN_HAND: Final = 5_000
"""Requests that wait for a model; beyond that no more are taken."""

AGAIN_S: Final = 1.0
KEEP_S: Final = 1.0
SUSPECT_FROM: Final = 3
"""Deliveries; from here on a router died with the message in hand, and it is tried alone."""

MOST_AHEAD_S: Final = 31 * 86_400.0

_FAILS: Final = "the model of the target fails on this customer, and works for others"

log = structlog.get_logger()


@dataclass
class Request:
    """A request in hand."""

    delivery: Delivery
    asked: ScoreAsked
    #: `monotonic` before which it is not tried again.
    not_before: float = -float("inf")


@dataclass
class Desk:
    """Takes requests and sees each through. What is in hand stays so until it is acknowledged."""

    tools: Tools
    queue: Queue
    consumer: Consumer
    results: Publisher
    most_tries: int
    monotonic: Callable[[], float] = time.monotonic
    _taken: list[Delivery] = field(default_factory=list)
    _in_hand: dict[str, Request] = field(default_factory=dict)
    _kept_at: float = 0.0

    def work(self, wait_s: float) -> int:
        """Answer a batch, waiting up to `wait_s` for a first request; how many were in hand.

        Raises:
            StoreUnavailable: a store does not answer. Those in hand are tried again.
        """
        self._gather(wait_s)
        while self._taken:
            self._accept(self._taken[0])
            del self._taken[0]
        self._keep()
        now = self.monotonic()
        due = [one for one in self._in_hand.values() if one.not_before <= now][:MOST]
        for batch in _batches(due):
            self._answer(batch)
        return len(due)

    def close(self) -> None:
        """Leave the group; what is in hand goes to others."""
        self.consumer.close()

    def _gather(self, wait_s: float) -> None:
        room = min(MOST, MOST_IN_HAND - len(self._in_hand)) - len(self._taken)
        until = None
        while room > 0:
            left = wait_s if until is None else until - self.monotonic()
            if left < 0.0:
                return
            taken = self.consumer.take(room, left)
            if not taken and (until is None or left < 0.001):
                return
            until = self.monotonic() + LINGER_S if until is None else until
            room -= len(taken)
            self._taken += taken

    def _accept(self, delivery: Delivery) -> None:
        try:
            asked = self._checked(delivery)
        except BadRequest as exc:
            self.queue.bury(delivery.body, group=ROUTER, reason=str(exc))
            self.tools.metrics.requests("bad")
            log.warning("bad_request", why=str(exc), bytes=len(delivery.body))
            self.consumer.ack([delivery.id])
            return
        self._in_hand[delivery.id] = Request(delivery, asked)

    def _checked(self, delivery: Delivery) -> ScoreAsked:
        if delivery.deliveries > self.most_tries:
            tries = delivery.deliveries - 1
            message = f"handed out {tries} times, and whoever had it died"
            raise BadRequest(message)
        asked = messages.read_request(delivery.body, self.tools.settings.all_targets)
        ahead = self.tools.clock().timestamp() + MOST_AHEAD_S
        if asked.send_at is not None and epoch_of(asked.send_at) > ahead:
            message = f"send_at is more than {MOST_AHEAD_S / 86_400:.0f} days ahead"
            raise BadRequest(message)
        return asked

    def _answer(self, batch: Sequence[Request]) -> None:
        now = self.tools.clock()
        fresh = [one for one in batch if not _is_expired(one, now)]
        self.tools.metrics.requests("expired", len(batch) - len(fresh))
        answered = Answering(self.tools, now).answers([one.asked for one in fresh])
        pairs = [*zip(fresh, answered, strict=True)]
        ready = [(one, found) for one, found in pairs if isinstance(found, Answer)]
        if ready:
            self.results.publish(
                [answer.body for _, answer in ready],
                keys=[request.asked.customer_id for request, _ in ready],
            )
        for one in (request for request, found in pairs if found is FAILS):
            self.queue.bury(one.delivery.body, group=ROUTER, reason=_FAILS)
            self.tools.metrics.requests("failed")
        waiting = {one.delivery.id for one, found in pairs if found is None}
        self._finish([one.delivery.id for one in batch if one.delivery.id not in waiting])
        for request, _ in ready:
            age = self.tools.clock() - request.delivery.published_at
            self.tools.metrics.answer_s.observe(max(0.0, age.total_seconds()))
        for waits in waiting:
            self._in_hand[waits].not_before = self.monotonic() + AGAIN_S

    def _finish(self, ids: Sequence[str]) -> None:
        self.consumer.ack(ids)
        for one in ids:
            del self._in_hand[one]

    def _keep(self) -> None:
        if self._in_hand and self.monotonic() - self._kept_at > KEEP_S:
            self._kept_at = self.monotonic()
            self.consumer.keep([*self._in_hand])


def _batches(due: Sequence[Request]) -> Iterator[Sequence[Request]]:
    plain = [one for one in due if one.delivery.deliveries < SUSPECT_FROM]
    if plain:
        yield plain
    yield from ([one] for one in due if one.delivery.deliveries >= SUSPECT_FROM)


def _is_expired(request: Request, now: datetime) -> bool:
    expires_at = request.asked.expires_at
    return expires_at is not None and datetime.fromisoformat(expires_at).astimezone(UTC) <= now
