"""Labels of simulated opens and clicks: what `machines.label` says of each."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from feature_repo.event import Event, EventType, Machine
from feature_repo.ingest.machines.flags import NO_FLAGS
from feature_repo.ingest.machines.label import JUDGED, label
from infra.simulator.acts import KIND, KINDS, Acts, size
from infra.simulator.arrival import from_us


def labels(said: Acts, agents: pa.Array, hosts: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """machine, machine_source, machine_score of every act.

    Each different (kind, agent, address) is judged once, at the time of the first such act: no
    rule of today begins within a simulated programme.
    """
    kind, agent, host = (said[name].astype(np.int64) for name in ("kind", "agent", "host"))
    judged = np.isin(kind, [KIND[k] for k in JUDGED])
    key = np.where(judged, ((host + 1) * 1000 + agent + 1) * 100 + kind, -1)
    _, first, position = np.unique(key, return_index=True, return_inverse=True)
    found = [
        _label(said, int(row), agents, hosts) if judged[row] else (Machine.NONE, None, None)
        for row in first
    ]
    machine = pa.array([label[0].value for label in found], pa.string())
    source = pa.array([label[1] for label in found], pa.string())
    score = pa.array([label[2] for label in found], pa.float64())
    taken = pa.array(position.reshape(size(said)))
    return machine.take(taken), source.take(taken), score.take(taken)


def _label(
    said: Acts, row: int, agents: pa.Array, hosts: pa.Array
) -> tuple[Machine, str | None, float | None]:
    agent, host = int(said["agent"][row]), int(said["host"][row])
    at = from_us(int(said["at"][row]))
    event = label(
        Event(
            event_id="",
            type=EventType(KINDS[int(said["kind"][row])]),
            customer_id="",
            event_time=at,
            received_time=at,
            user_agent=agents[agent].as_py() if agent >= 0 else None,
            ip=hosts[host].as_py() if host >= 0 else None,
        ),
        NO_FLAGS,
    )
    return event.machine, event.machine_source, event.machine_score
