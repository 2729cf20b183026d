"""Changes of a mapping as it is written: another name for a path, another cast for one."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from feature_repo.ingest.webhook.mapping import FIELDS, alternatives
from feature_repo.ingest.webhook.mapping import Mapping as ProviderMapping

Written = dict[str, Any]
"""A mapping's YAML as read, short forms and all."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way a mapping reads a path."""

    field: str
    path: str
    cast: str
    zone: str


def readings(mapping: ProviderMapping, word: str) -> list[Reading]:
    """How the mapping reads the events of a word."""
    own: dict[str, Any] = {}
    while True:
        if word in mapping.kinds:
            own = mapping.kinds[word].fields
            break
        if "/" not in word:
            break
        word = word.rpartition("/")[0]
    return [
        Reading(name, path, cast, zone)
        for name, spec in (mapping.fields | own).items()
        for path, cast, zone in alternatives(name, spec)
        if cast != "const" and path != "."
    ]


def written_form(mapping: ProviderMapping, folder: Path) -> Written:
    """The YAML of a version: the installation's own file, or the shipped one."""
    own = folder / f"{mapping.label}.yaml"
    if own.exists():
        source = own.read_text("utf-8")
    else:
        shipped = resources.files("feature_repo.ingest.webhook") / "mappings"
        source = (shipped / f"{mapping.provider}.yaml").read_text("utf-8")
    content: Written = yaml.safe_load(source)
    return content


def add_name(written: Written, old: str, new: str, cast: str | None) -> Written:
    """Read `new` wherever `old` is read and missing; by `cast`, if it needs another one.

    Fields that read `new` already, because another word had the same rename, stay as they are.
    """

    def change(name: str, spec: Any) -> Any:
        found = [(path, by) for path, by, _ in alternatives(name, spec)]
        casts = {by for path, by in found if path == old} if cast is None else {cast}
        if any((new, by) in found for by in casts):
            return spec
        if cast is None:
            return _beside(spec, old, new)
        if any(path == old for path, _ in found):
            return [*(spec if isinstance(spec, list) else [spec]), {cast: new}]
        return spec

    return _changed(written, change)


def set_cast(written: Written, field: str, path: str, cast: str) -> Written:
    """Read the path into this field by another cast; older versions keep the one before."""

    def change(name: str, spec: Any) -> Any:
        if name != field:
            return spec
        found = alternatives(name, spec)
        if not any(p == path for p, _, _ in found):
            return spec
        specs = [{cast: p} if p == path else _spec(p, c, zone) for p, c, zone in found]
        return specs[0] if len(specs) == 1 else specs

    return _changed(written, change)


def next_version(written: Written, version: int, since: datetime.date) -> Written:
    """The mapping under its new number."""
    return {**written, "version": version, "since": since}


def as_yaml(written: Written) -> str:
    """The mapping as a file."""
    text: str = yaml.dump(
        written, Dumper=_Dumper, sort_keys=False, width=100, default_flow_style=None
    )
    return text


class _Dumper(yaml.SafeDumper):
    """Without anchors, which people find hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        del data
        return True


def _spec(path: Any, cast: str, zone: str) -> Any:
    if cast == "local":
        return {"local": path, "zone": zone}
    return {cast: path}


def _beside(spec: Any, old: str, new: str) -> Any:
    """The spec with `new` right after each `old`."""
    if spec == old:
        return [old, new]
    if isinstance(spec, list):
        found: list[Any] = []
        for inner in spec:
            changed = _beside(inner, old, new)
            found += changed if inner == old else [changed]
        return found
    if isinstance(spec, dict) and "const" not in spec:
        return {
            key: inner if key == "zone" else _beside(inner, old, new) for key, inner in spec.items()
        }
    return spec


def _changed(written: Written, change: Callable[[str, Any], Any]) -> Written:
    """The mapping with a change applied to each of its specs."""

    def all_of(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: change(name, spec) for name, spec in fields.items() if name in FIELDS}

    kinds = {
        word: {**kind, "with": all_of(kind["with"])}
        if isinstance(kind, dict) and "with" in kind
        else kind
        for word, kind in written["kinds"].items()
    }
    return {**written, "kinds": kinds, "fields": all_of(written["fields"])}
