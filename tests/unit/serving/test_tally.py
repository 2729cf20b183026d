"""Metrics of several processes as those of one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serving.admission.tally import Tally


class Process:
    """The series of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.asked = Counter("asked", "Requests.", ("route",), registry=self.registry)
        self.took = Histogram("took_seconds", "Time.", buckets=(1, 2), registry=self.registry)
        self.queue = Gauge("queue_rows", "Rows.", registry=self.registry)

    def text(self) -> str:
        return generate_latest(self.registry).decode()


def shown(tally: Tally) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = tally.exposition(CollectorRegistry())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def two(counts: Iterable[float]) -> tuple[Tally, list[Process]]:
    tally, processes = Tally(), [Process(), Process()]
    for number, (process, count) in enumerate(zip(processes, counts, strict=True)):
        process.asked.labels('/a "b"\\').inc(count)
        process.took.observe(count)
        process.queue.set(count)
        tally.put(number, str(number), process.text())
    return tally, processes


def test_counters_and_histograms_are_added_and_gauges_told_apart() -> None:
    tally, _ = two((1, 3))

    found = shown(tally)
    assert found[key("asked_total", route='/a "b"\\')] == 4
    assert found[key("took_seconds_bucket", le="1.0")] == 1
    assert found[key("took_seconds_bucket", le="+Inf")] == 2
    assert found[key("took_seconds_sum")] == 4
    assert found[key("queue_rows", worker="0")] == 1
    assert found[key("queue_rows", worker="1")] == 3
    assert not any(name.endswith("_created") for name, _ in found)


def test_the_newest_series_of_a_process_replace_its_older_ones() -> None:
    tally, processes = two((1, 3))
    processes[0].asked.labels('/a "b"\\').inc(10)
    tally.put(0, "0", processes[0].text())

    assert shown(tally)[key("asked_total", route='/a "b"\\')] == 14


def test_what_an_ended_process_counted_stays_and_its_gauges_go() -> None:
    tally, processes = two((1, 3))
    tally.retire(0)
    # It was never asked.
    tally.retire(7)
    # Its successor has the same place.
    fresh = Process()
    fresh.asked.labels("/new").inc(5)
    tally.put(2, "0", fresh.text())
    tally.retire(2)

    found = shown(tally)
    assert found[key("asked_total", route='/a "b"\\')] == 4
    assert found[key("asked_total", route="/new")] == 5
    assert key("queue_rows", worker="0") not in found
    assert found[key("queue_rows", worker="1")] == 3
    assert len(processes) == 2


def test_while_a_process_is_replaced_only_its_successors_gauges_are_shown() -> None:
    tally, processes = two((1, 3))
    fresh = Process()
    fresh.asked.labels('/a "b"\\').inc(5)
    fresh.queue.set(7)
    tally.put(2, "0", fresh.text())
    # The leaving one is asked again.
    tally.put(0, "0", processes[0].text())

    text = tally.exposition(CollectorRegistry())
    assert text.count('queue_rows{worker="0"}') == 1
    assert shown(tally)[key("queue_rows", worker="0")] == 7
    assert shown(tally)[key("asked_total", route='/a "b"\\')] == 9


@pytest.mark.parametrize("text", ["a{", "# TYPE a gauge\na x\n", "# HELP a\n# TYPE a no\n"])
def test_series_that_cannot_be_read_leave_the_last_ones(text: str) -> None:
    tally, _ = two((1, 3))
    before = shown(tally)

    tally.put(0, "0", text)

    assert shown(tally) == before
    tally.retire(0)
    assert shown(tally)[key("asked_total", route='/a "b"\\')] == 4


def test_it_is_all_shown_in_the_text_format_with_the_parents_own_series() -> None:
    tally, _ = two((1, 3))
    own = CollectorRegistry()
    Gauge("workers_now", "Processes.", registry=own).set(2)

    text = tally.exposition(own)

    assert "# TYPE asked_total counter" in text
    assert "# HELP took_seconds Time." in text
    assert "workers_now 2.0" in text
