"""From the raw store to the queue: everything once or more, nothing lost, nothing held up."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from feature_repo.ingest.raw.record import RawRecord
from tests.unit.feature_repo.ingest.edge.conftest import AT, Ingest

MakeIngest = Callable[..., Ingest]


def land(ingest: Ingest, *bodies: bytes) -> None:
    for body in bodies:
        ingest.store.append(RawRecord(provider="sendgrid", received_time=AT, headers=(), body=body))


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("never")


def test_events_of_several_records_travel_in_one_message(ingest: Ingest) -> None:
    land(ingest, b'["a", "b"]', b'["c"]')

    ingest.map_all()

    assert ingest.queue.words() == ["a", "b", "c"]
    assert len(ingest.queue.bodies) == 1


def test_what_does_not_fit_goes_to_quarantine_and_the_rest_of_its_body_does_not(
    ingest: Ingest,
) -> None:
    land(ingest, b'["a", "odd", "b"]')

    ingest.map_all()

    assert ingest.queue.words() == ["a", "b"]
    (kept,) = ingest.quarantine.kept
    assert (kept.reason, kept.index) == ("odd", 1)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'"unreadable"', "unreadable_body"),
        (b'"mistake"', "mapping_broke"),
        (b'"stranger"', "unknown_provider"),
    ],
)
def test_a_body_that_cannot_be_mapped_is_kept_whole_and_holds_nothing_up(
    ingest: Ingest, body: bytes, reason: str
) -> None:
    land(ingest, body, b'["a"]')

    ingest.map_all()

    assert ingest.queue.words() == ["a"]
    (kept,) = ingest.quarantine.kept
    assert (kept.reason, kept.payload) == (reason, body)
    assert kept.raw_ref is not None
    assert ingest.store.read(kept.raw_ref).body == body


def test_mapping_goes_on_where_it_ended(make_ingest: MakeIngest) -> None:
    first = make_ingest()
    land(first, b'["a"]')
    first.map_all()
    land(first, b'["b"]')
    first.close()

    second = make_ingest()
    second.queue.marks = first.queue.marks
    second.mapper.adopt()
    second.map_all()

    assert second.queue.words() == ["b"]


def test_a_process_that_died_before_its_cursor_moved_has_its_records_mapped_again(
    make_ingest: MakeIngest,
) -> None:
    first = make_ingest()
    land(first, b'["a", "odd"]')
    first.map_all()
    first.cursors.forget(first.store.segments()[0])
    first.close()

    second = make_ingest()
    second.quarantine.kept = list(first.quarantine.kept)
    second.mapper.adopt()
    second.map_all()

    assert second.queue.words() == ["a"]
    assert second.quarantine.kept == first.quarantine.kept


def test_a_damaged_cursor_stands_at_the_beginning(make_ingest: MakeIngest) -> None:
    first = make_ingest()
    land(first, b'["a"]')
    first.map_all()
    first.close()
    segment = first.store.segments()[0]
    (first.folder / "state" / segment).write_bytes(b"\0\0")

    second = make_ingest()
    second.mapper.adopt()
    second.map_all()

    assert second.queue.words() == ["a"]
    assert second.mapper.backlog_bytes() == 0


def test_batches_end_at_their_size_and_lose_nothing_between(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(map_bytes=12, segment_bytes=4096)
    words = [f"w-{number}" for number in range(300)]
    land(ingest, *(b'["%s"]' % word.encode() for word in words))

    ingest.map_all()

    assert ingest.queue.words() == words
    assert len(ingest.queue.bodies) > 100
    assert ingest.mapper.backlog_bytes() == 0


def test_a_segment_is_held_until_everything_of_it_has_left_the_queue(
    make_ingest: MakeIngest,
) -> None:
    ingest = make_ingest()
    land(ingest, b'["a"]')
    ingest.store.close()
    (segment,) = ingest.store.owned()
    ingest.map_all()
    ingest.settle()
    assert ingest.store.owned() == [segment]

    ingest.queue.consume()
    ingest.settle()

    assert ingest.store.owned() == []
    assert ingest.cursors.is_done(segment)
    assert ingest.queue.marks == {}


def test_what_the_queue_forgets_is_published_again(ingest: Ingest) -> None:
    land(ingest, b'["a"]')
    ingest.map_all()
    (name, mark), *_ = ingest.queue.marks.items()
    land(ingest, b'["b"]', b'["c"]')
    ingest.map_all()

    ingest.queue.forget(mark, publisher=name)
    ingest.mapper.settle()
    ingest.map_all()

    assert ingest.queue.words() == ["b", "c"]


def test_an_emptied_queue_gets_again_what_had_not_left_it(ingest: Ingest) -> None:
    land(ingest, b'["a"]')
    ingest.map_all()
    ingest.queue.consume()
    ingest.settle()
    land(ingest, b'["b"]')
    ingest.map_all()

    ingest.queue.forget(None, publisher=next(iter(ingest.queue.marks)))
    land(ingest, b'["c"]')
    ingest.map_all()

    assert ingest.queue.words() == ["b", "c"]


def test_a_publish_whose_confirmation_was_lost_is_not_repeated(ingest: Ingest) -> None:
    ingest.queue.is_deaf = True
    ingest.mapper.start()
    land(ingest, b'["a"]')
    until(lambda: ingest.mapper.problem is not None)

    ingest.queue.is_deaf = False
    until(lambda: ingest.mapper.problem is None)
    land(ingest, b'["b"]')
    ingest.mapper.finish(10)

    assert ingest.queue.words() == ["a", "b"]


def test_segments_that_are_full_are_let_go_and_pruned(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(segment_bytes=4096, raw_retention_days=1)
    land(ingest, *(b'["%032d"]' % number for number in range(200)))
    ingest.store.close()
    ingest.map_all()
    ingest.queue.consume()
    ingest.settle()
    assert ingest.store.owned() == []
    assert len(ingest.store.segments()) > 1
    newest = ingest.store.segments()[-1]
    for name in ingest.store.segments()[:-1]:
        os.utime(ingest.store.folder / name, (0, 0))

    ingest.mapper.prune()

    assert ingest.store.segments() == [newest]
    assert [path.name for path in (ingest.folder / "state").iterdir()] == [newest]


@pytest.mark.parametrize("trouble", [{"is_away": True}, {"full": 1.0}])
def test_a_queue_that_does_not_take_is_waited_for_and_nothing_is_lost(
    ingest: Ingest, trouble: dict[str, object]
) -> None:
    vars(ingest.queue).update(trouble)
    ingest.mapper.start()
    land(ingest, b'["a"]', b'["b"]')
    until(lambda: ingest.mapper.problem is not None)
    assert ingest.mapper.backlog_bytes() > 0
    assert ingest.ask("GET", "/readyz").json()["status"] == "degraded"

    vars(ingest.queue).update(is_away=False, full=0.0)
    until(lambda: ingest.queue.words() == ["a", "b"])
    until(lambda: ingest.mapper.backlog_bytes() == 0)
    ingest.mapper.finish(10)

    assert ingest.mapper.problem is None
    assert ingest.queue.words() == ["a", "b"]


def test_a_quarantine_that_does_not_take_is_waited_for(ingest: Ingest) -> None:
    ingest.quarantine.is_away = True
    ingest.mapper.start()
    land(ingest, b'["odd"]')
    until(lambda: ingest.mapper.problem is not None)
    assert ingest.mapper.backlog_bytes() > 0

    ingest.quarantine.is_away = False
    until(lambda: len(ingest.quarantine.kept) == 1)
    ingest.mapper.finish(10)


def test_a_stop_maps_what_is_landed(ingest: Ingest) -> None:
    ingest.mapper.start()
    land(ingest, *(b'["%d"]' % number for number in range(100)))
    ingest.store.close()

    ingest.mapper.finish(10)

    assert len(ingest.queue.words()) == 100
    assert ingest.mapper.backlog_bytes() == 0
    assert ingest.mapper.has_ended


def test_a_stop_does_not_wait_for_a_queue_that_is_away(ingest: Ingest) -> None:
    ingest.queue.is_away = True
    ingest.mapper.start()
    land(ingest, b'["a"]')

    ingest.mapper.finish(0.05)

    assert ingest.mapper.has_ended
    assert ingest.mapper.backlog_bytes() > 0


def test_the_lag_is_the_age_of_the_oldest_record_that_waits(ingest: Ingest) -> None:
    ingest.queue.is_away = True
    ingest.mapper.start()
    ingest.store.append(
        RawRecord(
            provider="sendgrid",
            received_time=AT - timedelta(seconds=90),
            headers=(),
            body=b'["a"]',
        )
    )
    until(lambda: ingest.mapper.problem is not None)

    assert ingest.mapper.lag_s() == 90.0
    assert "foresend_ingest_lag_seconds 90.0" in ingest.ask("GET", "/metrics").text
    ingest.mapper.finish(0)
