"""Spans by OpenTelemetry, sent as OTLP over HTTP from a thread of the SDK.

Its queue is bounded; a collector that does not answer costs spans and nothing else. No span holds
a customer, a key or an address.
"""

from __future__ import annotations

import os
import random
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.asks import Ask
from serving.http.heads import Head

QUEUE_SPANS: Final = 2048
BATCH_SPANS: Final = 512
EVERY_MS: Final = 2_000.0
EXPORT_S: Final = 2.0
STOP_S: Final = 3.0
"""How long a stop waits for the last spans."""

_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})")
_SAMPLED: Final = 1
_NOTHING: Final[AbstractContextManager[object]] = nullcontext()


class OtelRequestSpan:
    """The span of one request."""

    def __init__(self, span: Span, request_id: str, under_way: dict[str, Span]) -> None:
        self.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        self._span, self._request_id, self._under_way = span, request_id, under_way
        under_way[request_id] = span

    def end(self, status: int) -> None:
        """Close it with the status of the answer."""
        self._under_way.pop(self._request_id, None)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class _Part:
    """Spans around a part of the work, one in the trace of each request it is done for. What an
    error says stays out of them, its class does not."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace_back: TracebackType | None,
    ) -> None:
        for span in self._spans:
            if kind is not None:
                span.set_attribute("error.type", kind.__name__)
                span.set_status(StatusCode.ERROR)
            span.end()


class OtelTracing:
    """Traces what a caller traces, and a share of what comes without a trace."""

    def __init__(
        self, endpoint: str, *, share: float, chance: Callable[[], float] = random.random
    ) -> None:
        """`endpoint`: base address of an OTLP receiver, such as http://collector:4318."""
        self._share, self._chance = share, chance
        self._exporter = OTLPSpanExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S
        )
        resource = Resource.create(
            {"service.name": "foresend-serving", "service.instance.id": str(os.getpid())}
        )
        # Which requests are traced is decided in `begin`, before anything is spent on them.
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON), resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=QUEUE_SPANS,
                max_export_batch_size=BATCH_SPANS,
                schedule_delay_millis=EVERY_MS,
            )
        )
        self._tracer = self._provider.get_tracer("foresend.serving")
        self._propagator = TraceContextTextMapPropagator()
        #: Spans of requests under way by request id. Contexts of the loop would not do: a
        #: micro-batch is begun in the context of one request and works for others.
        self._under_way: dict[str, Span] = {}

    def begin(self, route: str, head: Head, request_id: str) -> OtelRequestSpan | None:
        """The span of a request that is traced."""
        given = head.get(b"traceparent")
        parsed = None if given is None else _TRACEPARENT.fullmatch(given)
        parent = None
        if given is None or parsed is None:
            if self._chance() >= self._share:
                return None
        elif int(parsed[1], 16) & _SAMPLED:
            carrier = {
                "traceparent": given.decode(),
                "tracestate": head.get(b"tracestate", b"").decode("latin-1"),
            }
            parent = self._propagator.extract(carrier, Context())
        else:
            return None
        span = self._tracer.start_span(
            f"POST {route}",
            context=parent or Context(),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": "POST",
                "http.route": route,
                "foresend.request_id": request_id,
            },
        )
        return OtelRequestSpan(span, request_id, self._under_way)

    def part(self, name: str, asks: Sequence[Ask]) -> AbstractContextManager[object]:
        """Spans within those of the requests that are traced."""
        if not self._under_way:
            return _NOTHING
        parents = [self._under_way[a.request_id] for a in asks if a.request_id in self._under_way]
        within = [trace.set_span_in_context(parent, Context()) for parent in parents]
        return _Part([self._tracer.start_span(name, context=one) for one in within])

    def stop(self) -> None:
        """Send what waits, and end within about STOP_S."""
        ending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(STOP_S)
        if ending.is_alive():
            # Ends the tries that are under way.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # as the SDK has it
