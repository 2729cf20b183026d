"""What a backfill promises: told before, once, and the past stays as it was known."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_repo.event import Event, EventType, Machine, Op
from feature_repo.history import duck
from feature_repo.history.backfill import STEP, Backfilled, backfill
from feature_repo.history.backfill_sources import FileSource, RawSource
from feature_repo.history.build import build
from feature_repo.history.log import EventLog
from feature_repo.history.log_writer import LogWriter, silent
from feature_repo.history.schema import LOG
from feature_repo.ingest import parse
from feature_repo.ingest.known_at import parse_known_at
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.settings import IngestSettings
from feature_repo.settings import Settings

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)

DAY = datetime(2024, 3, 4, tzinfo=UTC)
NOW = DAY + timedelta(days=30)
LATER = NOW + timedelta(days=30)

Rows = list[dict[str, Any]]


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", duckdb_threads=1)


def order(event_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "type": "purchased",
        "customer_id": "c1",
        "event_time": DAY.isoformat(),
        "amount": 5.0,
        "currency": "EUR",
        **changes,
    }


def event(row: dict[str, Any]) -> Event:
    typed = {
        **row,
        "type": EventType(row["type"]),
        "op": Op(row.get("op", "upsert")),
        "event_time": datetime.fromisoformat(row["event_time"]),
        "received_time": DAY + timedelta(hours=1),
    }
    return Event(**typed)


def file(tmp_path: Path, *rows: dict[str, Any]) -> FileSource:
    path = tmp_path / "orders.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return FileSource(files=[path])


def run(settings: Settings, source: FileSource | RawSource, **options: Any) -> Backfilled:
    return backfill(settings, source, **{"clock": lambda: NOW, "rebuild": False, **options})


def rows(settings: Settings, known_at: datetime | None = None) -> Rows:
    with duck.connect(settings) as con:
        snapshot = EventLog(settings.log_path).snapshot()
        table = (
            snapshot.rows(con)
            if known_at is None
            else snapshot.as_known(con, known_at, [n for n in LOG.names if n != "event_month"])
        )
        batches = duck.stream(con, table.order_by("log_pos"))
        return [row for batch in batches for row in batch.to_pylist()]


def test_a_dry_run_says_what_the_real_run_does_and_changes_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    LogWriter(settings).append([event(order(name)) for name in ("same", "wrong", "gone", "out")])
    LogWriter(settings).append([event(order("out", op="retract"))])
    before = rows(settings)
    source = file(
        tmp_path,
        order("same"),
        order("wrong", amount=7.5, customer_id="c2"),
        order("gone", op="retract"),
        order("out", amount=9.0),
        order("fresh", event_time=(DAY + timedelta(days=2)).isoformat()),
        order("bad", amount=-1.0),
    )

    told = run(settings, source, dry_run=True)

    assert rows(settings) == before
    found = told.comparison
    assert (found.new, found.corrected, found.retracted) == (1, 1, 1)
    assert (found.unchanged, found.withdrawn, told.rejected) == (1, 1, {"bad_amount": 1})
    assert found.fields == {"amount": 1, "customer_id": 1}
    assert found.examples == {"amount": [("5.0", "7.5")]}
    assert (found.customers, found.first_event) == (2, DAY)
    assert (told.appended, told.built) == (0, None)
    done = run(settings, source)
    assert (done.comparison, done.appended) == (found, 3)


def test_a_second_run_appends_nothing_and_leaves_the_same_bytes(
    settings: Settings, tmp_path: Path
) -> None:
    LogWriter(settings).append([event(order("a"))])
    source = file(tmp_path, order("a", amount=6.0), order("b"))
    run(settings, source)
    before = {p: p.read_bytes() for p in settings.log_path.rglob("*") if p.is_file()}

    again = run(settings, source, clock=lambda: LATER)

    assert (again.appended, again.comparison.unchanged) == (0, 2)
    assert before == {p: p.read_bytes() for p in settings.log_path.rglob("*") if p.is_file()}


def test_what_was_known_before_stays_and_corrections_are_known_from_now(
    settings: Settings, tmp_path: Path
) -> None:
    LogWriter(settings).append([event(order("a")), event(order("b"))])
    moments = [DAY + timedelta(hours=1), NOW - timedelta(microseconds=1)]
    before = [rows(settings, at) for at in moments]

    run(settings, file(tmp_path, order("a", amount=6.0), order("b", op="retract"), order("c")))

    assert [rows(settings, at) for at in moments] == before
    assert [(r["event_id"], r["amount"]) for r in rows(settings, NOW)] == [("a", 6.0), ("c", 5.0)]


def test_a_declared_time_holds_for_new_events_and_not_for_corrections(
    settings: Settings, tmp_path: Path
) -> None:
    LogWriter(settings).append([event(order("a"))])
    stated = file(tmp_path, order("a", amount=6.0), order("new"))

    source = FileSource(files=stated.files, known_at=parse_known_at("event_time+2h"))
    run(settings, source)

    appended = {row["event_id"]: row for row in rows(settings)[1:]}
    assert appended["a"]["received_time"] == NOW
    assert appended["new"]["received_time"] == DAY + timedelta(hours=2)
    assert (appended["a"]["backfilled"], appended["new"]["backfilled"]) == (False, True)


def test_killed_between_two_chunks_the_next_run_does_the_rest(
    settings: Settings, tmp_path: Path
) -> None:
    source = file(tmp_path, *(order(f"e{n}") for n in range(10)))

    def kill(step: str, done: int, total: int | None) -> None:
        if step == STEP and done == 8:
            raise Killed

    with pytest.raises(Killed):
        run(settings, source, chunk_rows=4, progress=kill)
    assert len(rows(settings)) == 8

    done = run(settings, source, chunk_rows=4)
    assert (done.appended, done.comparison.unchanged) == (2, 8)
    assert [row["event_id"] for row in rows(settings)] == [f"e{n}" for n in range(10)]


def test_the_features_follow(settings: Settings, tmp_path: Path) -> None:
    LogWriter(settings).append([event(order("a"))])
    build(settings, through=NOW)

    done = run(settings, file(tmp_path, order("a", customer_id="c9")), rebuild=True)

    assert done.built is not None
    assert done.built.customers_touched == 2
    assert done.built.watermark == 1


# From the raw store


def click(number: int, **changes: Any) -> dict[str, Any]:
    at = int((DAY + timedelta(minutes=number)).timestamp())
    return {
        "event": "click",
        "sg_event_id": f"id{number}",
        "email": f"p{number}@mail.example",
        "timestamp": at,
        "customer_id": f"c{number}",
        "category": "spring",
        "url": "https://shop.example/",
        "useragent": "Mozilla/5.0",
        **changes,
    }


def land(settings: Settings, *items: dict[str, Any], at: datetime = DAY) -> None:
    store = RawStore(settings.raw_path)
    body = json.dumps(items).encode()
    record = RawRecord(
        provider="sendgrid", received_time=at + timedelta(hours=1), headers=(), body=body
    )
    store.append(record)
    store.close()
    store.abandon()


def archive(settings: Settings) -> None:
    """What the mapper and the archive did with the raw store."""
    writer, store = LogWriter(settings), RawStore(settings.raw_path)
    for _, record in store.records():
        found = parse(
            "sendgrid",
            record.body,
            {},
            IngestSettings(),
            received_time=record.received_time,
            raw_ref=record.ref,
            verified=True,
        )
        writer.append([one for one in found if isinstance(one, Event)])
    store.close()


@pytest.fixture
def raw() -> RawSource:
    return RawSource(ingest=IngestSettings())


@pytest.fixture
def change_mapping(settings: Settings) -> Callable[[str, str], None]:
    """Give the installation a newer version of SendGrid's mapping."""
    shipped = Path(parse.__code__.co_filename).parent / "mappings" / "sendgrid.yaml"

    def change(before: str, after: str) -> None:
        text = shipped.read_text()
        assert before in text
        settings.mappings_path.mkdir(parents=True)
        own = text.replace("version: 1", "version: 2").replace(before, after)
        (settings.mappings_path / "sendgrid@2.yaml").write_text(own)

    return change


