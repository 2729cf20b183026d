"""API keys: hashes on disk, and who is let in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feature_repo.api_keys import KeyFile, Scope
from feature_repo.errors import ConfigError
from tests.unit.serving.conftest import Clock, World, ask


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "state" / "keys.json")


def test_a_key_is_found_by_itself_and_kept_only_as_its_hash(keys: KeyFile, tmp_path: Path) -> None:
    key, secret = keys.add("mailer", [Scope.SCORE], clock=Clock())
    path = tmp_path / "state" / "keys.json"

    assert keys.holder(secret) == key
    assert keys.holder(secret + "x") is None
    assert secret.startswith("fsk_")
    assert secret not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_a_name_is_given_once(keys: KeyFile) -> None:
    keys.add("mailer", [Scope.SCORE], clock=Clock())

    with pytest.raises(ConfigError, match="'mailer' exists"):
        keys.add("mailer", [Scope.SCORE], clock=Clock())


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "a/b"])
def test_a_name_that_cannot_be_one_is_refused(keys: KeyFile, name: str) -> None:
    with pytest.raises(ConfigError, match="1 to 64"):
        keys.add(name, [Scope.SCORE], clock=Clock())


def test_revoking_what_is_not_there_lists_what_is(keys: KeyFile) -> None:
    keys.add("mailer", [Scope.SCORE], clock=Clock())

    with pytest.raises(ConfigError, match="Known keys: mailer"):
        keys.revoke("mailre")


def test_a_running_reader_sees_what_another_process_changes(keys: KeyFile, tmp_path: Path) -> None:
    reader = KeyFile(tmp_path / "state" / "keys.json")
    assert reader.keys() == ()

    _, secret = keys.add("mailer", [Scope.SCORE], clock=Clock())
    assert reader.holder(secret) is not None

    keys.revoke("mailer")
    assert reader.holder(secret) is None


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 2, "keys": []}', '{"format": 1, "keys": [{"name": "a"}]}']
)
def test_a_damaged_file_is_named_with_its_cure(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match=r"keys\.json cannot be used"):
        KeyFile(path).keys()


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


def test_a_revoked_key_is_refused_by_the_running_server(world: World) -> None:
    world.with_keys = True
    _, secret = world.keys.add("mailer", [Scope.SCORE], clock=world.clock)
    with world.client() as client:
        before = client.post("/v1/score", json=ask("ann"), headers={"x-api-key": secret})
        world.keys.revoke("mailer")
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
