"""Traces, received by an OTLP receiver in this process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from feature_repo.errors import ConfigError
from serving.http.otel import OtelTracing
from serving.http.tracing import check_tracing, open_tracing
from serving.settings import TracingSettings, load_tracing_settings
from tests.unit.serving.conftest import World, ask

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@dataclass
class Collector:
    """What came in over HTTP."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    raw: bytes = b""

    def take(self, path: str, body: bytes) -> None:
        self.paths.append(path)
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def tree(self) -> list[tuple[str, str]]:
        """Names of spans, each with that of its parent, in the order in which they began."""
        names = {span.span_id: span.name for span in self.spans}
        began = sorted(self.spans, key=lambda span: span.start_time_unix_nano)
        return [(span.name, names.get(span.parent_span_id, "")) for span in began]


@pytest.fixture
def collector() -> Iterator[Collector]:
    held = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            held.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        held.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield held
        server.shutdown()
        thread.join()


def attributes(span: Span) -> dict[str, str | int]:
    return {
        a.key: a.value.int_value if a.value.HasField("int_value") else a.value.string_value
        for a in span.attributes
    }


def test_a_request_its_read_and_its_model_are_spans_of_the_callers_trace(
    world: World, collector: Collector
) -> None:
    world.tracing = OtelTracing(collector.url, share=0.0)
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "r-1"}
    with world.client() as client:
        client.post("/v1/score", json=ask("ann"), headers=headers)

    assert collector.paths == ["/v1/traces"]
    assert collector.tree() == [
        ("POST /v1/score", ""),
        ("store read", "POST /v1/score"),
        ("model", "POST /v1/score"),
    ]
    request = next(span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER)
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert request.parent_span_id.hex() == CALLER
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/score",
        "http.response.status_code": 200,
        "foresend.request_id": "r-1",
    }
    # No customer, and nothing else that was asked.
    assert b"ann" not in collector.raw


def test_what_a_caller_does_not_trace_is_not_traced(world: World, collector: Collector) -> None:
    world.tracing = OtelTracing(collector.url, share=1.0)
    with world.client() as client:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-00"}
        client.post("/v1/score", json=ask("ann"), headers=headers)

    assert collector.spans == []


@pytest.mark.parametrize("given", [None, "ff-" + "0" * 32, f"00-{TRACE}-{CALLER}", "00-é-01"])
def test_a_share_of_what_comes_without_a_trace_is_traced(
    world: World, collector: Collector, given: str | None
) -> None:
    chances = iter([0.1, 0.6])
    world.tracing = OtelTracing(collector.url, share=0.5, chance=lambda: next(chances))
    headers = {} if given is None else {"traceparent": given.encode("latin-1")}
    with world.client() as client:
        for _ in range(2):
            client.post("/v1/score", json=ask("ann"), headers=headers)

    assert [name for name, parent in collector.tree() if parent == ""] == ["POST /v1/score"]


def test_a_failure_is_seen_but_not_what_it_says(world: World, collector: Collector) -> None:
    world.tracing = OtelTracing(collector.url, share=1.0)
    world.store.customers["ann"] = {"opens_30d": "secret"}
    with world.client() as client:
        client.post("/v1/score", json=ask("ann"))

    failed = [s.name for s in collector.spans if s.status.code == Status.STATUS_CODE_ERROR]
    assert "POST /v1/score" in failed
    assert b"secret" not in collector.raw


def test_a_thousand_customers_are_one_trace(world: World, collector: Collector) -> None:
    world.tracing = OtelTracing(collector.url, share=1.0)
    with world.client() as client:
        client.post("/v1/score", json=ask(*["ann"] * 1000))

    assert len({span.trace_id for span in collector.spans}) == 1
    assert sum(span.name == "model" for span in collector.spans) == 16


def test_a_collector_that_is_not_there_costs_spans_only(world: World) -> None:
    # Port 9 of loopback: nothing listens there.
    world.tracing = OtelTracing("http://127.0.0.1:9", share=1.0)
    with world.client() as client:
        answer = client.post("/v1/score", json=ask("ann"))

    assert answer.status_code == 200


def test_nothing_is_traced_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORESEND_OTEL_ENDPOINT", raising=False)

    check_tracing(load_tracing_settings())
    assert open_tracing(load_tracing_settings()) is None


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "serving.http.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"pip install foresend\[otel\]"):
        check_tracing(TracingSettings(endpoint="http://collector:4318"))


def test_an_endpoint_that_is_no_address_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORESEND_OTEL_ENDPOINT", "collector:4317")
    with pytest.raises(ConfigError, match="FORESEND_OTEL_ENDPOINT has value 'collector:4317'"):
        load_tracing_settings()


def test_tracing_is_there_to_be_opened(collector: Collector) -> None:
    tracing = open_tracing(TracingSettings(endpoint=f"{collector.url}/", share=1.0))
    assert tracing is not None
    span = tracing.begin("/v1/score", {}, "r-1")
    assert span is not None
    span.end(200)
    tracing.stop()

    assert [one.trace_id.hex() for one in collector.spans] == [span.trace_id]


def test_a_server_imports_nothing_that_only_traces_need() -> None:
    # FastAPI and redis-py import other parts of OpenTelemetry where it is installed.
    code = (
        "import sys, serving.server\n"
        "print({'serving.http.otel', 'opentelemetry.exporter', 'requests'} & set(sys.modules))"
    )

    said = subprocess.check_output([sys.executable, "-c", code], text=True)

    assert said.strip() == "set()"
