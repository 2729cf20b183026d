"""The quarantine keeps each event once, for good, and forgets only when told to."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from feature_repo.errors import StoreUnavailable
from feature_repo.ingest.drift.metrics import DriftMetrics
from feature_repo.ingest.drift.quarantine import Quarantine, Status
from feature_repo.ingest.rejected import Rejected
from feature_repo.settings import Settings

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


def rejected(index: int = 0, **changed: Any) -> Rejected:
    content: dict[str, Any] = {
        "provider": "sendgrid",
        "reason": "bad_time",
        "detail": "timestamp 'abc' is no epoch time",
        "path": "timestamp",
        "index": index,
        "provider_event": "open",
        "payload": b'{"event":"open","email":"jane@example.com"}',
        "received_time": NOW,
        "raw_ref": "000001:0",
        "schema_fingerprint": "0123456789abcdef",
        "mapping_version": "sendgrid@1",
    }
    return Rejected(**{**content, **changed})


@pytest.fixture
def quarantine(settings: Settings) -> Iterator[Quarantine]:
    store = Quarantine(settings)
    yield store
    store.close()


def test_an_entry_comes_back_as_it_went_in(quarantine: Quarantine) -> None:
    quarantine.add([rejected(3)])

    (entry,) = quarantine.entries()
    assert (entry.provider, entry.provider_event) == ("sendgrid", "open")
    assert (entry.reason, entry.path) == ("bad_time", "timestamp")
    assert (entry.raw_ref, entry.index, entry.first_seen) == ("000001:0", 3, NOW)
    assert entry.payload == b'{"event":"open","email":"jane@example.com"}'
    assert entry.status is Status.OPEN


def test_mapping_the_same_bytes_again_adds_nothing(quarantine: Quarantine) -> None:
    batch = [rejected(0), rejected(1)]

    assert quarantine.add(batch) == 2
    assert quarantine.add(batch) == 0
    assert quarantine.count() == 2


def test_an_event_without_raw_bytes_is_known_by_what_it_says(quarantine: Quarantine) -> None:
    quarantine.add([rejected(raw_ref=None), rejected(raw_ref=None)])
    quarantine.add([rejected(raw_ref=None, payload=b"{}")])

    assert quarantine.count() == 2


def test_an_open_entry_gets_its_newest_reason(quarantine: Quarantine) -> None:
    quarantine.add([rejected()])
    quarantine.add([rejected(reason="missing_customer_id", path="email", detail="none")])

    (entry,) = quarantine.entries()
    assert (entry.reason, entry.path) == ("missing_customer_id", "email")


def test_what_was_replayed_stays_replayed(quarantine: Quarantine) -> None:
    quarantine.add([rejected()])
    (entry,) = quarantine.entries()

    assert quarantine.mark_replayed([entry.id], at=NOW) == 1
    assert quarantine.mark_replayed([entry.id], at=NOW) == 0
    quarantine.add([rejected(reason="bad_amount")])

    assert list(quarantine.entries()) == []
    (replayed,) = quarantine.entries(status=Status.REPLAYED)
    assert replayed.reason == "bad_time"


def test_groups_count_what_failed_alike(quarantine: Quarantine) -> None:
    later = NOW + timedelta(hours=1)
    quarantine.add([rejected(0), rejected(1, received_time=later)])
    quarantine.add([rejected(2, provider="mailgun", provider_event=None)])

    first, second = quarantine.groups()
    assert (first.provider, first.count) == ("sendgrid", 2)
    assert (first.first_seen, first.last_seen) == (NOW, later)
    assert (second.provider, second.provider_event, second.count) == ("mailgun", None, 1)
    assert first.id != second.id


def test_entries_are_read_while_they_change(quarantine: Quarantine) -> None:
    quarantine.add([rejected(n) for n in range(450)])

    for entry in quarantine.entries():
        quarantine.mark_replayed([entry.id], at=NOW)

    assert quarantine.count() == 0


def test_entries_are_chosen_by_provider_and_reason(quarantine: Quarantine) -> None:
    quarantine.add([rejected(0), rejected(1, provider="mailgun"), rejected(2, reason="bad_amount")])

    assert [entry.index for entry in quarantine.entries(provider="mailgun")] == [1]
    assert [entry.index for entry in quarantine.entries(reason="bad_amount")] == [2]


def test_an_erased_person_leaves_no_trace_on_disk(
    quarantine: Quarantine, settings: Settings
) -> None:
    other = rejected(1, payload=b'{"email":"joe@example.com"}')
    quarantine.add([rejected(0), other, rejected(2, payload=b"x" * 20_000 + b"jane@example.com")])

    assert quarantine.erase(lambda entry: b"jane@" in entry.payload) == 2

    assert [entry.index for entry in quarantine.entries()] == [1]
    files = list(settings.state_path.glob("quarantine.db*"))
    assert files
    assert not any(b"jane@example.com" in file.read_bytes() for file in files)


def test_only_the_owner_may_read_it(quarantine: Quarantine, settings: Settings) -> None:
    quarantine.add([rejected()])

    modes = {file.stat().st_mode & 0o777 for file in settings.state_path.glob("quarantine.db*")}
    assert modes == {0o600}


def test_a_word_with_half_a_character_is_kept_readable(quarantine: Quarantine) -> None:
    quarantine.add([rejected(provider_event="op\ud800en")])

    (group,) = quarantine.groups()
    assert group.provider_event == "op?en"


def test_a_full_disk_is_told_and_nothing_is_half_kept(
    quarantine: Quarantine, settings: Settings
) -> None:
    quarantine.add([rejected(0)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    used = max(file.stat().st_size for file in settings.state_path.glob("quarantine.db*"))
    large = [rejected(n, payload=b"x" * 50_000) for n in range(1, 20)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (used + 100_000, hard))
    try:
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            quarantine.add(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert quarantine.count() == 1
    assert quarantine.add(large) == 19


def test_a_damaged_file_is_a_sentence(settings: Settings) -> None:
    settings.state_path.mkdir(parents=True)
    (settings.state_path / "quarantine.db").write_bytes(b"no database at all" * 100)

    with pytest.raises(StoreUnavailable, match=r"quarantine\.db cannot be used"):
        Quarantine(settings).count()


def test_the_rate_of_quarantine_can_be_watched(settings: Settings) -> None:
    registry = CollectorRegistry()
    store = Quarantine(settings, metrics=DriftMetrics(registry))
    store.add([rejected(0), rejected(1)])
    store.add([rejected(0)])
    # Another process works on it as well.
    other = Quarantine(settings)
    other.add([rejected(2)])
    other.close()

    labels = {"provider": "sendgrid", "reason": "bad_time"}
    assert registry.get_sample_value("foresend_quarantine_events_total", labels) == 2
    assert registry.get_sample_value("foresend_quarantine_open") == 3
    store.close()
