"""SparkPost: arrays of events in wrappers; numbers are texts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from feature_repo.event import EventType
from infra.simulator.agents import APPLE_BARE, GMAIL, YAHOO
from infra.simulator.payloads.encoder import (
    JSON_HEADERS,
    Body,
    Encoder,
    Payload,
    Report,
    array,
    number_of,
    same,
    without_missing,
)
from infra.simulator.payloads.shared_secret import credentials

_WORDS: Final = {
    EventType.SENT: ("message_event", "injection"),
    EventType.DELIVERED: ("message_event", "delivery"),
    EventType.DEFERRED: ("message_event", "delay"),
    EventType.BOUNCED: ("message_event", "bounce"),
    EventType.REJECTED: ("message_event", "policy_rejection"),
    EventType.COMPLAINED: ("message_event", "spam_complaint"),
    EventType.OPENED: ("track_event", "open"),
    EventType.CLICKED: ("track_event", "click"),
    EventType.UNSUBSCRIBED: ("unsubscribe_event", "list_unsubscribe"),
}
_PROXIES: Final = {GMAIL, YAHOO}


def encode(report: Report) -> Payload:
    """The event in its wrapper."""
    event = report.event
    group, word = _WORDS[event.type]
    bounce = {None: None, "hard": "10", "soft": "22"}[event.bounce_class]
    payload: Payload = {
        "type": word,
        "event_id": str(number_of(event.event_id)),
        "timestamp": str(report.seconds),
        "rcpt_to": report.address,
        "raw_rcpt_to": report.address,
        "rcpt_meta": {"customer_id": event.customer_id, "campaign_id": event.campaign_id},
        "message_id": event.message_id,
        "campaign_id": event.campaign_id,
        "customer_id": "1",
        "sending_domain": event.sending_domain,
        "friendly_from": f"hello@{event.sending_domain}",
        "target_link_url": event.url,
        "target_link_name": event.link_id,
        "user_agent": event.user_agent,
        "ip_address": event.ip,
        "bounce_class": bounce,
        "error_code": event.smtp_code,
        "raw_reason": event.reason,
    }
    if event.type in {EventType.OPENED, EventType.CLICKED}:
        agent = event.user_agent or ""
        payload["user_agent_parsed"] = {
            "is_prefetched": agent == APPLE_BARE,
            "is_proxy": agent in _PROXIES or agent == APPLE_BARE,
        }
    return {"msys": {group: without_missing(payload)}}


def wrap(payloads: Sequence[Payload], secret: str | None, _now: datetime) -> Body:
    """An array, with the credentials it was given."""
    return array(payloads, JSON_HEADERS | credentials(secret))


ENCODER: Final = Encoder(
    name="sparkpost",
    kinds=same(*_WORDS),
    encode=encode,
    wrap=wrap,
    event_id=lambda event: f"sparkpost:{number_of(event.event_id)}",
    most=500,
)