def test_the_raw_store_mapped_as_before_changes_nothing(settings: Settings, raw: RawSource) -> None:
    land(settings, click(1), click(2))
    archive(settings)

    done = run(settings, raw)

    assert (done.appended, done.comparison.unchanged) == (0, 2)


def test_a_newer_mapping_corrects_what_the_older_one_made(
    settings: Settings, raw: RawSource, change_mapping: Callable[[str, str], None]
) -> None:
    land(settings, click(1), click(2, category=None))
    archive(settings)
    change_mapping("{first: category}]", "{first: category}, {const: none}]")

    told = run(settings, raw, dry_run=True)
    done = run(settings, raw)

    assert told.comparison.examples["campaign_id"] == [("-", "none")]
    assert (done.comparison.corrected, done.comparison.unchanged, done.appended) == (1, 1, 1)
    assert rows(settings)[-1]["mapping_version"] == "sendgrid@2"
    assert run(settings, raw).appended == 0


def test_the_last_of_several_statements_in_the_raw_store_counts(
    settings: Settings, raw: RawSource, change_mapping: Callable[[str, str], None]
) -> None:
    land(settings, click(1, url="https://shop.example/a"))
    land(settings, click(1, url="https://shop.example/b"), at=DAY + timedelta(days=1))
    archive(settings)
    change_mapping("{first: category}]", "{const: all}]")

    done = run(settings, raw)

    assert done.appended == 1
    assert rows(settings, NOW)[0]["url"] == "https://shop.example/b"
    assert run(settings, raw).appended == 0


