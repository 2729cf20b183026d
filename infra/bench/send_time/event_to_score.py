"""From an event's webhook to the message that a score changed, everything on."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

import httpx
import numpy as np
import orjson

from feature_repo import online
from feature_repo.load import load
from feature_repo.settings import Settings
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import SCORE_CHANGED
from infra.bench.feature_data import customer_id, write_feature_tables
from infra.bench.fleet import Fleet
from infra.bench.send_time.world import TARGET, UNTIL, shelve, train
from infra.bench.webhook_load import URL_PATH
from infra.stack.ports import free_port
from infra.stack.service import child_environment, with_env, worker_service
from serving.routing.messages import unpack

EVENTS_PER_S: Final = 1_000
SECONDS: Final = 15
PER_BODY: Final = 20
CUSTOMERS: Final = 20_000
ALLOWED_S: Final = 2.0
_TRAINED_ON: Final = 5_000
_SETTLE_S: Final = 10.0
_WARM_PER_BODY: Final = 1_000
_CLIENT: Final = httpx.Client(timeout=30)
_CONFIG: Final = (
    f"targets: {{{TARGET}: {{event: purchased, horizon_days: 30, spine: weekly}}}}\n"
    "routing: {enabled: true, score_change: 0.0, holdout: {share: 0.05, salt: bench}}\n"
)


def run(workdir: Path) -> dict[str, Any]:
    """Seconds from sending an event, p99, against the two allowed; every change is told.

    An event counts as told with the first message about its customer whose newest event is no
    older. All processes and the sender share the machine.
    """
    home = workdir / "home"
    rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    config = workdir / "foresend.yaml"
    config.write_text(_CONFIG)
    env = {
        "FORESEND_CONFIG": str(config),
        "FORESEND_SERVING_STALE_AFTER_S": "1e9",
        "FORESEND_SERVING_REDIS_READ_TIMEOUT_S": "1",
        "FORESEND_MLFLOW_URI": "http://127.0.0.1:9",
    }
    with Fleet(home, env=env) as fleet:
        _prepare(fleet.settings)
        with _router(fleet.settings, env):
            told, stop = _Told(), threading.Event()
            listener = threading.Thread(target=told.listen, args=(fleet.settings, stop))
            listener.start()
            # Everybody's first event: from then on each customer has a state of the stream's own.
            for start in range(0, CUSTOMERS, _WARM_PER_BODY):
                _post(fleet.url, [*range(start, start + _WARM_PER_BODY)], "warm")
            time.sleep(_SETTLE_S)
            sent = _send(fleet.url)
            time.sleep(_SETTLE_S)
            stop.set()
            listener.join()
    waited = np.array([told.after(customer, at) for customer, at in sent])
    known = waited[np.isfinite(waited)]
    return {
        "ours": float(np.percentile(known, 99)),
        "baseline": ALLOWED_S,
        "ratio": float(np.percentile(known, 99)) / ALLOWED_S,
        "unit": "s p99",
        "p50_s": round(float(np.percentile(known, 50)), 3),
        "events_per_s": round(len(sent) / SECONDS),
        "told": f"{len(known)} of {len(sent)}",
    }


class _Told:
    """The messages that came, by customer."""

    def __init__(self) -> None:
        self._held: dict[str, list[tuple[float, float]]] = {}

    def listen(self, settings: Settings, stop: threading.Event) -> None:
        """Read `score.changed` until `stop`; when each message came is what counts."""
        queue = open_queue(settings, stream=SCORE_CHANGED)
        consumer = queue.consumer("bench", "bench")
        while not stop.is_set():
            found = consumer.take(1_000, 0.1)
            now = time.time()
            for delivery in found:
                message = unpack(delivery.body)
                as_of = message.as_of and datetime.fromisoformat(message.as_of).timestamp()
                self._held.setdefault(message.customer_id, []).append((now, as_of or 0.0))
            consumer.ack([delivery.id for delivery in found])
        consumer.close()
        queue.close()

    def after(self, customer: str, sent_at: float) -> float:
        """Seconds until an event of that moment was told; NaN when it never was."""
        for came_at, as_of in self._held.get(customer, ()):
            if came_at >= sent_at and as_of >= int(sent_at):
                return came_at - sent_at
        return float("nan")


def _prepare(settings: Settings) -> None:
    """A model on the shelf, learnt from customers of another project."""
    assert settings.redis_url is not None
    other = Settings(
        home=settings.home / "other", redis_url=settings.redis_url, project="bench_other"
    )
    write_feature_tables(other, customers=_TRAINED_ON, versions=1, until=UNTIL)
    with online.connect(settings.redis_url.get_secret_value()) as client:
        load(other, client, as_of=UNTIL, full=True)
        model = train(other, client, _TRAINED_ON)
    shelve(settings, model)


@contextmanager
def _router(settings: Settings, env: Mapping[str, str]) -> Iterator[None]:
    assert settings.redis_url is not None
    shared = {
        "FORESEND_HOME": str(settings.home.absolute()),
        "FORESEND_REDIS_URL": settings.redis_url.get_secret_value(),
        **env,
    }
    service = with_env(worker_service("router", free_port(0)), shared)
    with (settings.home / "router.log").open("wb") as log:
        child = subprocess.Popen(
            service.argv, stdout=log, stderr=log, env=child_environment(service)
        )
        try:
            _wait(str(service.ready_url))
            yield
        finally:
            child.terminate()
            child.wait(timeout=30)


def _wait(url: str) -> None:
    while True:
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.2)


def _send(url: str) -> Sequence[tuple[str, float]]:
    """Send opens and clicks at EVENTS_PER_S; customer and moment of each."""
    rng = np.random.default_rng(9)
    sent: list[tuple[str, float]] = []
    began = time.perf_counter()
    for number in range(EVENTS_PER_S * SECONDS // PER_BODY):
        due = began + number * PER_BODY / EVENTS_PER_S
        time.sleep(max(0.0, due - time.perf_counter()))
        numbers = rng.integers(0, CUSTOMERS, PER_BODY).tolist()
        now = _post(url, numbers, str(number))
        sent += [(customer_id(one), now) for one in numbers]
    return sent


def _post(url: str, customers: Sequence[int], name: str) -> float:
    """Send an open of each customer in one body; the moment it was sent."""
    now = time.time()
    body = [_event(f"{name}-{place}-{one}", one, now) for place, one in enumerate(customers)]
    headers = {"Content-Type": "application/json"}
    content = orjson.dumps(body)
    _CLIENT.post(url + URL_PATH, content=content, headers=headers).raise_for_status()
    return now


def _event(name: str, number: int, now: float) -> dict[str, Any]:
    customer = customer_id(number)
    return {
        "email": f"{customer}@example.com",
        "timestamp": int(now),
        "sg_event_id": f"score-{name}",
        "event": "open",
        "category": ["bench"],
        "customer_id": customer,
        "marketing_campaign_id": 7,
        "useragent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0",
        "ip": f"198.18.{number // 256 % 256}.{number % 256}",
        "sg_machine_open": False,
    }
