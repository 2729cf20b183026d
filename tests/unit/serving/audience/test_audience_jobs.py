"""What becomes of a job: done, cancelled, failed, begun again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from serving.audience import work
from serving.audience.jobs import State, TooManyJobs
from serving.audience.work import Stopped
from tests.unit.serving.audience.conftest import Segment, ids
from tests.unit.serving.conftest import NOW, TARGET


def test_every_customer_has_a_row_in_order_and_a_bad_id_says_so(segment: Segment) -> None:
    job = segment.jobs.submit(
        TARGET, ids("ann", "", "nobody", None, "x" * 257, "bob", "ann"), send_at=None, by="crm"
    )

    done = segment.worker().work(job)

    rows = pq.read_table(segment.jobs.result(done)).to_pylist()
    assert done.state is State.DONE
    assert (done.customers, done.scored, done.unusable) == (7, 7, 3)
    assert [row["customer_id"] for row in rows] == [
        "ann", "", "nobody", None, "x" * 257, "bob", "ann",
    ]  # fmt: skip
    assert [row["score"] for row in rows] == [0.25, None, 0.05, None, None, 0.25, 0.25]
    assert [row["tier"] for row in rows] == ["high", None, "low", None, None, "high", "high"]
    assert [row["degraded"] for row in rows] == [
        None, None, "unknown_customer", None, None, None, None,
    ]  # fmt: skip
    assert [row["problem"] is None for row in rows] == [True, False, True, False, False, True, True]
    assert rows[0]["as_of"] == NOW - timedelta(hours=2)
    assert rows[0]["age_s"] == 7200.0
    assert done.tiers == {"high": 3, "low": 1}
    assert done.degraded == {"unknown_customer": 1}


def test_a_send_before_the_features_were_known_is_degraded(segment: Segment) -> None:
    segment.store.known_at["ann"] = NOW.timestamp()
    send_at = NOW - timedelta(days=2)

    job = segment.jobs.submit(TARGET, ids("ann"), send_at=send_at, by="crm")
    done = segment.worker().work(job)

    assert done.degraded == {"features_after_send_at": 1}


def test_a_store_that_says_nothing_of_its_age_is_stale(segment: Segment) -> None:
    segment.store.through = None

    done = segment.worker().work(segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm"))

    assert done.degraded == {"stale_features": 1}


def test_without_approved_tiers_there_are_none(segment: Segment) -> None:
    segment.policy = None

    done = segment.worker().work(segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm"))

    assert pq.read_table(segment.jobs.result(done))["tier"].to_pylist() == [None]


def test_a_store_that_is_away_for_a_moment_only_delays(segment: Segment) -> None:
    segment.reader.failures = 2

    done = segment.worker().work(segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm"))

    assert done.state is State.DONE
    assert segment.slept == [1.0, 1.0]


def test_a_store_that_stays_away_fails_the_job_with_its_reason(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_STORE_PATIENCE_S", -1.0)
    segment.reader.failures = 10_000

    done = segment.worker().work(segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm"))

    assert (done.state, done.problem) == (State.FAILED, "away")
    assert not segment.jobs.result(done).exists()


def test_a_job_that_waits_is_cancelled_at_once(segment: Segment) -> None:
    job = segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm")

    cancelled = segment.jobs.cancel(job.id)

    assert cancelled is not None
    assert cancelled.state is State.CANCELLED
    assert segment.jobs.next() is None


def test_a_job_that_runs_stops_after_its_chunk(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "ROWS", 2)
    job = segment.jobs.submit(TARGET, ids(*["ann"] * 10), send_at=None, by="crm")
    worker = segment.worker()
    read = segment.reader.read

    def read_then_cancel(customers: list[str]) -> object:
        segment.jobs.cancel(job.id)
        return read(customers)

    monkeypatch.setattr(segment.reader, "read", read_then_cancel)
    done = worker.work(job)

    assert done.state is State.CANCELLED
    assert done.scored == 2
    assert [p.name for p in segment.jobs.result(done).parent.glob("*scores*")] == []


def test_an_ended_job_is_deleted_by_cancelling_it(segment: Segment) -> None:
    done = segment.worker().work(segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm"))

    segment.jobs.cancel(done.id)

    assert segment.jobs.get(done.id) is None
    assert segment.jobs.cancel(done.id) is None


def test_a_runner_that_is_stopped_leaves_the_job_for_the_next_one(segment: Segment) -> None:
    job = segment.jobs.submit(TARGET, ids("ann", "bob"), send_at=None, by="crm")
    segment.stopping = lambda: True

    with pytest.raises(Stopped):
        segment.worker().work(job)

    left = segment.jobs.next()
    assert left is not None
    assert (left.id, left.state, left.attempts) == (job.id, State.QUEUED, 0)
    segment.stopping = lambda: False
    done = segment.worker().work(left)
    assert (done.state, done.scored, done.attempts) == (State.DONE, 2, 1)


def test_a_job_that_kills_its_runners_is_given_up(segment: Segment) -> None:
    job = segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm")
    for _ in range(3):
        job = segment.jobs.started(job, "1")

    done = segment.worker().work(job)

    assert done.state is State.FAILED
    assert "3 runners died over it" in str(done.problem)


def test_jobs_are_worked_off_in_the_order_they_came(segment: Segment) -> None:
    first = segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm")
    segment.clock.now += timedelta(seconds=1)
    second = segment.jobs.submit(TARGET, ids("bob"), send_at=None, by="crm")

    assert [job.id for job in segment.jobs.all()] == [second.id, first.id]
    assert (segment.jobs.next() or second).id == first.id


def test_more_jobs_than_may_wait_are_refused(segment: Segment) -> None:
    for _ in range(3):
        segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm")

    with pytest.raises(TooManyJobs, match="3 jobs wait or run"):
        segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm")


def test_old_jobs_are_forgotten(segment: Segment) -> None:
    done = segment.worker().work(segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm"))
    segment.clock.now += timedelta(days=8)
    waiting = segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm")

    assert segment.jobs.forget_old(timedelta(days=7)) == 1

    assert segment.jobs.get(done.id) is None
    assert segment.jobs.get(waiting.id) is not None


def test_a_job_cancelled_before_it_began_is_forgotten_too(segment: Segment) -> None:
    job = segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm")
    segment.jobs.cancel(job.id)
    segment.clock.now += timedelta(days=8)

    assert segment.jobs.forget_old(timedelta(days=7)) == 1
    assert segment.jobs.get(job.id) is None


def test_what_a_cut_off_submit_left_is_forgotten_after_an_hour(segment: Segment) -> None:
    draft = segment.root / ".5d41402abc4b2a76b9719d911017c592"
    draft.mkdir(parents=True)
    segment.clock.now = datetime.fromtimestamp(draft.stat().st_mtime, UTC) + timedelta(minutes=59)
    assert segment.jobs.forget_old(timedelta(days=7)) == 0
    segment.clock.now += timedelta(minutes=2)

    assert segment.jobs.forget_old(timedelta(days=7)) == 1
    assert not draft.exists()


def test_a_job_whose_ids_are_damaged_fails_and_the_next_one_is_worked_on(segment: Segment) -> None:
    job = segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm")
    (segment.root / job.id / "customers.parquet").write_bytes(b"PAR1 damaged PAR1")

    done = segment.worker().work(job)

    assert done.state is State.FAILED
    assert segment.jobs.next() is None


@pytest.mark.parametrize("job_id", ["", "..", "../../etc", "0" * 31, "G" * 32, "0" * 32])
def test_a_job_id_never_leads_anywhere_else(segment: Segment, job_id: str) -> None:
    assert segment.jobs.get(job_id) is None
    assert segment.jobs.cancel(job_id) is None


def test_a_damaged_job_is_no_job(segment: Segment) -> None:
    job = segment.jobs.submit(TARGET, ids("ann"), send_at=None, by="crm")
    (segment.root / job.id / "job.json").write_text("{")

    assert segment.jobs.get(job.id) is None
    assert segment.jobs.all() == []


def test_large_jobs_come_in_chunks(segment: Segment) -> None:
    job = segment.jobs.submit(TARGET, ids(*["ann"] * 25), send_at=None, by="crm")

    chunks = [len(chunk) for chunk in segment.jobs.customers(job, 10)]

    assert chunks == [10, 10, 5]
