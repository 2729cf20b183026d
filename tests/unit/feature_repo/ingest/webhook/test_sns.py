"""SNS: Amazon's certificate, our topics, and nobody else's."""

from __future__ import annotations

from datetime import timedelta

import pytest

from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.certificates import Certificates, fetch_url
from feature_repo.ingest.webhook.errors import AuthenticationFailed, VerificationUnavailable
from feature_repo.ingest.webhook.parsing import parse, verify
from feature_repo.ingest.webhook.request import Fetch
from tests.unit.feature_repo.ingest.webhook import signing
from tests.unit.feature_repo.ingest.webhook.signing import NOW, TOPIC, Delivery

SETTINGS = IngestSettings(ses_topic_arns=(TOPIC,))


class Host:
    """Amazon's certificates, counted."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content or signing.sns_certificate()
        self.asked: list[str] = []

    def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        return self.content


def check(delivery: Delivery, fetch: Fetch) -> None:
    verify("ses", delivery.body, delivery.headers, SETTINGS, now=NOW, fetch=fetch)


@pytest.mark.parametrize("version", ["1", "2"])
def test_both_versions_of_signatures_are_accepted(version: str) -> None:
    check(signing.sns(NOW, version=version), Host().fetch)


def test_a_message_without_a_subject_is_signed_without_it() -> None:
    check(signing.sns(NOW, Subject=None), Host().fetch)


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com.evil.example/x.pem",
        "https://sns.us-east-1.amazonaws.com@evil.example/x.pem",
        "https://evil.example/sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com:8443/x.pem",
        "https://s3.us-east-1.amazonaws.com/x.pem",
        "https://x.sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com/x.txt",
        "https://[::1/x.pem",
        "",
        None,
    ],
)
def test_a_certificate_from_elsewhere_is_not_even_fetched(url: str | None) -> None:
    host = Host()

    with pytest.raises(AuthenticationFailed, match="SigningCertURL"):
        check(signing.sns(NOW, SigningCertURL=url), host.fetch)

    assert host.asked == []


def test_the_regions_of_china_are_amazon_s_too() -> None:
    url = "https://sns.cn-north-1.amazonaws.com.cn/x.pem"

    check(signing.sns(NOW, SigningCertURL=url), Host().fetch)


def test_a_topic_of_somebody_else_is_refused_before_anything_is_fetched() -> None:
    host = Host()

    with pytest.raises(AuthenticationFailed, match="topic"):
        check(signing.sns(NOW, TopicArn="arn:aws:sns:us-east-1:1:theirs"), host.fetch)

    assert host.asked == []


def test_a_certificate_is_fetched_once() -> None:
    host = Host()
    fetch = host.fetch

    for _ in range(3):
        check(signing.sns(NOW), fetch)

    assert len(host.asked) == 1


def test_an_expired_certificate_is_refused() -> None:
    host = Host(signing.sns_certificate(NOW - timedelta(days=1)))

    with pytest.raises(AuthenticationFailed, match="not valid at this time"):
        check(signing.sns(NOW), host.fetch)


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(AuthenticationFailed, match="no certificate"):
        check(signing.sns(NOW), Host(b"<html>").fetch)


def test_a_host_that_does_not_answer_is_not_the_sender_s_fault() -> None:
    def away(_url: str) -> bytes:
        message = "timed out"
        raise TimeoutError(message)

    with pytest.raises(VerificationUnavailable):
        check(signing.sns(NOW), away)


def test_handshakes_are_verified_and_hold_no_events() -> None:
    for kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        delivery = signing.sns(NOW, Type=kind, Token="t", SubscribeURL="https://sns/", Subject=None)

        check(delivery, Host().fetch)

        assert parse("ses", delivery.body, {}, SETTINGS, verified=True) == []


def test_raw_message_delivery_is_refused_with_the_cure() -> None:
    with pytest.raises(AuthenticationFailed, match="raw message delivery"):
        check(Delivery(b'{"eventType": "Open"}', {}), Host().fetch)


def test_only_https_is_fetched_and_no_more_certificates_are_kept_than_allowed() -> None:
    with pytest.raises(OSError, match="https"):
        fetch_url("file:///etc/passwd")
    host = Host()
    fetch = host.fetch
    certificates = Certificates(most=1)

    for url in ("a", "b", "a"):
        certificates.key(url, NOW, fetch)

    assert host.asked == ["a", "b", "a"]
