"""Sign deliveries as each provider does, with keys that are made here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECRET: Final = "a secret of sixteen or more"
TOPIC: Final = "arn:aws:sns:us-east-1:123456789012:SES_Events"
CERTIFICATE_URL: Final = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"
MANDRILL_URL: Final = "https://user:pass@in.shop.example/ingest/mandrill"


@dataclass(frozen=True)
class Delivery:
    """A request as it arrives."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Scheme:
    """How one provider signs; `signed_at` is when it says it did."""

    provider: str
    settings: Mapping[str, Any]
    sign: Callable[[datetime], Delivery]
    #: How long a signature counts; None where no time is signed.
    window: timedelta | None
    #: What must be in the error when nothing is configured.
    setting: str


def _stamp(at: datetime) -> str:
    return str(int(at.timestamp()))


def _hex(digest: str, signed: bytes) -> str:
    return hmac.new(SECRET.encode(), signed, digest).hexdigest()


@lru_cache
def sendgrid_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def sendgrid_public_key() -> str:
    der = sendgrid_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def sendgrid(at: datetime) -> Delivery:
    body = b'[{"event":"open"}]\r\n'
    signed = _stamp(at).encode() + body
    signature = sendgrid_key().sign(signed, ec.ECDSA(hashes.SHA256()))
    return Delivery(
        body,
        {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": _stamp(at),
        },
    )


def mailgun(at: datetime) -> Delivery:
    token = "1b5f2a"
    signature = {
        "timestamp": _stamp(at),
        "token": token,
        "signature": _hex("sha256", (_stamp(at) + token).encode()),
    }
    return Delivery(json.dumps({"signature": signature, "event-data": {"event": "x"}}).encode(), {})


@lru_cache
def sns_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@lru_cache
def sns_certificate(valid_until: datetime = NOW + timedelta(days=30)) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(sns_key().public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=30))
        .not_valid_after(valid_until)
        .sign(sns_key(), hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


def sns(at: datetime, *, version: str = "2", **changes: Any) -> Delivery:
    message = {
        "Type": "Notification",
        "MessageId": "19ba9823",
        "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification",
        "Message": json.dumps({"eventType": "Open"}),
        "Timestamp": at.isoformat().replace("+00:00", "Z"),
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
        **changes,
    }
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if message["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    signed = "".join(f"{name}\n{message[name]}\n" for name in names if message.get(name))
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    signature = sns_key().sign(signed.encode(), PKCS1v15(), algorithm)
    message["Signature"] = base64.b64encode(signature).decode()
    return Delivery(json.dumps(message).encode(), {"Content-Type": "text/plain"})


def mandrill(_at: datetime) -> Delivery:
    form = {"mandrill_events": '[{"event":"open"}]', "extra": "1"}
    signed = MANDRILL_URL + "".join(name + form[name] for name in sorted(form))
    digest = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha1).digest()
    headers = {"X-Mandrill-Signature": base64.b64encode(digest).decode()}
    return Delivery(urlencode(form).encode(), headers)


def customerio(at: datetime) -> Delivery:
    body = b'{"metric": "opened"}'
    signature = _hex("sha256", b"v0:" + _stamp(at).encode() + b":" + body)
    return Delivery(body, {"X-CIO-Signature": signature, "X-CIO-Timestamp": _stamp(at)})


def klaviyo(at: datetime) -> Delivery:
    return klaviyo_at(_stamp(at))


def klaviyo_at(stamp: str) -> Delivery:
    body = b'{"data": []}'
    signature = _hex("sha256", body + stamp.encode())
    return Delivery(body, {"Klaviyo-Signature": signature, "Klaviyo-Timestamp": stamp})


def mautic(_at: datetime) -> Delivery:
    body = b'{"mautic.email_on_open": []}'
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).digest()
    return Delivery(body, {"Webhook-Signature": base64.b64encode(digest).decode()})


def segment(_at: datetime) -> Delivery:
    body = b'{"type": "track"}'
    return Delivery(body, {"X-Signature": _hex("sha1", body)})


def basic(_at: datetime) -> Delivery:
    credentials = base64.b64encode(b"foresend:" + SECRET.encode()).decode()
    return Delivery(b"{}", {"Authorization": f"Basic {credentials}"})


def token(_at: datetime) -> Delivery:
    return Delivery(b"{}", {"X-Foresend-Token": SECRET})


_SHORT: Final = timedelta(minutes=5)
_LONG: Final = timedelta(hours=26)
_PAIR: Final = f"foresend:{SECRET}"

SCHEMES: Final = (
    Scheme(
        "sendgrid",
        {"sendgrid_public_key": sendgrid_public_key()},
        sendgrid,
        _LONG,
        "SENDGRID_PUBLIC_KEY",
    ),
    Scheme("ses", {"ses_topic_arns": (TOPIC,)}, sns, _LONG, "SES_TOPIC_ARNS"),
    Scheme("mailgun", {"mailgun_signing_key": SECRET}, mailgun, _SHORT, "MAILGUN_SIGNING_KEY"),
    Scheme(
        "mandrill",
        {"mandrill_webhook_key": SECRET, "mandrill_url": MANDRILL_URL},
        mandrill,
        None,
        "MANDRILL_WEBHOOK_KEY",
    ),
    Scheme(
        "customerio",
        {"customerio_signing_key": SECRET},
        customerio,
        _SHORT,
        "CUSTOMERIO_SIGNING_KEY",
    ),
    Scheme("klaviyo", {"klaviyo_secret": SECRET}, klaviyo, _LONG, "KLAVIYO_SECRET"),
    Scheme("mautic", {"mautic_secret": SECRET}, mautic, None, "MAUTIC_SECRET"),
    Scheme("segment", {"segment_shared_secret": SECRET}, segment, None, "SEGMENT_SHARED_SECRET"),
    Scheme("postmark", {"postmark_secret": _PAIR}, basic, None, "POSTMARK_SECRET"),
    Scheme("brevo", {"brevo_secret": _PAIR}, basic, None, "BREVO_SECRET"),
    Scheme("sparkpost", {"sparkpost_secret": _PAIR}, basic, None, "SPARKPOST_SECRET"),
    Scheme("rudderstack", {"rudderstack_secret": SECRET}, token, None, "RUDDERSTACK_SECRET"),
)
