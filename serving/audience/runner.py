"""The process that works audience jobs off, one after another, and ends when there are none.

It is of low priority and reads Redis over a connection of its own, so that single answers do not
wait for it. One runs per installation: others find its lock and end at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from feature_repo.addresses import redis_url
from feature_repo.errors import NotReady, StoreUnavailable
from feature_repo.logs import configure_logs
from feature_repo.settings import Settings, load_settings
from feature_repo.sole import only_one
from serving.audience.engine import Reader, Served
from serving.audience.jobs import Job, JobStore
from serving.audience.opened import LOCK, open_jobs
from serving.audience.work import Stopped, Worker
from serving.model import ScoringModel
from serving.online.bulk_reader import BulkReader
from serving.scoring import Rules
from serving.settings import ServingSettings, load_serving_settings
from serving.shelf import Shelf

_NICE: Final = 10

log = structlog.get_logger()


def run(settings: Settings, limits: ServingSettings, stopping: Callable[[], bool]) -> int:
    """Work until no job waits, or until asked to stop; the number of jobs that ended.

    Raises:
        StoreUnavailable: another runner is at work, or no Redis is known.
    """
    jobs = open_jobs(settings, limits)
    ended = 0
    with (
        only_one(settings, LOCK),
        BulkReader(redis_url(settings), project=settings.project) as reader,
    ):
        jobs.forget_old(timedelta(days=limits.audience_keep_days))
        worker = open_worker(settings, limits, jobs, reader, stopping)
        while not stopping() and (job := jobs.next()) is not None:
            worker.work(job)
            ended += 1
    return ended


def open_worker(
    settings: Settings,
    limits: ServingSettings,
    jobs: JobStore,
    reader: Reader,
    stopping: Callable[[], bool],
    told: Callable[[Job], None] = lambda _: None,
) -> Worker:
    """What works jobs off with what is served here now."""
    return Worker(
        jobs=jobs,
        reader=reader,
        served=lambda target: served_now(settings, target),
        rules=Rules(limits.stale_after_s, limits.clock_skew_s),
        clock=jobs.clock,
        stopping=stopping,
        told=told,
    )


def served_now(settings: Settings, target: str) -> Served:
    """The model and the tiers that servers of this installation used last.

    Raises:
        NotReady: none was ever served.
        ModelUnusable: its files were damaged.
    """
    shelf = Shelf(settings.state_path / "models")
    version = shelf.last(target)
    folder = None if version is None else shelf.folder(version)
    if version is None or folder is None:
        message = f"No model of {target!r} was ever served here: promote one, then submit again."
        raise NotReady(message)
    return Served(ScoringModel.load(Path(folder)), version.number, shelf.policy(target))


def main() -> int:
    """Run as a child of a server; 0 also when another runner is at work."""
    configure_logs()
    os.nice(_NICE)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(load_settings(), load_serving_settings(), stop.is_set)
    except StoreUnavailable as exc:
        log.info("audience_not_run", reason=str(exc))
    except Stopped as exc:
        log.info("audience_stopped", reason=str(exc))
    return 0


if __name__ == "__main__":
    sys.exit(main())
