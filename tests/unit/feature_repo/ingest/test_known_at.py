"""How a knowledge time is declared."""

from __future__ import annotations

from datetime import timedelta

import pytest

from feature_repo.errors import ConfigError
from feature_repo.ingest.known_at import KnownAt, KnownFrom, parse_known_at


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("event_time+2h", timedelta(hours=2)),
        ("event_time+30m", timedelta(minutes=30)),
        ("event_time+1d", timedelta(days=1)),
        ("event_time + 45s", timedelta(seconds=45)),  # spaces do not matter
        ("event_time+0s", timedelta(0)),
        ("event_time", timedelta(0)),
    ],
)
def test_a_delay_after_the_event_is_understood(text: str, delay: timedelta) -> None:
    assert KnownAt(KnownFrom.EVENT_TIME, delay) == parse_known_at(text)


@pytest.mark.parametrize("text", ["now", "received_time"])
def test_the_two_other_words_are_understood(text: str) -> None:
    assert text == parse_known_at(text).source


@pytest.mark.parametrize(
    "text", ["", "yesterday", "event_time-2h", "event_time+2w", "event_time+2", "event_time+h"]
)
def test_anything_else_is_refused_with_the_choices(text: str) -> None:
    with pytest.raises(ConfigError, match=r"received_time, now, or event_time\+DELAY"):
        parse_known_at(text)
