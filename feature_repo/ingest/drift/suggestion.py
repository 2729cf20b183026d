"""A proposed mapping version for what lies in quarantine, with the evidence for it.

A person decides. The proposal only adds: renamed paths are read beside the old ones, and casts
that changed leave the older version to read what came before.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from feature_repo.ingest.drift.edits import (
    Reading,
    Written,
    add_name,
    as_yaml,
    next_version,
    readings,
    set_cast,
    written_form,
)
from feature_repo.ingest.drift.renames import Rename, find_renames
from feature_repo.ingest.drift.retypes import Retype, best_cast, find_retype, share_read
from feature_repo.ingest.drift.samples import Samples, values_by_path
from feature_repo.ingest.webhook.mapping import Mapping

_USUAL: Final = 0.5
_GONE: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What could be changed; `yaml` is None when there is nothing good enough."""

    #: The version it builds on, and the one it would be.
    base: str
    label: str
    renames: tuple[Rename, ...]
    retypes: tuple[Retype, ...]
    #: Words in quarantine without earlier payloads to compare with.
    without_history: tuple[str, ...]
    yaml: str | None
    diff: str


def suggest(mapping: Mapping, samples: Samples, folder: Path, now: datetime) -> Suggestion:
    """Compare quarantined payloads with earlier ones of the same word; `mapping` is the newest."""
    renames: dict[tuple[str, str], Rename] = {}
    retypes: dict[tuple[str, str], Retype] = {}
    written = before = written_form(mapping, folder)
    for word, quarantined in sorted(samples.quarantined.items()):
        fitting = samples.fitting.get(word, [])
        reads = readings(mapping, word)
        new_values = values_by_path(quarantined)
        old_values = values_by_path(fitting)
        shares = {path: len(values) / len(quarantined) for path, values in new_values.items()}
        vanished = {
            path: values
            for path, values in old_values.items()
            if path in {r.path for r in reads}
            and len(values) >= _USUAL * len(fitting)
            and shares.get(path, 0.0) <= _GONE
        }
        appeared = {
            path: values
            for path, values in new_values.items()
            if shares[path] >= _USUAL
            and len(old_values.get(path, ())) <= _GONE * max(len(fitting), 1)
            and path not in {r.path for r in reads}
        }
        if fitting:
            for rename in find_renames(vanished, appeared):
                renames.setdefault((rename.old, rename.new), rename)
                if rename.is_proposed:
                    values = new_values[rename.new]
                    written = _renamed(written, rename, reads, values, now)
        for reading in reads:
            retype = find_retype(reading, new_values.get(reading.path, []), now)
            if retype is not None and (reading.field, reading.path) not in retypes:
                retypes[reading.field, reading.path] = retype
                written = set_cast(written, retype.field, retype.path, retype.new_cast)
    return _suggestion(mapping, samples, before, written, now, renames, retypes)


def _renamed(
    written: Written, rename: Rename, reads: list[Reading], values: list[Any], now: datetime
) -> Written:
    """With the new name read by the old one's cast, or by one that reads it."""
    old = next(reading for reading in reads if reading.path == rename.old)
    if share_read(old.cast, old.zone, values, now) >= _USUAL:
        return add_name(written, rename.old, rename.new, None)
    return add_name(written, rename.old, rename.new, best_cast(old.field, values, now))


def _suggestion(
    mapping: Mapping,
    samples: Samples,
    before: Written,
    written: Written,
    now: datetime,
    renames: dict[tuple[str, str], Rename],
    retypes: dict[tuple[str, str], Retype],
) -> Suggestion:
    version = mapping.version + 1
    changed = written != before
    after = as_yaml(next_version(written, version, now.date()))
    diff = difflib.unified_diff(
        as_yaml(before).splitlines(),
        after.splitlines(),
        mapping.label,
        f"{mapping.provider}@{version}",
        n=1,
        lineterm="",
    )
    best = tuple(sorted(renames.values(), key=lambda rename: -rename.score))
    found = tuple(retypes.values())
    return Suggestion(
        base=mapping.label,
        label=f"{mapping.provider}@{version}",
        renames=best,
        retypes=found,
        without_history=tuple(w for w in sorted(samples.quarantined) if w not in samples.fitting),
        yaml=_evidence(best, found, now) + after if changed else None,
        diff="\n".join(diff) if changed else "",
    )


def _evidence(renames: tuple[Rename, ...], retypes: tuple[Retype, ...], now: datetime) -> str:
    lines = [f"# Proposed by `foresend quarantine suggest` at {now:%Y-%m-%d %H:%M} UTC."]
    lines += [
        f"# {one.old} -> {one.new}: {one.score:.2f} (name {one.name_score:.2f}, values "
        f"{one.value_score:.2f}; next best {one.margin:.2f} lower)"
        for one in renames
        if one.is_proposed
    ]
    lines += [
        f"# {one.field} from {one.path}: {one.old_cast} reads {one.old_share:.0%} of the values "
        f"in quarantine, {one.new_cast} reads {one.new_share:.0%}"
        for one in retypes
    ]
    return "\n".join(lines) + "\n"
