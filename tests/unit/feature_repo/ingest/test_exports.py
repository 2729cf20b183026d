"""Exports of other tools become events by the mappings that ship."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feature_repo.event import deterministic_id
from feature_repo.ingest.importer import import_files
from feature_repo.ingest.known_at import parse_known_at
from feature_repo.ingest.mapping import SHIPPED, load_mapping
from feature_repo.ingest.outcome import ImportSummary
from feature_repo.settings import Settings

EXPORTS = Path(__file__).parents[3] / "fixtures" / "esp_exports"
NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)

Rows = list[dict[str, Any]]
LogRows = Callable[[], Rows]
Export = Callable[..., ImportSummary]


@pytest.fixture
def export(settings: Settings) -> Export:
    """Import files of an export by a shipped mapping."""

    def export(mapping: str, *files: str | Path, identities: Path | None = None) -> ImportSummary:
        return import_files(
            settings,
            [EXPORTS / file for file in files],
            mapping=load_mapping(mapping),
            known_at=parse_known_at("event_time+1h"),
            identities=identities,
            clock=lambda: NOW,
        )

    return export


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def email_id(address: str) -> str:
    return "e:" + hashlib.sha256(address.encode()).hexdigest()[:32]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_mapping_can_be_loaded(name: str) -> None:
    assert load_mapping(name).name == name


@pytest.mark.parametrize(
    ("mapping", "files"),
    [
        (
            "mailchimp",
            [
                "mailchimp/campaign_recipient_activity.csv",
                "mailchimp/automation_recipient_activity.csv",
            ],
        ),
        ("klaviyo", ["klaviyo/event.csv"]),
        ("iterable", ["iterable/event_data.csv"]),
        ("sendgrid", ["sendgrid/email_activity.csv"]),
        ("mautic_sends", ["mautic/email_stats.csv"]),
    ],
)
def test_an_export_that_is_imported_twice_is_in_the_log_once(
    export: Export, log_rows: LogRows, mapping: str, files: list[str]
) -> None:
    first = export(mapping, *files)
    second = export(mapping, *files)

    assert (second.events, second.known) == (0, first.events)
    assert first.quarantined == {}
    assert len({row["event_id"] for row in log_rows()}) == first.events


def test_mailchimp_activity(export: Export, log_rows: LogRows) -> None:
    summary = export("mailchimp", "mailchimp/campaign_recipient_activity.csv")

    assert summary.types == {"opened": 12, "clicked": 5}
    click = next(row for row in log_rows() if row["url"] == "https://github.com/example")
    assert click["type"] == "clicked"
    assert click["provider"] == "mailchimp"
    assert click["provider_event"] == "click"
    assert click["customer_id"] == "f5114e6e6bb39e07781d2f51f409a7fe"
    assert click["campaign_id"] == "c2b4c1c0d9"
    assert click["message_id"] == "c2b4c1c0d9:f5114e6e6bb39e07781d2f51f409a7fe"
    assert click["event_time"] == at("2020-04-06T17:45:43")
    assert click["ip"] == "108.21.53.8"
    assert click["mapping_version"] == "mailchimp@1"


def test_mailchimp_automations_and_unsubscribes(export: Export, log_rows: LogRows) -> None:
    export("mailchimp", "mailchimp/automation_recipient_activity.csv")
    export("mailchimp_unsubscribes", "mailchimp/unsubscribe.csv")

    rows = log_rows()
    assert {row["campaign_id"] for row in rows} == {"b63e7b8aff", "123"}
    (last,) = [row for row in rows if row["type"] == "unsubscribed"]
    assert last["message_id"] == "b63e7b8aff:4d1bf0aa67690a2b483771ce00cfb6a7"


def test_mailchimp_ids_do_not_depend_on_who_the_member_turns_out_to_be(
    export: Export, log_rows: LogRows, tmp_path: Path
) -> None:
    header = "action,campaign_id,member_id,timestamp,url"
    line = "open,c2,m1,2024-03-04 10:00:00,"
    without, with_address = tmp_path / "a.csv", tmp_path / "b.csv"
    without.write_text(f"{header}\n{line}\n")
    with_address.write_text(f"{header},email_address\n{line}, Jane@Example.com\n")

    export("mailchimp", without)
    summary = export("mailchimp", with_address)

    # The second says who it was: a correction of the first.
    assert summary.events == 1
    first, second = log_rows()
    assert first["event_id"] == second["event_id"]
    assert [first["customer_id"], second["customer_id"]] == ["m1", email_id("jane@example.com")]


@pytest.mark.parametrize("file", ["event.csv", "event_norename.csv"])
def test_klaviyo_events(export: Export, log_rows: LogRows, file: str) -> None:
    summary = export("klaviyo", f"klaviyo/{file}")

    assert summary.types == {"delivered": 3, "purchased": 1}
    first = next(row for row in log_rows() if row["event_id"] == "klaviyo:3gBNHPGp")
    assert first["type"] == "delivered"
    assert first["provider_event"] == "Received Email"
    assert first["customer_id"] == "MCX88q"
    assert first["campaign_id"] == "ZZ7re"
    assert first["event_time"] == at("2020-04-05T20:02:45")
    # A property named value is money in orders only.
    assert first["amount"] is None


def test_klaviyo_orders_deletions_and_capitals(
    export: Export, log_rows: LogRows, tmp_path: Path
) -> None:
    file = tmp_path / "events.csv"
    file.write_text(
        "ID,TYPE,DATETIME,PERSON_ID,PROPERTY_VALUE,PROPERTY_CURRENCY_CODE,_FIVETRAN_DELETED\n"
        "o1,Placed Order,2024-03-04 10:00:00.000 +0000,P1,80.5,eur,false\n"
        "o2,Refunded Order,2024-03-05T10:00:00Z,P1,-20,EUR,false\n"
        "o3,Placed Order,2024-03-06 10:00:00,P1,7,EUR,true\n"
        "o4,Ordered Product,2024-03-04 10:00:00,P1,80.5,EUR,false\n"
        "o5,Received SMS,2024-03-04 10:00:00,P1,,,false\n"
        "o6,Became a Wizard,2024-03-04 10:00:00,P1,,,false\n"
    )

    summary = export("klaviyo", file)

    rows = {row["event_id"].removeprefix("klaviyo:"): row for row in log_rows()}
    assert summary.skipped == {"order_item": 1, "text_message": 1}
    assert (rows["o1"]["type"], rows["o1"]["amount"], rows["o1"]["currency"]) == (
        *("purchased", 80.5),
        "EUR",
    )
    assert (rows["o2"]["type"], rows["o2"]["amount"]) == ("refunded", 20)
    assert rows["o3"]["op"] == "retract"
    assert (rows["o6"]["type"], rows["o6"]["provider_event"]) == ("unknown", "Became a Wizard")


def test_iterable_events(export: Export, log_rows: LogRows) -> None:
    summary = export("iterable", "iterable/event_data.csv")

    assert summary.types == {"unknown": 4, "subscribed": 2}
    rows = {row["event_id"]: row for row in log_rows()}
    first = rows["iterable:HFNB4mJWJeXKk7AwJAEPCCmvpkM="]
    assert first["customer_id"] == email_id("nobody@gmail.co.uk")
    assert first["event_time"] == at("2020-06-12T14:42:41")
    assert (first["type"], first["provider_event"]) == ("subscribed", "emailSubscribe")
    assert rows["iterable:USA101"]["provider_event"] == "newEvent"
    assert not any("@gmail" in str(value) for row in rows.values() for value in row.values())


def test_iterable_engagement_with_another_channel_left_out(
    export: Export, log_rows: LogRows, tmp_path: Path
) -> None:
    file = tmp_path / "events.csv"
    file.write_text(
        "_fivetran_id,event_name,created_at,email,user_id,campaign_id,message_id,user_agent\n"
        "a,emailOpen,2024-03-04 10:00:00.000,jane@example.com,,7,m1,Mozilla/5.0\n"
        "b,emailUnSubscribe,2024-03-04 11:00:00.000,,u-9,7,m1,\n"
        "c,emailSendSkip,2024-03-04 10:00:00.000,jane@example.com,,7,m1,\n"
        "d,pushOpen,2024-03-04 10:00:00.000,jane@example.com,,7,m1,\n"
    )

    summary = export("iterable", file)

    assert summary.skipped == {"not_sent": 1, "other_channel": 1}
    assert [(row["type"], row["customer_id"]) for row in log_rows()] == [
        ("opened", email_id("jane@example.com")),
        ("unsubscribed", "u-9"),
    ]


def test_sendgrid_activity(export: Export, log_rows: LogRows) -> None:
    summary = export("sendgrid", "sendgrid/email_activity.csv")

    rows = log_rows()
    assert summary.types == {
        "bounced": 2,
        "clicked": 1,
        "delivered": 1,
        "opened": 1,
        "sent": 1,
        "unknown": 1,
    }
    click = next(row for row in rows if row["type"] == "clicked")
    message = "wrfRRvF7Q0GgwUo2CvDmEA.filter0425p1mdw1.13037.57168B4A1D.0"
    micros = int(at("2024-03-04T10:08:00").timestamp()) * 1_000_000
    parts = (message, "Jane@Example.com", micros, "https://shop.example/spring", None)
    assert click["event_id"] == "sendgrid:" + deterministic_id("click", *parts)
    assert click["customer_id"] == "c-17"
    assert click["message_id"] == "wrfRRvF7Q0GgwUo2CvDmEA"
    assert click["campaign_id"] == "spring"
    assert click["event_time"] == at("2024-03-04T10:08:00")
    assert click["ip"] == "203.0.113.4"
    bounces = [row for row in rows if row["type"] == "bounced"]
    assert [row["bounce_class"] for row in bounces] == ["hard", "soft"]
    assert bounces[0]["customer_id"] == email_id("joe@example.org")
    assert bounces[0]["campaign_id"] == "771"
    assert not any("@ex" in str(value).lower() for row in rows for value in row.values())


def test_mautic_sends_and_opens_come_from_one_file(export: Export, log_rows: LogRows) -> None:
    export("mautic_sends", "mautic/email_stats.csv")
    summary = export("mautic_opens", "mautic/email_stats.csv")

    assert summary.skipped == {"not_opened": 2}
    rows = {row["event_id"]: row for row in log_rows()}
    assert [row["type"] for row in rows.values()].count("sent") == 2
    assert rows["mautic:sent:9003"]["type"] == "rejected"
    opened = rows["mautic:opened:9001"]
    assert opened["event_time"] == at("2024-03-04T10:07:11")
    assert (opened["customer_id"], opened["campaign_id"]) == ("17", "5")
    assert opened["message_id"] == rows["mautic:sent:9001"]["message_id"] == "5f3a1c9d0e77aa0001"


def test_mautic_clicks_and_unsubscribes(export: Export, log_rows: LogRows) -> None:
    hits = export("mautic_clicks", "mautic/page_hits.csv")
    export("mautic_unsubscribes", "mautic/lead_donotcontact.csv")

    assert hits.skipped == {"anonymous": 1}
    rows = {row["event_id"]: row for row in log_rows()}
    click = rows["mautic:hit:70001"]
    assert (click["type"], click["campaign_id"], click["link_id"]) == ("clicked", "5", "31")
    assert click["provider_event"] == "page_hits/email"
    assert rows["mautic:hit:70002"]["type"] == "browsed"
    assert rows["mautic:dnc:301"]["type"] == "unsubscribed"
    assert rows["mautic:dnc:302"]["type"] == "bounced"
    assert "mautic:dnc:304" not in rows


def test_an_address_becomes_the_customer_the_installation_knows(
    export: Export, log_rows: LogRows, tmp_path: Path
) -> None:
    digest = hashlib.sha256(b"joe@example.org").hexdigest()
    table = tmp_path / "identities.csv"
    table.write_text(f"email_sha256,customer_id\n{digest},c-99\n")

    export("sendgrid", "sendgrid/email_activity.csv", identities=table)

    customers = {row["message_id"][:4]: row["customer_id"] for row in log_rows()}
    assert customers["aaaa"] == "c-99"
    assert customers["bbbb"] == email_id("ann@example.net")
