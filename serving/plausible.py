"""Whether a request can be scored at all, whoever asks: one that cannot would spoil its batch."""

from __future__ import annotations

from typing import Final

from feature_repo.event import EARLIEST
from serving.asks import Ask
from serving.errors import InvalidRequest
from serving.reasons import MOST as MOST_REASONS
from serving.schemas import LATEST, LONGEST_ID, MAX_CUSTOMERS

_EARLIEST_S: Final = EARLIEST.timestamp()
_LATEST_S: Final = LATEST.timestamp()
_FARTHEST_MINUTES: Final = 18 * 60


def check_ask(ask: Ask) -> None:
    """Return when the request can be read and scored together with others.

    Raises:
        InvalidRequest: it cannot; the message says what is wrong.
    """
    problem = _problem(ask)
    if problem is not None:
        raise InvalidRequest(problem)


def _problem(ask: Ask) -> str | None:
    if not 1 <= len(ask.customers) <= MAX_CUSTOMERS:
        return f"customers: {len(ask.customers)} of them; give 1 to {MAX_CUSTOMERS}"
    if not 0 <= ask.reasons <= MOST_REASONS:
        return f"reasons: has value {ask.reasons}; use 0 to {MOST_REASONS}"
    if ask.send_at is not None and not _EARLIEST_S <= ask.send_at < _LATEST_S:
        return f"send_at: must be from {EARLIEST.date()} on and before {LATEST.date()}"
    for place, customer in enumerate(ask.customers):
        customer_id, offset = customer.customer_id, customer.utc_offset_minutes
        if not 0 < len(customer_id) <= LONGEST_ID:
            return f"customers[{place}].customer_id: must have 1 to {LONGEST_ID} characters"
        for text in (customer_id, customer.campaign_id, customer.message_id):
            if text is not None and not text.isascii() and not _is_text(text):
                return f"customers[{place}]: its texts must be valid Unicode"
        if offset is not None and not -_FARTHEST_MINUTES <= offset <= _FARTHEST_MINUTES:
            return f"customers[{place}].utc_offset_minutes: must be from -1080 to 1080"
    return None


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8; half of a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
