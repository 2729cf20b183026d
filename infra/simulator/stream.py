"""Streams a programme to the ingest service, as the sending services would deliver it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import pyarrow.parquet as pq

from feature_repo.errors import ForesendError, StoreUnavailable
from infra.simulator.deliveries import Deliveries, Delivery
from infra.simulator.options import Options, checked

PATIENCE_S: Final = 300.0
"""How long one request is tried again while the service is busy or not there."""

_LONGEST_WAIT_S: Final = 30.0
_BUSY: Final = frozenset({429, 502, 503, 504})


class DeliveryRefused(ForesendError):
    """The ingest service will never take a request as it is."""


@dataclass
class Streamed:
    """What was streamed; also while it is."""

    events: int = 0
    requests: int = 0
    bytes: int = 0
    retries: int = 0
    seconds: float = 0.0
    events_per_s: float = 0.0
    by_service: dict[str, int] = field(default_factory=dict)
    #: Events that the service of their mailing does not report, by kind.
    unreported: dict[str, int] = field(default_factory=dict)


def stream(
    options: Options,
    url: str,
    *,
    rate: float = 0.0,
    connections: int = 4,
    batch: int | None = None,
    limit: int | None = None,
    secrets: Mapping[str, str] | None = None,
    truth: Path | None = None,
    progress: Callable[[Streamed], None] | None = None,
    patience_s: float = PATIENCE_S,
) -> Streamed:
    """Post the programme's events to `url`/ingest/{provider}; return when all are taken.

    `rate`: events per second, 0: as fast as answers come. `batch`: events of a request at most,
    where the service sends several. `limit`: stop after so many events. `truth`: file for the
    truth. A request that meets 503 or no answer is repeated, honouring Retry-After.

    Raises:
        ConfigError: an option cannot be used.
        StoreUnavailable: the service was not there for `patience_s`.
        DeliveryRefused: it refused a request for good.
    """
    most = batch if rate <= 0 else max(1, min(batch or 1000, round(rate / 2)))
    deliveries = Deliveries(checked(options), most=most)
    sender = _Sender(url, secrets or {}, patience_s, progress)
    started = time.monotonic()
    with sender.running(connections):
        for due, delivery in _paced(deliveries, rate, limit):
            sender.wait_until(started + due)
            sender.put(delivery)
            if sender.failure is not None:
                break
    if sender.failure is not None:
        raise sender.failure
    if truth is not None:
        pq.write_table(deliveries.truth_table(), truth)
    done = sender.done
    done.seconds = round(time.monotonic() - started, 3)
    done.events_per_s = round(done.events / done.seconds, 1) if done.seconds else 0.0
    done.unreported = dict(deliveries.unreported)
    return done


def _paced(
    deliveries: Deliveries, rate: float, limit: int | None
) -> Iterator[tuple[float, Delivery]]:
    """Each request with the second at which it is due."""
    sent = 0
    for delivery in deliveries:
        yield sent / rate if rate > 0 else 0.0, delivery
        sent += len(delivery.payloads)
        if limit is not None and sent >= limit:
            return


class _Sender:
    """Connections that post requests side by side; the first failure stops all."""

    def __init__(
        self,
        url: str,
        secrets: Mapping[str, str],
        patience_s: float,
        progress: Callable[[Streamed], None] | None,
    ) -> None:
        self.done = Streamed()
        self.failure: ForesendError | None = None
        self._url = url.rstrip("/")
        self._secrets = secrets
        self._patience_s = patience_s
        self._progress = progress
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._todo: queue.Queue[Delivery | None] = queue.Queue(maxsize=64)
        self._threads: list[threading.Thread] = []

    def running(self, connections: int) -> _Running:
        """A context in which requests are sent; at its end all are, or one has failed."""
        return _Running(self, connections)

    def wait_until(self, moment: float) -> None:
        """Return at that moment, or at a failure."""
        wait = moment - time.monotonic()
        if wait > 0:
            self._stopping.wait(wait)

    def put(self, delivery: Delivery | None) -> None:
        """Hand over a request, or the end of them; waits while all connections are busy."""
        while self.failure is None:
            try:
                self._todo.put(delivery, timeout=0.2)
            except queue.Full:
                continue
            return

    def start(self, connections: int) -> None:
        """Open the connections."""
        for _ in range(connections):
            thread = threading.Thread(target=self._work, daemon=True)
            thread.start()
            self._threads.append(thread)

    def finish(self) -> None:
        """Return when everything handed over is done."""
        for _ in self._threads:
            self.put(None)
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Leave what is not sent yet."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        with httpx.Client(timeout=30.0) as client:
            while not self._stopping.is_set():
                try:
                    delivery = self._todo.get(timeout=0.2)
                except queue.Empty:
                    continue
                if delivery is None:
                    return
                try:
                    self._send(client, delivery)
                except ForesendError as exc:
                    self.failure = self.failure or exc
                    self._stopping.set()

    def _send(self, client: httpx.Client, delivery: Delivery) -> None:
        """Post until it is taken. Signed anew at each try, as some services do."""
        gives_up = time.monotonic() + self._patience_s
        pause = 0.2
        while not self._stopping.is_set():
            body = delivery.body(self._secrets.get(delivery.service), datetime.now(UTC))
            url = f"{self._url}/ingest/{delivery.service}"
            try:
                answer = client.post(url, content=body.content, headers=dict(body.headers))
            except httpx.TransportError as exc:
                problem = f"{url} does not answer: {exc}"
                wait = pause
            else:
                if answer.is_success:
                    self._count(delivery, len(body.content))
                    return
                problem = f"{url} answered {answer.status_code}: {answer.text[:200]}"
                if answer.status_code not in _BUSY:
                    raise DeliveryRefused(problem)
                wait = _retry_after(answer, pause)
            if time.monotonic() + wait > gives_up:
                message = f"{problem} Given up after {self._patience_s:.0f} s."
                raise StoreUnavailable(message)
            with self._lock:
                self.done.retries += 1
            self._stopping.wait(wait)
            pause = min(2 * pause, _LONGEST_WAIT_S)

    def _count(self, delivery: Delivery, size: int) -> None:
        with self._lock:
            done, events = self.done, len(delivery.payloads)
            done.events += events
            done.requests += 1
            done.bytes += size
            done.by_service[delivery.service] = done.by_service.get(delivery.service, 0) + events
            if self._progress is not None:
                self._progress(done)


class _Running:
    """The time in which a sender's connections are open."""

    def __init__(self, sender: _Sender, connections: int) -> None:
        self._sender = sender
        self._connections = connections

    def __enter__(self) -> None:
        self._sender.start(self._connections)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._sender.finish()
        else:
            self._sender.stop()


def _retry_after(answer: httpx.Response, usual: float) -> float:
    """Seconds the service asks to wait; at most as long as we ever wait."""
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_WAIT_S) if asked.isdecimal() else usual
