"""Traces of scoring, when somebody wants them: `FORESEND_OTEL_ENDPOINT` says where to.

This is the port, and knows nothing of OpenTelemetry; serving/http/otel.py is imported only when it
is set, because importing it takes a tenth of a second and ten megabytes in every worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Final, Protocol

from feature_repo.errors import ConfigError
from serving.asks import Ask
from serving.http.heads import Head
from serving.settings import TracingSettings

_OTEL: Final = "serving.http.otel"


class RequestSpan(Protocol):
    """The span of one request."""

    trace_id: str
    """32 hexadecimal digits."""

    def end(self, status: int) -> None:
        """The request was answered."""


class Tracing(Protocol):
    """Where spans go. Belongs to one event loop."""

    def begin(self, route: str, head: Head, request_id: str) -> RequestSpan | None:
        """The span of a request; None when it is not one of those that are traced."""

    def part(self, name: str, asks: Sequence[Ask]) -> AbstractContextManager[object]:
        """A span within that of each of the requests that is traced and not yet answered."""

    def stop(self) -> None:
        """Send what waits, in a few seconds, and end; the rest is lost."""


def check_tracing(settings: TracingSettings) -> None:
    """Return when traces can be sent as it is set.

    Raises:
        ConfigError: it is set, and the packages for it are not installed.
    """
    if settings.endpoint is None:
        return
    try:
        import_module(_OTEL)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != "opentelemetry":
            raise
        message = (
            "FORESEND_OTEL_ENDPOINT is set, but OpenTelemetry is not installed. Install it with "
            "`pip install foresend[otel]`, or unset the variable."
        )
        raise ConfigError(message) from exc


def open_tracing(settings: TracingSettings) -> Tracing | None:
    """Tracing as it is set; None when it is not.

    Raises:
        ConfigError: it is set, and the packages for it are not installed.
    """
    if settings.endpoint is None:
        return None
    check_tracing(settings)
    opened: Tracing = import_module(_OTEL).OtelTracing(settings.endpoint, share=settings.share)
    return opened
