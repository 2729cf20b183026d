"""Connectors as their user runs them: real Redis, a server on the loopback interface, kills."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from feature_repo.settings import Settings
from feature_repo.stream.port import Backlog
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import SCORE_CHANGED, SCORE_RESULTS, stream_named
from infra.cli import build_app
from serving.routing import messages
from serving.routing.connectors.streams import group_of
from serving.routing.message import RESULTS, Action, ActionKind, Routed
from tests.conftest import _free_port

pytestmark = pytest.mark.integration

SECRET = "whsec"
TARGETS = "targets: {buy: {event: purchased, horizon_days: 30, spine: weekly}}\n"


@dataclass
class Receiver:
    """An HTTP server that keeps what it was sent and checks who sent it."""

    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    #: Statuses of the next answers; 200 when there are none. 0: no answer at all.
    statuses: list[int] = field(default_factory=list)
    #: Customers whose messages are never taken.
    refused: set[str] = field(default_factory=set)
    forged: int = 0
    slow_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, signature: str, body: bytes) -> int:
        with self._lock:
            stamp, digest = (part.partition("=")[2] for part in signature.split(","))
            signed = stamp.encode() + b"." + body
            if digest != hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest():
                self.forged += 1
                return 401
            time.sleep(self.slow_s)
            status = self.statuses.pop(0) if self.statuses else 200
            found = json.loads(body)["messages"]
            if status == 200 and any(one["customer_id"] in self.refused for one in found):
                return 422
            if status in {0, 200}:
                self.messages += found
            return status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = found.take(self.headers["Foresend-Signature"], body)
            if status:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads that."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/in"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def settings(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> Settings:
    config = tmp_path / "foresend.yaml"
    config.write_text(f"""{TARGETS}
routing:
  enabled: true
  connectors:
    hook:
      kind: webhook
      url: {receiver.url}
      secret_env: FORESEND_HOOK_SECRET
      streams: [changed, results]
      batch: 7
      rate_per_s: 500
      timeout_s: 5
    outbox: {{kind: files, linger_s: 0.2}}
""")
    for name, value in {
        "FORESEND_HOME": str(tmp_path),
        "FORESEND_PROJECT": "shop",
        "FORESEND_REDIS_URL": redis_url,
        "FORESEND_CONFIG": str(config),
        "FORESEND_HOOK_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    return Settings()


def message(number: int, **changes: Any) -> Routed:
    given: dict[str, Any] = {
        "id": f"m{number}",
        "type": "score.changed",
        "time": "2026-03-01T12:00:00Z",
        "expires_at": "2199-01-01T00:00:00Z",
        "target": "buy",
        "customer_id": f"c{number % 40}",
        "score": 0.25,
        "tier": "high",
        "model_version": "7",
        "tier_policy": None,
        "degraded": None,
        "as_of": None,
        "action": Action(ActionKind.SEND, None, "no rule speaks against it", "default"),
        "holdout": False,
        "seq": number,
    }
    return Routed(**{**given, **changes})


def tell(settings: Settings, *found: Routed) -> None:
    for kind in (SCORE_CHANGED, SCORE_RESULTS):
        bodies = [messages.pack(one) for one in found if one.type == kind.name]
        queue = open_queue(settings, stream=kind)
        queue.publisher("test").publish(bodies)
        queue.close()


def backlog(settings: Settings, name: str) -> Backlog:
    queue = open_queue(settings, stream=stream_named("score.changed"))
    try:
        return queue.backlog(group_of(name))
    finally:
        queue.close()


def start(log: Path, name: str = "hook", *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "infra.cli", "connectors", "run", name, *more]
    with log.open("ab") as file:
        return subprocess.Popen(command, env=dict(os.environ), stdout=file, stderr=file)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def go(name: str = "hook", *more: str) -> subprocess.Popen[bytes]:
        started.append(start(tmp_path / "connector.log", name, *more))
        return started[-1]

    yield go
    for process in started:
        process.kill()
        process.wait()


def until(done: Callable[[], object], log: Path, seconds: float = 180.0) -> None:
    """A busy machine takes its time to start processes; only a failure waits for so long."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s; the log: {log.read_text()[-3000:]}")
        time.sleep(0.05)


