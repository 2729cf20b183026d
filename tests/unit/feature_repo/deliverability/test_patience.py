"""How a source is waited for: growing waits, its own wish, and never faster than agreed."""

from __future__ import annotations

import httpx
import pytest

from feature_repo.deliverability.errors import SourceUnavailable
from feature_repo.deliverability.patience import Patience, TokenBucket, retry_after
from tests.unit.feature_repo.deliverability.world import NOON, Clock, Web

URL = "https://source.example/data?key=secret"


def get() -> httpx.Request:
    return httpx.Request("GET", URL)


def answers(*found: int | httpx.Response | Exception) -> Web:
    return Web(iter([httpx.Response(one) if isinstance(one, int) else one for one in found]))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_means_later_is_tried_again(status: int) -> None:
    clock, web = Clock(), answers(status, 200)

    assert web.client(clock).send(get).status_code == 200
    assert len(web.requests) == 2
    assert clock.slept == [0.5]


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404])
def test_what_means_no_is_an_answer(status: int) -> None:
    clock, web = Clock(), answers(status)

    assert web.client(clock).send(get).status_code == status
    assert clock.slept == []


def test_a_used_up_quota_told_with_403_is_tried_again() -> None:
    quota = httpx.Response(403, json={"error": {"errors": [{"reason": "rateLimitExceeded"}]}})

    assert answers(quota, 200).client(Clock()).send(get).status_code == 200


@pytest.mark.parametrize(
    ("luck", "waits"),
    [
        (0.0, [0.5, 1.0, 2.0, 4.0]),  # half of the doubled wait at least
        (0.999_999, [1.0, 2.0, 4.0, 8.0]),  # the whole at most
    ],
)
def test_waits_double_with_jitter_until_patience_ends(luck: float, waits: list[float]) -> None:
    clock, web = Clock(luck=luck), answers(*[503] * 5)

    with pytest.raises(SourceUnavailable, match="after 5 tries \\(status 503\\)"):
        web.client(clock).send(get)
    assert clock.slept == pytest.approx(waits, rel=1e-5)


def test_a_single_wait_is_bounded() -> None:
    clock, web = Clock(luck=0.999_999), answers(*[503] * 9, 200)

    web.client(clock, Patience(tries=10, longest_wait_s=10.0)).send(get)
    assert max(clock.slept) <= 10.0


def test_the_source_is_not_asked_before_it_wants_to_be() -> None:
    clock = Clock()
    web = answers(httpx.Response(429, headers={"retry-after": "37"}), 200)

    web.client(clock).send(get)
    assert clock.slept == [37.0]


def test_a_long_wish_ends_the_pull_and_says_until_when() -> None:
    web = answers(httpx.Response(429, headers={"retry-after": "3600"}))

    with pytest.raises(SourceUnavailable, match="until 2026-03-06 13:00 UTC") as failure:
        web.client(Clock()).send(get)
    assert failure.value.retry_at is not None
    assert (failure.value.retry_at - NOON).total_seconds() == 3600


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("120", 120.0),
        ("Fri, 06 Mar 2026 12:01:00 GMT", 60.0),
        ("Fri, 06 Mar 2026 11:00:00 GMT", 0.0),  # it has passed
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(written: str, seconds: float | None) -> None:
    response = httpx.Response(429, headers={"retry-after": written})

    assert retry_after(response, NOON) == seconds


def test_a_broken_connection_is_tried_again_and_the_url_is_never_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    web = answers(*[httpx.ConnectError(f"cannot reach {URL}") for _ in range(5)])

    with pytest.raises(SourceUnavailable) as failure:
        web.client(Clock()).send(get)
    assert "ConnectError" in str(failure.value)
    assert "secret" not in str(failure.value) + repr(failure.value) + caplog.text


def test_an_answer_that_cannot_be_unpacked_is_asked_for_again() -> None:
    broken = Web(
        handler=lambda request: httpx.Response(
            200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip")
        )
    )

    with pytest.raises(SourceUnavailable, match="DecodingError"):
        broken.client(Clock()).send(get)
    assert len(broken.requests) == 5


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(2.0, 3, clock.pace())

    for _ in range(5):
        bucket.take()
    assert clock.slept == pytest.approx([0.5, 0.5])


def test_a_bucket_does_not_save_up_more_than_a_burst() -> None:
    clock = Clock()
    bucket = TokenBucket(1.0, 2, clock.pace())
    clock.sleep(1_000.0)

    for _ in range(4):
        bucket.take()
    assert clock.slept[1:] == pytest.approx([1.0, 1.0])
