"""What the store of readings promises: two times, nothing twice, nothing half, nothing lost."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.deliverability.readings import READINGS, Readings

pytestmark = pytest.mark.integration

DAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


@pytest.fixture
def readings(tmp_path: Path) -> Readings:
    return Readings(tmp_path / "deliverability" / "readings")


def rows(*told: tuple[float | None, datetime], part: str | None = None) -> pa.Table:
    """Versions of one reading: value and when it was known."""
    content = [
        {
            "source": "postmaster",
            "sending_domain": "news.example",
            "mailbox_provider": "google",
            "day": DAY,
            "metric": "gpt_spam_rate",
            "part": part,
            "value": value,
            "n": None,
            "received_time": at,
            "raw_ref": None,
        }
        for value, at in told
    ]
    return pa.Table.from_pylist(content, schema=READINGS)


def values(table: pa.Table) -> list[float | None]:
    return list(table["value"].to_pylist())


def test_an_empty_store_knows_nothing(readings: Readings, con: duckdb.DuckDBPyConnection) -> None:
    assert readings.as_known(con, None) == READINGS.empty_table()
    assert readings.all(con).num_rows == 0


def test_a_moment_knows_what_had_been_received_by_then_that_instant_included(
    readings: Readings, con: duckdb.DuckDBPyConnection
) -> None:
    later = NOON + timedelta(days=2)
    readings.append(rows((0.001, NOON)))
    readings.append(rows((0.004, later)))

    assert values(readings.as_known(con, NOON - timedelta(microseconds=1))) == []
    assert values(readings.as_known(con, NOON)) == [0.001]
    assert values(readings.as_known(con, later)) == [0.004]
    assert values(readings.as_known(con, None)) == [0.004]
    assert values(readings.all(con)) == [0.001, 0.004]


def test_history_that_arrives_late_does_not_replace_what_is_known_now(
    readings: Readings, con: duckdb.DuckDBPyConnection
) -> None:
    readings.append(rows((0.004, NOON)))
    readings.append(rows((0.001, NOON - timedelta(days=1))))

    assert values(readings.as_known(con, None)) == [0.004]
    assert values(readings.as_known(con, NOON - timedelta(hours=1))) == [0.001]


@pytest.mark.parametrize("part", [None, "dkim"])
@pytest.mark.parametrize("value", [None, 0.25])
def test_what_is_known_already_is_not_written_again(
    readings: Readings, con: duckdb.DuckDBPyConnection, part: str | None, value: float | None
) -> None:
    assert readings.append(rows((value, NOON), part=part)) == 1
    assert readings.append(rows((value, NOON), part=part)) == 0
    assert readings.append(rows((value, NOON + timedelta(days=1)), part=part)) == 0
    assert readings.all(con).num_rows == 1


def test_a_reading_can_be_taken_back_and_said_again(
    readings: Readings, con: duckdb.DuckDBPyConnection
) -> None:
    moments = [NOON + timedelta(days=number) for number in range(3)]

    assert readings.append(rows(*zip([0.1, None, 0.1], moments, strict=True))) == 3
    assert [values(readings.as_known(con, at)) for at in moments] == [[0.1], [None], [0.1]]


def test_of_one_moment_the_later_append_and_the_lower_row_win(
    readings: Readings, con: duckdb.DuckDBPyConnection
) -> None:
    readings.append(rows((0.1, NOON), (0.2, NOON)))
    assert values(readings.as_known(con, None)) == [0.2]
    assert readings.append(rows((0.1, NOON), (0.2, NOON))) == 0

    readings.append(rows((0.3, NOON)))
    assert values(readings.as_known(con, None)) == [0.3]


def test_other_parts_are_other_readings(readings: Readings, con: duckdb.DuckDBPyConnection) -> None:
    for part in ("spf", "dkim", None):
        readings.append(rows((1.0, NOON), part=part))

    assert readings.as_known(con, None)["part"].to_pylist() == ["dkim", "spf", None]


@pytest.mark.parametrize(
    ("column", "wrong"),
    [("value", float("nan")), ("value", float("inf")), ("sending_domain", None)],
)
def test_a_row_that_says_nothing_is_refused_and_the_rest_with_it(
    readings: Readings, con: duckdb.DuckDBPyConnection, column: str, wrong: object
) -> None:
    bad = rows((0.1, NOON), (0.2, NOON + timedelta(days=1))).to_pylist()
    bad[1][column] = wrong
    loose = pa.schema([field.with_nullable(True) for field in READINGS])

    with pytest.raises(ValueError, match=column):
        readings.append(pa.Table.from_pylist(bad, schema=loose))
    assert readings.all(con).num_rows == 0


def test_a_time_without_zone_is_refused(readings: Readings, con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match="zone"):
        readings.as_known(con, NOON.replace(tzinfo=None))


def test_many_small_appends_end_in_few_files(
    tmp_path: Path, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_repo.deliverability.readings._MANY_FILES", 4)
    readings = Readings(tmp_path / "readings")
    told = [float(number) for number in range(6)]
    for value in told:
        readings.append(rows((value, NOON + timedelta(hours=value))))

    assert values(readings.all(con)) == told
    assert len(readings._files()) < 4


def _append_own(folder: Path, writer: int) -> None:
    for number in range(5):
        at = NOON + timedelta(minutes=number)
        Readings(folder).append(rows((float(number), at), part=f"writer {writer}"))


def test_processes_that_append_at_once_lose_nothing(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_append_own, args=(tmp_path / "r", n)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)

    assert [process.exitcode for process in processes] == [0, 0]
    assert Readings(tmp_path / "r").all(con).num_rows == 10


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 2)), max_size=4),
        max_size=4,
    )
)
def test_what_is_known_is_the_last_thing_said_at_any_moment(
    batches: list[list[tuple[str, int | None]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    readings = Readings(tmp_path_factory.mktemp("readings"))
    said: list[tuple[datetime, dict[str, float | None]]] = [(NOON - timedelta(days=1), {})]
    for number, batch in enumerate(batches):
        at = NOON + timedelta(days=number)
        told = {part: None if value is None else float(value) for part, value in batch}
        said.append((at, {**said[-1][1], **told}))
        tables = [rows((told[part], at), part=part) for part, _ in batch]
        readings.append(pa.concat_tables([READINGS.empty_table(), *tables]))

    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        for at, expected in said:
            known = readings.as_known(con, at)
            found = dict(zip(known["part"].to_pylist(), values(known), strict=True))
            assert found == expected
