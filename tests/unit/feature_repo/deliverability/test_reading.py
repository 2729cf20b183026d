"""What a reading is made of: domains, numbers, days, and when it was known."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.deliverability.reading import (
    Unusable,
    Why,
    count,
    domain,
    parse_known_at,
    plausible_day,
)
from feature_repo.errors import ConfigError

NOW = datetime(2026, 3, 6, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("shop.example", "shop.example"),
        (" Shop.EXAMPLE. ", "shop.example"),
        ("_dmarc.shop.example", "_dmarc.shop.example"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
    ],
)
def test_a_domain_has_one_form(written: str, plain: str) -> None:
    assert domain(written) == plain


@pytest.mark.parametrize(
    "written",
    ["", "shop", "a b.example", "jane@shop.example", "-x.example", "a..example", "x" * 300, "…."],
)
def test_what_is_no_domain_is_refused_without_an_address(written: str) -> None:
    with pytest.raises(Unusable) as refusal:
        domain(written)
    assert refusal.value.reason is Why.BAD_DOMAIN
    assert "jane" not in str(refusal.value)


@given(st.text(max_size=60))
def test_any_text_is_a_domain_in_one_form_or_refused(text: str) -> None:
    try:
        plain = domain(text)
    except Unusable:
        return
    assert domain(plain) == plain
    assert plain == plain.lower()
    assert plain.isascii()


@given(st.text(max_size=60))
def test_no_refusal_tells_an_address(text: str) -> None:
    told = str(Unusable(Why.BAD_NUMBER, f"{f'jane.doe@{text}'[:40]!r} is not a number"))

    assert "jane" not in told


@pytest.mark.parametrize(("written", "value"), [("3", 3.0), (2, 2.0), (0.5, 0.5), ("1e3", 1e3)])
def test_numbers_are_read(written: object, value: float) -> None:
    assert count(written) == value


@pytest.mark.parametrize("written", ["", "two", "nan", "inf", -1, "-0.1", None, True, [], 10**400])
def test_what_is_no_number_is_refused(written: object) -> None:
    with pytest.raises(Unusable):
        count(written)


@pytest.mark.parametrize("day", [date(1999, 12, 31), date(2026, 3, 8), date(9999, 1, 1)])
def test_days_that_nobody_measured_are_refused(day: date) -> None:
    with pytest.raises(Unusable):
        plausible_day(day, NOW.date())


@pytest.mark.parametrize(
    ("text", "day", "known"),
    [
        ("now", date(2026, 3, 1), NOW),
        ("day", date(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)),
        ("day+2d", date(2026, 3, 1), datetime(2026, 3, 3, tzinfo=UTC)),
        ("day + 26h", date(2026, 3, 1), datetime(2026, 3, 2, 2, tzinfo=UTC)),
        ("day+2d", date(2026, 3, 5), NOW),  # nothing is known before it is
    ],
)
def test_knowledge_time_is_declared(text: str, day: date, known: datetime) -> None:
    assert parse_known_at(text, NOW)(day) == known


@pytest.mark.parametrize("text", ["", "event_time+2d", "day-1d", "day+2w", "2d"])
def test_another_declaration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="day\\+DELAY"):
        parse_known_at(text, NOW)
