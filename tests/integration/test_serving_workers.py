"""Several workers behind one socket, as processes: killed, replaced, stopped, all under load.

The clients retry nothing. Only counts are compared: how long anything takes is the machine's.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from tests.integration.test_serving_process import (
    TARGET,
    Api,
    apis,  # noqa: F401
    model_with,
    register,
    start_api,
    until,
)
from tests.integration.test_serving_store import fill, own_redis  # noqa: F401

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

BODY = json.dumps({"target": TARGET, "customers": [{"customer_id": "ann"}]})
JSON = {"content-type": "application/json"}
TWO = {"FORESEND_SERVING_WORKERS": "2"}


@dataclass
class Client:
    """One thread that asks and asks; what went wrong is kept with the port it went wrong on."""

    port: int
    keeps_alive: bool
    answered: int = 0
    refused: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    own_port: int = 0

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self.stop.is_set():
            if connection is None or connection.sock is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                try:
                    connection.connect()
                except OSError:
                    self.refused += 1
                    connection = None
                    self.stop.wait(0.01)
                    continue
                self.own_port = connection.sock.getsockname()[1]
            headers = JSON if self.keeps_alive else {**JSON, "connection": "close"}
            try:
                connection.request("POST", "/v1/score", BODY, headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append((self.own_port, repr(exc)))
                connection.close()
                connection = None
                continue
            if answer.status == 200:
                self.answered += 1
            else:
                self.failures.append((self.own_port, str(answer.status)))
        if connection is not None:
            connection.close()


@contextmanager
def load(api: Api, *, keeping: int = 2, renewing: int = 2) -> Iterator[list[Client]]:
    """Clients that keep their connection and clients that make one per request."""
    port = int(api.url.rsplit(":", 1)[1])
    clients = [Client(port, n < keeping) for n in range(keeping + renewing)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    try:
        until(lambda: all(client.answered > 3 for client in clients), "all clients are answered")
        yield clients
    finally:
        for client in clients:
            client.stop.set()
        for thread in threads:
            thread.join()


def series(api: Api, name: str) -> float:
    """The sum over the labels of what the server shows."""
    text = httpx.get(f"{api.url}/metrics", timeout=30).text
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for value in found)


def workers(api: Api) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(api.process.pid).children():
        # One may end while it is looked at.
        with suppress(psutil.Error):
            if "serving.admission.worker" in child.cmdline():
                found.append(child)
    return found


@pytest.fixture
def start(
    redis_url: str,
    mlflow_server: str,
    tmp_path: Path,
    apis: list[Api],  # noqa: F811
) -> Callable[..., Api]:
    fill(redis_url)
    register(mlflow_server, tmp_path / "model", model_with(-1.0))

    def make(redis: str = redis_url, **more: str) -> Api:
        apis.append(api := start_api(tmp_path / "home", redis, mlflow_server, **more))
        until(lambda: series(api, "foresend_serving_workers") == 2, "both workers take requests")
        assert api.ready()[0] == 200
        return api

    return make


def test_workers_are_replaced_one_by_one_and_no_request_fails(start: Callable[..., Api]) -> None:
    api = start(**TWO)
    before = {worker.pid for worker in workers(api)}

    with load(api) as clients:
        pid_file = next((api.home / "state").glob("serve-*.pid"))
        psutil.Process(int(pid_file.read_text())).send_signal(signal.SIGHUP)
        until(lambda: not before & {w.pid for w in workers(api)}, "both workers are new")
        so_far = [client.answered for client in clients]
        until(lambda: all(c.answered > n for c, n in zip(clients, so_far, strict=True)), "more")

    assert [client.failures for client in clients] == [[]] * 4
    assert [client.refused for client in clients] == [0] * 4
    assert series(api, "foresend_serving_worker_replacements_total") == 2
    # What those counted that are gone is still in the sums.
    answered = sum(client.answered for client in clients)
    assert series(api, "foresend_gate_admitted_total") == answered
    assert api.stop() == 0
    assert not pid_file.exists()


def test_a_killed_worker_takes_no_request_of_the_others_with_it(start: Callable[..., Api]) -> None:
    api = start(**TWO)

    with load(api, keeping=6, renewing=0) as clients:
        victim = next(worker for worker in workers(api) if worker.net_connections())
        seen = series(api, "foresend_gate_admitted_total")
        victim.suspend()
        its_ports = {c.raddr.port for c in victim.net_connections("inet") if c.raddr}
        victim.kill()
        until(lambda: series(api, "foresend_serving_worker_restarts_total") == 1, "restarted")
        until(lambda: series(api, "foresend_serving_workers") == 2, "both work again")

    failed = [port for client in clients for port, _ in client.failures]
    assert set(failed) <= its_ports
    assert [client.refused for client in clients] == [0] * 6
    # Had its counts gone with it, Prometheus would see a restart and count all of it again.
    assert series(api, "foresend_gate_admitted_total") >= seen
    assert api.stop() == 0


def test_every_accepted_request_is_answered_at_a_stop(start: Callable[..., Api]) -> None:
    api = start(**TWO)

    with load(api) as clients:
        code = api.stop()
        until(lambda: all(client.refused for client in clients), "nobody is let in any more")

    assert code == 0
    assert [client.failures for client in clients] == [[]] * 4


def test_one_process_alone_answers_every_accepted_request_too(
    redis_url: str,
    mlflow_server: str,
    tmp_path: Path,
    apis: list[Api],  # noqa: F811
) -> None:
    fill(redis_url)
    register(mlflow_server, tmp_path / "model", model_with(-1.0))
    apis.append(api := start_api(tmp_path / "home", redis_url, mlflow_server))

    with load(api) as clients:
        code = api.stop()
        until(lambda: all(client.refused for client in clients), "nobody is let in any more")

    assert code == 0
    assert [client.failures for client in clients] == [[]] * 4


def test_readiness_goes_first_and_requests_go_on_while_balancers_look(
    start: Callable[..., Api],
) -> None:
    api = start(**TWO, FORESEND_SERVING_DRAIN_S="3")

    api.process.send_signal(signal.SIGTERM)
    until(lambda: api.ready()[0] == 503, "not ready")

    assert api.ask("ann").status_code == 200
    assert api.process.wait(timeout=60) == 0


def test_a_stuck_redis_holds_up_no_stop(
    own_redis: tuple[str, subprocess.Popen[bytes]],  # noqa: F811
    start: Callable[..., Api],
) -> None:
    url, process = own_redis
    fill(url)
    api = start(redis=url, **TWO)

    with load(api) as clients:
        process.send_signal(signal.SIGSTOP)
        code = api.stop()
        process.send_signal(signal.SIGCONT)

    assert code == 0
    assert [client.failures for client in clients] == [[]] * 4


def test_a_worker_that_is_stuck_is_replaced(start: Callable[..., Api]) -> None:
    api = start(**TWO)
    stuck = workers(api)[0]

    stuck.suspend()

    until(lambda: not stuck.is_running() or stuck.status() == psutil.STATUS_ZOMBIE, "killed")
    until(lambda: series(api, "foresend_serving_workers") == 2, "both work again")
    assert api.stop() == 0


def test_workers_leave_with_their_parent(start: Callable[..., Api]) -> None:
    api = start(**TWO)
    started = workers(api)

    api.process.kill()
    api.process.wait(timeout=10)

    gone, alive = psutil.wait_procs(started, timeout=60)
    assert (len(gone), alive) == (2, [])


def test_a_server_that_cannot_start_says_why_and_ends(
    redis_url: str, mlflow_server: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("targets: {purchase_30d: {event: purchased}")

    with pytest.raises(AssertionError, match="No worker could start"):
        start_api(tmp_path / "home", redis_url, mlflow_server, **TWO, FORESEND_CONFIG=str(broken))
