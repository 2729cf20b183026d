"""The layout scoring reads, and the breaker before it."""

from __future__ import annotations

import pytest

from feature_repo import contract
from feature_repo.errors import ConfigError
from serving.settings import ServingSettings
from serving.store import FAILURES_TO_OPEN, OPEN_S, Breaker, RedisStore, _through, scoring_layout


class HandClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_layout_holds_all_that_models_and_as_of_need() -> None:
    views = scoring_layout("foresend").views

    for view, names in contract.ONLINE_COLUMNS.items():
        assert set(names) <= set(views[view])
    assert "last_event_at" in views[contract.ACTIVITY]


def test_a_store_that_keeps_failing_is_left_alone_and_probed_by_one() -> None:
    clock = HandClock()
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.allows()
        breaker.failed()

    assert not breaker.allows()
    clock.now += OPEN_S
    assert breaker.allows()
    # The probe is under way; nobody else waits for the store.
    assert not breaker.allows()
    breaker.succeeded()
    assert breaker.allows()


def test_single_failures_do_not_open_the_breaker() -> None:
    breaker = Breaker(HandClock())
    for _ in range(10 * FAILURES_TO_OPEN):
        breaker.failed()
        breaker.succeeded()

    assert breaker.allows()


def test_a_url_that_cannot_be_used_is_named_without_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        RedisStore("http://u:secret@h", project="foresend", settings=ServingSettings())

    assert "secret" not in str(caught.value)
    assert "FORESEND_REDIS_URL" in str(caught.value)


@pytest.mark.parametrize(
    "note", [b"{", b"{}", b'"x"', b'{"through": 3}', b'{"through": "2026-01-01T00:00:00"}', None]
)
def test_a_note_that_is_not_one_of_ours_says_nothing(note: bytes | None) -> None:
    assert _through(note) is None
