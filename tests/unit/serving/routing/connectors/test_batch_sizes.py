"""Batches become smaller while a tool fails at them, and large again."""

from __future__ import annotations

from collections.abc import Sequence

from serving.routing.connectors.deliverer import MOST_DELIVERIES
from serving.routing.connectors.port import DELIVERED, Outcome, retry
from serving.routing.message import Routed
from tests.unit.serving.routing.connectors.world import Bench, FakeTool, message


class Small(FakeTool):
    """Fails at batches above a limit, as Mautic does with status 500."""

    limit = 30

    def deliver(self, batch: Sequence[Routed]) -> list[Outcome]:
        self.calls.append(list(batch))
        outcome = DELIVERED if len(batch) <= self.limit else retry("status 500")
        return [outcome] * len(batch)


class Fragile(FakeTool):
    """Fails as a whole at a batch with one message in it."""

    def deliver(self, batch: Sequence[Routed]) -> list[Outcome]:
        self.calls.append(list(batch))
        is_bad = any(one.customer_id == "bad" for one in batch)
        return [retry("status 500") if is_bad else DELIVERED] * len(batch)


def run_out(bench: Bench, seconds: float) -> None:
    until = bench.time.seconds + seconds
    while bench.time.seconds < until and (bench.deliverer.in_hand or bench.source.waiting):
        bench.rounds(1)


def test_a_limit_that_nobody_told_of_is_found() -> None:
    bench = Bench(lambda _: DELIVERED)
    bench.tool = Small(lambda _: DELIVERED)
    bench.start()
    bench.source.put(*(message(f"c{n}") for n in range(1_000)))

    run_out(bench, 600)

    assert bench.count("delivered") == 1_000
    assert bench.source.buried == []
    sizes = [len(call) for call in bench.tool.calls]
    assert sizes[:3] == [100, 50, 25]
    assert sum(size > Small.limit for size in sizes) < len(sizes) / 2


def test_one_message_that_a_tool_breaks_at_is_buried_alone() -> None:
    bench = Bench(lambda _: DELIVERED)
    bench.tool = Fragile(lambda _: DELIVERED)
    bench.start()
    bench.source.put(*(message("bad" if n == 40 else f"c{n}") for n in range(500)))

    for n in range(20_000):
        if n % 20 == 0 and not bench.source.waiting:
            bench.source.put(message("other", seq=n + 1))
            bench.time.sleep(1.0)
        bench.rounds(1)
        if bench.source.buried:
            break

    assert [reason for _, reason in bench.source.buried] == [
        "12 tries failed while others got through: status 500"
    ]
    assert bench.count("dead") == 1
    delivered = {one.customer_id for call in bench.tool.calls[:] for one in call}
    assert len(delivered) == 501


def test_a_full_batch_is_sent_again_after_the_tool_is_back() -> None:
    is_up = False
    bench = Bench(lambda _: DELIVERED if is_up else retry("status 503"))
    bench.source.put(*(message(f"c{n}") for n in range(100)))
    run_out(bench, 300)
    is_up = True
    run_out(bench, 600)
    assert bench.count("delivered") == 100
    bench.source.put(*(message(f"d{n}") for n in range(2_000)))
    run_out(bench, 600)

    assert len(bench.tool.calls[-2]) == 100


def test_what_is_in_hand_is_not_buried_because_the_queue_offers_it_again() -> None:
    bench = Bench(lambda _: retry("status 503"))
    bench.source.put(message())
    bench.rounds(2)
    (held,) = bench.source.given.values()
    again = type(held)(
        id=held.id,
        body=held.body,
        deliveries=MOST_DELIVERIES + 1,
        published_at=held.published_at,
    )
    bench.source.waiting.append(again)
    bench.rounds(1)

    assert bench.source.buried == []
    assert bench.deliverer.in_hand == 1


def test_a_message_that_fails_always_does_not_keep_the_circuit_open() -> None:
    bench = Bench(lambda one: retry("status 500") if one.customer_id == "bad" else DELIVERED)
    bench.source.put(message("bad"))
    run_out(bench, 3_600)
    assert bench.deliverer.trouble is not None
    bench.source.put(message("good"))

    run_out(bench, 600)

    assert bench.count("delivered") == 1
