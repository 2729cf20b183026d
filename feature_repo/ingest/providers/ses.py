"""Amazon SES over SNS: an envelope that is signed, and in it one event as JSON in a text.

SES has two forms, event publishing (`eventType`) and the older feedback (`notificationType`).
An event may concern several recipients; each becomes an event of its own.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from feature_repo.ingest.providers.provider import Item, Provider, one_object
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.certificates import Certificates
from feature_repo.ingest.webhook.errors import AuthenticationFailed, UnreadableBody
from feature_repo.ingest.webhook.json_body import read_json
from feature_repo.ingest.webhook.misfit import Misfit
from feature_repo.ingest.webhook.paths import dig, word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_age
from feature_repo.ingest.webhook.times import iso

_HOST: Final = re.compile(r"sns\.[a-z]{2}(?:-[a-z]+)+-\d+\.amazonaws\.com(?:\.cn)?")
_HASHES: Final = {"1": SHA1, "2": SHA256}
_SIGNED: Final = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    **dict.fromkeys(
        ("SubscriptionConfirmation", "UnsubscribeConfirmation"),
        ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}
_RECIPIENTS: Final = {
    "Bounce": ("bounce", "bouncedRecipients"),
    "Complaint": ("complaint", "complainedRecipients"),
    "Delivery": ("delivery", "recipients"),
    "DeliveryDelay": ("deliveryDelay", "delayedRecipients"),
}
_ONE_PERSON: Final = frozenset(("Open", "Click", "Subscription"))
"""Done by one of the recipients; which one is not said if there are several."""

_certificates: Final = Certificates()


def verify(request: Request, settings: IngestSettings, now: datetime, fetch: Fetch) -> None:
    """RSA by a certificate of Amazon's, for a topic of ours. SNS repeats with the same time."""
    if not settings.ses_topic_arns:
        if settings.insecure_local:
            return
        message = (
            "Deliveries are refused until FORESEND_INGEST_SES_TOPIC_ARNS lists the topics: "
            "anybody can sign with a topic of their own."
        )
        raise AuthenticationFailed(message)
    envelope = one_object(request)
    kind = envelope.get("Type")
    if not isinstance(kind, str) or kind not in _SIGNED:
        message = "The body is no SNS message with a signature; switch raw message delivery off."
        raise AuthenticationFailed(message)
    if envelope.get("TopicArn") not in settings.ses_topic_arns:
        message = "The SNS topic is not one of FORESEND_INGEST_SES_TOPIC_ARNS."
        raise AuthenticationFailed(message)
    _check_signature(envelope, kind, now, fetch)
    try:
        at = iso(envelope.get("Timestamp"))
    except Misfit:
        at = None
    if at is None:
        message = "Timestamp of the SNS message is missing or no time."
        raise AuthenticationFailed(message)
    check_age(at, now, settings.retry_window_s, header="Timestamp")


def _check_signature(envelope: Item, kind: str, now: datetime, fetch: Fetch) -> None:
    algorithm = _HASHES.get(str(envelope.get("SignatureVersion")))
    given = envelope.get("Signature")
    if algorithm is None or not isinstance(given, str):
        message = "The SNS message has no signature of version 1 or 2."
        raise AuthenticationFailed(message)
    url = envelope.get("SigningCertURL")
    if not isinstance(url, str) or not is_sns_url(url) or not url.endswith(".pem"):
        message = "SigningCertURL is no certificate of sns.REGION.amazonaws.com."
        raise AuthenticationFailed(message)
    key = _certificates.key(url, now, fetch)
    try:
        signature = base64.b64decode(given, validate=True)
        key.verify(signature, _signed(envelope, kind), PKCS1v15(), algorithm())
    except (InvalidSignature, binascii.Error, ValueError) as exc:
        message = "Signature does not fit the SNS message."
        raise AuthenticationFailed(message) from exc


def _signed(envelope: Item, kind: str) -> bytes:
    lines = [
        f"{name}\n{envelope[name]}\n"
        for name in _SIGNED[kind]
        if isinstance(envelope.get(name), str)
    ]
    return "".join(lines).encode("utf-8", "replace")


def is_sns_url(url: str) -> bool:
    """Whether a URL is https and of Amazon SNS itself.

    >>> is_sns_url("https://sns.eu-west-1.amazonaws.com/x.pem"), is_sns_url("https://sns.evil.com")
    (True, False)
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme == "https" and port is None and _HOST.fullmatch(parts.netloc) is not None


def unpack(request: Request) -> Sequence[Any]:
    """The event once per recipient, with what the envelope says under `sns`."""
    envelope = one_object(request)
    kind = envelope.get("Type")
    if kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        return []
    if kind != "Notification" or "Message" not in envelope:
        return _per_recipient(envelope, {})
    message = envelope["Message"]
    sns = {"id": envelope.get("MessageId"), "timestamp": envelope.get("Timestamp")}
    if not isinstance(message, str):
        return [message]
    if message.startswith("Successfully validated SNS topic"):
        return []
    try:
        event = read_json(message.encode("utf-8", "replace"))
    except UnreadableBody:
        return [message]
    return _per_recipient(event, sns) if isinstance(event, dict) else [event]


def _per_recipient(event: dict[str, Any], sns: dict[str, Any]) -> list[Any]:
    kind = _kind(event) or ""
    tags = dig(event, "mail", "tags")
    found = _recipients(event, kind)
    if len(found) < 2 or kind in _ONE_PERSON:
        only = found[0] if len(found) == 1 else None
        return [{**event, "sns": sns, "recipient": only, "arguments": tags}]
    # Tags are those of the message: with several recipients they cannot say who this one is.
    return [
        {**event, "sns": {**sns, "id": f"{sns['id']}/{n}"} if sns.get("id") else sns}
        | {"recipient": recipient}
        for n, recipient in enumerate(found)
    ]


def _recipients(event: dict[str, Any], kind: str) -> list[Any]:
    found = dig(event, *_RECIPIENTS.get(kind, ("mail", "destination")))
    if not isinstance(found, list):
        return []
    return [{"emailAddress": r} if isinstance(r, str) else r for r in found]


def word(item: Item) -> str | None:
    """`eventType` or `notificationType`; a bounce with its type."""
    kind = _kind(item)
    if kind == "Bounce":
        detail = word_of(dig(item, "bounce", "bounceType"))
    elif kind == "Subscription":
        gone = dig(item, "subscription", "newTopicPreferences", "unsubscribeAll")
        detail = "unsubscribe_all" if gone is True else None
    else:
        detail = None
    return kind if detail is None else f"{kind}/{detail}"


def _kind(event: Item) -> str | None:
    return word_of(event.get("eventType")) or word_of(event.get("notificationType"))


PROVIDERS: Final = (
    Provider(
        name="ses",
        verify=verify,
        unpack=unpack,
        word=word,
        aliases=("amazonses", "awsses", "sns"),
        waits=True,
    ),
)
