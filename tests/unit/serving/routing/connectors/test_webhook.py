"""The webhook, read by the verifier that the documentation gives away."""

from __future__ import annotations

import json
import re
import time as wall
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_repo.errors import StoreUnavailable
from serving.routing.connectors.http import MOST_CALLS
from serving.routing.connectors.port import DELIVERED, Fate
from serving.routing.connectors.webhook import HEADER, signature
from tests.unit.serving.routing.connectors.world import (
    SECRETS,
    START,
    Scripted,
    message,
    opened,
    settings_of,
)

DOCS = Path(__file__).parents[5] / "docs" / "connectors.md"
KEYS: dict[str, Any] = {
    "kind": "webhook",
    "url": "https://hook.example/in",
    "secret_env": "FORESEND_SECRET",
    "rate_per_s": 1_000,
}

Verifier = Callable[..., bool]


@pytest.fixture
def is_genuine(monkeypatch: pytest.MonkeyPatch) -> Verifier:
    """The function in the documentation, at the time at which the tests' clock stands."""
    (snippet,) = list(re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL))
    space: dict[str, Any] = {}
    exec(snippet, space)
    monkeypatch.setattr(wall, "time", START.timestamp)
    found: Verifier = space["is_genuine"]
    return found


class Hook:
    """Keeps what came, and answers as told."""

    def __init__(self, status: Callable[[list[dict[str, Any]]], int] = lambda _: 204) -> None:
        self.status = status
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status(json.loads(request.content)["messages"]))


def test_messages_arrive_as_they_are_and_signed(is_genuine: Verifier) -> None:
    hook = Hook()

    outcomes = opened(settings_of(**KEYS), hook).deliver([message("ann"), message("bob")])

    (request,) = hook.requests
    assert outcomes == [DELIVERED, DELIVERED]
    assert [one["customer_id"] for one in json.loads(request.content)["messages"]] == ["ann", "bob"]
    assert is_genuine(request.headers[HEADER], request.content, SECRETS["FORESEND_SECRET"])


def test_nothing_else_is_genuine(is_genuine: Verifier) -> None:
    at = int(START.timestamp())
    good = signature(["whsec"], b"{}", at)
    digest = good.partition("v1=")[2]

    assert is_genuine(good, b"{}", "whsec")
    for header, body, secret in [
        (good, b"{ }", "whsec"),
        (good, b"{}", "other"),
        # Too old, and from the future.
        (signature(["whsec"], b"{}", at - 301), b"{}", "whsec"),
        (signature(["whsec"], b"{}", at + 301), b"{}", "whsec"),
        # A signature of another time.
        (f"t={at + 1},v1={digest}", b"{}", "whsec"),
        (f"t={at},t={at - 999},v1={digest}", b"{}", "whsec"),
        (f"v1={digest}", b"{}", "whsec"),
        (f"t={at}", b"{}", "whsec"),
        (f"t=²,v1={digest}", b"{}", "whsec"),
        (f"t={at},v1=é", b"{}", "whsec"),
        ("", b"{}", "whsec"),
    ]:
        assert not is_genuine(header, body, secret), header


def test_while_a_secret_is_replaced_both_fit(is_genuine: Verifier) -> None:
    hook = Hook()
    settings = settings_of(**KEYS, previous_secret_env="FORESEND_OLD_SECRET")

    opened(settings, hook).deliver([message()])

    (request,) = hook.requests
    for secret in ("whsec", "whsec-old"):
        assert is_genuine(request.headers[HEADER], request.content, secret)


def test_a_message_that_is_refused_costs_itself_only() -> None:
    hook = Hook(lambda found: 422 if any(m["customer_id"] == "c13" for m in found) else 200)

    outcomes = opened(settings_of(**KEYS), hook).deliver([message(f"c{n}") for n in range(100)])

    assert [n for n, one in enumerate(outcomes) if one.fate is Fate.DEAD] == [13]
    assert len(hook.requests) < 20


def test_when_all_are_refused_the_search_for_the_bad_ones_ends() -> None:
    hook = Hook(lambda _: 400)

    outcomes = opened(settings_of(**KEYS, batch=1_000), hook).deliver(
        [message(f"c{n}") for n in range(1_000)]
    )

    fates = [one.fate for one in outcomes]
    assert set(fates) == {Fate.DEAD, Fate.RETRY}
    assert fates[:10] == [Fate.DEAD] * 10
    assert len(hook.requests) <= 2 * MOST_CALLS


@pytest.mark.parametrize("status", [401, 403, 404, 405, 408, 410, 425, 429, 500, 502, 503, 301])
def test_what_is_no_messages_fault_buries_nothing(status: int) -> None:
    (outcome,) = opened(settings_of(**KEYS), Hook(lambda _: status)).deliver([message()])

    assert outcome.fate is Fate.RETRY


def test_retry_after_may_be_a_date() -> None:
    until = {"Retry-After": "Sun, 01 Mar 2026 12:02:00 GMT"}
    tool = Scripted(Hook(), [httpx.Response(503, headers=until)])

    (outcome,) = opened(settings_of(**KEYS), tool).deliver([message()])

    assert outcome.after_s == 120.0


def test_check_sends_no_message() -> None:
    hook = Hook()

    opened(settings_of(**KEYS), hook).check()

    assert json.loads(hook.requests[0].content) == {"messages": []}
    with pytest.raises(StoreUnavailable, match="status 500"):
        opened(settings_of(**KEYS), Hook(lambda _: 500)).check()
