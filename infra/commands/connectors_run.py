"""`foresend connectors run`: carry scores and actions into tools, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="Name of a connector in foresend.yaml, or all.")],
    metrics_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of /healthz, /readyz and /metrics; 0: none."),
    ] = 0,
    metrics_host: Annotated[str, typer.Option(help="Address of that port.")] = "127.0.0.1",
) -> None:
    """Deliver until Ctrl-C or SIGTERM; what is in hand then is delivered after the next start.

    A second process for the same connector on this machine stands by until the first one ends.
    """
    import os

    # Feast sets it in every process that imports it; with it Prometheus' client writes files.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

    from feature_repo.config import load_config
    from feature_repo.logs import configure_logs
    from feature_repo.settings import load_settings
    from serving.routing.connectors.process import chosen, serve_connectors
    from serving.routing.connectors.settings import connector_settings

    configure_logs()
    settings = load_settings()
    connectors = chosen(connector_settings(load_config(settings), os.environ), name)
    serve_connectors(settings, connectors, metrics_port=metrics_port, host=metrics_host)
