"""A clock that only moves when somebody waits, messages, and a source in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client import CollectorRegistry

from feature_repo.config import Config
from feature_repo.deliverability.patience import Pace
from feature_repo.errors import StoreUnavailable
from serving.routing import messages
from serving.routing.connectors.deliverer import Deliverer
from serving.routing.connectors.kinds import Means, open_connector
from serving.routing.connectors.metrics import ConnectorMetrics
from serving.routing.connectors.port import Connector, Outcome, Taken
from serving.routing.connectors.settings import ConnectorSettings, connector_settings
from serving.routing.message import CHANGED, Action, ActionKind, Routed

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRETS = {
    "FORESEND_USER": "api",
    "FORESEND_PASSWORD": "open sesame",
    "FORESEND_TOKEN": "SG.token",
    "FORESEND_SECRET": "whsec",
    "FORESEND_OLD_SECRET": "whsec-old",
}


@dataclass
class Time:
    """Stands still but for `sleep`."""

    seconds: float = 0.0

    @property
    def pace(self) -> Pace:
        return Pace(
            monotonic=lambda: self.seconds,
            sleep=self.sleep,
            chance=lambda: 0.5,
            clock=self.now,
        )

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


def message(customer: str = "ann", seq: int = 1, **changes: Any) -> Routed:
    given: dict[str, Any] = {
        "id": f"{customer}-{seq}",
        "type": CHANGED,
        "time": "2026-03-01T12:00:00Z",
        "expires_at": "2026-03-02T12:00:00Z",
        "target": "buy",
        "customer_id": customer,
        "score": 0.25,
        "tier": "high",
        "model_version": "7",
        "tier_policy": "7",
        "degraded": None,
        "as_of": None,
        "action": Action(ActionKind.SEND, None, "no rule speaks against it", "default"),
        "holdout": False,
        "seq": seq,
    }
    return Routed(**{**given, **changes})


def settings_of(declared: Sequence[str] = ("buy",), **keys: Any) -> ConnectorSettings:
    """A connector `tool` with these keys in the file."""
    text = yaml.safe_dump({"connectors": {"tool": keys}})
    config = Config(
        path=Path("foresend.yaml"),
        targets=dict.fromkeys(declared),  # type: ignore[arg-type]  # only names are looked at
        sections={"routing": yaml.safe_load(text)},
    )
    (found,) = connector_settings(config, SECRETS)
    return found


def opened(
    settings: ConnectorSettings,
    tool: Callable[[httpx.Request], httpx.Response],
    time: Time | None = None,
    home: Path = Path(),
) -> Connector:
    """The connector with the fake in place of the network."""
    pace = (time or Time()).pace
    means = Means(pace=pace, home=home, transport=httpx.MockTransport(tool))
    return open_connector(settings, means)


@dataclass
class Scripted:
    """A tool that first answers as told, then as the fake it stands before."""

    then: Callable[[httpx.Request], httpx.Response]
    first: list[httpx.Response | Exception] = field(default_factory=list)
    seen: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if self.first:
            answer = self.first.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return self.then(request)


@dataclass
class ListSource:
    """Messages in a list. `die` hands out again what was not acknowledged, as a queue does."""

    time: Time
    waiting: list[Taken] = field(default_factory=list)
    given: dict[str, Taken] = field(default_factory=dict)
    acked: list[str] = field(default_factory=list)
    buried: list[tuple[str, str]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    down: bool = False

    def put(self, *found: Routed | bytes, deliveries: int = 1) -> None:
        for one in found:
            body = one if isinstance(one, bytes) else messages.pack(one)
            number = len(self.waiting) + len(self.given) + len(self.acked)
            self.waiting.append(
                Taken(
                    id=str(number),
                    body=body,
                    deliveries=deliveries,
                    published_at=self.time.now(),
                )
            )

    def die(self) -> None:
        self.waiting = [*self.given.values(), *self.waiting]
        self.given.clear()

    def take(self, limit: int, wait_s: float) -> list[Taken]:
        self._up()
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        if not taken:
            self.time.sleep(wait_s)
        self.given.update((one.id, one) for one in taken)
        return taken

    def ack(self, ids: Sequence[str]) -> None:
        self._up()
        self.acked += ids
        for one in ids:
            del self.given[one]

    def keep(self, ids: Sequence[str]) -> None:
        self._up()
        self.kept += ids

    def bury(self, taken: Taken, reason: str) -> None:
        self._up()
        self.buried.append((taken.id, reason))

    def close(self) -> None:
        self.die()

    def _up(self) -> None:
        if self.down:
            message = "The queue does not answer."
            raise StoreUnavailable(message)


@dataclass
class FakeTool:
    """A connector that answers as told, and remembers what it was given."""

    answer: Callable[[Routed], Outcome]
    most: int = 100
    calls: list[list[Routed]] = field(default_factory=list)

    @property
    def customers(self) -> list[str]:
        return [one.customer_id for call in self.calls for one in call]

    def deliver(self, batch: Sequence[Routed]) -> list[Outcome]:
        self.calls.append(list(batch))
        return [self.answer(one) for one in batch]

    def preview(self, message: Routed) -> Mapping[str, object]:
        return {"score": message.score}

    def check(self) -> str:
        return "fine"

    def close(self) -> None:
        """Nothing is held."""


class Bench:
    """A deliverer over a list and a fake."""

    def __init__(self, answer: Callable[[Routed], Outcome], most: int = 100, **keys: Any) -> None:
        self.time = Time()
        self.source = ListSource(self.time)
        self.tool = FakeTool(answer, most)
        self.registry = CollectorRegistry()
        given = {"kind": "webhook", "url": "https://a.example", "newest_only": True, **keys}
        self.settings = settings_of(**given)
        self.start()

    def start(self) -> None:
        """A process, perhaps after one that died."""
        self.registry = CollectorRegistry()
        self.deliverer = Deliverer(
            self.settings,
            self.tool,
            self.source,
            self.time.pace,
            ConnectorMetrics(self.registry),
        )

    def rounds(self, count: int = 5) -> None:
        for _ in range(count):
            self.deliverer.run_once()

    def count(self, fate: str) -> float:
        labels = {"connector": "tool", "fate": fate}
        value = self.registry.get_sample_value("foresend_connector_messages_total", labels)
        assert value is not None
        return value
