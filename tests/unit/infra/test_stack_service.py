from __future__ import annotations

from pathlib import Path

from feature_repo.settings import Settings
from infra.scheduler.runner import STOP_S
from infra.stack.service import local_services


def test_the_stack_runs_a_scheduler_that_may_wait_for_its_job_to_stop(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        redis_url="redis://127.0.0.1:1/0",  # type: ignore[arg-type]
        mlflow_uri="http://127.0.0.1:2",
    )

    services = {s.name: s for s in local_services(settings, insecure_local=True)}

    assert [*services] == ["archive", "online", "recompute", "scheduler", "ingest", "api"]
    assert "router" not in services  # foresend.yaml ships with routing switched off
    scheduler = services["scheduler"]
    assert scheduler.argv[-3:-1] == ("scheduler", "--metrics-port")
    assert scheduler.ready_url == f"{scheduler.url}/healthz"
    assert scheduler.stop_timeout_s > 2 * STOP_S
    assert scheduler.env["FORESEND_HOME"] == str(tmp_path)


def test_the_stack_runs_a_router_where_routing_is_switched_on(tmp_path: Path) -> None:
    config = tmp_path / "foresend.yaml"
    targets = "targets: {buy: {event: purchased, horizon_days: 30, spine: weekly}}\n"
    config.write_text(f"{targets}routing: {{enabled: true}}\n")
    settings = Settings(
        home=tmp_path,
        redis_url="redis://127.0.0.1:1/0",  # type: ignore[arg-type]
        mlflow_uri="http://127.0.0.1:2",
        config=config,
    )

    services = {s.name: s for s in local_services(settings, insecure_local=True)}

    assert services["router"].argv[-4:-1] == ("worker", "router", "--metrics-port")
    assert services["router"].ready_url == f"{services['router'].url}/healthz"
    assert "connectors" not in services


def test_the_stack_runs_the_connectors_that_are_declared(tmp_path: Path) -> None:
    config = tmp_path / "foresend.yaml"
    targets = "targets: {buy: {event: purchased, horizon_days: 30, spine: weekly}}\n"
    config.write_text(
        f"{targets}routing: {{enabled: true, connectors: {{out: {{kind: files}}}}}}\n"
    )
    settings = Settings(
        home=tmp_path,
        redis_url="redis://127.0.0.1:1/0",  # type: ignore[arg-type]
        mlflow_uri="http://127.0.0.1:2",
        config=config,
    )

    services = {s.name: s for s in local_services(settings, insecure_local=True)}

    assert services["connectors"].argv[-5:-1] == ("connectors", "run", "all", "--metrics-port")
    assert services["connectors"].ready_url == f"{services['connectors'].url}/healthz"
