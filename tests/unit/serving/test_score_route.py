"""POST /v1/score over fakes: what is answered, and how refusals read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.serving.conftest import TARGET, World, ask


def test_an_answer_says_score_model_and_age_in_request_order(world: World) -> None:
    with world.client() as client:
        answer = client.post("/v1/score", json=ask("ann", "nobody", "ann"))

    body = answer.json()
    assert answer.status_code == 200
    assert [row["customer_id"] for row in body["scores"]] == ["ann", "nobody", "ann"]
    assert body["scores"][0] == {
        "customer_id": "ann",
        "score": 0.25,
        "tier": None,
        "model_version": "1",
        "canary": False,
        "as_of": "2026-11-24T10:00:00Z",
        "age_s": 7200.0,
        "placement": None,
        "degraded": None,
        "reasons": None,
    }
    assert body["send_at"] == "2026-11-24T12:00:00Z"
    assert body["model"] == {
        "name": TARGET,
        "version": "1",
        "run_id": "run-1",
        "loaded_at": "2026-11-24T12:00:00Z",
    }


def test_an_unknown_customer_gets_the_base_rate_and_fails_nobody(world: World) -> None:
    with world.client() as client:
        rows = client.post("/v1/score", json=ask("nobody", "ann")).json()["scores"]

    assert rows[0]["score"] == 0.05
    assert rows[0]["as_of"] is None
    assert rows[0]["age_s"] is None
    assert rows[0]["degraded"]["cause"] == "unknown_customer"
    assert rows[0]["degraded"]["score_is"] == "base_rate"
    assert rows[1]["degraded"] is None


def test_a_thousand_customers_are_answered_from_reads_of_64(world: World) -> None:
    with world.client() as client:
        rows = client.post("/v1/score", json=ask(*["ann"] * 1000)).json()["scores"]

    assert {row["score"] for row in rows} == {0.25}
    assert len(rows) == 1000
    assert world.store.reads == 16


def test_a_planned_send_is_aged_to_its_own_time(world: World) -> None:
    with world.client() as client:
        body = client.post("/v1/score", json=ask("ann", send_at="2026-11-24T15:00:00+02:00"))

    assert body.json()["send_at"] == "2026-11-24T13:00:00Z"
    assert body.json()["scores"][0]["age_s"] == 3 * 3600.0


# A body, and what its refusal must say: (status, words).
BAD_BODIES: list[tuple[Any, int, tuple[str, ...]]] = [
    (ask(*["ann"] * 1001), 422, ("customers", "at most 1000")),
    (ask(), 422, ("at least one customer",)),
    ({"target": TARGET}, 422, ("customers", "required")),
    # A number is not silently taken for the text it looks like.
    ({"target": TARGET, "customers": [{"customer_id": 7}]}, 422, ("customers[0]", "in quotes")),
    ({"target": TARGET, "customers": [{"customer_id": ""}]}, 422, ("customers[0].customer_id",)),
    ({"target": TARGET, "customers": [{"customer_id": "a" * 257}]}, 422, ("at most 256",)),
    (
        {"target": TARGET, "customers": [{"customer_id": "a", "coupon": 1}]},
        422,
        ("customers[0].coupon", "utc_offset_minutes, campaign_id, message_id"),
    ),
    (ask("ann", sent_at="2026-11-24T12:00:00Z"), 422, ("sent_at", "target, customers, send_at")),
    # Without an offset nobody knows when it is.
    (ask("ann", send_at="2026-11-24T12:00:00"), 422, ("send_at", "with an offset")),
    (ask("ann", send_at=1795521600), 422, ("send_at", "ISO-8601")),
    (ask("ann", send_at="2026-13-24T12:00:00Z"), 422, ("send_at", "ISO-8601")),
    (ask("ann", send_at="1999-12-31T23:59:59Z"), 422, ("2000-01-01",)),
    (ask("ann", target="purchase_31d"), 404, ("purchase_31d", "click_7d, purchase_30d")),
    ([], 422, ("body",)),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD_BODIES)
def test_a_bad_request_says_where_and_what_to_do(
    world: World, body: Any, status: int, words: tuple[str, ...]
) -> None:
    with world.client() as client:
        answer = client.post("/v1/score", json=body)

    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["status"] == status
    for word in words:
        assert word in problem["detail"]


def test_a_refusal_lists_ten_places_at_most(world: World) -> None:
    with world.client() as client:
        answer = client.post("/v1/score", json=ask(*[""] * 50))

    assert len(answer.json()["errors"]) == 10
    assert "49 more" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"target": "purchase_30d", "customers": [{"customer_id": "\\ud800"}]}',
        b"\xff\xfe",
        b"[" * 5000,
    ],
)
def test_what_is_not_json_is_a_400(world: World, body: bytes) -> None:
    with world.client() as client:
        answer = client.post(
            "/v1/score", content=body, headers={"content-type": "application/json"}
        )

    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:foresend:problem:not-json"


@pytest.mark.parametrize("declared", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_body_declared_as_something_else_is_a_415(world: World, declared: str) -> None:
    with world.client() as client:
        answer = client.post(
            "/v1/score", content=json.dumps(ask("ann")), headers={"content-type": declared}
        )

    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_a_413(world: World, announced: bool) -> None:
    def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    content = b"".join(chunks()) if announced else chunks()
    with world.client() as client:
        answer = client.post(
            "/v1/score", content=content, headers={"content-type": "application/json"}
        )

    assert answer.status_code == 413
    assert "1048576 bytes" in answer.json()["detail"]


def test_a_target_without_a_model_is_a_503_that_says_when_to_ask_again(world: World) -> None:
    with world.client() as client:
        answer = client.post("/v1/score", json=ask("ann", target="click_7d"))

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "foresend train click_7d" in answer.json()["detail"]


def test_a_request_id_is_kept_when_sane_and_made_otherwise(world: World) -> None:
    with world.client() as client:
        kept = client.get("/healthz", headers={"x-request-id": "abc-1"})
        made = client.get("/healthz", headers={"x-request-id": "a b\tc"})

    assert kept.headers["x-request-id"] == "abc-1"
    assert len(made.headers["x-request-id"]) == 32


def test_a_mistake_of_ours_shows_no_trace_to_the_caller(world: World) -> None:
    with world.client() as client:
        world.store.customers["ann"] = {"opens_30d": "not a number"}
        answer = client.post("/v1/score", json=ask("ann"))

    problem = answer.json()
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == problem["request_id"]
    assert problem["type"] == "urn:foresend:problem:internal"
    assert "not a number" not in answer.text
    assert "Traceback" not in answer.text


def test_what_does_not_exist_is_a_problem_document_too(world: World) -> None:
    with world.client() as client:
        missing = client.get("/v2/score")
        wrong = client.get("/v1/score")

    assert missing.status_code == 404
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"
    assert missing.headers["content-type"] == "application/problem+json"
