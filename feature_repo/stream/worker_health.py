"""Health, readiness and metrics of a worker over HTTP, from a thread of its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from feature_repo.errors import ConfigError

STUCK_AFTER_S: Final = 600.0
"""A turn of the loop that takes longer will not end; whoever runs workers should start it anew."""


@dataclass
class WorkerHealth:
    """What a worker says of itself; written by its loop, read by the server."""

    monotonic: Callable[[], float] = time.monotonic
    #: Why it does not get on, as one sentence; None when it does.
    trouble: str | None = "The worker has not started yet."
    stopping: bool = False
    _beat: float | None = None

    def beat(self) -> None:
        """The loop has come round once more."""
        self._beat = self.monotonic()

    def alive(self) -> bool:
        """Whether the loop comes round."""
        return self._beat is None or self.monotonic() - self._beat < STUCK_AFTER_S

    def reasons(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        reasons = ["The worker is stopping."] if self.stopping else []
        if not self.alive():
            reasons.append(f"The worker has been busy with one batch for {STUCK_AFTER_S:.0f} s.")
        return reasons if self.trouble is None else [*reasons, self.trouble]


@contextmanager
def health_server(
    health: WorkerHealth, exposition: Callable[[], bytes], *, port: int, host: str = "127.0.0.1"
) -> Iterator[int]:
    """Serve /healthz, /readyz and /metrics meanwhile; gives the port. Port 0 takes a free one.

    Raises:
        ConfigError: the address is taken or cannot be used.
    """
    try:
        server = ThreadingHTTPServer((host, port), _answering(health, exposition))
    except (OSError, OverflowError) as exc:
        message = f"Cannot listen on {host}:{port}: {exc}. Choose another --metrics-port."
        raise ConfigError(message) from exc
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="worker-health", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answering(
    health: WorkerHealth, exposition: Callable[[], bytes]
) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        """Three documents and nothing else."""

        timeout = 10.0

        def do_GET(self) -> None:
            """Answer a request."""
            if self.path == "/metrics":
                self._send(200, exposition(), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path == "/healthz":
                alive = health.alive()
                self._send_json(200 if alive else 503, {"status": "ok" if alive else "stuck"})
            elif self.path == "/readyz":
                reasons = health.reasons()
                status = "not_ready" if reasons else "ready"
                document = {"status": status, "reasons": reasons}
                self._send_json(503 if reasons else 200, document)
            else:
                self._send_json(404, {"status": "there is /healthz, /readyz and /metrics"})

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come every few seconds; nobody reads that."""

        def _send_json(self, status: int, document: dict[str, Any]) -> None:
            self._send(status, json.dumps(document).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Answers
