"""The processes of the event stream, started, killed and stopped one by one; no supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx
import redis

from feature_repo.errors import NotReady
from feature_repo.settings import Settings
from infra.stack.ports import free_port
from infra.stack.service import (
    Service,
    child_environment,
    ingest_service,
    redis_service,
    with_env,
    worker_service,
)

ROLES: Final = ("archive", "online", "recompute")
START_TIMEOUT_S: Final = 90.0


class Fleet:
    """Redis, the workers and the ingest service over one home; a context manager."""

    def __init__(
        self, home: Path, *, env: Mapping[str, str] | None = None, redis_args: Sequence[str] = ()
    ) -> None:
        self.settings = Settings(home=home)
        ports: list[int] = []
        for _ in range(5):
            ports.append(free_port(0, taken=frozenset(ports)))
        queue = redis_service(self.settings, ports[0])
        queue = Service(name=queue.name, argv=(*queue.argv, *redis_args), url=queue.url)
        shared = {
            "FORESEND_HOME": str(home.absolute()),
            "FORESEND_REDIS_URL": queue.url,
            **(env or {}),
        }
        self.settings = Settings(home=home, redis_url=queue.url)
        services = [
            queue,
            *(worker_service(role, port) for role, port in zip(ROLES, ports[1:], strict=False)),
            ingest_service(ports[4], insecure_local=True),
        ]
        self.services = {service.name: with_env(service, shared) for service in services}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = ExitStack()

    @property
    def url(self) -> str:
        """Where providers send to."""
        return self.services["ingest"].url

    def __enter__(self) -> Self:
        for name in self.services:
            self.start(name)
        for name in self.services:
            self.wait(name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in reversed(self.running):
            self.stop(name)
        self._logs.close()

    def start(self, name: str) -> None:
        """Start a process that is not running; its output goes to logs/NAME.log."""
        service = self.services[name]
        folder = self.settings.home.absolute() / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        log = self._logs.enter_context((folder / f"{name}.log").open("ab"))
        self.running[name] = subprocess.Popen(
            service.argv, stdout=log, stderr=log, env=child_environment(service)
        )

    def wait(self, name: str) -> None:
        """Return when the process answers.

        Raises:
            NotReady: it ended, or did not answer in time.
        """
        service, process = self.services[name], self.running[name]
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                message = f"{name} ended with code {process.returncode}; see logs/{name}.log."
                raise NotReady(message)
            if _answers(service):
                return
            time.sleep(0.05)
        message = f"{name} did not answer within {START_TIMEOUT_S:g} s; see logs/{name}.log."
        raise NotReady(message)

    def kill(self, name: str) -> None:
        """End a process without giving it a chance to finish anything."""
        self.running[name].kill()
        self.running[name].wait()

    def stop(self, name: str) -> int:
        """End a process as an operator would; its exit code."""
        process = self.running[name]
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return process.wait(timeout=60)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time each running process has used."""
        ticks = os.sysconf("SC_CLK_TCK")
        used = {}
        for name, process in self.running.items():
            stat = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            used[name] = (int(stat[11]) + int(stat[12])) / ticks
        return used


def _answers(service: Service) -> bool:
    try:
        if service.ready_url is None:
            with redis.Redis.from_url(service.url) as client:
                return bool(client.ping())
        return httpx.get(service.ready_url, timeout=2).status_code < 500
    except (httpx.HTTPError, redis.RedisError):
        return False
