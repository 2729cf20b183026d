"""A provider changes what it sends; an installation answers with a version of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from feature_repo.errors import ConfigError, StoreUnavailable
from feature_repo.event import Event, EventType
from feature_repo.ingest import parse
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.ingest.webhook.customers import address_digest

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OPEN = IngestSettings(insecure_local=True)
OLD = {"event": "open", "timestamp": 1795492800, "email": "jane@gmail.com", "sg_event_id": "a"}
NEW = {"event": "open", "occurred_at": 1795492800, "email": "jane@gmail.com", "sg_event_id": "b"}

VERSION_2 = """
provider: sendgrid
version: 2
since: 2026-12-01
kinds: {open: opened, pat: clicked}
fields:
  event_id: sg_event_id
  event_time: {epoch_s: occurred_at}
  address: email
  arguments: .
"""


def made(
    *items: Any, catalog: Catalog | None = None, settings: IngestSettings = OPEN
) -> list[Event | Rejected]:
    body = json.dumps(items).encode()
    return parse("sendgrid", body, {}, settings, received_time=NOW, catalog=catalog)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sendgrid@2.yaml").write_text(VERSION_2)
    return tmp_path


def test_each_event_takes_the_newest_version_that_fits(folder: Path) -> None:
    new, old = made(NEW, OLD, catalog=Catalog.load(folder))

    assert (new.mapping_version, old.mapping_version) == ("sendgrid@2", "sendgrid@1")
    assert isinstance(new, Event)
    assert isinstance(old, Event)
    assert new.event_time == old.event_time


def test_an_event_that_fits_none_has_the_problem_of_the_newest(folder: Path) -> None:
    (rejected,) = made({"event": "open", "email": "j@x.de"}, catalog=Catalog.load(folder))

    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.path) == ("missing_event_time", "occurred_at")
    assert rejected.mapping_version == "sendgrid@2"


def test_a_version_that_knows_the_word_counts_before_a_newer_one_that_does_not(
    folder: Path,
) -> None:
    click = {**OLD, "event": "click", "occurred_at": 1795492800}
    pat = {**click, "event": "pat"}

    clicked, patted, odd = made(click, pat, {**click, "event": "x"}, catalog=Catalog.load(folder))

    assert (clicked.mapping_version, patted.mapping_version) == ("sendgrid@1", "sendgrid@2")
    assert isinstance(odd, Event)
    assert (odd.type, odd.mapping_version) == (EventType.UNKNOWN, "sendgrid@2")


def test_a_version_of_the_installation_stands_in_for_the_shipped_one_of_its_number(
    tmp_path: Path,
) -> None:
    own = VERSION_2.replace("version: 2", "version: 1")
    (tmp_path / "sendgrid@1.yaml").write_text(own)

    (event,) = made(OLD, catalog=Catalog.load(tmp_path))

    assert isinstance(event, Rejected)


def test_a_new_file_is_used_from_the_next_delivery_on(tmp_path: Path) -> None:
    catalog = Catalog.load(tmp_path)
    (before,) = made(NEW, catalog=catalog)
    (tmp_path / "sendgrid@2.yaml").write_text(VERSION_2)
    (after,) = made(NEW, catalog=catalog)

    assert isinstance(before, Rejected)
    assert isinstance(after, Event)


def test_a_file_that_is_broken_later_leaves_what_was_there_in_use(folder: Path) -> None:
    catalog = Catalog.load(folder)
    (folder / "sendgrid@2.yaml").write_text("provider: [")
    with structlog.testing.capture_logs() as logs:
        (event, _) = made(NEW, NEW, catalog=catalog)

    assert isinstance(event, Event)
    assert catalog.problem is not None
    assert [entry["event"] for entry in logs] == ["mappings_not_usable"]
    (folder / "sendgrid@2.yaml").write_text(VERSION_2)
    made(NEW, catalog=catalog)
    assert catalog.problem is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("sendgrid@3.yaml", VERSION_2, "Rename"),
        ("sendgrid@2.yaml", "a: [", "not YAML"),
        ("sendgrid@2.yaml", VERSION_2.replace("epoch_s", "epoch_x"), "epoch_x"),
        ("sendgrid@2.yaml", VERSION_2.replace("epoch_s: ", "upper: "), "makes a text"),
        ("sendgrid@2.yaml", VERSION_2.replace("address:", "adress:"), "adress"),
        ("sendgrid@2.yaml", VERSION_2.replace("opened", "opend"), "opend|opened"),
        ("sendgrid@2.yaml", VERSION_2.replace("event_time:", "amount:"), "number|event_time"),
        ("sendgrid@2.yaml", VERSION_2 + "  url: {a: b, c: d}\n", "no path"),
        ("sendgrid@2.yaml", VERSION_2 + "  url: ['']\n", "no path"),
        (
            "sendgrid@2.yaml",
            VERSION_2 + "  provider_emitted_time: {local: x, zone: Mars}\n",
            "Mars",
        ),
    ],
)
def test_a_mapping_that_cannot_be_used_says_why(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)

    with pytest.raises(ConfigError, match=said):
        Catalog.load(tmp_path)


def test_other_files_and_a_missing_folder_are_no_mappings(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "sendgrid.yaml.bak").write_text("x")

    assert len(Catalog.load(tmp_path).versions("sendgrid")) == 1
    assert len(Catalog.load(tmp_path / "none").versions("sendgrid")) == 1
    assert Catalog.load(None).newest("nobody") is None


def test_each_event_is_observed_with_its_word_and_whether_it_fitted() -> None:
    seen: list[tuple[str, str | None, bool]] = []

    def observe(provider: str, word: str | None, payload: Mapping[str, Any], ok: bool) -> None:
        seen.append((provider, word, ok))

    body = json.dumps(
        [OLD, {**OLD, "timestamp": "x"}, {**OLD, "event": "account_status_change"}, {}]
    )
    parse("sendgrid", body.encode(), {}, OPEN, received_time=NOW, observe=observe)

    assert seen == [
        ("sendgrid", "open", True),
        ("sendgrid", "open", False),
        ("sendgrid", "account_status_change", True),
        ("sendgrid", None, False),
    ]


def test_a_custom_argument_comes_before_the_address_in_the_order_of_the_setting() -> None:
    both = {**OLD, "user_id": 7, "contact": "k"}

    (by_default,) = made(both)
    (by_setting,) = made(both, settings=OPEN.model_copy(update={"customer_keys": ("contact",)}))

    assert (by_default.customer_id, by_setting.customer_id) == ("7", "k")


def test_the_table_of_identities_turns_addresses_into_ids(tmp_path: Path) -> None:
    table = tmp_path / "identities.csv"
    table.write_text(f"email_sha256,customer_id\n{address_digest('JANE@gmail.com').upper()},c-1\n")
    settings = OPEN.model_copy(update={"identities": table})

    (known,) = made(OLD, settings=settings)
    (unknown,) = made({**OLD, "email": "joe@gmail.com"}, settings=settings)

    assert known.customer_id == "c-1"
    assert unknown.customer_id == "e:" + address_digest("joe@gmail.com")[:32]
    table.write_text(f"email_sha256,customer_id\n{address_digest('jane@gmail.com')},c-2\n")
    os.utime(table, ns=(1, 1))
    assert made(OLD, settings=settings)[0].customer_id == "c-2"


@pytest.mark.parametrize("content", [None, "a,b\n1,2\n", "email_sha256,customer_id\nx\n"])
def test_without_its_table_nothing_is_mapped_to_other_ids(
    tmp_path: Path, content: str | None
) -> None:
    table = tmp_path / "identities.csv"
    if content is not None:
        table.write_text(content)

    with pytest.raises(StoreUnavailable, match=r"identities\.csv"):
        made(OLD, settings=OPEN.model_copy(update={"identities": table}))


def test_a_display_name_does_not_change_whose_address_it_is() -> None:
    (plain,) = made(OLD)
    (named,) = made({**OLD, "email": "Jane <JANE@gmail.com>"})

    assert plain.customer_id == named.customer_id


def test_ids_that_are_too_long_are_refused_and_long_texts_are_cut() -> None:
    (long_id,) = made({**OLD, "customer_id": "x" * 600})
    (long_agent,) = made({**OLD, "useragent": "x" * 10_000})

    assert isinstance(long_id, Rejected)
    assert long_id.reason == "too_long"
    assert isinstance(long_agent, Event)
    assert len(long_agent.user_agent or "") == 4096


def test_an_odd_description_never_costs_the_event_and_an_odd_link_does() -> None:
    (event,) = made({**OLD, "useragent": {"a": 1}, "ip": [1], "reason": True})
    (rejected,) = made({**OLD, "url": {"a": 1}})

    assert isinstance(event, Event)
    assert (event.user_agent, event.ip, event.reason) == (None, None, None)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.path) == ("bad_text", "url")


def test_nothing_given_means_received_now() -> None:
    body = json.dumps([{**OLD, "timestamp": 1577880000}]).encode()

    (event,) = parse("sendgrid", body, {}, OPEN)

    assert event.received_time.utcoffset() == UTC.utcoffset(None)
    assert event.raw_ref is None
