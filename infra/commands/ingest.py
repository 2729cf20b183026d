"""`foresend ingest`: the service that providers deliver their events to, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8081,
    insecure_local: Annotated[
        bool,
        typer.Option("--insecure-local", help="No keys; no secrets needed; loopback only."),
    ] = False,
) -> None:
    """Take deliveries until Ctrl-C or SIGTERM; what was answered for is on disk."""
    import os

    # Feast sets it in every process that imports it, and children inherit it; with it, before
    # the first import, Prometheus' client writes metrics to files.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

    from feature_repo.ingest.server import serve
    from feature_repo.settings import load_settings

    serve(load_settings(), host=host, port=port, insecure_local=insecure_local)
