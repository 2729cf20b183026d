"""Mautic: fields by PATCH in batches, a status for each contact, tokens that end."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from feature_repo.errors import ConfigError, StoreUnavailable
from serving.routing.connectors.port import DELIVERED, UNKNOWN, Connector, Fate
from tests.unit.serving.routing.connectors.fakes import FakeMautic, answer
from tests.unit.serving.routing.connectors.world import (
    Bench,
    Scripted,
    Time,
    message,
    opened,
    settings_of,
)

KEYS: dict[str, Any] = {
    "kind": "mautic",
    "url": "https://mautic.example/",
    "user_env": "FORESEND_USER",
    "password_env": "FORESEND_PASSWORD",
}
OAUTH: dict[str, Any] = {
    "kind": "mautic",
    "url": "https://mautic.example",
    "client_id_env": "FORESEND_USER",
    "client_secret_env": "FORESEND_PASSWORD",
}
BY_FIELD: dict[str, Any] = {"contact": {"by": "field", "field": "shop_id"}}


def mautic(tool: Any, time: Time | None = None, **keys: Any) -> Connector:
    return opened(settings_of(**{**KEYS, **keys}), tool, time)


def test_fields_are_set_and_others_stay() -> None:
    fake = FakeMautic({1: {"firstname": "Ann"}, 2: {}})

    outcomes = mautic(fake).deliver([message("1", score=0.5), message("2", tier=None)])

    assert outcomes == [DELIVERED, DELIVERED]
    assert fake.contacts[1] == {
        "firstname": "Ann",
        "foresend_score": 0.5,
        "foresend_tier": "high",
        "foresend_action": "send",
        "foresend_holdout": 0,
    }
    assert fake.contacts[2]["foresend_tier"] == ""
    assert fake.batches == [2]


def test_times_are_written_as_mautic_reads_them() -> None:
    fields = {"expires_at": "valid_until", "holdout": "held_out"}
    connector = mautic(FakeMautic(), fields=fields)

    written = connector.preview(message(expires_at="2026-03-02T13:00:00+01:00", holdout=True))

    assert written == {"valid_until": "2026-03-02 12:00:00", "held_out": 1}


def test_each_contact_has_an_outcome_of_its_own() -> None:
    fake = FakeMautic({1: {}, 2: {}, 3: {}}, invalid={2}, forbidden={3})

    outcomes = mautic(fake).deliver([message(one) for one in ("1", "2", "3", "4")])

    assert outcomes[0] == DELIVERED
    assert [one.fate for one in outcomes[1:]] == [Fate.DEAD, Fate.DEAD, Fate.UNKNOWN]
    assert outcomes[1].reason == "status 400 for a contact"


def test_an_answer_with_errors_but_no_statuses_is_understood() -> None:
    first = {"contacts": {"1": {}}, "errors": {"1": {"code": 500}, "2": {"message": "bad"}}}
    tool = Scripted(FakeMautic(), [answer(200, first)])

    outcomes = mautic(tool).deliver([message(one) for one in ("1", "2", "3")])

    assert [one.fate for one in outcomes] == [Fate.DELIVERED, Fate.RETRY, Fate.DEAD]


def test_an_answer_of_something_else_is_not_taken_for_success() -> None:
    for first in (httpx.Response(200, text="<html>login</html>"), answer(200, {"ok": True})):
        tool = Scripted(FakeMautic({1: {}}), [first])

        (outcome,) = mautic(tool).deliver([message("1")])

        assert outcome.fate is Fate.RETRY


def test_contacts_are_found_by_a_field_once() -> None:
    fake = FakeMautic({7: {"shop_id": "ann"}, 8: {"shop_id": "bob"}})
    tool = Scripted(fake)
    connector = mautic(tool, **BY_FIELD)

    first = connector.deliver([message("ann"), message("bob"), message("eve")])
    asked = len(tool.seen)
    connector.deliver([message("ann", seq=2), message("bob", seq=2)])

    assert first == [DELIVERED, DELIVERED, UNKNOWN]
    assert "foresend_score" in fake.contacts[7]
    assert len(tool.seen) == asked + 1


def test_a_contact_that_was_merged_is_found_again() -> None:
    fake = FakeMautic({7: {"shop_id": "ann"}})
    connector = mautic(fake, **BY_FIELD)
    connector.deliver([message("ann")])
    fake.contacts = {9: {"shop_id": "ann"}}

    outcomes = connector.deliver([message("eve"), message("ann", seq=2), message("bob")])

    assert outcomes == [UNKNOWN, DELIVERED, UNKNOWN]
    assert "foresend_score" in fake.contacts[9]


def test_a_contact_that_is_found_but_cannot_be_written_is_tried_twice_and_not_for_ever() -> None:
    fake = FakeMautic({7: {"shop_id": "ann"}})
    gone = {"contacts": [], "statusCodes": [404], "errors": {"0": {"code": 404}}}

    def cannot_edit(request: httpx.Request) -> httpx.Response:
        return answer(200, gone) if request.method == "PATCH" else fake(request)

    tool = Scripted(cannot_edit)

    assert mautic(tool, **BY_FIELD).deliver([message("ann")]) == [UNKNOWN]
    assert [one.method for one in tool.seen] == ["GET", "PATCH"] * 2


def test_a_contact_that_was_merged_while_mautic_became_busy_waits() -> None:
    fake = FakeMautic({7: {"shop_id": "ann"}})
    tool = Scripted(fake)
    connector = mautic(tool, **BY_FIELD)
    connector.deliver([message("ann")])
    fake.contacts = {9: {"shop_id": "ann"}}
    gone = {"contacts": [], "statusCodes": [404], "errors": {"0": {"code": 404}}}
    tool.first = [answer(200, gone), answer(503, {})]

    assert connector.deliver([message("ann", seq=2)])[0].fate is Fate.RETRY
    assert connector.deliver([message("ann", seq=2)]) == [DELIVERED]


@pytest.mark.parametrize("stranger", ["7f3c", "007", " 7", "7.0", "7e0", "-7", "+7", "٧", "", "0"])
def test_an_id_that_php_would_read_as_a_strangers_is_unknown(stranger: str) -> None:
    fake = FakeMautic({7: {}, 8: {}})
    tool = Scripted(fake)

    outcomes = mautic(tool).deliver([message(stranger), message("8")])

    assert outcomes == [UNKNOWN, DELIVERED]
    assert fake.contacts[7] == {}
    assert [one["id"] for one in json.loads(tool.seen[0].content)] == ["8"]


@pytest.mark.parametrize(
    ("first", "after_s"),
    [
        (answer(429, {}, **{"Retry-After": "17"}), 17.0),
        (answer(503, {}), None),
        (answer(401, {}), 60.0),
        (answer(403, {}), 60.0),
        (httpx.Response(302, headers={"Location": "https://other.example"}), 60.0),
        (httpx.ReadTimeout("https://mautic.example?secret"), None),
    ],
)
def test_a_tool_that_does_not_take_it_now_gets_it_later(
    first: httpx.Response | Exception, after_s: float | None
) -> None:
    tool = Scripted(FakeMautic({1: {}}), [first])
    connector = mautic(tool)

    (outcome,) = connector.deliver([message("1")])

    assert (outcome.fate, outcome.after_s) == (Fate.RETRY, after_s)
    assert "secret" not in outcome.reason
    assert connector.deliver([message("1")]) == [DELIVERED]


def test_a_batch_that_is_refused_costs_only_the_bad_one() -> None:
    fake = FakeMautic({n: {} for n in range(1, 9)})

    def picky(request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH" and '"5"' in request.content.decode():
            return answer(422, {})
        return fake(request)

    outcomes = mautic(picky).deliver([message(str(n)) for n in range(1, 9)])

    assert [one.fate for one in outcomes].count(Fate.DELIVERED) == 7
    assert outcomes[4].fate is Fate.DEAD
    assert outcomes[4].reason == "status 422"


def test_a_smaller_limit_of_the_installation_is_found() -> None:
    fake = FakeMautic({n: {} for n in range(1, 101)}, limit=30)
    time = Time()
    connector = mautic(fake, time)
    bench = Bench(lambda _: DELIVERED)
    bench.time, bench.source.time = time, time
    bench.tool.most = 100
    bench.deliverer.connector = connector
    bench.deliverer.pace = time.pace
    bench.start()
    bench.deliverer.connector = connector
    bench.source.put(*(message(str(n)) for n in range(1, 101)))

    until = time.seconds + 60
    while bench.deliverer.in_hand or time.seconds == 0:
        bench.rounds(1)
        assert time.seconds < until

    assert all("foresend_score" in held for held in fake.contacts.values())
    assert bench.count("delivered") == 100
    assert bench.source.buried == []


def test_a_token_is_fetched_once_and_again_before_it_ends() -> None:
    fake = FakeMautic({1: {}}, tokens=set())
    time = Time()
    connector = opened(settings_of(**OAUTH), fake, time)

    connector.deliver([message("1")])
    connector.deliver([message("1")])
    assert fake.given_tokens == 1
    time.sleep(3_550)
    assert connector.deliver([message("1")]) == [DELIVERED]
    assert fake.given_tokens == 2


def test_a_token_that_is_not_taken_any_more_is_replaced_at_once() -> None:
    fake = FakeMautic({1: {}}, tokens=set())
    connector = opened(settings_of(**OAUTH), fake)
    connector.deliver([message("1")])
    assert fake.tokens is not None
    fake.tokens.clear()

    assert connector.deliver([message("1")]) == [DELIVERED]
    assert fake.given_tokens == 2


def test_credentials_that_give_no_token_are_told_without_being_shown() -> None:
    tool = Scripted(FakeMautic(tokens=set()), [answer(401, {"error": "invalid_client"})])

    (outcome,) = opened(settings_of(**OAUTH), tool).deliver([message("1")])

    assert (outcome.fate, outcome.after_s) == (Fate.RETRY, 60.0)
    assert "client id or secret" in outcome.reason
    assert "sesame" not in outcome.reason


def test_check_asks_for_the_fields_and_changes_nothing() -> None:
    tool = Scripted(FakeMautic())

    assert "foresend_score" in mautic(tool).check()
    assert {request.method for request in tool.seen} == {"GET"}
    with pytest.raises(ConfigError, match="no contact fields foresend_tier;"):
        mautic(FakeMautic(fields={"foresend_score", "foresend_action", "foresend_holdout"})).check()
    with pytest.raises(StoreUnavailable, match="status 401"):
        mautic(FakeMautic(tokens=set())).check()


def test_it_is_never_put() -> None:
    tool = Scripted(FakeMautic({1: {}}))

    mautic(tool).deliver([message("1")])

    assert [(one.method, one.url.path) for one in tool.seen] == [
        ("PATCH", "/api/contacts/batch/edit")
    ]
    assert json.loads(tool.seen[0].content)[0]["id"] == "1"
