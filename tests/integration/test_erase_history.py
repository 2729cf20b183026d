"""Erasure in the log, its index and the feature tables: gone in all versions, others untouched."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_repo import contract
from feature_repo.event import Event, EventType, Machine, Op
from feature_repo.history.erase_log import erase_from_log
from feature_repo.history.erase_person import Person
from feature_repo.history.erase_tables import erase_from_tables
from feature_repo.history.log import EventLog
from feature_repo.history.log_index import LogIndex
from feature_repo.history.log_writer import LogWriter
from tests.integration.history.building import Installation, digests
from tests.integration.history.histories import START, row

pytestmark = [
    pytest.mark.integration,
    # Ibis 12 calls it on DuckDB 2.
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

DAY = timedelta(days=1)
ANN = Person("ann")


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def clicks(customer: str, *days: int) -> list[dict[str, Any]]:
    return [
        row(f"{customer}{day}", customer, type="clicked", event_time=START + day * DAY)
        for day in days
    ]


def erase(home: Installation, person: Person = ANN) -> int:
    rows, _ = erase_from_log(home.settings, person, wait_s=1)
    return rows + sum(erased for _, erased in erase_from_tables(home.settings, person, wait_s=1))


def others(home: Installation) -> dict[str, list[str]]:
    return {
        view: [repr(change) for change in home.changes(view) if change[0] != "ann"]
        for view in contract.VIEWS
    }


def test_rows_of_others_are_what_they_were_and_builds_go_on(home: Installation) -> None:
    home.append([*clicks("ann", 1, 40), *clicks("bob", 1, 2), *clicks("eve", 3)])
    home.build()
    before, log_before = others(home), [r for r in home.log() if r["customer_id"] != "ann"]

    assert erase(home) > 0

    assert (home.contents(), home.log()) == (before, log_before)
    home.append([*clicks("bob", 5), *clicks("ann", 6)])
    incremental = home.build()
    assert digests(incremental) == digests(home.build(full=True))


def test_a_build_after_it_equals_one_of_a_log_that_never_knew_the_person(
    home: Installation, tmp_path: Path
) -> None:
    home.append([*clicks("bob", 1), *clicks("ann", 2)])
    home.build()
    erase(home)
    never = Installation(tmp_path / "never")
    never.append(clicks("bob", 1))

    assert digests(home.build(full=True)) == digests(never.build())


def test_no_file_of_any_version_is_left_that_had_the_person(home: Installation) -> None:
    home.append(clicks("ann-lee-distinct", 1))
    home.append([*clicks("ann-lee-distinct", 2), *clicks("bob", 2)])
    EventLog(home.settings.log_path).compact(keep=DAY)
    home.build()

    erase(home, Person("ann-lee-distinct"))

    held = [p for p in home.settings.home.rglob("*") if p.is_file()]
    assert [p for p in held if b"ann-lee-distinct" in p.read_bytes()] == []
    files = EventLog(home.settings.log_path).snapshot().files
    on_disk = {str(p) for p in home.settings.log_path.glob("event_month=*/*.parquet")}
    assert on_disk == {file.removeprefix("file://") for file in files}


def test_a_position_is_never_given_out_twice(home: Installation) -> None:
    home.append([*clicks("bob", 1), *clicks("ann", 2)])

    erase(home)

    assert EventLog(home.settings.log_path).snapshot().last_position == 1
    home.append(clicks("bob", 3))
    LogWriter(home.settings).append([event("x", "eve")])
    assert [r["log_pos"] for r in home.log()] == [0, 2, 3]


def event(event_id: str, customer: str) -> Event:
    made = row(event_id, customer, type="clicked", event_time=START)
    typed = {"type": EventType.CLICKED, "op": Op.UPSERT, "machine": Machine.NONE}
    return Event(**{**made, **typed})


def test_an_event_that_was_moved_to_somebody_else_still_counts_for_him_alone(
    home: Installation,
) -> None:
    home.append([*clicks("ann", 1), *clicks("bob", 2), *clicks("eve", 2)])
    moved = {"received_time": START + 9 * DAY, "type": "clicked"}
    home.append(
        [
            row("ann1", "bob", event_time=START + DAY, **moved),
            row("eve2", "ann", event_time=START + 2 * DAY, **moved),
        ]
    )
    home.build()
    before = others(home)

    erase(home)

    assert home.contents() == before
    home.build(full=True)
    assert home.contents() == before


def test_the_index_forgets_the_person_and_keeps_the_others(home: Installation) -> None:
    writer = LogWriter(home.settings)
    writer.append([event("of-ann", "ann"), event("of-bob", "bob")])

    erase(home)

    steps: list[str] = []
    again = LogWriter(home.settings, progress=lambda step, done, total: steps.append(step))
    assert again.append([event("of-bob", "bob")]).rows == 0
    assert writer.append([event("of-ann", "eve")]).rows == 1
    assert again.corrections() == []
    assert steps == [], "it was not made anew"


def test_an_index_that_a_kill_left_behind_is_made_anew(home: Installation) -> None:
    LogWriter(home.settings).append([event("of-ann", "ann"), event("of-bob", "bob")])
    # What an erasure does first.
    LogIndex(home.settings.state_path).distrust()

    erase(home)

    steps: list[str] = []
    writer = LogWriter(home.settings, progress=lambda step, done, total: steps.append(step))
    assert writer.append([event("of-ann", "eve"), event("of-bob", "bob")]).rows == 1
    assert steps == ["indexing the log"]


def test_twice_is_once(home: Installation) -> None:
    home.append([*clicks("ann", 1), *clicks("bob", 1)])
    home.build()
    erase(home)
    before = home.contents()

    assert erase(home) == 0
    assert home.contents() == before


def test_nobody_there_and_no_log_at_all_are_fine(home: Installation) -> None:
    assert erase(home) == 0
    home.append(clicks("bob", 1))
    assert erase(home) == 0
