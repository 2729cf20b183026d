"""`foresend serve`: the scoring API in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    insecure_local: Annotated[
        bool, typer.Option("--insecure-local", help="No API keys; loopback only.")
    ] = False,
) -> None:
    """Answer scoring requests until Ctrl-C or SIGTERM; requests in flight are finished."""
    import os

    # Feast sets it in every process that imports it, and children inherit it; with it, before
    # the first import, Prometheus' client writes metrics to files and cannot take labels back.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

    from feature_repo.settings import load_settings
    from serving.server import serve

    serve(load_settings(), host=host, port=port, insecure_local=insecure_local)
