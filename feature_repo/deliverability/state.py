"""How the last pull of each source went: a small file beside the readings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.settings import Settings
from feature_repo.sole import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """The last pull of one source; times are aware UTC."""

    tried_at: datetime | None = None
    succeeded_at: datetime | None = None
    #: Sentence of the last failure, None after a success.
    failure: str | None = None
    #: The source asked to be left alone until then.
    retry_at: datetime | None = None


def read_states(settings: Settings) -> dict[str, SourceState]:
    """By source. A file that cannot be read counts as none: the next pull writes it anew."""
    try:
        told = json.loads(_path(settings).read_text("utf-8"))
        return {str(name): _state(entry) for name, entry in told.items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return {}


def write_states(settings: Settings, states: Mapping[str, SourceState]) -> None:
    """Replace the file as a whole."""
    content = {name: asdict(state) for name, state in sorted(states.items())}
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content, indent=1, default=datetime.isoformat) + "\n")


def _path(settings: Settings) -> Path:
    return settings.deliverability_path / "sources.json"


def _state(entry: Mapping[str, Any]) -> SourceState:
    return SourceState(
        tried_at=_time(entry["tried_at"]),
        succeeded_at=_time(entry["succeeded_at"]),
        failure=entry["failure"],
        retry_at=_time(entry["retry_at"]),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
