"""Foresend's own form: what no service can say, as withdrawals and corrections."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from feature_repo.event import EventType
from infra.simulator.payloads.encoder import (
    JSON_HEADERS,
    Body,
    Encoder,
    Payload,
    Report,
    array,
    same,
    without_missing,
)

_SAID: Final = (
    "event_id", "op", "customer_id", "campaign_id", "message_id", "sending_domain",
    "mailbox_provider", "url", "link_id", "user_agent", "ip", "reason", "amount", "currency",
)  # fmt: skip


def encode(report: Report) -> Payload:
    """The fields that say something."""
    event = report.event
    said = {name: getattr(event, name) for name in _SAID}
    return without_missing(said | {"type": event.type, "event_time": event.event_time.isoformat()})


def wrap(payloads: Sequence[Payload], secret: str | None, _now: datetime) -> Body:
    """An array; `secret` is an API key with the scope ingest."""
    key = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return array(payloads, JSON_HEADERS | key)


ENCODER: Final = Encoder(
    name="canonical", kinds=same(*EventType), encode=encode, wrap=wrap, most=500
)
