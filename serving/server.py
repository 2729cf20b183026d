"""The composition root: settings become ports, ports an application, and a socket serves it."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from fastapi import FastAPI

from feature_repo.addresses import mlflow_uri, redis_url
from feature_repo.api_keys import KeyFile, keys_path
from feature_repo.config import load_config
from feature_repo.errors import ConfigError
from feature_repo.listening import freeze_heap, is_loopback, listen, run
from feature_repo.logs import configure_logs
from feature_repo.settings import Settings
from serving.app import Ports, create_app
from serving.model import ScoringModel
from serving.registry import open_registry
from serving.settings import ServingSettings, load_serving_settings
from serving.shelf import Shelf
from serving.store import RedisStore

log = structlog.get_logger()


def serve(settings: Settings, *, host: str, port: int, insecure_local: bool) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish what runs and return.

    Raises:
        ConfigError: a setting, the address or the key file cannot be used.
    """
    if insecure_local and not is_loopback(host):
        message = (
            f"--insecure-local asks for no API keys, so it listens on loopback only, not on "
            f"{host!r}. Leave it out and make a key with `foresend keys add NAME`."
        )
        raise ConfigError(message)
    configure_logs()
    limits = load_serving_settings()
    app = open_app(settings, limits, insecure_local=insecure_local)
    listening = listen(host, port)
    address = listening.getsockname()
    log.info("listening", host=address[0], port=address[1], api_keys=not insecure_local)
    run(
        app,
        listening,
        shutdown_s=limits.shutdown_s,
        drain_s=limits.drain_s,
        stopping=app.state.health.stop,
    )


def open_app(settings: Settings, limits: ServingSettings, *, insecure_local: bool) -> FastAPI:
    """The application over this installation's Redis, MLflow and files."""
    keys = None if insecure_local else KeyFile(keys_path(settings))
    if keys is not None and not keys.keys():
        log.warning("no_api_keys", cure="foresend keys add NAME")
    ports = Ports(
        registry=open_registry(mlflow_uri(settings), timeout_s=limits.registry_timeout_s),
        store=RedisStore(redis_url(settings), project=settings.project, settings=limits),
        shelf=Shelf(settings.state_path / "models"),
        load_model=ScoringModel.load,
        keys=keys,
        clock=lambda: datetime.now(UTC),
    )
    return create_app(
        ports,
        limits,
        targets=tuple(load_config(settings).targets),
        predictions=settings.predictions_path,
        settled=freeze_heap,
    )
