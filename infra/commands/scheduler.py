"""`foresend scheduler`: runs the jobs of foresend.yaml on time, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    metrics_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of /healthz, /readyz and /metrics; 0: none."),
    ] = 0,
    metrics_host: Annotated[str, typer.Option(help="Address of that port.")] = "127.0.0.1",
) -> None:
    """Run the jobs of the section `schedule` until Ctrl-C or SIGTERM.

    Each is a process of its own, one at a time; times that were missed are caught up once. Any
    number of schedulers may run; one is at work, the others stand by.
    """
    import os

    # Feast sets it in every process that imports it; with it Prometheus' client writes files.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

    from feature_repo.config import load_config
    from feature_repo.logs import configure_logs
    from feature_repo.settings import load_settings
    from infra.scheduler.jobs import schedule_of
    from infra.scheduler.process import serve_schedule
    from infra.scheduler.words import problem_of

    configure_logs()
    settings = load_settings()
    schedule = schedule_of(load_config(settings), problem_of)
    serve_schedule(settings, schedule, metrics_port=metrics_port, host=metrics_host)
