"""How the quarantine looks on the terminal; payloads only with what names people masked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from feature_repo.errors import ConfigError
from feature_repo.ingest.drift.acceptance import Trial
from feature_repo.ingest.drift.masking import masked
from feature_repo.ingest.drift.observations import Observation
from feature_repo.ingest.drift.quarantine import Entry, Group, Quarantine
from feature_repo.ingest.drift.suggestion import Suggestion


def find_entry(quarantine: Quarantine, name: str) -> Entry:
    """The entry of an id, or the example of a group's id.

    Raises:
        ConfigError: there is neither.
    """
    examples = {group.id: group.example for group in quarantine.groups()}
    found = next(iter(quarantine.entries(id=examples.get(name, name), status=None)), None)
    if found is None:
        message = (
            f"There is no entry or group {name!r} in quarantine. `foresend quarantine list` shows "
            "the groups."
        )
        raise ConfigError(message)
    return found


def group_json(group: Group) -> dict[str, Any]:
    """A group as JSON."""
    return {
        "id": group.id,
        "provider": group.provider,
        "provider_event": group.provider_event,
        "reason": group.reason,
        "path": group.path,
        "count": group.count,
        "first_seen": group.first_seen.isoformat(),
        "last_seen": group.last_seen.isoformat(),
        "example": group.example,
    }


def print_groups(groups: Iterable[Group]) -> None:
    """Groups as a table."""
    table = Table("group", "provider", "event", "reason", "path", "events", "first", "last")
    for group in groups:
        cells = (
            *(group.id, group.provider, group.provider_event or "", group.reason, group.path),
            *(f"{group.count:,}", f"{group.first_seen:%Y-%m-%d %H:%M}"),
            f"{group.last_seen:%Y-%m-%d %H:%M}",
        )
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)


def entry_json(entry: Entry, *, reveal: bool) -> dict[str, Any]:
    """An entry as JSON; the payload as it came only with `reveal`."""
    return {
        "id": entry.id,
        "status": entry.status.value,
        "provider": entry.provider,
        "provider_event": entry.provider_event,
        "reason": entry.reason,
        "path": entry.path,
        "detail": entry.detail,
        "raw_ref": entry.raw_ref,
        "fingerprint": entry.fingerprint,
        "mapping_version": entry.mapping_version,
        "first_seen": entry.first_seen.isoformat(),
        "payload": _payload(entry, reveal=reveal),
    }


def print_entry(entry: Entry, *, reveal: bool) -> None:
    """An entry, its payload indented."""
    content = entry_json(entry, reveal=reveal)
    payload = content.pop("payload")
    table = Table(show_header=False)
    for name, value in content.items():
        table.add_row(name, escape("" if value is None else str(value)))
    console = Console()
    console.print(table)
    console.print(json.dumps(payload, indent=2), markup=False, highlight=False)


def print_observations(found: Iterable[Observation]) -> None:
    """Observations as a table."""
    table = Table("since", "last", "provider", "event", "what", "path", "detail", "events")
    for one in found:
        cells = (
            *(f"{one.first_seen:%Y-%m-%d %H:%M}", f"{one.last_seen:%Y-%m-%d %H:%M}"),
            *(one.provider, one.word, one.kind.value, one.path),
            *(f"{one.detail} (came back)" if one.over else one.detail, f"{one.count:,}"),
        )
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)


def print_suggestion(found: Suggestion, trial: Trial | None) -> None:
    """What is proposed, what was near, and what it would do."""
    console = Console()
    table = Table("vanished", "maybe now", "score", "name", "values", "ahead by", "proposed")
    for one in found.renames:
        numbers = (one.score, one.name_score, one.value_score, one.margin)
        cells = (one.old, one.new, *(f"{n:.2f}" for n in numbers))
        table.add_row(*(escape(cell) for cell in cells), "yes" if one.is_proposed else "no")
    for retype in found.retypes:
        line = f"{retype.path}: {retype.old_cast} -> {retype.new_cast}"
        share = f"{retype.new_share:.0%}"
        table.add_row(escape(line), escape(retype.field), share, "", share, "", "yes")
    if table.row_count:
        console.print(table)
    for word in found.without_history:
        console.print(f"{word}: no earlier event of this kind to compare with.", markup=False)
    if found.diff:
        console.print(found.diff, markup=False, highlight=False)
    if trial is not None:
        console.print(
            f"With {found.label}, {trial.fitting:,} of {trial.tried:,} events in quarantine fit; "
            f"{trial.changed:,} of {trial.compared:,} earlier events would say something else."
        )


def _payload(entry: Entry, *, reveal: bool) -> Any:
    try:
        content = json.loads(entry.payload)
    except (ValueError, RecursionError):
        readable = entry.payload.decode("utf-8", "replace")
        return readable if reveal else f"({len(entry.payload)} bytes that are no JSON)"
    return content if reveal else masked(content, entry.provider_event)
