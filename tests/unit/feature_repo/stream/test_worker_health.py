from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import Any

import pytest

from feature_repo.errors import ConfigError
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.port import ARCHIVE
from feature_repo.stream.worker_health import STUCK_AFTER_S, WorkerHealth, health_server


def _get(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def test_readiness_says_why_not_and_metrics_are_there() -> None:
    health, metrics = WorkerHealth(), WorkerMetrics(ARCHIVE)
    with health_server(health, metrics.exposition, port=0) as port:
        before = _get(port, "/readyz")
        health.trouble = None
        after = _get(port, "/readyz")
        told = _get(port, "/metrics")
        unknown = _get(port, "/else")

    assert before[0] == 503
    assert json.loads(before[1])["reasons"] == ["The worker has not started yet."]
    assert after == (200, '{"status": "ready", "reasons": []}')
    assert 'foresend_worker_events_total{group="archive"} 0.0' in told[1]
    assert unknown[0] == 404


def test_a_loop_that_does_not_come_round_is_not_alive() -> None:
    now = [0.0]
    health = WorkerHealth(monotonic=lambda: now[0], trouble=None)
    health.beat()
    with health_server(health, bytes, port=0) as port:
        assert _get(port, "/healthz")[0] == 200
        now[0] = STUCK_AFTER_S + 1

        assert _get(port, "/healthz")[0] == 503
        assert _get(port, "/readyz")[0] == 503


def test_a_taken_port_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]

        with (
            pytest.raises(ConfigError, match="--metrics-port"),
            health_server(WorkerHealth(), bytes, port=number),
        ):
            pass
