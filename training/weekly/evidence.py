"""What is told of a trained target, whatever it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a page tells of a trained target."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    gates: Mapping[str, Any] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)
    tiers: Mapping[str, Any] = field(default_factory=dict)
    tiers_status: str | None = None
    aliases: tuple[str, ...] = ()
    #: The version that is served, and its metrics on its own test period.
    champion: str | None = None
    champion_metrics: Mapping[str, float] = field(default_factory=dict)
    #: Pages of MLflow; empty without a server.
    links: Mapping[str, str] = field(default_factory=dict)
