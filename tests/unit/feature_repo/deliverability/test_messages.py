"""p(m): silence counts for as much as the cell and the person allow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import duckdb
import pytest

from feature_repo.deliverability.messages import HABIT_WEIGHT, make_mail_p, probability

DAY_US = 86_400_000_000
FIRST = date(2026, 3, 1)
FIRST_US = (FIRST - date(1970, 1, 1)).days * DAY_US
AT_END = FIRST_US + 100 * DAY_US


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE TABLE mails (customer_id VARCHAR, message_id VARCHAR, sent_us BIGINT, "
            "sending_domain VARCHAR, mailbox_provider VARCHAR, seen_us BIGINT)"
        )
        connection.execute(
            "CREATE TABLE cells (sending_domain VARCHAR, mailbox_provider VARCHAR, day DATE, "
            "published_day DATE, p_inbox DOUBLE, is_impaired BOOLEAN, seen_rate DOUBLE)"
        )
        yield connection


def send(
    con: duckdb.DuckDBPyConnection,
    customer: str,
    day: int,
    *,
    seen_after: int | None = None,
    domain: str | None = "shop.example",
) -> None:
    """A mail at noon of a day; seen so many days later."""
    sent = FIRST_US + day * DAY_US + DAY_US // 2
    seen = None if seen_after is None else sent + seen_after * DAY_US
    con.execute(
        "INSERT INTO mails VALUES (?, ?, ?, ?, 'google', ?)",
        [customer, f"{customer}-{day}", sent, domain, seen],
    )


def estimate(
    con: duckdb.DuckDBPyConnection, day: int, theta: float, *, impaired: bool = True, after: int = 1
) -> None:
    con.execute(
        "INSERT INTO cells VALUES ('shop.example', 'google', ?, ?, ?, ?, 0.2)",
        [FIRST + timedelta(days=day), FIRST + timedelta(days=day + after), theta, impaired],
    )


def p_of(con: duckdb.DuckDBPyConnection, known_us: int = AT_END) -> dict[str, float]:
    make_mail_p(con, known_us=known_us)
    return dict(con.execute("SELECT message_id, p FROM mail_p").fetchall())


def test_without_an_impaired_cell_every_mail_counts_as_inboxed(
    con: duckdb.DuckDBPyConnection,
) -> None:
    send(con, "ann", 0)
    send(con, "ann", 1, seen_after=0)
    send(con, "ann", 2, domain=None)
    estimate(con, 0, 0.7, impaired=False)
    estimate(con, 1, 0.7, impaired=False)

    assert p_of(con) == {"ann-0": 1.0, "ann-1": 1.0, "ann-2": 1.0}


def test_a_mail_that_was_seen_was_in_the_inbox(con: duckdb.DuckDBPyConnection) -> None:
    send(con, "ann", 0, seen_after=3)
    estimate(con, 0, 0.05)

    sent_us = FIRST_US + DAY_US // 2
    assert p_of(con) == {"ann-0": 1.0}
    # Before that was known, it was a silence like any other.
    assert p_of(con, known_us=sent_us + 2 * DAY_US)["ann-0"] < 0.05


def test_the_silence_of_a_reader_says_more_than_that_of_a_sleeper(
    con: duckdb.DuckDBPyConnection,
) -> None:
    for day in range(10):
        send(con, "reader", day, seen_after=0)
        send(con, "sleeper", day)
    for customer in ("reader", "sleeper"):
        send(con, customer, 10)
    estimate(con, 10, 0.4)

    found = p_of(con)

    # A fifth of the cell's mail is seen; five mails of that are the prior.
    assert HABIT_WEIGHT == 5.0
    assert found["reader-10"] == pytest.approx(probability(0.4, (10 + 1) / 15))
    assert found["sleeper-10"] == pytest.approx(probability(0.4, 1 / 15))
    assert found["reader-10"] < found["sleeper-10"] < 0.4


def test_mail_in_impaired_cells_says_nothing_about_how_often_a_person_reads(
    con: duckdb.DuckDBPyConnection,
) -> None:
    for day in range(20):
        send(con, "ann", day, seen_after=0 if day < 10 else None)
    for day in range(10, 20):
        estimate(con, day, 0.3)

    make_mail_p(con, known_us=AT_END)

    asked = con.execute("SELECT DISTINCT q FROM mail_p WHERE is_impaired").fetchall()
    assert asked == [(pytest.approx((10 + 1) / 15),)]


def test_the_newest_publication_that_is_out_counts(con: duckdb.DuckDBPyConnection) -> None:
    send(con, "ann", 0)
    estimate(con, 0, 0.5, impaired=False, after=1)
    estimate(con, 0, 0.1, after=3)
    midnight = FIRST_US + 3 * DAY_US

    assert p_of(con, known_us=midnight - 1) == {"ann-0": 1.0}
    assert p_of(con, known_us=midnight)["ann-0"] < 0.1
