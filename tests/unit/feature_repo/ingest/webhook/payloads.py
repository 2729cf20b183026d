"""The payload fixtures: what providers send, and the events it must become."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from feature_repo.event import Event
from feature_repo.ingest.rejected import Rejected

FOLDER: Final = Path(__file__).parents[4] / "payloads"

_NOT_COMPARED: Final = {"received_time", "mapping_version", "schema_fingerprint", "raw_ref"}
_MACHINE: Final = {"machine", "machine_source", "machine_score"}
_DEFAULTS: Final = {f.name: f.default for f in fields(Event)}


@dataclass(frozen=True)
class Fixture:
    """One delivery. `expected` has the fields of each event that are not the defaults."""

    provider: str
    name: str
    body: bytes
    received_time: datetime
    expected: list[dict[str, Any]]


def fixtures() -> list[Fixture]:
    """All fixtures, in the order of their names."""
    return [_load(path) for path in sorted(FOLDER.glob("*/*.json"))]


def described(outcome: Event | Rejected, expected: dict[str, Any]) -> dict[str, Any]:
    """An outcome as fixtures write it.

    Who opened is compared where the provider itself says so: rules about agents and addresses
    have tests of their own.
    """
    if isinstance(outcome, Rejected):
        return {
            "rejected": outcome.reason,
            "path": outcome.path,
            "detail": outcome.detail,
            "index": outcome.index,
            "provider_event": outcome.provider_event,
        }
    skipped = _NOT_COMPARED | (set() if "machine_source" in expected else _MACHINE)
    values = {name: getattr(outcome, name) for name in _DEFAULTS if name not in skipped}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
        if value != _DEFAULTS[name]
    }


def _load(path: Path) -> Fixture:
    content = json.loads(path.read_text("utf-8"))
    body = content["body"]
    return Fixture(
        provider=path.parent.name,
        name=path.stem,
        body=body.encode() if isinstance(body, str) else json.dumps(body).encode(),
        received_time=datetime.fromisoformat(content["received_time"]),
        expected=content["expected"],
    )
