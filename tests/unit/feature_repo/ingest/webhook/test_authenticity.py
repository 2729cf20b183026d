"""Only what a provider really sent is let in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from feature_repo.api_keys import KeyFile, Scope
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import (
    AuthenticationFailed,
    UnknownProvider,
    VerificationUnavailable,
)
from feature_repo.ingest.webhook.parsing import parse, verify
from feature_repo.ingest.webhook.signatures import secret
from tests.unit.feature_repo.ingest.webhook import signing
from tests.unit.feature_repo.ingest.webhook.signing import NOW, SCHEMES, Delivery, Scheme

each = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.provider)
timed = pytest.mark.parametrize(
    "scheme", [s for s in SCHEMES if s.window], ids=lambda s: s.provider
)


def fetch(_url: str) -> bytes:
    return signing.sns_certificate()


def check(scheme: Scheme, delivery: Delivery, now: datetime = NOW, **settings: Any) -> None:
    verify(
        scheme.provider,
        delivery.body,
        delivery.headers,
        IngestSettings(**{**scheme.settings, **settings}),
        now=now,
        fetch=fetch,
    )


@each
def test_an_authentic_delivery_is_accepted(scheme: Scheme) -> None:
    delivery = scheme.sign(NOW)

    check(scheme, delivery)
    check(scheme, Delivery(delivery.body, {k.lower(): v for k, v in delivery.headers.items()}))


@each
def test_a_tampered_delivery_is_refused(scheme: Scheme) -> None:
    delivery = scheme.sign(NOW)
    if scheme.provider in {"postmark", "brevo", "sparkpost", "rudderstack"}:
        headers = {name: value[:-4] + "AAAA" for name, value in delivery.headers.items()}
        tampered = Delivery(delivery.body, headers)
    elif scheme.provider == "mailgun":
        tampered = Delivery(delivery.body.replace(b"1b5f2a", b"1b5f2b"), {})
    elif scheme.provider == "ses":
        tampered = Delivery(delivery.body.replace(b"Open", b"Click"), delivery.headers)
    else:
        tampered = Delivery(delivery.body + b" ", delivery.headers)

    with pytest.raises(AuthenticationFailed) as refused:
        check(scheme, tampered)

    assert signing.SECRET not in str(refused.value)


@each
def test_a_delivery_without_a_signature_is_refused(scheme: Scheme) -> None:
    delivery = scheme.sign(NOW)
    body = delivery.body
    if scheme.provider in {"mailgun", "ses"}:
        content = json.loads(body)
        content.pop("signature", None)
        content.pop("Signature", None)
        body = json.dumps(content).encode()

    with pytest.raises(AuthenticationFailed):
        check(scheme, Delivery(body, {}))


@each
def test_a_provider_without_a_secret_is_refused_by_the_name_of_the_setting(scheme: Scheme) -> None:
    delivery = scheme.sign(NOW)

    with pytest.raises(AuthenticationFailed, match=f"FORESEND_INGEST_{scheme.setting}"):
        verify(scheme.provider, delivery.body, delivery.headers, IngestSettings(), now=NOW)


@each
def test_everything_is_taken_without_secrets_only_when_insecure_is_asked_for(
    scheme: Scheme,
) -> None:
    delivery = scheme.sign(NOW)

    verify(scheme.provider, delivery.body, {}, IngestSettings(insecure_local=True), now=NOW)
    if scheme.provider not in {"ses", "mailgun"}:
        with pytest.raises(AuthenticationFailed):
            check(scheme, Delivery(delivery.body, {}), insecure_local=True)


@timed
def test_a_signature_counts_as_long_as_its_window_and_no_longer(scheme: Scheme) -> None:
    assert scheme.window is not None
    second = timedelta(seconds=1)

    check(scheme, scheme.sign(NOW - scheme.window))
    check(scheme, scheme.sign(NOW + timedelta(minutes=5)))
    with pytest.raises(AuthenticationFailed, match="old"):
        check(scheme, scheme.sign(NOW - scheme.window - second))
    with pytest.raises(AuthenticationFailed, match="future"):
        check(scheme, scheme.sign(NOW + timedelta(minutes=5) + second))


@timed
def test_the_windows_are_settings(scheme: Scheme) -> None:
    old = scheme.sign(NOW - timedelta(days=6))

    check(scheme, old, replay_window_s=7 * 86_400, retry_window_s=7 * 86_400)


@timed
def test_another_time_than_the_signed_one_is_refused(scheme: Scheme) -> None:
    delivery = scheme.sign(NOW - timedelta(days=9))
    fresh = scheme.sign(NOW)
    headers = {
        name: fresh.headers[name] if "timestamp" in name.lower() else value
        for name, value in delivery.headers.items()
    }
    stamp = str(int((NOW - timedelta(days=9)).timestamp())).encode()
    body = delivery.body.replace(stamp, str(int(NOW.timestamp())).encode())
    body = body.replace((NOW - timedelta(days=9)).date().isoformat().encode(), b"2026-11-24")

    with pytest.raises(AuthenticationFailed):
        check(scheme, Delivery(body, headers))


def test_verified_deliveries_are_not_verified_again() -> None:
    body = signing.sendgrid(NOW).body

    assert len(parse("sendgrid", body, {}, IngestSettings(), verified=True)) == 1
    with pytest.raises(AuthenticationFailed):
        parse("sendgrid", body, {}, IngestSettings())


def test_a_signature_by_another_key_is_refused_and_a_key_that_is_none_is_named() -> None:
    (scheme,) = (s for s in SCHEMES if s.provider == "sendgrid")
    body, headers = b"[]", {"X-Twilio-Email-Event-Webhook-Signature": "bm9uZQ=="}

    with pytest.raises(AuthenticationFailed, match="does not fit"):
        check(scheme, Delivery(body, headers))
    with pytest.raises(AuthenticationFailed, match="public key"):
        check(scheme, signing.sendgrid(NOW), sendgrid_public_key="no key")


def test_a_public_key_with_its_armour_is_the_same_key() -> None:
    (scheme,) = (s for s in SCHEMES if s.provider == "sendgrid")
    key = signing.sendgrid_public_key()
    armoured = f"-----BEGIN PUBLIC KEY-----\n{key[:64]}\n{key[64:]}\n-----END PUBLIC KEY-----\n"

    check(scheme, signing.sendgrid(NOW), sendgrid_public_key=armoured)


@pytest.mark.parametrize(
    "stamp",
    ["1795521600", "1795521600000", "2026-11-24T12:00:00+00:00", "Tue, 24 Nov 2026 12:00:00 GMT"],
)
def test_klaviyo_may_write_its_time_in_any_known_form(stamp: str) -> None:
    (scheme,) = (s for s in SCHEMES if s.provider == "klaviyo")

    check(scheme, signing.klaviyo_at(stamp))
    with pytest.raises(AuthenticationFailed, match="old"):
        check(scheme, signing.klaviyo_at(stamp), now=NOW + timedelta(days=3))
    with pytest.raises(AuthenticationFailed, match="no time"):
        check(scheme, signing.klaviyo_at("soon"))


def test_a_batch_of_segment_is_refused_because_only_its_first_event_is_signed() -> None:
    (scheme,) = (s for s in SCHEMES if s.provider == "segment")
    single = signing.segment(NOW)

    with pytest.raises(AuthenticationFailed):
        check(scheme, Delivery(b"[" + single.body + b"]", single.headers))


def test_mandrill_may_try_an_address_before_it_has_a_key_but_not_deliver() -> None:
    (scheme,) = (s for s in SCHEMES if s.provider == "mandrill")
    trial = _trial(b"mandrill_events=%5B%5D", "[]")
    forged = _trial(b"mandrill_events=%5B1%5D", "[1]")

    check(scheme, trial)
    with pytest.raises(AuthenticationFailed):
        check(scheme, forged)


def _trial(body: bytes, events: str) -> Delivery:
    signed = f"{signing.MANDRILL_URL}mandrill_events{events}".encode()
    digest = hmac.new(b"test-webhook", signed, hashlib.sha1).digest()
    return Delivery(body, {"X-Mandrill-Signature": base64.b64encode(digest).decode()})


@pytest.mark.parametrize("authorization", ["Basic !", "Basic", "Digest x", "Bearer "])
def test_odd_authorization_headers_are_refused(authorization: str) -> None:
    settings = IngestSettings(postmark_secret="token")

    with pytest.raises(AuthenticationFailed):
        verify("postmark", b"{}", {"Authorization": authorization}, settings, now=NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer the-token"},
        {"Authorization": "Basic YW55Ym9keTp0aGUtdG9rZW4="},
        {"X-Foresend-Token": "the-token"},
    ],
)
def test_a_secret_without_a_colon_is_a_token_in_any_place(headers: dict[str, str]) -> None:
    verify("brevo", b"{}", headers, IngestSettings(brevo_secret="the-token"), now=NOW)


def test_canonical_events_need_a_key_with_the_scope(tmp_path: Any) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    _, ingest = keys.add("shop", [Scope.INGEST], clock=lambda: NOW)
    _, score = keys.add("sender", [Scope.SCORE], clock=lambda: NOW)
    settings = IngestSettings(canonical_keys=tmp_path / "keys.json")

    verify("canonical", b"[]", {"Authorization": f"Bearer {ingest}"}, settings, now=NOW)
    verify("canonical", b"[]", {"X-API-Key": ingest}, settings, now=NOW)
    for headers in ({}, {"Authorization": f"Bearer {score}"}, {"Authorization": "Bearer no"}):
        with pytest.raises(AuthenticationFailed):
            verify("canonical", b"[]", headers, settings, now=NOW)
    with pytest.raises(AuthenticationFailed, match="FORESEND_INGEST_CANONICAL_KEYS"):
        verify("canonical", b"[]", {}, IngestSettings(), now=NOW)


def test_a_damaged_key_file_is_not_the_senders_fault(tmp_path: Any) -> None:
    (tmp_path / "keys.json").write_text("{")
    settings = IngestSettings(canonical_keys=tmp_path / "keys.json")

    with pytest.raises(VerificationUnavailable):
        verify("canonical", b"[]", {"X-API-Key": "k"}, settings, now=NOW)


def test_a_provider_of_one_s_own_has_its_secret_in_the_map_of_secrets() -> None:
    settings = IngestSettings(secrets={"newesp_key": "s3"})

    assert secret(settings, "newesp_key") == "s3"
    with pytest.raises(AuthenticationFailed, match="OTHER_KEY"):
        secret(settings, "other_key")


@pytest.mark.parametrize("name", ["Customer.io", "customer_io", "SendGrid", "amazon-ses", "rudder"])
def test_names_of_providers_are_read_as_people_write_them(name: str) -> None:
    with pytest.raises(AuthenticationFailed):
        verify(name, b"{}", {}, IngestSettings(), now=NOW)


def test_an_unknown_provider_is_told_the_known_ones() -> None:
    with pytest.raises(UnknownProvider, match="sendgrid"):
        verify("sendgird", b"{}", {}, IngestSettings(), now=NOW)
