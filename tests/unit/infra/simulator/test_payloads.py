"""What the simulator posts in a service's form is read as the events it means."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from feature_repo.event import Event, EventType, Op
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import AuthenticationFailed
from feature_repo.ingest.webhook.parsing import parse
from infra.simulator.deliveries import Deliveries, Delivery
from infra.simulator.formats import changed
from infra.simulator.options import MAIL_SERVICES, Options, format_change_from
from infra.simulator.payloads.registry import ENCODERS

OPEN = IngestSettings(insecure_local=True)
OPTIONS: dict[str, Any] = {"customers": 120, "days": 12, "sends_per_week": 7.0}

# Fields a service does not carry, beside those that no service does.
_NOWHERE = {"mailbox_provider", "bounce_class", "smtp_code", "reason", "sending_domain"}
_LOST = {
    "sendgrid": set[str](),
    "ses": {"link_id"},
    "mailgun": {"link_id"},
    "postmark": {"link_id"},
    "mautic": {"link_id", "message_id", "campaign_id", "user_agent"},
    "brevo": {"link_id"},
    "sparkpost": set[str](),
    "mandrill": {"link_id"},
    "customerio": set[str](),
    "klaviyo": {"link_id"},
    "segment": set[str](),
    "canonical": set[str](),
}
_COMPARED = ("customer_id", "campaign_id", "message_id", "url", "link_id", "ip", "user_agent",
             "amount", "currency", "op")  # fmt: skip


def read(delivery: Delivery, settings: IngestSettings = OPEN, secret: str | None = None) -> Any:
    now = delivery.events[-1].received_time + timedelta(minutes=1)
    body = delivery.body(secret, now)
    return parse(delivery.service, body.content, body.headers, settings, received_time=now)


def deliveries(service: str, **changes: Any) -> Iterator[Delivery]:
    yield from Deliveries(Options(services=(service,), **OPTIONS | changes))


@pytest.mark.parametrize("service", MAIL_SERVICES)
def test_every_payload_is_read_as_the_event_it_means(service: str) -> None:
    seen = set()
    for delivery in deliveries(service):
        got = read(delivery)
        assert len(got) == len(delivery.events)
        for meant, event in zip(delivery.events, got, strict=True):
            assert not isinstance(event, Rejected), event.detail
            lost = _LOST[delivery.service] if meant.type is not EventType.BROWSED else set()
            for name in set(_COMPARED) - lost:
                assert getattr(event, name) == getattr(meant, name), (name, meant.type)
            assert event.type is ENCODERS[delivery.service].kinds[meant.type]
            assert abs(event.event_time - meant.event_time) < timedelta(seconds=1)
            seen.add((delivery.service, meant.type))

    assert {kind for by, kind in seen if by == service} >= {EventType.OPENED, EventType.CLICKED}
    assert ("segment", EventType.PURCHASED) in seen


@pytest.mark.parametrize("service", ["sendgrid", "ses", "mailgun", "customerio", "segment"])
def test_an_event_keeps_the_id_that_the_truth_has(service: str) -> None:
    for delivery in deliveries(service, customers=40):
        if delivery.service != service:
            continue
        for meant, event in zip(delivery.events, read(delivery), strict=True):
            assert event.event_id == ENCODERS[service].event_id(meant)
            assert event.event_id.endswith(meant.event_id)


def test_corrections_and_withdrawals_name_the_event_as_it_is_known() -> None:
    options = {"corrected_days": (4,), "customers": 500, "duplicates": 0.0}
    known: dict[str, Event] = {}
    repairs = []
    for delivery in deliveries("sendgrid", **options):
        for event in read(delivery):
            if delivery.service == "canonical":
                repairs.append(event)
            else:
                known[event.event_id] = event

    assert {event.op for event in repairs} == {Op.UPSERT, Op.RETRACT}
    assert all(event.event_id in known for event in repairs)
    put_right = [event for event in repairs if event.op is Op.UPSERT]
    assert all(known[e.event_id].amount == pytest.approx(100 * (e.amount or 0)) for e in put_right)


def test_what_a_service_does_not_report_is_counted() -> None:
    made = Deliveries(Options(services=("postmark",), **OPTIONS))

    sent = {event.type for delivery in made for event in delivery.events}

    assert EventType.SENT not in sent
    assert made.unreported["sent"] > 100


def test_several_services_take_turns() -> None:
    made = Deliveries(Options(services=("sendgrid", "ses"), **OPTIONS))

    services = {delivery.service for delivery in made}

    assert services == {"sendgrid", "ses", "segment"}


def _key_pair() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private, public.decode()


_PRIVATE, _PUBLIC = _key_pair()
_SECRETS = [
    ("sendgrid", _PRIVATE, {"sendgrid_public_key": _PUBLIC}),
    ("mailgun", "key", {"mailgun_signing_key": "key"}),
    ("postmark", "user:pass", {"postmark_secret": "user:pass"}),
    ("mautic", "key", {"mautic_secret": "key"}),
    ("brevo", "token", {"brevo_secret": "token"}),
    ("sparkpost", "user:pass", {"sparkpost_secret": "user:pass"}),
    (
        "mandrill",
        "key https://in.example/ingest/mandrill",
        {"mandrill_webhook_key": "key", "mandrill_url": "https://in.example/ingest/mandrill"},
    ),
    ("customerio", "key", {"customerio_signing_key": "key"}),
    ("klaviyo", "key", {"klaviyo_secret": "key"}),
    ("segment", "key", {"segment_shared_secret": "key"}),
]


@pytest.mark.parametrize(("service", "secret", "fields"), _SECRETS)
def test_a_signed_request_is_taken_and_another_signature_is_not(
    service: str, secret: str, fields: dict[str, str]
) -> None:
    settings = IngestSettings.model_validate(fields)
    mail = "sendgrid" if service == "segment" else service
    delivery = next(d for d in deliveries(mail) if d.service == service)
    other = _key_pair()[0] if service == "sendgrid" else f"x{secret}"

    assert read(delivery, settings, secret)
    with pytest.raises(AuthenticationFailed):
        read(delivery, settings, other)
    with pytest.raises(AuthenticationFailed):
        read(delivery, settings)


CHANGES = [
    ("sendgrid:3:rename:sg_event_id=event_uid", {"sg_event_id": "a"}, {"event_uid": "a"}),
    ("sendgrid:3:retype:timestamp=text", {"timestamp": 12}, {"timestamp": "12"}),
    ("sendgrid:3:retype:timestamp=epoch_ms", {"timestamp": 12}, {"timestamp": 12_000}),
    (
        "sendgrid:3:retype:timestamp=iso",
        {"timestamp": 12},
        {"timestamp": "1970-01-01T00:00:12.000Z"},
    ),
    ("sendgrid:3:drop:ip", {"ip": "::1", "x": 1}, {"x": 1}),
    ("sendgrid:3:add:extra=y", {"x": 1}, {"x": 1, "extra": "y"}),
    # into objects, and into a text that holds JSON
    (
        "mailgun:3:rename:message.headers=head",
        {"message": {"headers": 1}},
        {"message": {"head": 1}},
    ),
    ("ses:3:drop:Message.open", {"Message": '{"open":1,"a":2}'}, {"Message": '{"a":2}'}),
    # what is not there is left alone
    ("sendgrid:3:rename:no.such=x", {"a": 1}, {"a": 1}),
]


@pytest.mark.parametrize(("text", "before", "after"), CHANGES)
def test_a_service_changes_its_payloads(
    text: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert changed(before, [format_change_from(text)]) == after


def test_a_change_begins_on_its_day() -> None:
    change = format_change_from("sendgrid:6:rename:timestamp=occurred_at")
    start = Options().start

    for delivery in deliveries("sendgrid", format_changes=(change,)):
        for payload, event in zip(delivery.payloads, delivery.events, strict=True):
            if delivery.service == "sendgrid":
                later = event.received_time >= start + timedelta(days=6)
                assert ("occurred_at" in payload) is later
