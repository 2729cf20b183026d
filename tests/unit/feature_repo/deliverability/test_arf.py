"""Complaints in ARF: what is counted, whose they are, and what is never kept."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from feature_repo.deliverability.arf import Complaint, parse, split_mails
from feature_repo.deliverability.declaration import Complaints
from feature_repo.deliverability.reading import Unusable, Why
from feature_repo.ingest.webhook.customers import address_digest

FOLDER = Path(__file__).parents[3] / "fixtures" / "arf"
NOW = datetime(2026, 3, 6, 12, tzinfo=UTC)
VERP = Complaints(verp=re.compile(r"bounce\+(?P<customer>[^@+]+)@"))


def taken(
    name: str, declared: Complaints = VERP, identities: dict[str, str] | None = None
) -> Complaint:
    return parse((FOLDER / f"{name}.eml").read_bytes(), declared, identities or {}, NOW)


def test_our_header_names_the_customer_before_verp_does() -> None:
    found = taken("yahoo_header")

    assert found.customer_id == "c-17"
    assert found.message_id == "m-17@news.example"
    assert found.kind == "abuse"
    assert found.reported_at == datetime(2026, 3, 4, 9, 30, tzinfo=UTC)


def test_a_complaint_counts_for_the_utc_day_its_mail_was_sent() -> None:
    reading = taken("yahoo_header").reading

    # 23:50 two hours west of Greenwich.
    assert reading.day == date(2026, 3, 4)
    assert (reading.metric, reading.value) == ("complaints", 1.0)
    assert reading.sending_domain == "news.example"
    assert reading.mailbox_provider == "yahoo"


def test_verp_names_the_customer_where_the_header_is_cut_off() -> None:
    found = taken("microsoft_verp")

    assert found.customer_id == "c-18"
    assert found.reading.mailbox_provider == "microsoft"
    assert found.reading.day == date(2026, 3, 2)


def test_without_a_declared_verp_nobody_is_named() -> None:
    assert taken("microsoft_verp", Complaints()).customer_id is None


def test_a_known_address_names_the_customer_and_an_unknown_one_does_not() -> None:
    known = {address_digest("jane@shop.example"): "c-19"}

    assert taken("known_address", identities=known).customer_id == "c-19"
    assert taken("known_address").customer_id is None
    assert taken("known_address").reading.value == 3.0


def test_an_address_is_never_taken_for_an_id() -> None:
    raw = (FOLDER / "yahoo_header.eml").read_bytes().replace(b"c-17", b"jane@yahoo.com")
    known = {address_digest("jane@yahoo.com"): "c-20"}

    assert parse(raw, VERP, known, NOW).customer_id == "c-20"
    assert parse(raw, VERP, {}, NOW).customer_id is None


def test_another_header_can_be_declared() -> None:
    raw = (FOLDER / "yahoo_header.eml").read_bytes().replace(b"X-Foresend-Customer", b"X-Member")

    assert parse(raw, Complaints(customer_header="X-Member"), {}, NOW).customer_id == "c-17"


def test_one_mail_of_one_person_is_one_event_and_reports_are_told_apart() -> None:
    raw = (FOLDER / "yahoo_header.eml").read_bytes()
    first, again = parse(raw, VERP, {}, NOW), parse(raw, VERP, {}, NOW)
    relayed = parse(raw.replace(b"09:30:00", b"09:31:00"), VERP, {}, NOW)

    assert first == again
    assert relayed.event_id == first.event_id
    assert relayed.reading.part != first.reading.part
    assert taken("microsoft_verp").event_id != first.event_id


def test_nothing_of_a_person_is_in_a_reading() -> None:
    for name in ("yahoo_header", "microsoft_verp", "known_address"):
        told = repr(taken(name).reading)
        assert "@" not in told
        assert "c-1" not in told


@pytest.mark.parametrize(
    ("name", "reason"), [("not_spam", Why.NO_COMPLAINT), ("no_report", Why.NOT_ARF)]
)
def test_other_mail_is_rejected_with_its_reason(name: str, reason: Why) -> None:
    with pytest.raises(Unusable) as refusal:
        taken(name)
    assert refusal.value.reason is reason


WHOLE = (FOLDER / "yahoo_header.eml").read_bytes()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        WHOLE[:400],
        WHOLE.replace(b"Feedback-Type: abuse", b"Feedback-Type: =?x?q?=FF?="),
        WHOLE.replace(b"message/feedback-report", b"message/external-body"),
        WHOLE.replace(b"news.example", b"not a domain"),
        WHOLE.replace(b"Version: 1", b"Incidents: many"),
        WHOLE.replace(b"Version: 1", b"Incidents: -4"),
        WHOLE.replace(b"2026", b"1926"),
    ],
    ids=range(9),
)
def test_a_hostile_mail_is_a_reject(raw: bytes) -> None:
    with pytest.raises(Unusable):
        parse(raw, VERP, {}, NOW)


def test_clocks_that_are_ahead_do_not_reach_the_future() -> None:
    found = parse(WHOLE.replace(b"2026", b"2036"), VERP, {}, NOW)

    assert found.reported_at == NOW
    assert found.reading.day == NOW.date()


def test_an_mbox_holds_several_mails() -> None:
    mails = [(FOLDER / f"{name}.eml").read_bytes() for name in ("yahoo_header", "microsoft_verp")]
    box = b"\n".join(b"From loop@isp.example Wed Mar  4 09:30:00 2026\n" + mail for mail in mails)

    found = [parse(mail, VERP, {}, NOW).customer_id for mail in split_mails(box)]
    assert found == ["c-17", "c-18"]
