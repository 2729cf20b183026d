"""The application over fakes: no network, no disk but a temporary folder, a clock that stands."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from feature_repo.api_keys import KeyFile
from feature_repo.errors import ForesendError
from serving.app import Ports, create_app
from serving.audience.desk import Desk
from serving.audience.jobs import JobStore
from serving.http.tracing import Tracing
from serving.registry import MemoryRegistry, Version
from serving.settings import ServingSettings
from serving.shelf import Shelf
from serving.store import MemoryStore
from serving.watch import FixedModel

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TARGET = "purchase_30d"


@dataclass
class Clock:
    """A clock that is moved by hand."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


def load_fixed(folder: Path) -> FixedModel:
    """The model a fake version holds."""
    try:
        raw = json.loads((folder / "model.json").read_text())
    except ValueError as exc:
        message = "model.json is damaged"
        raise ForesendError(message) from exc
    raw = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}
    return FixedModel(**raw)


def version_files(**model: Any) -> dict[str, bytes]:
    return {"model.json": json.dumps(model).encode(), "manifest.json": b"{}"}


@dataclass
class Client:
    """Asks the application in this thread; between two questions its loop stands still."""

    app: FastAPI
    runner: asyncio.Runner

    def get(self, url: str, **more: Any) -> httpx.Response:
        return self.send("GET", url, **more)

    def post(self, url: str, **more: Any) -> httpx.Response:
        return self.send("POST", url, **more)

    def send(self, method: str, url: str, **more: Any) -> httpx.Response:
        return self.runner.run(self._send(method, url, **more))

    def poll(self) -> None:
        """Let the watch look at the registry once."""
        self.runner.run(self.app.state.watch.poll())

    async def _send(self, method: str, url: str, **more: Any) -> httpx.Response:
        content = more.get("content")
        if content is not None and not isinstance(content, bytes | str):
            more["content"] = _as_stream(content)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, url, **more)


async def _as_stream(chunks: Any) -> Any:
    for chunk in chunks:
        yield chunk


class NoRunner(subprocess.Popen[bytes]):
    """A runner of segments that does nothing and has ended."""

    def __init__(self) -> None:
        self.returncode = 0

    def poll(self) -> int:
        return self.returncode

    def __del__(self) -> None:
        """There is no process to look after."""


@dataclass
class World:
    """Everything around one application."""

    folder: Path
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    store: MemoryStore = field(default_factory=lambda: MemoryStore(through=NOW))
    clock: Clock = field(default_factory=Clock)
    settings: ServingSettings = field(default_factory=ServingSettings)
    with_keys: bool = False
    targets: tuple[str, ...] = (TARGET, "click_7d")
    load: Callable[[Path], FixedModel] = load_fixed
    tracing: Tracing | None = None
    #: Seconds of the clock that only goes forward; moved by hand.
    seconds: float = 0.0

    @property
    def keys(self) -> KeyFile:
        return KeyFile(self.folder / "keys.json")

    @property
    def jobs(self) -> JobStore:
        return JobStore(self.folder / "audience", self.clock, most_waiting=3)

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions"

    def promote(self, number: str = "1", target: str = TARGET, **model: Any) -> Version:
        version = Version(target, number, f"run-{number}", f"models:/m-{number}")
        self.registry.artifacts[version] = version_files(**model)
        self.registry.champions[target] = version
        return version

    def app(self) -> FastAPI:
        ports = Ports(
            registry=self.registry,
            store=self.store,
            shelf=Shelf(self.folder / "models"),
            load_model=self.load,
            keys=self.keys if self.with_keys else None,
            clock=self.clock,
            tracing=self.tracing,
            monotonic=lambda: self.seconds,
            desk=Desk(self.jobs, self.targets, spawn=NoRunner),
        )
        return create_app(ports, self.settings, targets=self.targets, predictions=self.predictions)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """The started application; stopped, and its log flushed, at the end."""
        app = self.app()
        with asyncio.Runner() as runner:
            life = app.router.lifespan_context(app)
            runner.run(life.__aenter__())
            try:
                yield Client(app, runner)
            finally:
                runner.run(life.__aexit__(None, None, None))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One promoted model, one known customer whose newest event is two hours old."""
    made = World(tmp_path)
    made.promote(score=0.25, base_rate=0.05)
    made.store.customers["ann"] = {
        "last_event_at": (NOW - timedelta(hours=2)).timestamp(),
        "opens_30d": 3.0,
        "country": "FR",
    }
    made.store.known_at["ann"] = (NOW - timedelta(hours=1)).timestamp()
    return made


def ask(*customers: str, **more: Any) -> dict[str, Any]:
    """A request body."""
    return {"target": TARGET, "customers": [{"customer_id": c} for c in customers], **more}
