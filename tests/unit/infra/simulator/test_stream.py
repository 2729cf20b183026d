"""How the simulator posts: all of it, again when told to wait, and not for ever."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from feature_repo.errors import ConfigError, StoreUnavailable
from infra.commands import simulate
from infra.simulator.options import (
    Options,
    checked,
    collapse_from,
    format_change_from,
)
from infra.simulator.payload_files import write_payloads
from infra.simulator.stream import DeliveryRefused, stream

FEW = Options(customers=30, days=4, sends_per_week=7.0)


@dataclass
class Service:
    """An ingest service that answers as it is told to."""

    url: str = ""
    #: Answers given before 200, for each request.
    first: list[int] = field(default_factory=list)
    always: int = 200
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: bytes) -> int:
        with self.lock:
            status = self.first.pop(0) if self.first else self.always
            if status == 200:
                self.bodies.append((path, body))
        return status


@pytest.fixture
def service() -> Iterator[Service]:
    told = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = told.answer(self.path, body)
            self.send_response(status)
            if status == 503:
                self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield told
        server.shutdown()
        thread.join()


def test_every_event_is_posted_to_its_provider_and_counted(
    service: Service, tmp_path: Path
) -> None:
    done = stream(FEW, service.url + "/", connections=3, truth=tmp_path / "truth.parquet")

    posted = sum(
        len(found) if isinstance(found := json.loads(body), list) else 1
        for _, body in service.bodies
    )
    assert posted == done.events == sum(done.by_service.values())
    assert {path for path, _ in service.bodies} == {"/ingest/sendgrid", "/ingest/segment"}
    assert pq.read_table(tmp_path / "truth.parquet").num_rows > 100


def test_a_busy_service_gets_the_request_again(service: Service) -> None:
    service.first = [503, 429, 503]

    done = stream(FEW, service.url, connections=1)

    assert done.retries == 3
    assert done.requests == len(service.bodies)


def test_a_refusal_ends_the_stream_with_what_was_said(service: Service) -> None:
    service.always = 401

    with pytest.raises(DeliveryRefused, match="401"):
        stream(FEW, service.url)


def test_a_service_that_is_not_there_is_given_up_in_the_end() -> None:
    with pytest.raises(StoreUnavailable, match="does not answer"):
        stream(FEW, "http://127.0.0.1:9", patience_s=0.3)


def test_a_stream_ends_at_its_limit(service: Service) -> None:
    done = stream(FEW, service.url, limit=20, batch=5)

    assert 20 <= done.events < 30
    assert all(len(json.loads(body)) <= 5 for path, body in service.bodies if "sendgrid" in path)


def test_a_rate_bounds_how_many_events_wait_for_one_request(service: Service) -> None:
    done = stream(FEW, service.url, rate=4000.0, limit=60, batch=1000)

    assert done.events >= 60


def test_payload_files_are_the_requests(tmp_path: Path) -> None:
    one = write_payloads(FEW, tmp_path / "one", batch=10)
    write_payloads(FEW, tmp_path / "two", batch=10)

    lines = (tmp_path / "one" / "sendgrid.jsonl").read_text().splitlines()
    requests = [json.loads(line) for line in lines]
    assert sum(len(json.loads(request["body"])) for request in requests) == one["sendgrid"]
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


BAD = [
    (Options(customers=0), "--customers"),
    (Options(days=0), "--days"),
    (Options(sends_per_week=99.0), "--sends-per-week"),
    (Options(late_share=2.0), "--late-share"),
    (Options(services=("pigeon",)), "pigeon"),
    (Options(services=()), "--service"),
    (Options(corrected_days=(90,)), "--corrected-day"),
    (Options(since=Options().end, until=Options().start), "--since"),
]


@pytest.mark.parametrize(("options", "said"), BAD)
def test_options_that_cannot_be_used_are_named(options: Options, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        checked(options)


@pytest.mark.parametrize("text", ["google", "pigeon:1:2", "google:1:2:7", "google@x.y:1:2"])
def test_a_collapse_that_cannot_be_used_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="--collapse"):
        collapse_from(text)


@pytest.mark.parametrize(
    "text",
    [
        "sendgrid",
        "pigeon:1:drop:a",
        "sendgrid:1:burn:a",
        "sendgrid:1:rename:a",
        "sendgrid:1:retype:a=tree",
    ],
)
def test_a_format_change_that_cannot_be_used_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="--format-change"):
        format_change_from(text)


def command(*words: str) -> Result:
    app = typer.Typer()
    app.command()(simulate.command)
    return CliRunner().invoke(app, list(words))


def test_the_command_writes_files_and_ends_with_json(tmp_path: Path) -> None:
    done = command("--out", str(tmp_path), "--customers", "20", "--days", "3", "--json")

    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["rows"] == pq.read_table(tmp_path / "events.parquet").num_rows
    assert (tmp_path / "truth.parquet").exists()


def test_the_command_streams_what_arrived_since_the_files(service: Service, tmp_path: Path) -> None:
    world = ("--customers", "40", "--days", "5", "--start", "2026-01-01", "--json")
    moment = "2026-01-05T06:00:00+00:00"

    files = command(*world, "--out", str(tmp_path), "--end", moment)
    live = command(*world, "--to", service.url, "--since", moment, "--end", "2026-01-09")
    whole = command(*world, "--to", service.url, "--end", "2026-01-09")

    counts = [json.loads(done.stdout.strip().splitlines()[-1]) for done in (live, whole)]
    written = pq.read_table(tmp_path / "events.parquet", columns=["event_id", "machine_source"])
    assert files.exit_code == 0
    assert 0 < counts[0]["events"] < counts[1]["events"]
    corrections = written.num_rows - len(set(written["event_id"].to_pylist()))
    assert written.num_rows - corrections <= counts[1]["events"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--out", "x", "--to", "http://127.0.0.1"],
        ["--out", "x", "--form", "pictures"],
        ["--out", "x", "--start", "yesterday"],
        ["--out", "x", "--secrets", "no-such-file.yaml"],
    ],
)
def test_words_that_cannot_be_used_are_refused(words: list[str]) -> None:
    done = command(*words)

    assert isinstance(done.exception, ConfigError)
    assert done.exception.exit_code == 2
