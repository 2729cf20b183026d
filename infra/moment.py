"""A time a user typed."""

from __future__ import annotations

from datetime import UTC, datetime

from feature_repo.errors import ConfigError


def parse_moment(option: str, text: str) -> datetime:
    """The aware UTC time of an ISO 8601 text; one without an offset is UTC.

    Raises:
        ConfigError: it is no such text.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        message = (
            f"{option} has value {text!r}, not a time. "
            "Write ISO 8601, for example 2011-12-01 or 2011-12-01T09:00:00Z."
        )
        raise ConfigError(message) from exc
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
