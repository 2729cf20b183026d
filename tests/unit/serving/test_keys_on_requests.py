"""What a request needs to be let in."""

from __future__ import annotations

import json

from feature_repo.api_keys import Scope
from tests.unit.serving.conftest import World, ask


def test_a_key_is_required_and_either_header_carries_it(world: World) -> None:
    world.with_keys = True
    _, secret = world.keys.add("mailer", [Scope.SCORE], clock=world.clock)
    with world.client() as client:
        none = client.post("/v1/score", json=ask("ann"))
        wrong = client.post("/v1/score", json=ask("ann"), headers={"x-api-key": "fsk_no"})
        bearer = client.post(
            "/v1/score", json=ask("ann"), headers={"authorization": f"Bearer {secret}"}
        )
        header = client.post("/v1/score", json=ask("ann"), headers={"x-api-key": secret})

    assert (none.status_code, wrong.status_code) == (401, 401)
    assert none.headers["www-authenticate"] == "Bearer"
    assert "foresend keys add" in none.json()["detail"]
    assert "fsk_no" not in wrong.text
    assert (bearer.status_code, header.status_code) == (200, 200)


def test_a_bad_key_is_refused_before_the_body_is_read(world: World) -> None:
    world.with_keys = True
    with world.client() as client:
        answer = client.post("/v1/score", content=b"{", headers={"x-api-key": "ü".encode()})

    assert answer.status_code == 401


def test_a_revoked_key_is_refused_by_the_running_server_within_a_second(world: World) -> None:
    world.with_keys = True
    _, secret = world.keys.add("mailer", [Scope.SCORE], clock=world.clock)
    with world.client() as client:
        before = client.post("/v1/score", json=ask("ann"), headers={"x-api-key": secret})
        world.keys.revoke("mailer")
        world.seconds += 1.0
        after = client.post("/v1/score", json=ask("ann"), headers={"x-api-key": secret})

    assert (before.status_code, after.status_code) == (200, 401)


def test_a_key_without_the_scope_is_told_which_it_needs(world: World) -> None:
    world.with_keys = True
    _, secret = world.keys.add("hook", [Scope.INGEST], clock=world.clock)
    with world.client() as client:
        answer = client.post("/v1/score", json=ask("ann"), headers={"x-api-key": secret})

    assert answer.status_code == 403
    assert "'score'" in answer.json()["detail"]


def test_a_damaged_key_file_lets_nobody_in(world: World) -> None:
    world.with_keys = True
    _, secret = world.keys.add("mailer", [Scope.SCORE], clock=world.clock)
    with world.client() as client:
        path = world.folder / "keys.json"
        path.write_text(json.dumps({"format": 9}))
        answer = client.post("/v1/score", json=ask("ann"), headers={"x-api-key": secret})

    assert answer.status_code == 503
    assert str(path) not in answer.text


def test_probes_and_metrics_need_no_key(world: World) -> None:
    world.with_keys = True
    with world.client() as client:
        statuses = [client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")]

    assert statuses == [200, 200, 200]
