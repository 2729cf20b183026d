"""`foresend worker ROLE`: one worker of the streams, in the foreground."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Role(StrEnum):
    """What a worker does."""

    ARCHIVE = "archive"  #: appends events to the log
    ONLINE = "online"  #: folds events into the online store
    RECOMPUTE = "recompute"  #: computes customers anew that cannot be folded
    ROUTER = "router"  #: answers requests for scores and tells changed ones


def command(
    role: Annotated[Role, typer.Argument(help="archive, online, recompute or router.")],
    metrics_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of /healthz, /readyz and /metrics; 0: none."),
    ] = 0,
    metrics_host: Annotated[str, typer.Option(help="Address of that port.")] = "127.0.0.1",
) -> None:
    """Work until Ctrl-C or SIGTERM; the batch in hand is finished first.

    Any number may run, on any machines; one of `archive` and one of `recompute` are enough.
    `router` needs routing.enabled in foresend.yaml.
    """
    import os

    # Feast sets it in every process that imports it; with it Prometheus' client writes files.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    _work(role, metrics_port, metrics_host)


def _work(role: Role, port: int, host: str) -> None:
    from collections.abc import Callable
    from contextlib import ExitStack
    from datetime import UTC, datetime

    from feature_repo import addresses, online
    from feature_repo.logs import configure_logs
    from feature_repo.settings import load_settings
    from feature_repo.stream.handler import Handler
    from feature_repo.stream.metrics import WorkerMetrics
    from feature_repo.stream.worker_process import serve_group, serve_rounds

    configure_logs()
    settings = load_settings()

    def clock() -> datetime:
        return datetime.now(UTC)

    closing = ExitStack()
    client = closing.enter_context(online.connect(addresses.redis_url(settings)))

    # Each role imports its own world, and not that of the others.
    def archive() -> Handler:
        from feature_repo.stream.archive_handler import ArchiveHandler

        return ArchiveHandler(settings, client, clock)

    def fold() -> Handler:
        from feature_repo.stream.online_handler import OnlineHandler

        return OnlineHandler(settings, client, clock)

    def recompute(metrics: WorkerMetrics) -> Callable[[], object]:
        from feature_repo.stream.rounds import open_rounds

        return open_rounds(settings, client, clock, closing, metrics).run_once

    def route(metrics: WorkerMetrics) -> Callable[[], object]:
        from serving.routing.process import open_rounds

        return open_rounds(settings, client, clock, closing, metrics).run_once

    with closing:
        if role is Role.ROUTER:
            serve_rounds(role, route, metrics_port=port, host=host, every_s=0.0)
        elif role is Role.RECOMPUTE:
            serve_rounds(role, recompute, metrics_port=port, host=host)
        else:
            make = archive if role is Role.ARCHIVE else fold
            serve_group(settings, role, make, metrics_port=port, host=host)
