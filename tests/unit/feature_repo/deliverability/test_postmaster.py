"""Postmaster Tools v2: every request and recorded answer is of Google's discovery document."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_repo.deliverability.errors import SourceRefused, SourceUnavailable
from feature_repo.deliverability.postmaster import READING_SCOPE, Postmaster
from feature_repo.deliverability.postmaster_file import parse_file
from feature_repo.deliverability.postmaster_metrics import METRICS
from feature_repo.deliverability.reading import Reading, Taken, Why
from feature_repo.deliverability.settings import PostmasterSettings
from feature_repo.deliverability.tokens import RefreshToken, Tokens
from feature_repo.errors import ConfigError, UnusableInput
from tests.unit.feature_repo.deliverability.discovery import (
    DOCUMENT,
    FOLDER,
    answer,
    check,
    check_request,
)
from tests.unit.feature_repo.deliverability.world import Clock, Web

TODAY = date(2026, 3, 6)
SCHEMAS = {
    "domains": "ListDomainsResponse",
    "stats": "QueryDomainStatsResponse",
    "loop": "QueryDomainStatsResponse",
    "loops": "QueryDomainStatsResponse",
    "compliance": "DomainComplianceStatus",
}

# The envelope of HTTP errors is not in the document.
RECORDED = sorted(p for p in (FOLDER / "answers").glob("*.json") if "error" not in p.stem)

Handler = Callable[[httpx.Request], httpx.Response]


class Google:
    """Answers as recorded; checks each request, and each answer it gives with 200."""

    def __init__(self, **own: Handler) -> None:
        self.own = own
        self.tokens = 0
        self.web = Web(handler=self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "oauth2.googleapis.com":
            self.tokens += 1
            told = {"access_token": f"t{self.tokens}", "expires_in": 3600}
            return httpx.Response(200, json=told)
        method = check_request(request)
        kind = method["id"].rpartition(".")[2]
        handler: Handler = self.own.get(kind, getattr(self, f"on_{kind}"))
        response = handler(request)
        if response.status_code == 200:
            check(method["response"]["$ref"], response.json())
        return response

    def on_list(self, request: httpx.Request) -> httpx.Response:
        number = 2 if request.url.params.get("pageToken") == "second" else 1
        return httpx.Response(200, json=answer(f"domains_{number}"))

    def on_query(self, request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        if "mail.example" in str(request.url):
            return httpx.Response(200, json=answer("stats_none"))
        return httpx.Response(200, json=answer(f"stats_{2 if 'pageToken' in asked else 1}"))

    def on_getComplianceStatus(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=answer("compliance"))

    def pull(self, clock: Clock | None = None, **settings: Any) -> dict[str, Taken]:
        clock = clock or Clock()
        limits = PostmasterSettings(**{"repull_days": 3, "compliance": False, **settings})
        client = self.web.client(clock)
        tokens = Tokens(RefreshToken("id", "s", "r"), client, clock=lambda: clock.now)
        asked = Postmaster(client, tokens, limits).pull(TODAY)
        return {one.sending_domain: one.taken for one in asked}


def told(taken: Taken) -> dict[tuple[str, str | None, int], float | None]:
    return {(one.metric, one.part, one.day.day): one.value for one in taken.readings}


def queries(google: Google) -> list[dict[str, Any]]:
    found = [r for r in google.web.requests if r.url.path.endswith(":query")]
    return [json.loads(request.content) for request in found]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_answers_are_of_the_discovery_document(path: Path) -> None:
    check(SCHEMAS[path.stem.split("_")[0]], json.loads(path.read_text()))


def test_the_judge_refuses_what_the_document_does_not_have() -> None:
    with pytest.raises(AssertionError, match="domainReputation"):
        check("DomainStat", {"domainReputation": "HIGH"})
    with pytest.raises(AssertionError, match="standardMetric"):
        check("BaseMetric", {"standardMetric": "IP_REPUTATION"})
    with pytest.raises(AssertionError, match="not in the discovery"):
        check_request(httpx.Request("GET", DOCUMENT["rootUrl"] + "v1/domains"))


def test_metrics_and_scopes_are_of_the_document() -> None:
    metrics = DOCUMENT["schemas"]["BaseMetric"]["properties"]["standardMetric"]["enum"]

    assert {metric.standard for metric in METRICS} <= set(metrics)
    assert READING_SCOPE in DOCUMENT["auth"]["oauth2"]["scopes"]
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert not [m for m in METRICS if "reputation" in m.metric]


def test_pages_are_followed_to_the_end() -> None:
    google = Google()
    taken = google.pull()["news.example"]

    found = told(taken)
    assert found["gpt_spam_rate", None, 3] == 0.0012
    assert found["gpt_auth_success_rate", "dkim", 3] == 0.998
    assert found["gpt_delivery_error_rate", "reject/low_domain_reputation", 3] == 0.02
    assert found["gpt_spam_rate", None, 5] == 0.0
    assert found["gpt_tls_encryption_rate", None, 5] == 1.0
    assert taken.rejects == []
    assert {one.mailbox_provider for one in taken.readings} == {"google"}
    asked = queries(google)
    assert [page.get("pageToken") for page in asked[:2]] == [None, "MjAyNi0wMy0wMw/AUTH"]
    assert asked[0]["pageSize"] == 200


def test_the_last_days_are_asked_for_without_today() -> None:
    google = Google()
    google.pull(repull_days=7)

    dates = queries(google)[0]["timeQuery"]["dateRanges"]["dateRanges"]
    assert dates == [
        {
            "start": {"year": 2026, "month": 2, "day": 27},
            "end": {"year": 2026, "month": 3, "day": 5},
        }
    ]


def test_what_google_does_not_show_is_unknown_and_not_zero() -> None:
    pulled = Google().pull()

    found = told(pulled["news.example"])
    assert found["gpt_spam_rate", None, 4] is None
    assert found["gpt_delivery_error_rate", "reject", 3] is None
    assert len(found) == len(METRICS) * 3
    silent = pulled["mail.example"].readings
    assert len(silent) == len(METRICS) * 3
    assert {one.value for one in silent} == {None}


def test_unverified_domains_are_told_and_not_asked_about() -> None:
    google = Google()
    pulled = google.pull()

    assert [(r.where, r.reason) for r in pulled[""].rejects] == [("new.example", Why.UNVERIFIED)]
    assert not [r for r in google.web.requests if "new.example" in str(r.url)]


def test_named_domains_are_asked_about_without_listing() -> None:
    google = Google()
    pulled = google.pull(domains="News.Example")

    assert list(pulled) == ["news.example"]
    assert not [r for r in google.web.requests if r.url.path == "/v2/domains"]


def test_a_named_domain_that_is_none_is_told_by_its_setting() -> None:
    with pytest.raises(ConfigError, match="FORESEND_POSTMASTER_DOMAINS has 'nowhere'"):
        Google().pull(domains="news.example,nowhere")


def test_a_domain_that_is_refused_does_not_stop_the_others() -> None:
    def query(request: httpx.Request) -> httpx.Response:
        if "news.example" in str(request.url):
            return httpx.Response(403, json=answer("error_403"))
        return httpx.Response(200, json=answer("stats_none"))

    pulled = Google(query=query).pull()
    (reject,) = pulled["news.example"].rejects
    assert (reject.where, reject.reason) == ("news.example", Why.REFUSED)
    assert "user of the domain" in reject.detail
    assert pulled["mail.example"].readings


def test_a_refused_compliance_does_not_cost_the_numbers() -> None:
    google = Google(getComplianceStatus=lambda request: httpx.Response(403, json={}))
    taken = google.pull(domains="news.example", compliance=True)["news.example"]

    assert told(taken)["gpt_spam_rate", None, 3] == 0.0012
    assert [one.reason for one in taken.rejects] == [Why.REFUSED]


def test_a_quota_is_waited_for() -> None:
    answers = iter([429, 503, 200])

    def list_(request: httpx.Request) -> httpx.Response:
        status = next(answers)
        body = answer("domains_2") if status == 200 else answer("error_429")
        return httpx.Response(status, json=body, headers={"retry-after": "7"})

    clock = Clock()
    assert "mail.example" in Google(list=list_).pull(clock)
    assert clock.slept == [7.0, 7.0]


def test_a_token_that_ended_early_is_replaced_once() -> None:
    def list_(request: httpx.Request) -> httpx.Response:
        is_new = request.headers["authorization"] == "Bearer t2"
        return httpx.Response(200 if is_new else 401, json=answer("domains_2") if is_new else {})

    google = Google(list=list_)
    assert "mail.example" in google.pull()
    assert google.tokens == 2


def test_credentials_that_are_not_taken_end_the_pull() -> None:
    google = Google(query=lambda request: httpx.Response(401, json={}))

    with pytest.raises(SourceRefused, match="FORESEND_POSTMASTER"):
        google.pull()


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b'{"domains": {"name": 1}}'],
)
def test_an_answer_of_another_form_ends_the_pull(body: bytes) -> None:
    clock = Clock()
    web = Web(
        handler=lambda request: httpx.Response(
            200,
            content=b'{"access_token": "t"}' if request.url.host.startswith("oauth2") else body,
        )
    )
    client = web.client(clock)
    tokens = Tokens(RefreshToken("id", "s", "r"), client, clock=lambda: clock.now)

    with pytest.raises(SourceUnavailable, match="v2/domains"):
        list(Postmaster(client, tokens, PostmasterSettings()).pull(TODAY))


def test_pages_without_end_end() -> None:
    def list_(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"domains": [], "nextPageToken": "again"})

    with pytest.raises(SourceUnavailable, match="no end of pages"):
        Google(list=list_).pull()


def test_odd_stats_are_rejected_one_by_one() -> None:
    google = Google(query=lambda request: httpx.Response(200, json=answer("stats_odd")))
    taken = google.pull(domains="news.example")["news.example"]

    assert told(taken)["gpt_spam_rate", None, 3] == 0.5
    assert [one.reason for one in taken.rejects] == [
        Why.BAD_NUMBER,
        Why.UNKNOWN_METRIC,
        Why.BAD_DAY,
        Why.IMPOSSIBLE_DAY,
    ]


def test_feedback_loops_are_asked_for_by_their_ids() -> None:
    def query(request: httpx.Request) -> httpx.Response:
        names = [one["name"] for one in json.loads(request.content)["metricDefinitions"]]
        kinds = {"FEEDBACK_LOOP_ID": "loops", "FEEDBACK_LOOP_SPAM_RATE_0": "loop_rates"}
        return httpx.Response(200, json=answer(kinds.get(names[0], "stats_none")))

    google = Google(query=query)
    taken = google.pull(domains="news.example", feedback_loops=True)["news.example"]

    found = told(taken)
    assert found["gpt_feedback_loop_spam_rate", "spring", 3] == 0.004
    assert found["gpt_feedback_loop_spam_rate", 'say "hi"', 3] == 0.001
    filters = [one["filter"] for one in queries(google)[-1]["metricDefinitions"]]
    assert filters == ['feedback_loop_id="spring"', 'feedback_loop_id="say \\"hi\\""']


def test_compliance_is_a_snapshot_of_today_and_of_the_subdomain_itself() -> None:
    google = Google()
    taken = google.pull(domains="news.example", compliance=True)["news.example"]

    states = [one for one in taken.readings if one.metric == "gpt_compliance"]
    assert {one.day for one in states} == {TODAY}
    assert {one.part: one.value for one in states} == {
        "spf": 1.0,
        "one_click_unsubscribe": 0.0,
        "verdict/one_click_unsubscribe": 0.0,
        "verdict/one_click_unsubscribe/no_unsub_general": 0.0,
        "verdict/deliverability_status": 1.0,
        "verdict/deliverability_status/user_feedback_positive": 1.0,
    }


def test_a_kept_answer_can_be_read_with_its_domain_outside_or_inside() -> None:
    stats = answer("stats_1")
    outside = json.dumps({"domains/News.example": stats}).encode()
    inside = json.dumps([stats, {"domainStats": []}]).encode()

    expected = Reading(
        sending_domain="news.example",
        mailbox_provider="google",
        day=date(2026, 3, 3),
        metric="gpt_spam_rate",
        value=0.0012,
    )
    assert parse_file(outside, TODAY).readings[0] == expected
    assert parse_file(inside, TODAY).readings == parse_file(outside, TODAY).readings


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"domains": []}', b"3", b"[" * 100_000])
def test_a_file_without_answers_is_unusable(raw: bytes) -> None:
    with pytest.raises(UnusableInput):
        parse_file(raw, TODAY)
