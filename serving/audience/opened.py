"""The audience jobs of this installation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from feature_repo.settings import Settings
from feature_repo.sole import is_taken
from serving.audience.desk import Desk
from serving.audience.jobs import JobStore
from serving.settings import ServingSettings

LOCK: Final = "audience"
"""Held by the one runner of an installation."""


def open_jobs(settings: Settings, limits: ServingSettings) -> JobStore:
    """Jobs under home; nothing is made there yet."""
    return JobStore(
        settings.audience_path, lambda: datetime.now(UTC), most_waiting=limits.audience_jobs
    )


def open_desk(settings: Settings, limits: ServingSettings, targets: Sequence[str]) -> Desk:
    """What takes jobs in, in one of this installation's server processes."""
    jobs = open_jobs(settings, limits)
    return Desk(
        jobs,
        targets,
        is_worked_on=lambda: is_taken(settings, LOCK),
        keep=timedelta(days=limits.audience_keep_days),
    )
