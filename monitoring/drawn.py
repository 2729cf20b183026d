"""What a drawn report shows and what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Excluded:
    """A column the Evidently report does not show, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """What went into an Evidently report."""

    shown: tuple[str, ...]
    excluded: tuple[Excluded, ...]
