"""What a mapping may declare, and what foreign tables become by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feature_repo.errors import ConfigError, UnusableInput
from feature_repo.ingest.mapping import SHIPPED, Mapping, load_mapping, parse_mapping
from feature_repo.ingest.outcome import ImportSummary

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)

Run = Callable[..., ImportSummary]
Write = Callable[[str, str | bytes], Path]
LogRows = Callable[[], list[dict[str, Any]]]

CLICKS = """
name: esp
version: 3
columns:
  ID: text
  EVENT: text
  CONTACT: text
  AT: {type: time, format: epoch_ms}
  VALUE: {type: number, decimal: ","}
  PROXY: flag
optional: [VALUE, PROXY]
skip:
  - {reason: test_send, when: {column: CONTACT, starts_with: "test-"}}
fields:
  event_id: {concat: [{constant: "esp:"}, {column: ID}]}
  type: {lookup: EVENT, table: {open: opened, click: clicked, spamreport: complained}}
  provider_event: {column: EVENT}
  customer_id: {column: CONTACT}
  event_time: {column: AT}
  amount: {column: VALUE}
  machine: {when: {column: PROXY, equals: "true"}, then: {constant: apple_mpp},
            otherwise: {constant: none}}
"""

BASKET = """
name: basket
version: 1
columns: {Order: text, Who: text, When: {type: time, format: "%d/%m/%Y %H:%M", zone: Europe/London},
          Price: number}
group_by: [Order, Who]
fields:
  event_id: {column: Order}
  type: {constant: purchased}
  customer_id: {column: Who}
  event_time: {min: When}
  amount: {sum: {column: Price}}
"""


def broken(**changes: Any) -> str:
    """BASKET's YAML with changes."""
    good = parse_mapping(BASKET, "basket").model_dump(exclude_unset=True)
    return json.dumps({**good, **changes})


def test_a_providers_export_becomes_events(run: Run, write: Write, log_rows: LogRows) -> None:
    content = 'id;event;contact;at;value;proxy\n7;Open;c9;1709546400000;"1.234,5";yes\n'

    run(write("esp.csv", content), mapping=parse_mapping(CLICKS, "esp"))

    row = log_rows()[0]
    assert (row["event_id"], row["type"], row["customer_id"]) == ("esp:7", "opened", "c9")
    assert row["event_time"] == datetime(2024, 3, 4, 10, tzinfo=UTC)
    assert (row["amount"], row["machine"], row["provider_event"]) == (1234.5, "apple_mpp", "Open")
    assert (row["provider"], row["mapping_version"]) == ("esp", "esp@3")


def test_optional_columns_may_be_absent_and_others_not(run: Run, write: Write) -> None:
    mapping = parse_mapping(CLICKS, "esp")

    good = run(write("a.csv", "ID,EVENT,CONTACT,AT\n7,open,c9,1709546400000\n"), mapping=mapping)

    assert good.events == 1
    with pytest.raises(UnusableInput, match="no column 'AT'; it has ID, EVENT, CONTACT"):
        run(write("b.csv", "ID,EVENT,CONTACT\n7,open,c9\n"), mapping=mapping)


def test_unwanted_rows_are_counted_under_their_reason(run: Run, write: Write) -> None:
    lines = "7,open,c9,1709546400000\n8,open,test-1,1709546400000\n9,open,test-2,broken\n"

    summary = run(
        write("a.csv", "ID,EVENT,CONTACT,AT\n" + lines), mapping=parse_mapping(CLICKS, "esp")
    )

    assert (summary.events, summary.skipped, summary.quarantined) == (1, {"test_send": 2}, {})


def test_a_word_that_the_table_lacks_is_kept_as_unknown(
    run: Run, write: Write, log_rows: LogRows
) -> None:
    run(
        write("a.csv", "ID,EVENT,CONTACT,AT\n7,teleport,c9,1709546400000\n"),
        mapping=parse_mapping(CLICKS, "esp"),
    )

    assert (log_rows()[0]["type"], log_rows()[0]["provider_event"]) == ("unknown", "teleport")


def test_a_group_of_rows_is_one_event(run: Run, write: Write, log_rows: LogRows) -> None:
    lines = "o1,c1,04/07/2023 11:01,0.1\no1,c1,04/07/2023 11:00,0.2\no2,c1,04/07/2023 11:02,5\n"

    run(write("a.csv", "Order,Who,When,Price\n" + lines), mapping=parse_mapping(BASKET, "b"))

    assert [(row["event_id"], row["amount"]) for row in log_rows()] == [("o1", 0.3), ("o2", 5.0)]
    # British summer time is an hour ahead.
    assert log_rows()[0]["event_time"] == datetime(2023, 7, 4, 10, tzinfo=UTC)


def test_a_group_with_a_bad_row_is_set_aside_whole(run: Run, write: Write) -> None:
    lines = "o1,c1,04/07/2023 11:01,1\no1,c1,04/07/2023 11:01,much\no2,c1,04/07/2023 11:02,5\n"

    summary = run(
        write("a.csv", "Order,Who,When,Price\n" + lines), mapping=parse_mapping(BASKET, "b")
    )

    assert (summary.events, summary.quarantined) == (1, {"bad_group": 1, "bad_number": 1})


def test_an_event_of_a_group_that_is_impossible_sets_all_its_rows_aside(
    run: Run, write: Write
) -> None:
    lines = "o1,c1,04/07/2023 11:01,-3\no1,c1,04/07/2023 11:01,1\no2,c1,04/07/2023 11:02,5\n"

    summary = run(
        write("a.csv", "Order,Who,When,Price\n" + lines), mapping=parse_mapping(BASKET, "b")
    )

    assert (summary.events, summary.quarantined) == (1, {"bad_amount": 2})


