"""The metrics of several processes as those of one.

Counters and histograms are added up. What a process counted before it ended stays in the sum, else
the sum would fall, and Prometheus would take the fall for a restart and count all of it again.
Gauges are not added: each gets the label `worker`, because a timestamp or a version has no sum. Of
two processes in one place, while one replaces the other, only the newer one's are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_ADDED: Final = frozenset({"counter", "histogram", "summary"})

log = structlog.get_logger()

_Key = tuple[str, tuple[tuple[str, str], ...]]


class Tally(Collector):
    """The newest series of each process, and the sums of those that ended."""

    def __init__(self) -> None:
        self._latest: dict[int, tuple[str, list[Metric]]] = {}
        self._families: dict[str, Metric] = {}
        self._ended: dict[str, dict[_Key, float]] = {}

    def put(self, process: int, worker: str, text: str) -> None:
        """The series of a process now, in Prometheus' text format; `worker` names its place.

        A later process has a higher number. What cannot be read leaves its last series as they are.
        """
        try:
            self._latest[process] = (worker, list(text_string_to_metric_families(text)))
        except (ValueError, LookupError, TypeError) as exc:
            log.error("series_unreadable", worker=worker, reason=str(exc))

    def retire(self, process: int) -> None:
        """A process ended: keep what it counted."""
        _, last = self._latest.pop(process, ("", []))
        for family in last:
            if family.type in _ADDED:
                self._families.setdefault(family.name, family)
                _add(self._ended.setdefault(family.name, {}), family.samples)

    def collect(self) -> Iterable[Metric]:
        """All series of all processes."""
        families = dict(self._families)
        sums = {name: dict(ended) for name, ended in self._ended.items()}
        single: dict[str, list[Sample]] = {}
        newest = {worker: process for process, (worker, _) in sorted(self._latest.items())}
        for process, (worker, latest) in self._latest.items():
            for family in latest:
                families.setdefault(family.name, family)
                if family.type in _ADDED:
                    _add(sums.setdefault(family.name, {}), family.samples)
                elif process == newest[worker] and not family.name.endswith("_created"):
                    of = single.setdefault(family.name, [])
                    of.extend(_labelled(sample, worker) for sample in family.samples)
        for name, family in families.items():
            shown = Metric(name, family.documentation, family.type)
            shown.samples = [*_samples(sums.get(name, {})), *single.get(name, ())]
            if shown.samples:
                yield shown

    def exposition(self, own: CollectorRegistry) -> str:
        """All series, and those of the registry, in Prometheus' text format."""
        all_of_them = CollectorRegistry()
        all_of_them.register(self)
        return generate_latest(all_of_them).decode() + generate_latest(own).decode()


def _add(sums: dict[_Key, float], samples: Iterable[Sample]) -> None:
    for sample in samples:
        key = (sample.name, tuple(sample.labels.items()))
        sums[key] = sums.get(key, 0.0) + sample.value


def _samples(sums: Mapping[_Key, float]) -> Iterable[Sample]:
    for (name, labels), value in sums.items():
        yield Sample(name, dict(labels), value)


def _labelled(sample: Sample, worker: str) -> Sample:
    return Sample(sample.name, {**sample.labels, "worker": worker}, sample.value)
