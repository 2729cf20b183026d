"""What an import promises: all or nothing, once, and every row accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import ConfigError, UnusableInput
from feature_repo.event import deterministic_id
from feature_repo.ingest.outcome import ImportSummary
from feature_repo.settings import Settings

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)

Run = Callable[..., ImportSummary]
Write = Callable[[str, str | bytes], Path]
LogRows = Callable[[], list[dict[str, Any]]]

HEADER = "type,customer_id,event_time,amount\n"
GOOD = "purchased,c1,2024-03-04T10:00:00Z,5.5\n"
BAD = "purchased,c1,2024-03-04T10:00:00Z,nan\n"


def json_lines(*rows: dict[str, Any]) -> str:
    """Rows of a good canonical file, each changed by a dict."""
    good = {"type": "opened", "customer_id": "c1", "event_time": "2024-03-04T10:00:00Z"}
    return "".join(json.dumps({**good, **row}) + "\n" for row in rows)


def test_a_row_becomes_an_event_word_for_word(run: Run, write: Write, log_rows: LogRows) -> None:
    run(write("a.csv", HEADER + "Purchased, c1 ,2024-03-04T11:00:00+01:00,5.5\n"))

    row = log_rows()[0]
    assert row["type"] == "purchased"
    assert row["customer_id"] == "c1"
    assert row["event_time"] == datetime(2024, 3, 4, 10, tzinfo=UTC)
    assert row["received_time"] == datetime(2024, 3, 4, 12, tzinfo=UTC)
    assert row["amount"] == 5.5
    assert row["backfilled"] is True
    assert (row["op"], row["machine"], row["provider"]) == ("upsert", "none", "canonical")
    assert row["raw_ref"] == "a.csv#1"


def test_importing_twice_changes_nothing(run: Run, write: Write, log_rows: LogRows) -> None:
    file = write("a.csv", HEADER + GOOD + BAD)
    first = run(file)
    before = log_rows()

    second = run(file)

    assert (first.events, first.known) == (1, 0)
    assert (second.events, second.known) == (0, 1)
    assert (second.version, second.quarantine) == (first.version, first.quarantine)
    assert before == log_rows()


def test_every_row_is_accounted_for(run: Run, write: Write) -> None:
    summary = run(write("a.csv", HEADER + GOOD + BAD + "opened,c2\n" + GOOD))

    assert summary.rows == 4
    assert summary.quarantined == {"bad_amount": 1, "broken_line": 1}
    assert (summary.events, summary.known) == (1, 1)  # the same row twice says the same thing


def test_a_bad_row_is_kept_with_its_reason_place_and_words(run: Run, write: Write) -> None:
    summary = run(write("a.csv", HEADER + GOOD + "opened,c2\n" + BAD))

    assert summary.quarantine is not None
    kept = [json.loads(line) for line in summary.quarantine.read_text().splitlines()]
    assert [(row["file"], row["row"], row["reason"]) for row in kept] == [
        ("a.csv", 2, "broken_line"),
        ("a.csv", 3, "bad_amount"),
    ]
    assert kept[0]["raw"] == "opened,c2"
    assert kept[1]["raw"]["amount"] == "nan"
    assert "not a finite number" in kept[1]["detail"]


def test_a_quarantine_file_is_json_whatever_was_in_the_row(run: Run, write: Write) -> None:
    nan = '{"type":"purchased","customer_id":"c","event_time":"2024-03-04T10:00:00Z","amount":NaN}'

    summary = run(write("a.jsonl", json_lines({}) + nan + "\nnot json\n[1]\n"))

    assert summary.quarantine is not None
    for line in summary.quarantine.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_an_unusable_file_leaves_nothing_of_the_others(
    run: Run, write: Write, settings: Settings
) -> None:
    with pytest.raises(UnusableInput, match="no column 'type'"):
        run(write("good.csv", HEADER + GOOD), write("other.csv", "a,b\n1,2\n"))

    assert not settings.log_path.exists()
    assert not settings.quarantine_path.exists()


def test_a_file_of_which_no_row_is_good_is_unusable(
    run: Run, write: Write, settings: Settings
) -> None:
    with pytest.raises(UnusableInput, match=r"all\.csv: no row .* row 1: amount nan"):
        run(write("good.csv", HEADER + GOOD), write("all.csv", HEADER + BAD))

    assert not settings.log_path.exists()
    assert not settings.quarantine_path.exists()


def test_several_files_are_one_commit(run: Run, write: Write, log_rows: LogRows) -> None:
    files = [write(f"{n}.jsonl", json_lines({"customer_id": f"c{n}"})) for n in range(3)]

    summary = run(*files)

    assert (summary.events, summary.customers, summary.version) == (3, 3, 0)
    assert [row["log_pos"] for row in log_rows()] == [0, 1, 2]


def test_the_same_bytes_given_twice_are_read_once(run: Run, write: Write) -> None:
    summary = run(write("a.csv", HEADER + GOOD), write("b.csv", HEADER + GOOD))

    assert (summary.rows, summary.copies) == (1, (str(Path(summary.files[0]).parent / "b.csv"),))


def test_the_log_keeps_the_order_of_the_rows(run: Run, write: Write, log_rows: LogRows) -> None:
    ids = [f"e{n * 7919 % 5000}" for n in range(5000)]

    run(write("a.jsonl", json_lines(*({"event_id": event_id} for event_id in ids))))

    assert ids == [row["event_id"] for row in log_rows()]


def test_a_row_of_the_future_is_set_aside(run: Run, write: Write) -> None:
    late = f"opened,c1,{NOW.isoformat()},\n"

    summary = run(write("a.csv", HEADER + GOOD + late))

    assert summary.quarantined == {"received_in_future": 1}


def test_without_received_time_the_choices_are_named(run: Run, write: Write) -> None:
    with pytest.raises(ConfigError, match=r"event_time\+2h.*--known-at now"):
        run(write("a.csv", HEADER + GOOD), known_at=None)


def test_received_time_is_used_when_the_file_has_it(
    run: Run, write: Write, log_rows: LogRows
) -> None:
    received = "2024-03-05T10:00:00Z"

    run(write("a.jsonl", json_lines({"received_time": received})), known_at=None)

    assert log_rows()[0]["received_time"] == datetime(2024, 3, 5, 10, tzinfo=UTC)
    assert log_rows()[0]["backfilled"] is False


def test_events_that_nobody_knew_of_are_known_now(
    run: Run, write: Write, log_rows: LogRows
) -> None:
    run(write("a.csv", HEADER + GOOD), known_at="now")

    assert (log_rows()[0]["received_time"], log_rows()[0]["backfilled"]) == (NOW, False)


def test_received_time_that_is_not_there_cannot_be_used(run: Run, write: Write) -> None:
    with pytest.raises(UnusableInput, match="no column 'received_time'"):
        run(write("a.csv", HEADER + GOOD), known_at="received_time")


def test_an_unknown_word_is_kept_beside_the_type_unknown(
    run: Run, write: Write, log_rows: LogRows
) -> None:
    run(write("a.jsonl", json_lines({"type": "Exploded"})))

    assert (log_rows()[0]["type"], log_rows()[0]["provider_event"]) == ("unknown", "Exploded")


def test_an_event_without_id_gets_one_of_its_content(
    run: Run, write: Write, log_rows: LogRows
) -> None:
    run(write("a.csv", HEADER + GOOD))

    time = round(datetime(2024, 3, 4, 10, tzinfo=UTC).timestamp() * 1_000_000)
    parts = ("purchased", "c1", time, None, None, None, None, None, 5_500_000, None)
    assert deterministic_id("canonical", *parts) == log_rows()[0]["event_id"]


def test_a_correction_and_a_retraction_are_new_rows(
    run: Run, write: Write, log_rows: LogRows
) -> None:
    rows = [
        {"event_id": "e1", "type": "purchased", "amount": 5},
        {"event_id": "e1", "type": "purchased", "amount": 4},
        {"event_id": "e1", "type": "purchased", "amount": 4, "op": "RETRACT"},
    ]

    run(write("a.jsonl", json_lines(*rows)))

    assert [(row["amount"], row["op"]) for row in log_rows()] == [
        (5, "upsert"), (4, "upsert"), (4, "retract"),
    ]  # fmt: skip


def test_where_ids_are_given_a_row_without_one_is_bad(run: Run, write: Write) -> None:
    summary = run(write("a.jsonl", json_lines({"event_id": "e1"}, {"event_id": " "})))

    assert summary.quarantined == {"missing_event_id": 1}


def test_columns_that_nothing_uses_are_told(run: Run, write: Write) -> None:
    summary = run(write("a.jsonl", json_lines({"colour": "red"})))

    assert summary.ignored == ("colour",)


def test_a_mended_file_replaces_nothing_and_a_clean_rerun_removes_the_quarantine(
    run: Run, write: Write, settings: Settings
) -> None:
    file = write("a.csv", HEADER + GOOD + "opened,c2,2024-06-01T11:00:00Z,\n")
    assert run(file).quarantined == {"received_in_future": 1}

    summary = run(file, known_at="event_time+0s")

    assert summary.quarantine is None
    assert not list(settings.quarantine_path.iterdir())


def test_parquet_times_without_zone_are_refused_with_the_cure(run: Run, tmp_path: Path) -> None:
    times = pa.array([datetime(2024, 3, 4)], pa.timestamp("us"))  # noqa: DTZ001  # the point
    table = pa.table({"type": ["opened"], "customer_id": ["c1"], "event_time": times})
    pq.write_table(table, tmp_path / "a.parquet")

    with pytest.raises(UnusableInput, match="declare the zone"):
        run(tmp_path / "a.parquet")


def test_customer_numbers_of_a_float_column_are_whole(
    run: Run, tmp_path: Path, log_rows: LogRows
) -> None:
    times = pa.array([NOW.replace(month=1)], pa.timestamp("us", "UTC"))
    table = pa.table({"type": ["opened"], "customer_id": [17850.0], "event_time": times})
    pq.write_table(table, tmp_path / "a.parquet")

    run(tmp_path / "a.parquet")

    assert log_rows()[0]["customer_id"] == "17850"


def test_nothing_is_left_in_scratch(run: Run, write: Write, settings: Settings) -> None:
    run(write("a.csv", HEADER + GOOD))
    with pytest.raises(UnusableInput):
        run(write("b.csv", HEADER + BAD))

    assert not list(settings.scratch_path.iterdir())
