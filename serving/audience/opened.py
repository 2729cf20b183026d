"""The audience jobs of this installation."""

from __future__ import annotations

from datetime import UTC, datetime

from feature_repo.settings import Settings
from serving.audience.jobs import JobStore
from serving.settings import ServingSettings


def open_jobs(settings: Settings, limits: ServingSettings) -> JobStore:
    """Jobs under home; nothing is made there yet."""
    return JobStore(
        settings.audience_path, lambda: datetime.now(UTC), most_waiting=limits.audience_jobs
    )
