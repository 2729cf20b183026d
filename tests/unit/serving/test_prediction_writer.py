"""The writing side of the prediction log: what it may lose, and that it says so."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.settings import Settings
from serving import prediction_writer
from serving.asks import AskedCustomer
from serving.metrics import Metrics
from serving.prediction_log import PredictionBatch, Role, read_predictions, write_batches
from serving.prediction_writer import PredictionWriter
from tests.unit.serving.conftest import NOW, TARGET
from tests.unit.serving.test_prediction_log import batch, value, writer_of


def changed(one: PredictionBatch, **more: object) -> PredictionBatch:
    held = {name: getattr(one, name) for name in one.__slots__}
    return PredictionBatch(**{**held, **more})


def customers_in(folder: Path, **more: object) -> list[str]:
    settings = Settings(home=folder)
    end = NOW + timedelta(days=1)
    table = read_predictions(settings, TARGET, NOW, end, **more)  # type: ignore[arg-type]
    return sorted(table["customer_id"].to_pylist())


def test_roles_are_read_apart(tmp_path: Path) -> None:
    folder = Settings(home=tmp_path).predictions_path
    roles = {"ann": Role.CHAMPION, "bob": Role.CANARY, "cid": Role.SHADOW}
    write_batches(folder, [changed(batch(c), role=role) for c, role in roles.items()])

    assert customers_in(tmp_path) == ["ann", "bob"]
    assert customers_in(tmp_path, roles=("shadow",)) == ["cid"]
    assert customers_in(tmp_path, roles=tuple(Role)) == ["ann", "bob", "cid"]


def test_rows_of_before_there_were_roles_are_the_champion_s(tmp_path: Path) -> None:
    folder = Settings(home=tmp_path).predictions_path
    path = write_batches(folder, [batch("ann")])
    older = pq.read_table(path, partitioning=None).drop_columns(["role"])
    pq.write_table(older, path)

    assert customers_in(tmp_path, roles=("champion",)) == ["ann"]
    assert customers_in(tmp_path, roles=("canary",)) == []


def test_micro_batches_become_one_file_with_each_row_s_own_values(tmp_path: Path) -> None:
    many = [
        changed(
            batch(f"a-{i}", f"b-{i}"),
            request_ids=[f"r-{i}", f"s-{i}"],
            scores=np.array([i / 10_000, 0.5]),
            features=np.array([[float(i), 7.0], [-float(i), 8.0]]),
            texts=(np.array(["FR", None], dtype=object),),
            modelled=np.array([True, i % 2 == 0]),
            tiers=None if i % 3 else ["low", "high"],
        )
        for i in range(1500)
    ]

    write_batches(tmp_path / "predictions", many)

    table = read_predictions(Settings(home=tmp_path), TARGET, NOW, NOW + timedelta(days=1))
    rows = {row["customer_id"]: row for row in table.to_pylist()}
    assert len(rows) == 3000
    for i in (0, 1, 499, 500, 501, 1499):
        first, second = rows[f"a-{i}"], rows[f"b-{i}"]
        assert (first["request_id"], first["score"]) == (f"r-{i}", i / 10_000)
        assert (first["opens_30d"], first["country"]) == (float(i), "FR")
        assert second["opens_30d"] == (None if i % 2 else -float(i))
        assert second["tier"] == (None if i % 3 else "high")


def test_a_batch_that_cannot_be_written_takes_no_other_with_it(tmp_path: Path) -> None:
    metrics = Metrics()
    writer = writer_of(tmp_path / "predictions", metrics)
    for i in range(9):
        writer.add(batch(f"c-{i}"))
    writer.add(changed(batch("bad", "too"), customers=[AskedCustomer("\ud800")] * 2))
    for i in range(9, 20):
        writer.add(batch(f"c-{i}"))
    writer.start()
    writer.stop()

    assert customers_in(tmp_path) == sorted(f"c-{i}" for i in range(20))
    assert value(metrics, "foresend_prediction_log_dropped_rows_total") == 2.0
    assert value(metrics, "foresend_prediction_log_written_rows_total") == 20.0
    assert value(metrics, "foresend_prediction_log_queue_rows") == 0.0


@pytest.mark.parametrize(
    "problem", [MemoryError, TypeError, RuntimeError, KeyError, AssertionError]
)
def test_whatever_breaks_one_file_is_counted_and_the_next_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: type[Exception]
) -> None:
    metrics = Metrics()
    writer = writer_of(tmp_path / "predictions", metrics)
    writer.add(batch("ann"))
    writer.add(batch("bad", "too", version="2"))
    writer.add(batch("bob"))

    def write(folder: Path, batches: Sequence[PredictionBatch]) -> Path:
        if batches[0].model_version == "2":
            raise problem
        return write_batches(folder, batches)

    monkeypatch.setattr(prediction_writer, "write_batches", write)

    writer.start()
    writer.stop()

    assert customers_in(tmp_path) == ["ann", "bob"]
    assert value(metrics, "foresend_prediction_log_dropped_rows_total") == 2.0
    assert value(metrics, "foresend_prediction_log_written_rows_total") == 2.0
    assert value(metrics, "foresend_prediction_log_queue_rows") == 0.0
    assert writer.problem is None


def test_too_many_rows_for_the_memory_are_written_in_smaller_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    writer = writer_of(tmp_path / "predictions", metrics)
    for i in range(7):
        writer.add(batch(f"c-{i}"))

    def write(folder: Path, batches: Sequence[PredictionBatch]) -> Path:
        if len(batches) > 2:
            raise MemoryError
        return write_batches(folder, batches)

    monkeypatch.setattr(prediction_writer, "write_batches", write)

    assert writer.flush()
    assert customers_in(tmp_path) == [f"c-{i}" for i in range(7)]
    assert value(metrics, "foresend_prediction_log_dropped_rows_total") == 0.0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_ends_before_its_time_says_so_and_counts_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    writer = writer_of(tmp_path / "predictions", metrics)
    assert value(metrics, "foresend_prediction_log_writing") == 1.0

    def end(folder: Path, batches: Sequence[PredictionBatch]) -> Path:
        raise SystemExit

    monkeypatch.setattr(prediction_writer, "write_batches", end)
    monkeypatch.setattr(writer, "_flush_rows", 1)
    writer.start()
    writer.add(batch("ann", "bob"))
    writer._thread.join(10.0)

    assert not writer._thread.is_alive()
    assert not writer.add(batch("cid"))
    assert "has ended" in str(writer.problem)
    assert value(metrics, "foresend_prediction_log_dropped_rows_total") == 3.0
    assert value(metrics, "foresend_prediction_log_queue_rows") == 0.0
    assert value(metrics, "foresend_prediction_log_writing") == 0.0
    writer.stop()
    assert value(metrics, "foresend_prediction_log_dropped_rows_total") == 3.0


def test_a_disk_that_fills_up_while_writing_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    writer = writer_of(tmp_path / "predictions", metrics)
    writer.add(batch("ann"))
    writer.add(batch("bob", version="2"))
    full = True

    def write(folder: Path, batches: Sequence[PredictionBatch]) -> Path:
        if full and batches[0].model_version == "1":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_batches(folder, batches)

    monkeypatch.setattr(prediction_writer, "write_batches", write)

    assert not writer.flush()
    assert customers_in(tmp_path) == ["bob"]
    assert value(metrics, "foresend_prediction_log_queue_rows") == 1.0
    full = False
    assert writer.flush()
    assert writer.flush()
    assert customers_in(tmp_path) == ["ann", "bob"]
    assert value(metrics, "foresend_prediction_log_write_failures_total") == 1.0
    assert not list(tmp_path.glob("**/.*.new"))


def test_what_waits_for_the_disk_stays_in_order_and_counts_against_the_room(
    tmp_path: Path,
) -> None:
    metrics = Metrics()
    blocked = tmp_path / "predictions"
    blocked.write_text("a file where the folder should be")
    writer = writer_of(blocked, metrics, queue_rows=3)
    writer.add(batch("a"))
    writer.add(batch("b"))

    assert not writer.flush()
    assert writer.add(batch("c"))
    assert not writer.add(batch("d"))
    assert [one.customers[0].customer_id for one in writer._waiting] == ["a", "b", "c"]
    assert value(metrics, "foresend_prediction_log_dropped_rows_total") == 1.0


def test_enough_rows_wake_the_writer_before_its_time(tmp_path: Path) -> None:
    metrics = Metrics()
    writer = PredictionWriter(
        tmp_path / "predictions", metrics, flush_s=3600, flush_rows=3, queue_rows=100
    )
    writer.start()
    writer.add(batch("a", "b"))
    writer.add(batch("c"))
    waited = threading.Event()
    for _ in range(1000):
        if value(metrics, "foresend_prediction_log_written_rows_total") == 3.0:
            break
        waited.wait(0.01)

    assert value(metrics, "foresend_prediction_log_written_rows_total") == 3.0
    writer.stop()


def test_rows_that_many_threads_add_are_all_written_or_counted(tmp_path: Path) -> None:
    metrics = Metrics()
    writer = PredictionWriter(
        tmp_path / "predictions", metrics, flush_s=0.001, flush_rows=10, queue_rows=200
    )
    writer.start()

    def add(name: str) -> None:
        for i in range(200):
            writer.add(batch(f"{name}-{i}"))

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.stop()

    written = value(metrics, "foresend_prediction_log_written_rows_total")
    dropped = value(metrics, "foresend_prediction_log_dropped_rows_total")
    assert written + dropped == 800.0
    assert len(set(customers_in(tmp_path))) == written


def test_writing_imports_no_pandas(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; "
        "from serving.prediction_log import write_batches; "
        "from tests.unit.serving.test_prediction_log import batch; "
        f"write_batches(Path({str(tmp_path)!r}), [batch('ann')]); "
        "print('pandas' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )

    assert done.stdout.strip() == "False"
