"""The prediction log: exactly what was answered, whole files, bounded loss."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.settings import Settings
from serving.asks import AskedCustomer
from serving.metrics import Metrics
from serving.prediction_log import PredictionBatch, prediction_files, read_predictions
from serving.prediction_writer import PredictionWriter
from tests.unit.serving.conftest import NOW, TARGET, World, ask


def batch(*customers: str, at: datetime = NOW, version: str = "1") -> PredictionBatch:
    rows = len(customers)
    return PredictionBatch(
        scored_at=at,
        target=TARGET,
        model_version=version,
        feature_service="send_score_v1",
        feature_names=("opens_30d", "country"),
        text_names=("country",),
        customers=[AskedCustomer(customer) for customer in customers],
        request_ids=["r-1"] * rows,
        send_at=np.full(rows, at.timestamp()),
        scores=np.full(rows, 0.5),
        as_of=np.full(rows, np.nan),
        degraded=[None] * rows,
        features=np.array([[1.0, np.nan]] * rows),
        texts=(np.array(["FR"] * rows, dtype=object),),
        modelled=np.ones(rows, dtype=np.bool_),
    )


def writer_of(folder: Path, metrics: Metrics, *, queue_rows: int = 100) -> PredictionWriter:
    return PredictionWriter(folder, metrics, flush_s=3600, flush_rows=10**9, queue_rows=queue_rows)


def value(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value(name) or 0.0


def test_a_clean_stop_leaves_every_answer_in_the_log(world: World) -> None:
    with world.client() as client:
        body = ask("ann", "nobody")
        body["customers"][0] |= {"campaign_id": "winter", "message_id": "m-1"}
        answer = client.post("/v1/score", json=body).json()
        world.store.down = "gone"
        client.post("/v1/score", json=ask("ann"))

    settings = Settings(home=world.folder)
    rows = read_predictions(settings, TARGET, NOW, NOW + timedelta(seconds=1)).to_pylist()
    assert len(rows) == 3
    first = rows[0]
    assert first["request_id"] == answer["request_id"]
    assert first["score"] == 0.25
    assert (first["campaign_id"], first["message_id"]) == ("winter", "m-1")
    assert first["as_of"] == datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert first["age_s"] == 7200.0
    assert (first["opens_30d"], first["country"], first["degraded"]) == (3.0, "FR", None)
    assert math.isnan(first["hours_since_last_open"])
    causes = {row["degraded"] for row in rows[1:]}
    assert causes == {"unknown_customer", "store_unavailable"}
    assert [row["opens_30d"] for row in rows[1:]] == [None, None]


def test_files_are_by_day_target_and_model_and_name_their_features_once(tmp_path: Path) -> None:
    writer = writer_of(tmp_path / "predictions", Metrics())
    writer.start()
    midnight = datetime(2026, 11, 25, tzinfo=UTC)
    writer.add(batch("a", at=midnight - timedelta(microseconds=1)))
    writer.add(batch("b", at=midnight))
    writer.add(batch("c", "d", at=midnight))
    writer.add(batch("e", at=midnight, version="2"))
    writer.stop()

    settings = Settings(home=tmp_path)
    files = prediction_files(settings, NOW, midnight + timedelta(days=1))
    assert [path.parent.name for path in files] == [
        "date=2026-11-24",
        "date=2026-11-25",
        "date=2026-11-25",
    ]
    assert sorted(pq.read_metadata(path).num_rows for path in files) == [1, 1, 3]
    assert b"opens_30d" in pq.read_schema(files[0]).metadata[b"foresend"]
    assert not list(tmp_path.glob("**/.*.new"))


def test_reading_takes_the_start_and_leaves_the_end(tmp_path: Path) -> None:
    writer = writer_of(tmp_path / "predictions", Metrics())
    writer.start()
    writer.add(batch("a"))
    writer.stop()
    settings = Settings(home=tmp_path)

    inside = read_predictions(settings, TARGET, NOW, NOW + timedelta(seconds=1))
    before = read_predictions(settings, TARGET, NOW - timedelta(days=1), NOW)
    other = read_predictions(settings, "click_7d", NOW, NOW + timedelta(days=1))

    assert (inside.num_rows, before.num_rows, other.num_rows) == (1, 0, 0)


def test_models_with_other_features_are_read_together(tmp_path: Path) -> None:
    writer = writer_of(tmp_path / "predictions", Metrics())
    writer.start()
    writer.add(batch("a"))
    fresh = batch("b", version="2")
    names = {name: getattr(fresh, name) for name in fresh.__slots__}
    writer.add(PredictionBatch(**{**names, "feature_names": ("clicks_30d", "country")}))
    writer.stop()

    rows = read_predictions(
        Settings(home=tmp_path), TARGET, NOW, NOW + timedelta(days=1)
    ).to_pylist()
    assert {(row["opens_30d"], row["clicks_30d"]) for row in rows} == {(1.0, None), (None, 1.0)}


def test_a_full_queue_drops_whole_requests_and_counts_rows(tmp_path: Path) -> None:
    metrics = Metrics()
    writer = writer_of(tmp_path, metrics, queue_rows=3)

    assert writer.add(batch("a", "b"))
    assert not writer.add(batch("c", "d"))
    assert writer.add(batch("e"))
    assert value(metrics, "foresend_prediction_log_dropped_rows_total") == 2.0
    assert value(metrics, "foresend_prediction_log_queue_rows") == 3.0


def test_rows_wait_for_a_disk_that_refuses_and_are_written_once(tmp_path: Path) -> None:
    metrics = Metrics()
    blocked = tmp_path / "predictions"
    blocked.write_text("a file where the folder should be")
    writer = writer_of(blocked, metrics)
    writer.add(batch("a"))

    writer.flush()
    assert value(metrics, "foresend_prediction_log_write_failures_total") == 1.0
    blocked.unlink()
    writer.start()
    writer.stop()

    assert value(metrics, "foresend_prediction_log_written_rows_total") == 1.0
    assert value(metrics, "foresend_prediction_log_dropped_rows_total") == 0.0
    assert len(list(blocked.glob("date=*/part-*.parquet"))) == 1


def test_what_cannot_be_written_at_the_stop_is_counted_as_lost(tmp_path: Path) -> None:
    metrics = Metrics()
    blocked = tmp_path / "predictions"
    blocked.write_text("")
    writer = writer_of(blocked, metrics)
    writer.start()
    writer.add(batch("a", "b"))
    writer.stop()

    assert value(metrics, "foresend_prediction_log_dropped_rows_total") == 2.0
    assert not writer.add(batch("c"))


def test_a_full_disk_does_not_stop_the_scoring(world: World) -> None:
    world.predictions.write_text("")
    with world.client() as client:
        answer = client.post("/v1/score", json=ask("ann"))

    assert answer.status_code == 200


@pytest.mark.parametrize("days", [0, 1])
def test_a_read_of_nothing_has_the_columns_of_an_answer(tmp_path: Path, days: int) -> None:
    table = read_predictions(Settings(home=tmp_path), TARGET, NOW, NOW + timedelta(days=days))

    assert table.num_rows == 0
    assert "score" in table.column_names
