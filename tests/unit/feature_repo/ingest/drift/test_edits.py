"""Changes of a mapping as it is written."""

from __future__ import annotations

from feature_repo.ingest.drift.edits import Written, add_name

WRITTEN: Written = {
    "kinds": {"opened": {"type": "opened", "with": {"event_time": {"epoch_s": "timestamp"}}}},
    "fields": {"event_time": {"epoch_s": "timestamp"}, "message_id": "id"},
}


def test_a_name_is_added_once_however_many_words_were_renamed_alike() -> None:
    once = add_name(WRITTEN, "timestamp", "occurred_at", None)

    assert once["fields"]["event_time"] == {"epoch_s": ["timestamp", "occurred_at"]}
    assert once["fields"]["message_id"] == "id"
    assert add_name(once, "timestamp", "occurred_at", None) == once


def test_a_name_that_one_word_needs_by_another_cast_is_added_by_each_once() -> None:
    plain = add_name(WRITTEN, "timestamp", "occurred_at", None)
    both = add_name(plain, "timestamp", "occurred_at", "epoch_ms")

    assert both["fields"]["event_time"] == [
        {"epoch_s": ["timestamp", "occurred_at"]},
        {"epoch_ms": "occurred_at"},
    ]
    assert add_name(both, "timestamp", "occurred_at", "epoch_ms") == both
