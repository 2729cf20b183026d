"""Answers have the tiers that an owner approved, and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feature_repo.settings import Settings
from serving.prediction_log import read_predictions
from serving.registry import Version
from serving.tiers import TierPolicy
from tests.unit.serving.conftest import NOW, TARGET, Client, World, ask

AT = "2026-11-20T09:00:00+00:00"


def decide(
    world: World,
    number: str,
    status: str = "approved",
    *,
    cuts: tuple[float, ...] = (0.2, 0.5),
    **changed: str,
) -> None:
    """Tags of a version as `foresend tiers` writes them."""
    names = ("low", "medium", "high")[: len(cuts) + 1]
    policy = {"names": names, "cuts": cuts, "shares": [1 / len(names)] * len(names)}
    tags = {"tiers.status": status, "tiers.policy": json.dumps(policy)}
    decided = {"tiers.by": "ann", "tiers.at": AT} if status != "proposed" else {}
    world.registry.tags[TARGET, number] = {**tags, **decided, **changed}


def tier(client: Client) -> tuple[str | None, str | None, bool | None]:
    """Tier of ann, the version whose policy gave it, and whether that is current."""
    body = client.post("/v1/score", json=ask("ann")).json()
    policy = body["tier_policy"] or {}
    return body["scores"][0]["tier"], policy.get("model_version"), policy.get("is_current")


def metric(client: Client, line: str) -> bool:
    return line in client.get("/metrics").text.splitlines()


def test_what_is_only_proposed_is_never_answered(world: World) -> None:
    decide(world, "1", "proposed")
    with world.client() as client:
        before = tier(client)
        client.poll()

        assert (before, tier(client)) == ((None, None, None), (None, None, None))


def test_an_approval_is_answered_within_one_look_and_without_a_restart(world: World) -> None:
    decide(world, "1", "proposed")
    with world.client() as client:
        decide(world, "1")
        client.poll()
        body = client.post("/v1/score", json=ask("ann")).json()

    assert body["scores"][0]["tier"] == "medium"
    assert body["tier_policy"] == {
        "model_version": "1",
        "approved_by": "ann",
        "approved_at": "2026-11-20T09:00:00Z",
        "is_current": True,
        "names": ["low", "medium", "high"],
        "cuts": [0.2, 0.5],
    }


def test_a_new_champion_without_approval_goes_on_with_the_last_tiers_and_says_so(
    world: World,
) -> None:
    decide(world, "1")
    with world.client() as client:
        world.promote("2", score=0.75)
        decide(world, "2", "proposed", cuts=(0.9,))
        client.poll()
        waiting = tier(client)
        decide(world, "2", cuts=(0.9,))
        client.poll()

        assert waiting == ("high", "1", False)
        assert tier(client) == ("low", "2", True)


def test_a_champion_that_comes_approved_is_never_answered_with_the_old_tiers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(world, "1")
    with world.client() as client:
        used: list[tuple[str, bool]] = []

        def note(target: str, policy: TierPolicy, *, is_current: bool) -> None:
            used.append((policy.model_version, is_current))

        monkeypatch.setattr(client.app.state.watch.metrics.tiers, "in_use", note)
        world.promote("2", score=0.75)
        decide(world, "2", cuts=(0.9,))
        client.poll()

        assert tier(client) == ("low", "2", True)
        assert used == [("2", True)]


def test_the_last_tiers_survive_a_restart_while_the_registry_is_down(world: World) -> None:
    decide(world, "1")
    with world.client() as client:
        world.promote("2", score=0.75)
        client.poll()
    world.registry.down = "MLflow does not answer."

    with world.client() as client:
        assert tier(client) == ("high", "1", False)


def test_a_server_without_a_disk_looks_for_the_newest_approved_version(world: World) -> None:
    for number in ("1", "2", "3", "4", "5"):
        world.promote(number)
    world.registry.champions[TARGET] = next(v for v in world.registry.artifacts if v.number == "4")
    decide(world, "1", cuts=(0.2,))
    decide(world, "2", cuts=(0.3,))
    decide(world, "3", "rejected")
    decide(world, "5", cuts=(0.4,))

    with world.client() as client:
        # Version 5 was never served; its cuts are for other scores.
        assert tier(client) == ("low", "2", False)


def test_tiers_of_a_newer_version_serve_when_there_are_no_others(world: World) -> None:
    first = world.registry.champions[TARGET]
    world.promote("2")
    world.registry.champions[TARGET] = first
    decide(world, "2", cuts=(0.1,))

    with world.client() as client:
        assert tier(client) == ("medium", "2", False)


@pytest.mark.parametrize("status", ["rejected", "proposed"])
def test_a_withdrawn_approval_is_answered_no_longer(world: World, status: str) -> None:
    world.promote("2")
    decide(world, "1", cuts=(0.3,))
    decide(world, "2", cuts=(0.2,))
    with world.client() as client:
        before = tier(client)
        decide(world, "2", status)
        client.poll()
        after = tier(client)
        decide(world, "1", "rejected")
        client.poll()
        none = tier(client)

    assert (before, after) == (("medium", "2", True), ("low", "1", False))
    assert none == (None, None, None)
    with world.client() as client:
        assert tier(client) == (None, None, None)


def test_a_version_the_registry_lost_did_not_lose_its_approval(world: World) -> None:
    first = world.registry.champions[TARGET]
    decide(world, "1")
    with world.client() as client:
        world.promote("2")
        del world.registry.artifacts[first]
        client.poll()
        client.poll()

        assert tier(client) == ("medium", "1", False)


def test_a_refused_champion_leaves_the_served_version_its_own_tiers(world: World) -> None:
    with world.client() as client:
        bad = world.promote("2")
        world.registry.artifacts[bad] = {"model.json": b"{"}
        decide(world, "2", cuts=(0.9,))
        client.poll()
        before = tier(client)
        decide(world, "1")
        client.poll()

        # Nothing else is approved, so 2's own cuts are the last resort until 1 has some.
        assert before == ("low", "2", False)
        assert tier(client) == ("medium", "1", True)


def test_a_damaged_policy_changes_nothing_and_is_reported(world: World) -> None:
    decide(world, "1")
    with world.client() as client:
        decide(world, "1", cuts=(0.9,), **{"tiers.policy": '{"names": ["low"'})
        client.poll()
        ready = client.get("/readyz")

        assert tier(client) == ("medium", "1", True)
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "tier policy of purchase_30d version 1 is damaged" in ready.json()["reasons"][0]
        assert ready.json()["tiers"][TARGET]["problem"] == ready.json()["reasons"][0]
        assert metric(client, f'foresend_tier_policy_problem{{target="{TARGET}"}} 1.0')
        decide(world, "1", cuts=(0.1,))
        client.poll()
        assert tier(client) == ("medium", "1", True)
        assert client.get("/readyz").json()["status"] == "ready"
        assert metric(client, f'foresend_tier_policy_problem{{target="{TARGET}"}} 0.0')


def test_a_damaged_policy_of_a_new_champion_leaves_the_last_one(world: World) -> None:
    decide(world, "1")
    with world.client() as client:
        world.promote("2")
        decide(world, "2", **{"tiers.policy": "[1]"})
        client.poll()

        assert tier(client) == ("medium", "1", False)
        assert "version 2 is damaged" in client.get("/readyz").json()["reasons"][0]


def test_a_damaged_copy_on_disk_is_asked_for_anew(world: World) -> None:
    decide(world, "1")
    with world.client():
        pass
    (world.folder / "models" / TARGET / "tiers.json").write_text('{"target": "x"}')

    with world.client() as client:
        assert tier(client) == ("medium", "1", True)


def test_a_policy_of_another_registry_s_version_is_not_current(world: World) -> None:
    decide(world, "1")
    with world.client():
        pass
    again = Version(TARGET, "1", "run-x", "models:/m-x")
    world.registry.artifacts = {again: world.registry.artifacts.popitem()[1]}
    world.registry.champions[TARGET] = again
    world.registry.tags.clear()

    with world.client() as client:
        assert tier(client) == ("medium", "1", False)


def test_degraded_answers_have_the_tier_of_the_score_they_carry(world: World) -> None:
    decide(world, "1", cuts=(0.2,))
    with world.client() as client:
        client.post("/v1/score", json=ask("ann"))
        world.store.down = "Redis does not answer."
        rows = client.post("/v1/score", json=ask("ann", "nobody")).json()["scores"]

    assert [(row["degraded"]["score_is"], row["tier"]) for row in rows] == [
        ("last_score", "medium"),
        ("base_rate", "low"),
    ]


def test_tiers_are_counted_and_their_shares_are_of_modelled_answers(world: World) -> None:
    decide(world, "1", cuts=(0.2,))
    with world.client() as client:
        client.post("/v1/score", json=ask("ann", "nobody", "nobody"))
        answers = f'foresend_tier_answers_total{{target="{TARGET}",tier="%s"}} %s'
        share = f'foresend_tier_share{{target="{TARGET}",tier="%s"}} %s'

        assert metric(client, answers % ("medium", "1.0"))
        assert metric(client, answers % ("low", "2.0"))
        assert metric(client, share % ("medium", "1.0"))
        assert metric(client, share % ("low", "0.0"))
        assert metric(client, f'foresend_tier_share_expected{{target="{TARGET}",tier="low"}} 0.5')
        info = f'foresend_tier_policy_info{{current="yes",target="{TARGET}",version="1"}} 1.0'
        assert metric(client, info)
        world.promote("2")
        decide(world, "2", cuts=())
        client.poll()
        text = client.get("/metrics").text

    # The shares of the old policy are gone; nothing was answered under the new one yet.
    assert share % ("low", "NaN") in text
    assert text.count("foresend_tier_share{") == 1
    assert f'foresend_tier_policy_info{{current="yes",target="{TARGET}",version="2"}} 1.0' in text
    assert text.count("foresend_tier_policy_info{") == 1


def test_the_prediction_log_keeps_tier_and_policy(world: World) -> None:
    with world.client() as client:
        client.post("/v1/score", json=ask("ann"))
        decide(world, "1")
        client.poll()
        client.post("/v1/score", json=ask("ann"))

    rows: list[dict[str, Any]] = read_predictions(
        Settings(home=world.folder), TARGET, NOW, NOW.replace(hour=13)
    ).to_pylist()
    kept = {(row["tier"], row["tier_policy"]) for row in rows}
    assert kept == {(None, None), ("medium", "1")}
