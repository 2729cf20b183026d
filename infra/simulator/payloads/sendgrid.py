"""SendGrid: arrays of flat objects, up to a thousand; ECDSA over timestamp and body."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from feature_repo.errors import ConfigError
from feature_repo.event import EventType
from infra.simulator.agents import APPLE_BARE
from infra.simulator.payloads.encoder import (
    JSON_HEADERS,
    Body,
    Encoder,
    Payload,
    Report,
    array,
    own_id,
    same,
    without_missing,
)

_WORDS: Final = {
    EventType.SENT: "processed",
    EventType.DELIVERED: "delivered",
    EventType.DEFERRED: "deferred",
    EventType.BOUNCED: "bounce",
    EventType.REJECTED: "dropped",
    EventType.OPENED: "open",
    EventType.CLICKED: "click",
    EventType.COMPLAINED: "spamreport",
    EventType.UNSUBSCRIBED: "unsubscribe",
}


def encode(report: Report) -> Payload:
    """The event; custom arguments lie flat in it."""
    event = report.event
    payload = {
        "email": report.address,
        "timestamp": report.seconds,
        "event": _WORDS[event.type],
        "sg_event_id": event.event_id,
        "sg_message_id": f"{event.message_id}.filter0001p1.1.1.0",
        "smtp-id": f"<{event.message_id}@{event.sending_domain}>",
        "category": [event.campaign_id],
        "customer_id": event.customer_id,
        "campaign_id": event.campaign_id,
        "useragent": event.user_agent,
        "ip": event.ip,
        "url": event.url,
        "reason": event.reason,
        "status": event.smtp_code,
    }
    if event.type is EventType.OPENED:
        payload |= {
            "sg_content_type": "html",
            "sg_machine_open": event.user_agent == APPLE_BARE,
        }
    if event.type is EventType.CLICKED:
        payload["url_offset"] = {"index": event.link_id, "type": "html"}
    if event.type is EventType.BOUNCED:
        payload["type"] = "bounce" if event.bounce_class == "hard" else "blocked"
    return without_missing(payload)


def wrap(payloads: Sequence[Payload], secret: str | None, now: datetime) -> Body:
    """An array; `secret` is the private key, in PEM, of the webhook's public one."""
    body = array(payloads)
    if secret is None:
        return body
    key = load_pem_private_key(secret.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        message = "The secret of sendgrid is no private key for ECDSA in PEM."
        raise ConfigError(message)
    stamp = str(int(now.timestamp()))
    signature = key.sign(stamp.encode() + body.content, ec.ECDSA(SHA256()))
    prefix = "X-Twilio-Email-Event-Webhook"
    signed = {
        f"{prefix}-Signature": base64.b64encode(signature).decode(),
        f"{prefix}-Timestamp": stamp,
    }
    return Body(body.content, JSON_HEADERS | signed)


ENCODER: Final = Encoder(
    name="sendgrid",
    kinds=same(*_WORDS),
    encode=encode,
    wrap=wrap,
    event_id=own_id("sendgrid"),
    most=1000,
)
