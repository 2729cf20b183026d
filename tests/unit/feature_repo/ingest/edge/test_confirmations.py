"""Subscriptions of Amazon SNS: confirmed for listed topics at Amazon's own address, else never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest

from feature_repo.ingest.confirmation import Confirmations
from feature_repo.ingest.raw.record import RawRecord
from tests.unit.feature_repo.ingest.edge.conftest import AT, SIGNED, Ingest

TOPIC = "arn:aws:sns:eu-west-1:123456789012:ses-events"
URL = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=abc"

MakeIngest = Callable[..., Ingest]


def subscription(**changed: str) -> bytes:
    request = {"Type": "SubscriptionConfirmation", "TopicArn": TOPIC, "SubscribeURL": URL}
    return orjson.dumps({**request, **changed})


def visited(ingest: Ingest, provider: str, body: bytes) -> list[str]:
    async def scenario() -> int:
        async with ingest.client() as client:
            path = f"/ingest/{provider}"
            answer = await client.post(path, content=body, headers=SIGNED)
            for _ in range(20):
                await asyncio.sleep(0.001)
            return answer.status_code

    assert asyncio.run(scenario()) == 200
    return ingest.visited


def test_a_listed_topic_is_confirmed(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(ses_topic_arns=TOPIC)

    assert visited(ingest, "ses", subscription()) == [URL]


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("ses", subscription(TopicArn=f"{TOPIC}-of-somebody")),
        ("ses", subscription(SubscribeURL="https://sns.example.org/")),
        ("ses", subscription(SubscribeURL="http://sns.eu-west-1.amazonaws.com/")),
        ("ses", subscription(SubscribeURL="https://sns.eu-west-1.amazonaws.com@example.org/")),
        ("ses", subscription(Type="Notification", Message="SubscriptionConfirmation")),
        ("ses", b'["SubscriptionConfirmation"]'),
        ("sendgrid", subscription()),
    ],
)
def test_nothing_else_is_visited(make_ingest: MakeIngest, provider: str, body: bytes) -> None:
    ingest = make_ingest(ses_topic_arns=TOPIC)

    assert visited(ingest, provider, body) == []


def test_an_address_that_does_not_answer_is_tried_again_until_a_stop() -> None:
    tries: list[str] = []

    def visit(url: str) -> None:
        tries.append(url)
        raise OSError

    async def scenario() -> None:
        confirmations = Confirmations((TOPIC,), visit)
        body = subscription()
        confirmations.landed(RawRecord(provider="ses", received_time=AT, headers=(), body=body))
        while not tries:
            await asyncio.sleep(0.001)
        confirmations.close()

    asyncio.run(scenario())

    assert tries == [URL]
