"""`foresend serve`: the scoring API in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Processes that answer; unset: FORESEND_SERVING_WORKERS, or 1."
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM file of the certificate and its chain; with --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Let in only clients with a certificate of this authority.")
    ] = None,
    insecure_local: Annotated[
        bool, typer.Option("--insecure-local", help="No API keys; loopback only.")
    ] = False,
) -> None:
    """Answer scoring requests until Ctrl-C or SIGTERM; requests in flight are finished.

    SIGHUP replaces the workers one by one, or with one worker reads the certificate again.
    """
    import os

    # Feast sets it in every process that imports it, and children inherit it; with it, before
    # the first import, Prometheus' client writes metrics to files and cannot take labels back.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

    from feature_repo.errors import ConfigError
    from feature_repo.listening import Tls

    tls = None
    if tls_cert is not None and tls_key is not None:
        tls = Tls(cert=tls_cert, key=tls_key, client_ca=tls_client_ca)
    elif tls_cert is not None or tls_key is not None or tls_client_ca is not None:
        message = "TLS needs both --tls-cert and --tls-key; --tls-client-ca comes on top of them."
        raise ConfigError(message)

    from feature_repo.settings import load_settings
    from serving.server import serve

    serve(
        load_settings(),
        host=host,
        port=port,
        insecure_local=insecure_local,
        workers=workers,
        tls=tls,
    )