def test_what_others_corrected_or_withdrew_is_left_alone(
    settings: Settings, raw: RawSource, change_mapping: Callable[[str, str], None]
) -> None:
    land(settings, click(1), click(2), click(3))
    archive(settings)
    by_id = {row["event_id"]: row for row in rows(settings)}
    imported, withdrawn, labelled = (
        {n: v for n, v in by_id[f"sendgrid:id{k}"].items() if n in Event.__slots__}
        for k in (1, 2, 3)
    )
    words = {"type": EventType.CLICKED, "op": Op.UPSERT, "machine": Machine.NONE}
    scanner = {"machine": Machine.SCANNER, "machine_source": "link_burst", "machine_score": 0.9}
    LogWriter(settings).append(
        [
            Event(**{**imported, **words, "raw_ref": "fixed.csv#7", "campaign_id": "right"}),
            Event(**{**withdrawn, **words, "op": Op.RETRACT}),
            Event(**{**labelled, **words, **scanner}),
        ]
    )
    change_mapping("{first: category}]", "{const: all}]")

    done = run(settings, raw, contextual=("link_burst",))

    found = done.comparison
    assert (found.overruled, found.withdrawn, found.corrected) == (1, 1, 1)
    now = {row["event_id"]: row for row in rows(settings, NOW)}
    assert now["sendgrid:id1"]["campaign_id"] == "right"
    assert "sendgrid:id2" not in now
    assert (now["sendgrid:id3"]["campaign_id"], now["sendgrid:id3"]["machine"]) == (
        "all",
        "scanner",
    )


def test_since_and_until_choose_records_by_when_they_came(
    settings: Settings, raw: RawSource
) -> None:
    for day in range(4):
        land(settings, click(day), at=DAY + timedelta(days=day))

    part = RawSource(
        ingest=IngestSettings(), since=DAY + timedelta(days=1), until=DAY + timedelta(days=3)
    )
    assert run(settings, part, dry_run=True).comparison.new == 2
    soon = run(settings, raw, dry_run=True, clock=lambda: DAY + timedelta(days=3, hours=1))
    assert soon.comparison.new == 3, "what came just now is still under way"


def test_events_that_fit_no_mapping_are_counted(settings: Settings, raw: RawSource) -> None:
    land(settings, click(1, timestamp="soon"), click(2))

    done = run(settings, raw)

    assert (done.appended, sum(done.rejected.values())) == (1, 1)


def test_a_log_that_was_lost_comes_back_with_its_own_times(settings: Settings) -> None:
    land(settings, click(1), click(2))
    source = RawSource(ingest=IngestSettings(), known_at=parse_known_at("received_time"))

    backfill(settings, source, clock=lambda: NOW, rebuild=False, progress=silent)

    assert {row["received_time"] for row in rows(settings)} == {DAY + timedelta(hours=1)}
