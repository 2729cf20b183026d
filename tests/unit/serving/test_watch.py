"""Following the champion: what is promoted is served, what fails changes nothing."""

from __future__ import annotations

from datetime import timedelta

from serving.registry import Version
from serving.watch import RETRY_FAILED_AFTER
from tests.unit.serving.conftest import TARGET, Client, World, ask, version_files


def served(client: Client) -> tuple[str, float]:
    body = client.post("/v1/score", json=ask("ann")).json()
    return body["model"]["version"], body["scores"][0]["score"]


def test_a_promotion_is_served_without_a_restart(world: World) -> None:
    with world.client() as client:
        before = served(client)
        world.promote("2", score=0.75)
        client.poll()
        after = served(client)
        metrics = client.get("/metrics").text

    assert (before, after) == (("1", 0.25), ("2", 0.75))
    assert f'foresend_model_info{{target="{TARGET}",version="2"}} 1.0' in metrics
    assert f'foresend_model_info{{target="{TARGET}",version="1"}}' not in metrics


def test_a_rollback_is_a_promotion_too(world: World) -> None:
    first = world.registry.champions[TARGET]
    with world.client() as client:
        world.promote("2", score=0.75)
        client.poll()
        world.registry.champions[TARGET] = first
        client.poll()

        assert served(client) == ("1", 0.25)


def test_a_damaged_version_keeps_the_old_one_and_says_so(world: World) -> None:
    with world.client() as client:
        bad = world.promote("2", score=0.75)
        world.registry.artifacts[bad] = {"model.json": b"{"}
        client.poll()
        state = client.get("/readyz")
        metrics = client.get("/metrics").text

        assert served(client) == ("1", 0.25)
    assert state.status_code == 200
    assert state.json()["models"][TARGET] == {
        "champion": "2",
        "served": "1",
        "loaded_at": "2026-11-24T12:00:00Z",
        "problem": f"{TARGET} version 2 cannot be used: model.json is damaged.",
    }
    assert state.json()["status"] == "degraded"
    assert state.json()["reasons"] == [
        f"{TARGET} version 2 cannot be used: model.json is damaged. Version 1 serves on."
    ]
    assert f'foresend_model_problem{{alias="champion",target="{TARGET}"}} 1.0' in metrics
    assert f'foresend_model_load_failures_total{{target="{TARGET}"}} 1.0' in metrics


def test_a_refused_version_is_tried_again_after_a_while_only(world: World) -> None:
    with world.client() as client:
        bad = world.promote("2", score=0.75)
        world.registry.artifacts[bad] = {"model.json": b"{"}
        client.poll()
        world.registry.artifacts[bad] = version_files(score=0.75)
        client.poll()
        soon = served(client)
        world.clock.now += RETRY_FAILED_AFTER
        client.poll()

        assert (soon, served(client)) == (("1", 0.25), ("2", 0.75))


def test_a_model_of_features_that_are_not_served_is_refused(world: World) -> None:
    with world.client() as client:
        world.promote("2", feature_names=["horoscope"], categorical=[])
        client.poll()
        problem = client.get("/readyz").json()["models"][TARGET]["problem"]

        assert served(client) == ("1", 0.25)
    assert "horoscope" in problem


def test_what_was_served_last_is_served_when_the_registry_is_down(world: World) -> None:
    with world.client():
        pass
    world.registry.down = "MLflow at http://mlflow:5000 does not answer."

    with world.client() as client:
        ready = client.get("/readyz")

        assert served(client) == ("1", 0.25)
    assert ready.status_code == 200
    assert ready.json()["status"] == "degraded"
    assert ready.json()["registry"] == {"answers": False, "polled_at": None}
    assert world.registry.down in ready.json()["reasons"]


def test_a_damaged_copy_on_disk_is_fetched_again(world: World) -> None:
    with world.client():
        pass
    (world.folder / "models" / TARGET / "1" / "model.json").write_text("{")

    with world.client() as client:
        assert client.get("/readyz").json()["status"] == "not_ready"
        world.clock.now += RETRY_FAILED_AFTER
        client.poll()

        assert served(client) == ("1", 0.25)


def test_the_same_number_of_another_registry_is_another_version(world: World) -> None:
    with world.client():
        pass
    again = Version(TARGET, "1", "run-x", "models:/m-x")
    world.registry.champions[TARGET] = again
    world.registry.artifacts[again] = version_files(score=0.5)

    with world.client() as client:
        assert served(client) == ("1", 0.5)


def test_without_any_champion_the_last_model_is_kept(world: World) -> None:
    with world.client() as client:
        del world.registry.champions[TARGET]
        client.poll()

        assert served(client) == ("1", 0.25)
        assert client.get("/readyz").status_code == 200


def test_a_version_number_cannot_lead_out_of_the_folder(world: World) -> None:
    with world.client() as client:
        evil = world.promote("../../../evil")
        client.poll()

        assert served(client) == ("1", 0.25)
    assert evil.number.startswith("..")
    assert not list(world.folder.glob("**/evil"))


def test_only_the_served_and_the_previous_version_stay_on_disk(world: World) -> None:
    with world.client() as client:
        for number in ("2", "3", "4"):
            world.promote(number)
            client.poll()

    kept = {p.name for p in (world.folder / "models" / TARGET).iterdir() if p.is_dir()}
    assert kept == {"3", "4"}


def test_the_age_of_the_last_poll_is_a_metric(world: World) -> None:
    with world.client() as client:
        world.clock.now += timedelta(seconds=30)
        world.registry.down = "gone"
        client.poll()
        client.poll()
        metrics = client.get("/metrics").text

    assert "foresend_registry_poll_failures_total 2.0" in metrics
    assert "foresend_registry_polled_timestamp_seconds 1.7955216e+09" in metrics
