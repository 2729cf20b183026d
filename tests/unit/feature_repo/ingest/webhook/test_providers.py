"""What providers say about machines, and how their words are read."""

from __future__ import annotations

from typing import Any

import pytest

from feature_repo.event import Machine
from feature_repo.ingest.providers.registry import PROVIDERS


def klaviyo(**properties: Any) -> dict[str, Any]:
    return {"payload": {"data": {"attributes": {"event_properties": properties}}}}


def agent(**parsed: Any) -> dict[str, Any]:
    return {"user_agent_parsed": parsed}


@pytest.mark.parametrize(
    ("provider", "item", "machine"),
    [
        ("sendgrid", {"sg_machine_open": True}, Machine.APPLE_MPP),
        ("sendgrid", {"sg_machine_open": False}, Machine.NONE),
        ("sendgrid", {"sg_machine_open": None}, None),  # null is not false
        ("sendgrid", {"sg_machine_open": "true"}, None),
        ("sendgrid", {}, None),
        ("mailgun", {"client-info": {"bot": "apple"}}, Machine.APPLE_MPP),
        ("mailgun", {"client-info": {"bot": "gmail"}}, Machine.GMAIL_PROXY),
        ("mailgun", {"client-info": {"bot": "generic"}}, Machine.GENERIC),
        ("mailgun", {"client-info": {"bot": "a new one"}}, Machine.GENERIC),
        ("mailgun", {"client-info": {"bot": ""}}, Machine.NONE),
        ("mailgun", {"client-info": {"bot": None}}, None),
        ("mailgun", {"client-info": []}, None),
        ("brevo", {"event": "proxy_open"}, Machine.APPLE_MPP),
        ("brevo", {"event": "opened"}, None),
        ("brevo", {"event": ["opened"]}, None),
        ("sparkpost", agent(is_prefetched=True, is_proxy=True), Machine.APPLE_MPP),
        ("sparkpost", agent(is_prefetched=False, is_proxy=False), Machine.NONE),
        ("sparkpost", agent(is_prefetched=False, is_proxy=True), None),
        ("sparkpost", {}, None),
        ("klaviyo", klaviyo(machine_open=True), Machine.APPLE_MPP),
        ("klaviyo", klaviyo(**{"Apple Privacy Open": False}), Machine.NONE),
        ("klaviyo", klaviyo(**{"Bot Click": True, "machine_open": False}), Machine.SCANNER),
        ("klaviyo", klaviyo(machine_open=None), None),
        ("klaviyo", {"payload": None}, None),
        ("canonical", {"machine": "scanner", "machine_score": 0.7}, Machine.SCANNER),
        ("canonical", {"machine": "scanner", "machine_score": 7}, Machine.SCANNER),
        ("canonical", {"machine": 1}, None),
        ("postmark", {"UserAgent": "Mozilla/5.0"}, None),
    ],
)
def test_only_what_a_provider_says_is_its_verdict(
    provider: str, item: dict[str, Any], machine: Machine | None
) -> None:
    assert PROVIDERS[provider].flags(item).machine is machine


@pytest.mark.parametrize(
    ("provider", "item", "word"),
    [
        ("sendgrid", {"event": "bounce", "type": "blocked"}, "bounce/blocked"),
        ("sendgrid", {"event": "open", "type": "x"}, "open"),
        ("sendgrid", {"event": {"a": 1}}, None),
        ("mailgun", {"event": "failed", "severity": "temporary"}, "failed/temporary"),
        ("mailgun", {"event": "failed"}, "failed"),
        ("postmark", {"RecordType": "SubscriptionChange"}, "SubscriptionChange"),
        ("customerio", {"event_type": "email_opened"}, "email/opened"),
        ("customerio", {"object_type": "email"}, None),
        ("mandrill", {"type": "whitelist"}, "sync/whitelist"),
        ("sparkpost", {"type": "bounce", "bounce_class": True}, "bounce"),
        ("sparkpost", {"type": "bounce", "bounce_class": 10}, "bounce/10"),
        (
            "mautic",
            {"trigger": "mautic.page_on_hit", "hit": {"source": "email"}},
            "mautic.page_on_hit/email",
        ),
        ("segment", {"type": "track", "event": "Order Completed"}, "Order Completed"),
        ("segment", {"event": "Order Completed"}, "Order Completed"),
        ("segment", {"type": "track"}, None),
        ("canonical", {"type": "Opened"}, "opened"),
        ("brevo", {"event": "x" * 201}, None),
    ],
)
def test_the_word_is_the_providers_own_with_its_detail(
    provider: str, item: dict[str, Any], word: str | None
) -> None:
    assert PROVIDERS[provider].word(item) == word
