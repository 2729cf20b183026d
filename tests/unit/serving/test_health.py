"""When requests should be sent here."""

from __future__ import annotations

from tests.unit.serving.conftest import World


def test_a_loaded_model_and_an_answering_store_are_ready(world: World) -> None:
    with world.client() as client:
        answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert answer.json()["reasons"] == []


def test_a_store_that_stops_answering_degrades_but_keeps_the_server(world: World) -> None:
    with world.client() as client:
        client.get("/readyz")
        world.store.down = "Redis does not answer."
        answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert answer.json()["reasons"] == ["Redis does not answer."]
    assert answer.json()["store"] == {"answers": False}


def test_a_store_that_never_answered_is_not_ready(world: World) -> None:
    world.store.down = "Redis does not answer."
    with world.client() as client:
        answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["Redis does not answer."]


def test_no_model_at_all_is_not_ready(world: World) -> None:
    world.registry.champions.clear()
    with world.client() as client:
        answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "No model is loaded" in answer.json()["reasons"][0]


def test_a_champion_that_cannot_be_loaded_is_not_ready(world: World) -> None:
    world.promote("1", target="click_7d", feature_names=["horoscope"], categorical=[])
    with world.client() as client:
        answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "Champion 1 of 'click_7d' is not loaded" in answer.json()["reasons"][0]


def test_a_stopping_server_is_not_ready_but_alive(world: World) -> None:
    with world.client() as client:
        client.app.state.health.stopping = True

        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").json() == {"status": "ok"}


def test_a_log_that_is_not_written_any_more_degrades_but_keeps_the_server(world: World) -> None:
    with world.client() as client:
        health = client.app.state.health
        health.predictions._has_died = True
        answer = client.get("/readyz")
        series = client.get("/metrics").text

    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert "prediction log is not written" in answer.json()["reasons"][0]
    assert "foresend_prediction_log_writing 0.0" in series
