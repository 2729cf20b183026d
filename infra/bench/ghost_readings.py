"""What a simulated programme measured of its placement, taken in as it would have been known."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from feature_repo.deliverability.postmaster_metrics import BY_NAME, readings_of
from feature_repo.deliverability.reading import Reading, to_table
from feature_repo.deliverability.readings import Readings
from feature_repo.deliverability.seeds import parse_seeds
from feature_repo.settings import Settings

SEEDS_AFTER: Final = timedelta(days=1)
"""The seed tests of a day are in by its end."""

POSTMASTER_AFTER: Final = timedelta(days=2)
"""Google shows a day one to two days later."""


def import_readings(folder: Path, settings: Settings, *, seeds: bool) -> None:
    """Take in the simulator's Postmaster answers, and its seed list unless left out."""
    readings = Readings(settings.deliverability_path / "readings")
    readings.append(
        to_table(_postmaster(folder), source="postmaster", known_at=_after(POSTMASTER_AFTER))
    )
    if seeds:
        readings.append(
            to_table(_seed_list(folder), source="seed_list", known_at=_after(SEEDS_AFTER))
        )


_TODAY: Final = date(9000, 1, 1)


def _after(delay: timedelta) -> Callable[[date], datetime]:
    return lambda day: datetime.combine(day, time(), UTC) + delay


def _postmaster(folder: Path) -> list[Reading]:
    answers = json.loads((folder / "postmaster.json").read_text())
    found = []
    for name, answer in answers.items():
        domain = name.removeprefix("domains/")
        found += readings_of(domain, answer["domainStats"], BY_NAME, _TODAY).readings
    return found


def _seed_list(folder: Path) -> list[Reading]:
    return parse_seeds((folder / "seed_list.csv").read_bytes(), None, _TODAY).readings
