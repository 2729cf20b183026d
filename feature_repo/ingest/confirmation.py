"""Answers Amazon SNS when it asks whether a topic may deliver here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import msgspec
import structlog

from feature_repo.ingest.providers.ses import is_sns_url
from feature_repo.ingest.raw.record import RawRecord

_PAUSES_S: Final = (0.0, 2.0, 10.0, 60.0, 300.0)

log = structlog.get_logger()


class _Request(msgspec.Struct):
    Type: str
    TopicArn: str
    SubscribeURL: str


class Confirmations:
    """Visits the address in a subscription request, for topics that are listed and no others.

    The delivery has been verified: it is Amazon's. It may still be about anybody's topic.
    """

    def __init__(self, topics: Collection[str], visit: Callable[[str], object]) -> None:
        self._topics = frozenset(topics)
        self._visit = visit
        self._tasks: set[asyncio.Task[None]] = set()

    def landed(self, record: RawRecord) -> None:
        """Look at a landed delivery; visits happen beside the requests."""
        if record.provider != "ses" or b"SubscriptionConfirmation" not in record.body:
            return
        try:
            asked = msgspec.json.decode(record.body, type=_Request)
        except msgspec.DecodeError:
            return
        if asked.Type != "SubscriptionConfirmation":
            return
        if asked.TopicArn not in self._topics:
            log.warning(
                "subscription_refused", cure="FORESEND_INGEST_SES_TOPIC_ARNS lists the topics"
            )
        elif not is_sns_url(asked.SubscribeURL):
            log.warning("subscription_refused", topic=asked.TopicArn, reason="foreign address")
        else:
            task = asyncio.get_running_loop().create_task(self._confirm(asked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _confirm(self, asked: _Request) -> None:
        for pause in _PAUSES_S:
            await asyncio.sleep(pause)
            try:
                await asyncio.to_thread(self._visit, asked.SubscribeURL)
            except OSError as exc:
                # The address holds a token; the error may hold the address.
                log.warning(
                    "subscription_not_confirmed", topic=asked.TopicArn, error=type(exc).__name__
                )
            else:
                log.info("subscription_confirmed", topic=asked.TopicArn)
                return
        log.error("subscription_given_up", topic=asked.TopicArn, cure="subscribe again in SNS")

    def close(self) -> None:
        """Give up what is not confirmed."""
        for task in self._tasks:
            task.cancel()
