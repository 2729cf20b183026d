"""listmonk: who a subscriber is, and what is merged."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from feature_repo.errors import ConfigError
from serving.routing.connectors.port import DELIVERED, UNKNOWN, Fate
from tests.unit.serving.routing.connectors.fakes import FakeListmonk
from tests.unit.serving.routing.connectors.world import Scripted, message, opened, settings_of

KEYS: dict[str, Any] = {
    "kind": "listmonk",
    "url": "https://listmonk.example",
    "user_env": "FORESEND_USER",
    "token_env": "FORESEND_PASSWORD",
}


def subscriber(email: str, **attribs: Any) -> dict[str, Any]:
    return {"email": email, "attribs": attribs}


def test_attributes_are_merged() -> None:
    listmonk = FakeListmonk({3: subscriber("ann@example.org", city="Graz")})
    connector = opened(settings_of(**KEYS), listmonk)

    outcomes = connector.deliver([message("ann@example.org"), message("bob@example.org")])

    assert outcomes == [DELIVERED, UNKNOWN]
    assert listmonk.subscribers[3]["attribs"] == {
        "city": "Graz",
        "foresend_score": 0.25,
        "foresend_tier": "high",
        "foresend_action": "send",
        "foresend_holdout": False,
    }


def test_ids_that_look_like_sql_are_only_texts() -> None:
    hostile = "x') OR 1=1; DROP TABLE subscribers; --"
    listmonk = FakeListmonk(
        {1: subscriber("a@example.org", foresend_id=hostile), 2: subscriber("b@example.org")}
    )
    settings = settings_of(**KEYS, contact={"by": "field", "field": "foresend_id"})
    connector = opened(settings, listmonk)

    outcomes = connector.deliver([message(hostile), message("o'neil"), message("\\'")])

    assert outcomes == [DELIVERED, UNKNOWN, UNKNOWN]
    assert "foresend_tier" not in listmonk.subscribers[2]["attribs"]


def test_many_ids_are_asked_for_in_questions_of_bounded_length() -> None:
    listmonk = FakeListmonk({n: subscriber(f"{n:060}@example.org") for n in range(1, 101)})
    connector = opened(settings_of(**KEYS, batch=100), listmonk)

    outcomes = connector.deliver([message(f"{n:060}@example.org") for n in range(1, 101)])

    assert outcomes == [DELIVERED] * 100
    assert max(len(query) for query in listmonk.queries) < 2_000


def test_a_field_that_is_not_safe_in_sql_is_refused() -> None:
    settings = settings_of(**KEYS, contact={"by": "field", "field": "x'; --"})

    with pytest.raises(ConfigError, match="letters, digits and _"):
        opened(settings, FakeListmonk())


def test_an_older_listmonk_without_patch_is_waited_for_with_the_reason() -> None:
    listmonk = FakeListmonk({3: subscriber("ann@example.org")}, knows_patch=False)

    (outcome,) = opened(settings_of(**KEYS), listmonk).deliver([message("ann@example.org")])

    assert outcome.fate is Fate.RETRY
    assert "its version may be too old" in outcome.reason


def test_after_it_is_busy_the_rest_of_a_batch_is_not_tried() -> None:
    listmonk = FakeListmonk({n: subscriber(f"{n}@example.org") for n in range(1, 4)})
    calls = 0

    def busy_from_the_third_call(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        return httpx.Response(503) if calls > 2 else listmonk(request)

    connector = opened(settings_of(**KEYS), Scripted(busy_from_the_third_call))

    outcomes = connector.deliver([message(f"{n}@example.org") for n in range(1, 4)])

    assert [one.fate for one in outcomes] == [Fate.DELIVERED, Fate.RETRY, Fate.RETRY]
    assert calls == 3


def test_a_subscriber_that_is_refused_costs_itself_only() -> None:
    listmonk = FakeListmonk({n: subscriber(f"{n}@example.org") for n in range(1, 4)}, invalid={2})

    outcomes = opened(settings_of(**KEYS), listmonk).deliver(
        [message(f"{n}@example.org") for n in range(1, 4)]
    )

    assert [one.fate for one in outcomes] == [Fate.DELIVERED, Fate.DEAD, Fate.DELIVERED]


@pytest.mark.parametrize("status", [400, 404])
def test_a_subscriber_that_was_made_anew_is_found_again(status: int) -> None:
    listmonk = FakeListmonk({3: subscriber("ann@example.org")})
    tool = Scripted(listmonk)
    connector = opened(settings_of(**KEYS), tool)
    connector.deliver([message("ann@example.org")])
    listmonk.subscribers = {9: subscriber("ann@example.org")}
    tool.first = [httpx.Response(status)]

    assert connector.deliver([message("ann@example.org", seq=2)]) == [DELIVERED]
    assert "foresend_tier" in listmonk.subscribers[9]["attribs"]


def test_a_subscriber_that_is_gone_for_good_is_unknown() -> None:
    listmonk = FakeListmonk({3: subscriber("ann@example.org")})
    connector = opened(settings_of(**KEYS), listmonk)
    connector.deliver([message("ann@example.org")])
    listmonk.subscribers.clear()

    assert connector.deliver([message("ann@example.org", seq=2)]) == [UNKNOWN]


@pytest.mark.parametrize("stranger", ["7f3c", "007", "٧", "../lists/7", "-7"])
def test_an_id_that_is_no_number_of_listmonks_is_unknown(stranger: str) -> None:
    tool = Scripted(FakeListmonk({7: subscriber("ann@example.org")}))
    connector = opened(settings_of(**KEYS, contact={"by": "id"}), tool)

    assert connector.deliver([message(stranger)]) == [UNKNOWN]
    assert tool.seen == []


def test_check_counts_subscribers() -> None:
    assert (
        "1 subscribers"
        in opened(settings_of(**KEYS), FakeListmonk({3: subscriber("ann@example.org")})).check()
    )