def cli(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), ["connectors", *words])
    return result.exit_code, result.output


def test_messages_of_both_streams_arrive_signed_and_a_stop_is_clean(
    settings: Settings,
    receiver: Receiver,
    run: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    port = _free_port()
    tell(settings, message(1), message(2, type=RESULTS, request_id="r1"), message(3))

    process = run("hook", "--metrics-port", str(port))
    log = tmp_path / "connector.log"
    until(lambda: len(receiver.messages) == 3, log)
    until(lambda: backlog(settings, "hook").messages == 0, log)
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    until(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200, log)
    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=20) == 0, log.read_text()
    assert {one["id"] for one in receiver.messages} == {"m1", "m2", "m3"}
    assert receiver.forged == 0
    assert 'foresend_connector_messages_total{connector="hook",fate="delivered"} 3.0' in metrics
    assert "c1" not in log.read_text()


def test_kills_in_the_middle_of_deliveries_lose_nothing(
    settings: Settings,
    receiver: Receiver,
    run: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    chance = random.Random(7)
    log = tmp_path / "connector.log"
    receiver.slow_s = 0.02
    # Answers that are lost, and refusals for now.
    receiver.statuses = [chance.choice([200, 200, 200, 503, 0]) for _ in range(200)]
    tell(settings, *(message(n) for n in range(1, 401)))

    for kill in range(4):
        reached = len(receiver.messages) + 40
        process = run()
        until(lambda reached=reached: len(receiver.messages) >= reached, log)  # type: ignore[misc]
        time.sleep(chance.random() / 20)
        process.kill()
        process.wait()
        tell(settings, message(1_000 + kill))
    run()
    until(lambda: backlog(settings, "hook").messages == 0, log)

    wanted = {f"m{n}" for n in (*range(1, 401), *range(1_000, 1_004))}
    assert {one["id"] for one in receiver.messages} == wanted
    assert "Traceback" not in log.read_text()


@pytest.fixture
def kafka(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The installation with its queue on librdkafka's mock broker."""
    host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
    brokers = ",".join(f"{b.host}:{b.port}" for b in host.list_topics(timeout=10).brokers.values())
    client = Producer({"bootstrap.servers": brokers})
    for kind in (SCORE_CHANGED, SCORE_RESULTS):
        for suffix in ("", ".dead"):
            client.list_topics(f"foresend.shop.{kind.name}{suffix}", timeout=10)
    monkeypatch.setenv("FORESEND_QUEUE", "kafka")
    monkeypatch.setenv("FORESEND_KAFKA_BROKERS", brokers)
    monkeypatch.setenv("FORESEND_QUEUE_KAFKA_SESSION_S", "5")
    yield Settings()
    host.flush(1)


def test_over_kafka_a_kill_loses_nothing_either(
    kafka: Settings,
    receiver: Receiver,
    run: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    log = tmp_path / "connector.log"
    receiver.slow_s = 0.02
    receiver.refused = {"c3"}
    tell(kafka, *(message(n) for n in range(1, 101)))

    process = run()
    until(lambda: len(receiver.messages) >= 20, log)
    process.kill()
    process.wait()
    run()

    wanted = {f"m{n}" for n in range(1, 101) if n % 40 != 3}
    until(lambda: {one["id"] for one in receiver.messages} == wanted, log)
    queue = open_queue(kafka, stream=SCORE_CHANGED)
    until(lambda: queue.backlog(group_of("hook")).messages == 0, log)
    assert {letter.reason for letter in queue.dead()} == {"status 422"}
    queue.close()


def test_a_tool_that_is_away_is_waited_for_and_health_says_so(
    settings: Settings,
    receiver: Receiver,
    run: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    port = _free_port()
    receiver.statuses = [503] * 7
    tell(settings, message(1))
    run("hook", "--metrics-port", str(port))
    log = tmp_path / "connector.log"

    def reasons() -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").text
        except httpx.TransportError:
            return ""

    until(lambda: "does not get through: status 503" in reasons(), log)
    until(lambda: receiver.messages, log)
    until(lambda: '"ready"' in reasons(), log)


def test_a_second_process_stands_by_until_the_first_dies(
    settings: Settings,
    receiver: Receiver,
    run: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    log = tmp_path / "connector.log"
    first = run()
    until(lambda: log.read_text().count("connector_started") == 1, log)
    second = run()
    until(lambda: "Another connector-hook" in log.read_text() or second.poll() is not None, log)
    assert log.read_text().count("connector_started") == 1

    first.kill()
    first.wait()
    until(lambda: log.read_text().count("connector_started") == 2, log)
    tell(settings, message(1))

    until(lambda: receiver.messages, log)
    assert second.poll() is None


def test_what_is_refused_is_buried_and_can_be_replayed(
    settings: Settings,
    receiver: Receiver,
    run: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    log = tmp_path / "connector.log"
    receiver.refused = {"c3"}
    tell(settings, *(message(n) for n in range(1, 7)))
    run()
    until(lambda: backlog(settings, "hook").messages == 0, log)

    code, listed = cli("dead", "list", "hook", "--json")
    (letter,) = json.loads(listed)["dead_letters"]
    assert code == 0
    assert (letter["reason"], letter["stream"]) == ("status 422", "score.changed")
    assert "c3" not in listed
    assert {one["id"] for one in receiver.messages} == {"m1", "m2", "m4", "m5", "m6"}

    receiver.refused.clear()
    assert cli("dead", "replay", "hook", letter["id"]) == (
        0,
        "Put 1 dead letters back into the queue.\n",
    )
    until(lambda: "m3" in {one["id"] for one in receiver.messages}, log)
    assert json.loads(cli("dead", "list", "--json")[1]) == {"dead_letters": []}


def test_a_dry_run_shows_and_takes_nothing(settings: Settings, receiver: Receiver) -> None:
    tell(settings, message(1), message(2, expires_at="2026-03-01T12:00:01Z"))

    for _ in range(2):
        code, output = cli("dry-run", "outbox", "--wait-s", "0.5")
        first, second, said = output.splitlines()
        assert code == 0
        assert json.loads(first)["what"]["customer_id"] == "c1"
        assert json.loads(second)["would"] == "skip"
        assert said == "2 messages; nothing was sent."

    assert receiver.messages == []
    assert backlog(settings, "outbox").messages == 2


def test_check_asks_every_tool(settings: Settings, receiver: Receiver) -> None:
    code, output = cli("check", "--json")
    assert code == 0
    assert [one["is_usable"] for one in json.loads(output)["connectors"]] == [True, True]

    receiver.statuses = [500]
    code, output = cli("check")
    assert code == 1
    assert "hook (webhook): NOT USABLE; The webhook: status 500." in output
    assert receiver.messages == []


def test_all_connectors_run_side_by_side(
    settings: Settings,
    receiver: Receiver,
    run: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    log = tmp_path / "connector.log"
    receiver.statuses = [503] * 1_000
    tell(settings, *(message(n) for n in range(1, 21)))

    run("all")
    folder = tmp_path / "outbox" / "outbox"
    until(lambda: list(folder.glob("*.json")), log)
    until(lambda: backlog(settings, "outbox").messages == 0, log)

    rows = [json.loads(path.read_text())["rows"] for path in folder.glob("*.json")]
    assert sum(rows) == 20
    assert backlog(settings, "hook").messages == 20


def test_a_secret_that_is_missing_ends_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("FORESEND_HOOK_SECRET")
    command = [sys.executable, "-m", "infra.cli", "connectors", "run", "all"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "FORESEND_HOOK_SECRET is not set" in done.stderr
