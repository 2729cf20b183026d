"""Customers whom a tool does not know: counted, and no sign of whether it works."""

from __future__ import annotations

from serving.routing.connectors.port import UNKNOWN, retry
from tests.unit.serving.routing.connectors.world import Bench, message


def test_customers_that_are_unknown_say_nothing_about_the_tool() -> None:
    bench = Bench(lambda one: UNKNOWN if one.customer_id == "eve" else retry("status 503"))
    bench.source.put(message("bad"))
    while bench.deliverer.trouble is None:
        bench.rounds(1)

    for seq in range(1, 40):
        bench.source.put(message("eve", seq=seq))
        bench.time.sleep(20.0)
        bench.rounds(2)

    assert bench.deliverer.trouble is not None
    assert bench.count("unknown") + bench.count("superseded") >= 38
    assert bench.count("unknown") > 5
    # As often as without them.
    assert bench.tool.customers.count("bad") < 20
    assert bench.source.buried == []


def test_only_customers_that_are_unknown_stop_nothing() -> None:
    bench = Bench(lambda _: UNKNOWN)
    for n in range(20):
        bench.source.put(message(f"c{n}"))
        bench.rounds(3)

    assert bench.count("unknown") == 20
    assert bench.deliverer.trouble is None
