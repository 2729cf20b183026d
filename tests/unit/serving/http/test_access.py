"""Which answers are logged, and how all of them are counted."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from serving.http.access import AccessLog
from serving.http.series import HttpSeries

# Route, status, seconds, share; whether it is logged.
CASES = [
    ("/v1/score", 200, 0.001, 0.0, False),
    ("/v1/score", 200, 0.001, 1.0, True),
    ("/v1/score", 422, 0.001, 0.0, True),
    ("/v1/score", 200, 0.051, 0.0, True),
    # Metrics tell of probes.
    ("/readyz", 200, 0.001, 1.0, False),
    ("/readyz", 503, 0.001, 0.0, True),
    ("other", 404, 0.001, 0.0, True),
]


@pytest.mark.parametrize(("route", "status", "seconds", "share", "is_logged"), CASES)
def test_failures_slow_answers_and_a_share_are_logged(
    route: str, status: int, seconds: float, share: float, is_logged: bool
) -> None:
    access = AccessLog(HttpSeries(), share, slow_s=0.05, chance=lambda: 0.5)
    with capture_logs() as lines:
        access.told(route, status, seconds, "r-1")

    said = {
        "event": "request_answered",
        "log_level": "info",
        "route": route,
        "status": status,
        "ms": seconds * 1000,
        "request_id": "r-1",
    }
    assert lines == ([said] if is_logged else [])


def test_the_series_are_those_of_a_histogram_and_a_counter() -> None:
    series = HttpSeries()
    registry = CollectorRegistry()
    registry.register(series)
    for seconds in (0.0005, 0.0006, 9.0):
        series.count("/v1/score", 200, seconds)
    series.count("other", 404, 0.001)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    samples = {
        (sample.name, *(v for _, v in sorted(sample.labels.items(), reverse=True))): sample.value
        for family in families
        for sample in family.samples
    }

    assert {family.type for family in families} == {"counter", "histogram"}
    assert samples["foresend_http_requests_total", "200", "/v1/score"] == 3
    assert samples["foresend_http_requests_total", "404", "other"] == 1
    # A bound is inclusive, and buckets add up.
    assert samples["foresend_http_request_seconds_bucket", "/v1/score", "0.0005"] == 1
    assert samples["foresend_http_request_seconds_bucket", "/v1/score", "0.001"] == 2
    assert samples["foresend_http_request_seconds_bucket", "/v1/score", "5.0"] == 2
    assert samples["foresend_http_request_seconds_bucket", "/v1/score", "+Inf"] == 3
    assert samples["foresend_http_request_seconds_count", "/v1/score"] == 3
    assert samples["foresend_http_request_seconds_sum", "/v1/score"] == pytest.approx(9.0011)
