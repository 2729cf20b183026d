"""Labels of simulated opens and clicks: what `machines.label` says of each."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from feature_repo.event import Event, EventType, Machine
from feature_repo.ingest.machines.flags import NO_FLAGS
from feature_repo.ingest.machines.label import JUDGED, label
from infra.simulator.acts import KIND, KINDS, Acts, size
from infra.simulator.arrival import from_us

Label = tuple[Machine, str | None, float | None]

_AGENTS = 1000
_KINDS = 100


class Labels:
    """Labels acts of one programme.

    Each different (kind, agent, address) is judged once, at the time of the first such act: no
    rule of today begins within a simulated programme.
    """

    def __init__(self, agents: list[str], hosts: list[str]) -> None:
        self._agents = agents
        self._hosts = hosts
        self._known: dict[int, Label] = {-1: (Machine.NONE, None, None)}

    def of(self, said: Acts) -> tuple[pa.Array, pa.Array, pa.Array]:
        """machine, machine_source, machine_score of every act."""
        kind, agent, host = (said[name].astype(np.int64) for name in ("kind", "agent", "host"))
        judged = np.isin(kind, [KIND[k] for k in JUDGED])
        key = np.where(judged, ((host + 1) * _AGENTS + agent + 1) * _KINDS + kind, -1)
        known, first, position = np.unique(key, return_index=True, return_inverse=True)
        found = [
            self._label(number, int(said["at"][row]))
            for number, row in zip(known.tolist(), first.tolist(), strict=True)
        ]
        machine = pa.array([label[0].value for label in found], pa.string())
        source = pa.array([label[1] for label in found], pa.string())
        score = pa.array([label[2] for label in found], pa.float64())
        taken = pa.array(position.reshape(size(said)))
        return machine.take(taken), source.take(taken), score.take(taken)

    def _label(self, key: int, at_us: int) -> Label:
        if key not in self._known:
            rest, kind = divmod(key, _KINDS)
            host, agent = divmod(rest, _AGENTS)
            at = from_us(at_us)
            event = label(
                Event(
                    event_id="",
                    type=EventType(KINDS[kind]),
                    customer_id="",
                    event_time=at,
                    received_time=at,
                    user_agent=self._agents[agent - 1] if agent else None,
                    ip=self._hosts[host - 1] if host else None,
                ),
                NO_FLAGS,
            )
            self._known[key] = event.machine, event.machine_source, event.machine_score
        return self._known[key]
