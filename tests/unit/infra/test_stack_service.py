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
    scheduler = services["scheduler"]
    assert scheduler.argv[-3:-1] == ("scheduler", "--metrics-port")
    assert scheduler.ready_url == f"{scheduler.url}/healthz"
    assert scheduler.stop_timeout_s > 2 * STOP_S
    assert scheduler.env["FORESEND_HOME"] == str(tmp_path)
