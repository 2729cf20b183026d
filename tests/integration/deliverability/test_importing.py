"""Files of all sources into the readings, and complaints into the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_repo.deliverability.importing import Imported, import_readings
from feature_repo.deliverability.reading import parse_known_at
from feature_repo.deliverability.readings import Readings
from feature_repo.errors import ConfigError, UnusableInput
from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.settings import Settings
from infra.simulator.history import write_history
from infra.simulator.options import Options

pytestmark = pytest.mark.integration

FIXTURES = Path(__file__).parents[2] / "fixtures"
NOW = datetime(2026, 3, 6, 12, tzinfo=UTC)

CONFIG = """
targets: {click_7d: {event: clicked, horizon_days: 7, spine: sent}}
deliverability:
  sending_ips: {192.0.2.0/24: news.example}
  complaints: {verp: 'bounce\\+(?P<customer>[^@+]+)@'}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "own.yaml").write_text(CONFIG)
    return Settings(home=tmp_path / "home", config=tmp_path / "own.yaml")


@pytest.fixture
def con(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with duck.connect(settings) as opened:
        yield opened


def take(settings: Settings, form: str, *paths: Path, **more: Any) -> Imported:
    known_at = parse_known_at(more.pop("known_at", "now"), NOW)
    return import_readings(
        settings, paths, form, known_at=known_at, now=NOW, progress=lambda *_: None, **more
    )


def known(settings: Settings, con: duckdb.DuckDBPyConnection, at: datetime | None) -> pa.Table:
    return Readings(settings.deliverability_path / "readings").as_known(con, at)


def test_a_file_is_taken_in_once_and_its_rejects_are_kept(
    settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    first = take(settings, "seed_list", FIXTURES / "seeds" / "counts.csv")
    again = take(settings, "seed_list", FIXTURES / "seeds" / "counts.csv")

    assert (first.readings, first.added, first.pending) == (8, 8, 6)
    assert first.rejected == {"bad_number": 2, "bad_domain": 1, "broken_row": 1}
    assert (again.added, again.reject_file) == (0, first.reject_file)
    assert first.reject_file is not None
    told = [json.loads(line) for line in first.reject_file.read_text().splitlines()]
    assert told[0]["where"] == "counts.csv, row 4"
    assert known(settings, con, None).num_rows == 8


def test_history_is_known_when_it_is_declared(
    settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    take(settings, "seed_list", FIXTURES / "seeds" / "counts.csv", known_at="day+1d")

    assert known(settings, con, datetime(2026, 3, 3, 23, 59, tzinfo=UTC)).num_rows == 0
    assert known(settings, con, datetime(2026, 3, 4, tzinfo=UTC)).num_rows == 8


def test_a_folder_of_reports_is_taken_in_and_bad_ones_cost_only_themselves(
    settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    done = take(settings, "dmarc", FIXTURES / "dmarc" / "samples")

    assert done.rejected == {
        "not_aggregate": 9,
        "bad_domain": 1,
        "impossible_day": 1,
        "bad_report": 1,
    }
    assert done.added > 50
    assert take(settings, "dmarc", FIXTURES / "dmarc" / "samples").added == 0
    rows = known(settings, con, None)
    assert pc.all(pc.less_equal(rows["value"], rows["n"])).as_py()


def test_snds_files_go_by_the_declared_ips(
    settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    done = take(settings, "snds", FIXTURES / "snds" / "data.csv")

    assert (done.added, done.rejected["unmapped_ip"]) == (8, 2)
    assert pc.unique(known(settings, con, None)["sending_domain"]).to_pylist() == ["news.example"]


def test_complaints_are_readings_and_events_of_known_customers(
    settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    first = take(settings, "arf", FIXTURES / "arf")
    again = take(settings, "arf", FIXTURES / "arf")

    assert (first.readings, first.customers_known, first.events_added) == (3, 2, 2)
    assert first.rejected == {"not_arf": 2, "no_complaint": 1}
    assert (again.added, again.events_added) == (0, 0)
    assert pc.sum(known(settings, con, None)["value"]).as_py() == 5.0
    columns = ("customer_id", "type", "provider", "message_id", "event_time", "received_time")
    events = EventLog(settings.log_path).snapshot().as_known(con, NOW, columns).execute()
    assert sorted(events["customer_id"]) == ["c-17", "c-18"]
    assert set(events["type"]) == {"complained"}
    assert set(events["provider"]) == {"arf"}
    assert set(events["received_time"]) == {NOW}


def test_what_the_simulator_writes_comes_in_as_it_is(
    settings: Settings, con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    options = Options(customers=3_000, days=10, start=datetime(2026, 1, 5, tzinfo=UTC))
    write_history(options, tmp_path / "sim")
    seeds = take(settings, "seed_list", tmp_path / "sim" / "seed_list.csv", known_at="day+1d")
    google = take(settings, "postmaster", tmp_path / "sim" / "postmaster.json", known_at="day+2d")

    assert (seeds.rejected, google.rejected) == ({}, {})
    assert seeds.first_day == date(2026, 1, 5)
    assert seeds.pending > 0
    assert google.added > 0
    rows = known(settings, con, None)
    inbox = rows.filter(pc.is_in(rows["metric"], pa.array(["seed_inbox", "seed_tab"])))
    settled = rows.filter(pc.equal(rows["metric"], "seed_inbox"))
    assert pc.sum(inbox["value"]).as_py() / pc.sum(settled["n"]).as_py() > 0.8


@pytest.mark.parametrize(
    ("form", "content", "more", "error", "told"),
    [
        ("seedlist", "x", {}, ConfigError, "did you mean 'seed_list'"),
        ("postmaster", "x", {"mapping": "seed_list"}, ConfigError, "--mapping is for"),
        ("postmaster", "x", {}, UnusableInput, "not JSON"),
        ("seed_list", "a,b\n", {}, UnusableInput, "fit no mapping"),
        ("snds", "1.2.3.4,x", {}, UnusableInput, "nothing can be used"),
        ("arf", "hello", {}, UnusableInput, "message/feedback-report"),
    ],
)
def test_what_cannot_be_used_changes_nothing(
    settings: Settings,
    con: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    form: str,
    content: str,
    more: dict[str, Any],
    error: type[Exception],
    told: str,
) -> None:
    path = tmp_path / "file"
    path.write_text(content)

    with pytest.raises(error, match=told):
        take(settings, form, path, **more)
    assert known(settings, con, None).num_rows == 0


def test_one_unusable_file_keeps_the_others_out(
    settings: Settings, con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n")

    with pytest.raises(UnusableInput, match=r"bad\.csv: its columns"):
        take(settings, "seed_list", FIXTURES / "seeds" / "counts.csv", tmp_path / "bad.csv")
    assert known(settings, con, None).num_rows == 0


def test_a_file_that_is_not_there_is_told(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="nowhere is not there"):
        take(settings, "arf", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnusableInput, match="no file"):
        take(settings, "arf", tmp_path / "empty")