def test_a_broken_row_that_may_belong_to_any_group_makes_the_file_unusable(
    run: Run, write: Write
) -> None:
    lines = "o1,c1,04/07/2023 11:01,1\no1,c1\n"

    with pytest.raises(UnusableInput, match="row 2: the row has 2 cells"):
        run(write("a.csv", "Order,Who,When,Price\n" + lines), mapping=parse_mapping(BASKET, "b"))


@pytest.mark.parametrize(
    ("format_", "cell"),
    [
        ("iso", "2024-03-04T10:00:00.0000000Z"),  # seven digits, as .NET writes them
        ("iso", "2024-03-04 11:00+01:00"),
        ("iso", "2024-03-04T10:00:00"),  # in the zone, which is UTC in winter
        ("epoch_s", "1709546400"),
        ("epoch_s", "1709546400.0"),
        ("epoch_ms", "1709546400000"),
        ("epoch_us", "1709546400000000"),
        ("%d.%m.%Y %H:%M", "04.03.2024 10:00"),
        ("%m/%d/%Y %I:%M %p", "03/04/2024 10:00 AM"),
        ("%Y-%m-%d %H:%M:%S %z", "2024-03-04 12:00:00 +0200"),
    ],
)
def test_times_are_read_in_their_declared_format(
    run: Run, write: Write, log_rows: LogRows, format_: str, cell: str
) -> None:
    when = {"type": "time", "format": format_, "zone": "Europe/London"}
    mapping = Mapping.model_validate(
        {
            "name": "t",
            "version": 1,
            "columns": {"who": "text", "at": when},
            "fields": {
                "type": {"constant": "opened"},
                "customer_id": {"column": "who"},
                "event_time": {"column": "at"},
            },
        }
    )

    run(write("a.csv", f"who,at\nc1,{cell}\n"), mapping=mapping)

    assert log_rows()[0]["event_time"] == datetime(2024, 3, 4, 10, tzinfo=UTC)


def test_what_a_file_or_mapping_says_is_never_sql(
    run: Run, write: Write, log_rows: LogRows
) -> None:
    evil = """'); DROP TABLE candidates; -- " {0}"""
    mapping = Mapping.model_validate(
        {
            "name": "evil",
            "version": 1,
            "columns": {evil: "text", "at": "time"},
            "skip": [{"reason": "x", "when": {"column": evil, "equals": evil + "!"}}],
            "fields": {
                "type": {"lookup": evil, "table": {evil: "opened"}},
                "customer_id": {"concat": [{"constant": evil}, {"column": evil}]},
                "event_time": {"column": "at"},
            },
        }
    )
    line = json.dumps({evil: evil, "at": "2024-03-04T10:00:00Z"})

    run(write("a'b.jsonl", line + "\n"), mapping=mapping)

    assert (log_rows()[0]["customer_id"], log_rows()[0]["type"]) == (evil + evil, "opened")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("- a\n- b", "valid dictionary"),
        ("a: [", "is not YAML"),
        (broken(nmae="x"), "nmae: Extra inputs"),
        (broken(name="Big Name"), "name: String should match"),
        (broken(version=0), "version"),
        (broken(columns={"Order": "txt"}), "columns.Order"),
        (broken(columns={"At": {"type": "time", "zone": "Mars"}}), "'Mars' is not an IANA"),
        (broken(columns={"At": {"type": "time", "format": "%d/%m/%Y"}}), "needs a zone"),
        (broken(columns={"At": {"type": "time", "format": "dmy"}}), "'dmy' is not iso"),
        (broken(fields={"type": {"constant": "sent"}}), "how to make 'customer_id'"),
        (broken(fields={"colour": {"constant": "red"}}), "field 'colour' is not one of"),
        (broken(fields={"raw_ref": {"constant": "red"}}), "field 'raw_ref' is not one of"),
        (broken(fields={"type": {"exec": "rm"}}), "an operation has one of the keys"),
        (broken(fields={"type": "purchased"}), "an operation has one of the keys"),
        (broken(group_by=[]), "need group_by"),
        (broken(group_by=["Order"]), "'Who', which may differ inside a group"),
        (broken(group_by=["Order", "Nobody"]), "'Nobody' is used but not declared"),
        (broken(skip=[{"reason": "x", "when": {"column": "Who"}}]), "must have one test"),
        (broken(skip=[{"reason": "A b", "when": {"column": "Who", "missing": True}}]), "reason"),
        (
            broken(skip_events=[{"reason": "x", "when": {"column": "url", "missing": True}}]),
            "'url', which is not in fields",
        ),
    ],
)
def test_a_wrong_mapping_is_refused_with_the_place(source: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_mapping(source, "mine.yaml")


def test_a_field_of_the_wrong_type_is_refused() -> None:
    wrong = CLICKS.replace("event_time: {column: AT}", "event_time: {column: ID}")

    with pytest.raises(ConfigError, match=r"'event_time' must be a time, .* gives a text"):
        parse_mapping(wrong, "esp")


def test_a_missing_mapping_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="online_retail"):
        load_mapping(str(tmp_path / "absent.yaml"))


def test_the_shipped_mappings_are_valid_and_named_after_their_files() -> None:
    assert list(SHIPPED) == [load_mapping(name).name for name in SHIPPED]
