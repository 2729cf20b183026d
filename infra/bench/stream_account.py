"""What of a load has arrived where: the log, and the lifetime counts of the online store."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from feature_repo import contract, online
from feature_repo.errors import NotReady
from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.online_codec import Layout
from feature_repo.settings import Settings
from feature_repo.stream.port import GROUPS
from feature_repo.stream.queue import open_queue
from infra.bench.webhook_load import TOTALS, Load

DRAIN_TIMEOUT_S: Final = 600.0
_COUNTED: Final = tuple(sorted({name for name in TOTALS.values() if name.endswith("_total")}))


@dataclass(frozen=True, slots=True)
class Account:
    """Differences between what was sent and what is there; all zero when effects were once."""

    #: Events of the load that the log does not have.
    missing: int
    #: Rows of the log beyond one per event.
    repeated: int
    #: Customers whose lifetime counts online are not what was sent.
    wrong_online: int


def log_rows(settings: Settings) -> int:
    """Rows of the event log, read from its metadata alone."""
    log = EventLog(settings.log_path)
    return log.snapshot().last_position + 1 if log.exists() else 0


def wait_until_absorbed(
    settings: Settings, rows: int, *, timeout_s: float = DRAIN_TIMEOUT_S
) -> None:
    """Return when the log has that many rows and no group has anything left.

    Raises:
        NotReady: it did not come to that in time.
    """
    queue = open_queue(settings)
    deadline = time.monotonic() + timeout_s
    backlog = {}
    while time.monotonic() < deadline:
        if log_rows(settings) >= rows:
            backlog = {group: queue.backlog(group).messages for group in GROUPS}
            if not any(backlog.values()):
                queue.close()
                return
        time.sleep(0.1)
    message = f"{log_rows(settings)} of {rows} events are in the log; backlog {backlog}."
    raise NotReady(message)


def account(settings: Settings, loads: list[Load]) -> Account:
    """Compare the log and the online store with what was sent."""
    with duck.connect(settings) as con:
        rows = EventLog(settings.log_path).snapshot().rows(con)
        total = int(rows.count().execute())
        distinct = int(rows.event_id.nunique().execute())
    expected: dict[str, Counter[str]] = {}
    for load in loads:
        for customer, totals in load.totals.items():
            expected.setdefault(customer, Counter()).update(totals)
    return Account(
        missing=sum(load.events for load in loads) - distinct,
        repeated=total - distinct,
        wrong_online=_wrong(settings, expected),
    )


def _wrong(settings: Settings, expected: dict[str, Counter[str]]) -> int:
    customers = sorted(expected)
    layout = Layout(settings.project, {contract.ACTIVITY: _COUNTED})
    assert settings.redis_url is not None
    with online.connect(settings.redis_url.get_secret_value()) as client:
        found = online.OnlineReader(client, layout).read(customers)
    wrong = np.zeros(len(customers), dtype=bool)
    for name in _COUNTED:
        told = np.array([expected[customer][name] for customer in customers], dtype=np.float64)
        wrong |= np.nan_to_num(np.asarray(found.columns[name], dtype=np.float64)) != told
    return int(wrong.sum())
