"""Amazon SES: each event as JSON in the text of an SNS message, which only Amazon can sign."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from feature_repo.event import Event, EventType
from infra.simulator.payloads.encoder import (
    Body,
    Encoder,
    Payload,
    Report,
    iso,
    own_id,
    same,
    single,
    without_missing,
)

_WORDS: Final = {
    EventType.SENT: "Send",
    EventType.DELIVERED: "Delivery",
    EventType.DEFERRED: "DeliveryDelay",
    EventType.BOUNCED: "Bounce",
    EventType.REJECTED: "Reject",
    EventType.OPENED: "Open",
    EventType.CLICKED: "Click",
    EventType.COMPLAINED: "Complaint",
    EventType.UNSUBSCRIBED: "Subscription",
}


def encode(report: Report) -> Payload:
    """The SNS message with the event in its text."""
    event = report.event
    inner = {"eventType": _WORDS[event.type], "mail": _mail(report)} | _detail(report)
    return {
        "Type": "Notification",
        "MessageId": event.event_id,
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:foresend",
        "Message": orjson.dumps(inner).decode(),
        "Timestamp": iso(event.received_time),
        "SignatureVersion": "1",
        "Signature": "bm8gc2lnbmF0dXJl",
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
    }


def _mail(report: Report) -> dict[str, Any]:
    event = report.event
    return {
        "timestamp": report.iso,
        "messageId": event.message_id,
        "source": f"hello@{event.sending_domain}",
        "destination": [report.address],
        "tags": {
            "campaign": [event.campaign_id],
            "customer_id": [event.customer_id],
            "ses:from-domain": [event.sending_domain],
        },
    }


def _detail(report: Report) -> dict[str, Any]:
    event, at = report.event, {"timestamp": report.iso}
    visit = {"ipAddress": event.ip, "userAgent": event.user_agent}
    match event.type:
        case EventType.DELIVERED:
            return {"delivery": at | {"recipients": [report.address], "smtpResponse": "250 OK"}}
        case EventType.DEFERRED:
            delayed = [{"emailAddress": report.address, "status": event.smtp_code}]
            return {"deliveryDelay": at | {"delayType": "General", "delayedRecipients": delayed}}
        case EventType.BOUNCED:
            return {"bounce": at | _bounce(event, report.address)}
        case EventType.REJECTED:
            return {"reject": {"reason": event.reason}}
        case EventType.OPENED:
            return {"open": without_missing(at | visit)}
        case EventType.CLICKED:
            return {"click": without_missing(at | visit | {"link": event.url})}
        case EventType.COMPLAINED:
            complained = [{"emailAddress": report.address}]
            return {"complaint": at | {"complainedRecipients": complained}}
        case EventType.UNSUBSCRIBED:
            preferences = {"unsubscribeAll": True}
            return {"subscription": at | {"source": "UnsubscribeHeader",
                                          "newTopicPreferences": preferences}}  # fmt: skip
        case _:
            return {"send": {}}


def _bounce(event: Event, address: str) -> dict[str, Any]:
    recipient = {
        "emailAddress": address,
        "status": event.smtp_code,
        "diagnosticCode": event.reason,
    }
    kind = "Permanent" if event.bounce_class == "hard" else "Transient"
    return {
        "bounceType": kind,
        "bounceSubType": "General",
        "bouncedRecipients": [without_missing(recipient)],
    }


def wrap(payloads: Sequence[Payload], _secret: str | None, _now: datetime) -> Body:
    """One message, as text."""
    return single(payloads, {"Content-Type": "text/plain; charset=UTF-8"})


ENCODER: Final = Encoder(
    name="ses", kinds=same(*_WORDS), encode=encode, wrap=wrap, event_id=own_id("ses")
)
