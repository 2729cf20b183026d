"""What the writer of micro-batches promises: each event once, whoever else writes or dies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from deltalake import DeltaTable
from filelock import FileLock

from feature_repo.errors import StoreUnavailable
from feature_repo.event import Event, EventType, Op
from feature_repo.history import duck, log_writer
from feature_repo.history.log import EventLog
from feature_repo.history.log_catch_up import catch_up
from feature_repo.history.log_index import FILE, Covered, LogIndex
from feature_repo.history.log_rows import event_rows
from feature_repo.history.log_upkeep import FAN_IN
from feature_repo.history.log_writer import LogWriter
from feature_repo.settings import Settings

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)

DAY = datetime(2024, 3, 4, tzinfo=UTC)


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, duckdb_threads=1)


def event(event_id: str = "e1", **changes: Any) -> Event:
    good = {
        "type": EventType.OPENED,
        "customer_id": "c1",
        "event_time": DAY,
        "received_time": DAY + timedelta(hours=1),
    }
    return Event(event_id=event_id, **{**good, **changes})


def log(settings: Settings) -> list[dict[str, Any]]:
    with duck.connect(settings) as con:
        rows = EventLog(settings.log_path).snapshot().rows(con).order_by("log_pos")
        return [row for batch in duck.stream(con, rows) for row in batch.to_pylist()]


def ids(settings: Settings) -> list[str]:
    return [row["event_id"] for row in log(settings)]


def import_beside(settings: Settings, *events: Event) -> None:
    """What `foresend import` does: append without the index."""
    with duck.connect(settings) as con:
        EventLog(settings.log_path).append(con, con.from_arrow(event_rows(events)))


def test_rows_are_as_an_import_would_have_written_them(tmp_path: Path) -> None:
    given = [event("a", amount=2.5), event("b", op=Op.RETRACT, url="https://x/é"), event("a")]
    ours, theirs = Settings(home=tmp_path / "ours"), Settings(home=tmp_path / "theirs")

    LogWriter(ours).append(given)
    import_beside(theirs, *given)

    assert log(ours) == log(theirs)


def test_an_event_is_appended_once_however_often_it_comes(settings: Settings) -> None:
    writer = LogWriter(settings)
    writer.append([event("a"), event("b"), event("a")])

    again = writer.append([event("b", received_time=DAY + timedelta(days=9)), event("c")])
    nothing = LogWriter(settings).append([event("a"), event("c")])

    assert (again.rows, again.known, again.version) == (1, 1, 1)
    assert (nothing.rows, nothing.known, nothing.version) == (0, 2, 1)
    assert ids(settings) == ["a", "b", "c"]


def test_corrected_are_events_that_had_said_something_else_or_are_withdrawn(
    settings: Settings,
) -> None:
    writer = LogWriter(settings)
    writer.append([event("a"), event("b"), event("c")])

    done = writer.append(
        [
            event("a", amount=1.0),
            event("c", op=Op.RETRACT),
            event("d"),
            event("e"),
            event("e", url="x"),
        ]
    )

    assert done.corrected == ("a", "c", "e")
    assert sorted(writer.corrections()) == ["a", "c", "e"]


def test_corrections_wait_until_they_are_handed_over(settings: Settings) -> None:
    LogWriter(settings).append([event("a"), event("a", amount=1.0)])

    writer = LogWriter(settings)
    assert writer.corrections() == ["a"]
    writer.handed_over(["a"])

    assert LogWriter(settings).corrections() == []


def test_what_was_corrected_does_not_come_back_by_a_late_duplicate(settings: Settings) -> None:
    writer = LogWriter(settings)
    writer.append([event("a")])
    writer.append([event("a", amount=1.0)])

    assert writer.append([event("a")]).rows == 0


def test_rows_of_an_import_beside_it_are_known_and_their_corrections_noted(
    settings: Settings,
) -> None:
    writer = LogWriter(settings)
    writer.append([event("a"), event("b")])
    import_beside(settings, event("x"), event("b", amount=3.0))

    done = writer.append([event("x"), event("b", amount=3.0), event("c")])

    assert (done.rows, done.known) == (1, 2)
    assert writer.corrections() == ["b"]
    assert [row["log_pos"] for row in log(settings)] == [0, 1, 2, 3, 4]


def test_two_writers_take_turns(settings: Settings) -> None:
    one, other = LogWriter(settings), LogWriter(settings, writer="backfill")

    for number in range(6):
        (one, other)[number % 2].append([event(f"e{number}"), event("shared")])

    assert ids(settings) == ["e0", "shared", "e1", "e2", "e3", "e4", "e5"]


def test_commits_say_who_wrote_them_and_how_many_rows(settings: Settings) -> None:
    LogWriter(settings).append([event("a"), event("b")])
    LogWriter(settings, writer="backfill").append([event("c")])
    import_beside(settings, event("d"))

    said = [(c["writer"], c["rows"]) for c in DeltaTable(str(settings.log_path)).history()]
    assert said == [("import", "1"), ("backfill", "1"), ("archive", "2")]


@pytest.mark.parametrize("times", [1, 3])
def test_killed_between_the_commit_and_the_index_nothing_is_lost_or_doubled(
    settings: Settings, times: int
) -> None:
    LogWriter(settings).append([event("a"), event("b")])
    for number in range(times):
        dying = LogWriter(settings, reached=kill_when("committed"))
        with pytest.raises(Killed):
            dying.append([event("a", amount=float(number)), event(f"new{number}")])
        dying.close()

    again = LogWriter(settings)
    done = again.append([event("a", amount=0.0), event("new0"), event("z")])

    assert (done.rows, done.known) == (1, 2)
    assert again.corrections() == ["a"]
    assert ids(settings).count("a") == 1 + times


def test_killed_before_the_commit_nothing_has_happened(settings: Settings) -> None:
    LogWriter(settings).append([event("a")])
    with pytest.raises(Killed):
        LogWriter(settings, reached=kill_when("written")).append([event("b")])

    assert ids(settings) == ["a"]
    assert LogWriter(settings).append([event("b")]).rows == 1


def test_killed_after_the_index_the_corrections_are_still_handed_over(settings: Settings) -> None:
    LogWriter(settings).append([event("a")])
    with pytest.raises(Killed):
        LogWriter(settings, reached=kill_when("indexed")).append([event("a", amount=1.0)])

    again = LogWriter(settings)
    assert again.append([event("a", amount=1.0)]).corrected == ()
    assert again.corrections() == ["a"]


def test_killed_after_a_merge_the_rows_are_there_and_known(settings: Settings) -> None:
    writer = LogWriter(settings, reached=kill_when("merged"))
    for number in range(FAN_IN - 1):
        writer.append([event(f"e{number}")])
    with pytest.raises(Killed):
        writer.append([event("last")])

    assert LogWriter(settings).append([event("last")]).known == 1
    assert len(ids(settings)) == FAN_IN


def test_an_index_that_was_lost_is_made_anew_from_the_log(settings: Settings) -> None:
    LogWriter(settings).append([event("a"), event("b")])
    (settings.state_path / FILE).unlink()
    steps: list[str] = []

    writer = LogWriter(settings, progress=lambda step, done, total: steps.append(step))

    assert writer.append([event("a"), event("c")]).rows == 1
    assert steps == ["indexing the log"]


def test_the_index_of_another_log_is_not_believed(settings: Settings) -> None:
    LogWriter(settings).append([event("a"), event("b")])
    rmtree(settings.log_path)
    import_beside(settings, event("x"))

    done = LogWriter(settings).append([event("a"), event("x")])

    assert (done.rows, done.known) == (1, 1)
    assert ids(settings) == ["x", "a"]


def test_a_log_that_was_deleted_begins_again(settings: Settings) -> None:
    writer = LogWriter(settings)
    writer.append([event("a")])
    rmtree(settings.log_path)

    assert writer.append([event("a")]).rows == 1
    assert ids(settings) == ["a"]


def test_many_rows_of_others_are_merged_with_their_corrections(settings: Settings) -> None:
    writer = LogWriter(settings)
    writer.append([event("a"), event("b")])
    more = [event(f"x{n}") for n in range(5)]
    import_beside(settings, *more, event("a", amount=1.0), event("r", op=Op.RETRACT))
    index, snapshot = LogIndex(settings.state_path), EventLog(settings.log_path).snapshot()
    held = index.covered()
    assert held is not None

    goal = replace(held, position=snapshot.last_position, version=1)
    catch_up(settings, index, snapshot, goal, log_writer.silent, few=3)

    assert writer.append([*more, event("a", amount=1.0)]).rows == 0
    assert sorted(writer.corrections()) == ["a", "r"]


def test_files_of_a_month_stay_few_and_no_row_is_lost(settings: Settings) -> None:
    writer = LogWriter(settings)
    late = DAY - timedelta(days=70)

    for number in range(40):
        writer.append([event(f"e{number}"), event(f"late{number}", event_time=late)])

    snapshot = EventLog(settings.log_path).snapshot()
    assert len(snapshot.files) <= 2 * 3 * (FAN_IN - 1)
    assert [row["log_pos"] for row in log(settings)] == list(range(80))
    assert LogWriter(settings).append([event("e5"), event("late39", event_time=late)]).known == 2


def test_the_logs_own_log_holds_nothing_of_a_person(settings: Settings) -> None:
    writer = LogWriter(settings)
    for number in range(2 * FAN_IN):
        writer.append([event(f"id-{number}", customer_id="c-secret", ip="192.0.2.7")])

    said = b"".join(path.read_bytes() for path in (settings.log_path / "_delta_log").iterdir())
    assert b"c-secret" not in said
    assert b"192.0.2.7" not in said


def test_a_log_kept_by_another_process_is_a_store_that_does_not_answer(settings: Settings) -> None:
    writer = LogWriter(settings, lock_wait_s=0.05)

    with (
        FileLock(f"{settings.log_path}.lock"),
        pytest.raises(StoreUnavailable, match="Another process"),
    ):
        writer.append([event("a")])
    assert writer.append([event("a")]).rows == 1


def test_a_full_disk_is_a_store_that_does_not_answer_and_nothing_is_half_done(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(settings)
    writer.append([event("a")])
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", _raise(OSError(28, "No space left on device")))
        with pytest.raises(StoreUnavailable, match="No space left"):
            writer.append([event("b")])

    writer.append([event("b"), event("c")])

    assert ids(settings) == ["a", "b", "c"]


def test_an_event_that_cannot_be_written_harms_no_other(settings: Settings) -> None:
    writer = LogWriter(settings)

    with pytest.raises(UnicodeEncodeError):
        writer.append([event("good"), event("bad", url="\ud800")])

    assert writer.append([event("good")]).rows == 1


def test_the_index_forgets_events_that_are_removed(tmp_path: Path) -> None:
    index = LogIndex(tmp_path)
    index.add([b"a" * 20, b"b" * 20], ["e1", "e2"], Covered("log", 1, 0))

    index.remove([b"a" * 12], ["e1"], Covered("log", 1, 1))

    assert index.contents([b"a" * 12, b"b" * 12]) == {b"b" * 12: {b"b" * 8}}
    assert index.corrections() == ["e2"]
    assert b"a" * 12 not in b"".join(p.read_bytes() for p in tmp_path.iterdir())


def test_after_a_power_cut_the_index_is_not_believed(tmp_path: Path) -> None:
    index = LogIndex(tmp_path, boot="first")
    index.add([b"a" * 20], [], Covered("log", 0, 0))
    # Another process of the same start finds it as it is.
    assert LogIndex(tmp_path, boot="first").covered() == Covered("log", 0, 0)
    del index

    assert LogIndex(tmp_path, boot="second").covered() is None


def test_an_index_that_was_closed_by_its_last_user_is_believed_after_a_restart(
    tmp_path: Path,
) -> None:
    one, other = LogIndex(tmp_path, boot="first"), LogIndex(tmp_path, boot="first")
    one.add([b"a" * 20], [], Covered("log", 0, 0))
    one.close()
    other.close()

    assert LogIndex(tmp_path, boot="second").covered() == Covered("log", 0, 0)


def kill_when(step: str) -> Callable[[str], None]:
    def reached(now: str) -> None:
        if now == step:
            raise Killed

    return reached


def _raise(error: Exception) -> Callable[..., None]:
    def act(*_args: object) -> None:
        raise error

    return act
