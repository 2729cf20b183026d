"""How people write rates and times of API keys."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from feature_repo.errors import ConfigError

_UNITS: Final = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TIME: Final = re.compile(r"(\d+)(s|min|m|h|d)")
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)/(s|min|h)")
_LONGEST_DAYS: Final = 3650


def rate_of(text: str) -> float:
    """Requests a second.

    >>> rate_of("1000/s"), rate_of("30/min")
    (1000.0, 0.5)

    Raises:
        ConfigError: it is written another way, or is 0.
    """
    found = _RATE.fullmatch(text)
    rate = 0.0 if found is None else float(found[1]) / _UNITS[found[2]]
    if rate <= 0.0:
        message = f"--rate {text!r} is no rate above 0. Write it as 1000/s, 600/min or 5000/h."
        raise ConfigError(message)
    return rate


def time_of(option: str, text: str) -> timedelta:
    """A length of time, 0 included, as it was given for an option.

    >>> time_of("--grace", "24h"), time_of("--grace", "90d")
    (datetime.timedelta(days=1), datetime.timedelta(days=90))

    Raises:
        ConfigError: it is written another way, or is longer than ten years.
    """
    found = _TIME.fullmatch(text)
    seconds = None if found is None else int(found[1]) * _UNITS[found[2]]
    if seconds is None or seconds > _LONGEST_DAYS * 86_400:
        message = f"{option} {text!r} is no length of time. Write it as 30min, 24h or 90d."
        raise ConfigError(message)
    return timedelta(seconds=seconds)
