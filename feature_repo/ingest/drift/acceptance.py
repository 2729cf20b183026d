"""A person takes a mapping version into use; the running ingest reads it with its next delivery."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from shutil import copyfile
from typing import Any, Final

from feature_repo.errors import ConfigError, ForesendError
from feature_repo.event import CONTENT_FIELDS, Event
from feature_repo.ingest.drift.quarantine import Entry
from feature_repo.ingest.drift.samples import Samples
from feature_repo.ingest.providers.registry import PROVIDERS
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.ingest.webhook.json_body import as_json
from feature_repo.ingest.webhook.mapping import Mapping, load_mapping, parse_mapping
from feature_repo.ingest.webhook.parsing import parse_payload

MOST_TRIED: Final = 2000
"""Quarantined events of a trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a version would do, found out before it does it."""

    #: Quarantined events that were tried, and those that would fit.
    tried: int
    fitting: int
    #: Events that fitted before and were tried, and those that would say something else.
    compared: int
    changed: int


def checked_version(file: Path, catalog: Catalog) -> Mapping:
    """The mapping in the file, if it may become the next version of its provider.

    Raises:
        ConfigError: it is no valid mapping, of no known provider, or not the next version.
    """
    mapping = load_mapping(file)
    known = sorted({provider.mapped_as for provider in PROVIDERS.values()})
    if mapping.provider not in known:
        message = f"Mapping {file} is for provider {mapping.provider!r}. Known: {', '.join(known)}."
        raise ConfigError(message)
    newest = catalog.newest(mapping.provider)
    wanted = 1 if newest is None else newest.mapping.version + 1
    if mapping.version != wanted:
        message = (
            f"Mapping {file} is version {mapping.version} of {mapping.provider}; the next one is "
            f"{wanted}. Base it on the newest version and set `version: {wanted}`."
        )
        raise ConfigError(message)
    return mapping


def accept(file: Path, catalog: Catalog, folder: Path, *, by: str, why: str, at: datetime) -> Path:
    """Put the version into the installation's folder, whole or not at all; returns its path.

    Raises:
        ConfigError: it may not be the next version, or somebody else was faster.
    """
    mapping = checked_version(file, catalog)
    who = " ".join(f"{by}: {why}".split()) if why else " ".join(by.split())
    head = f"# Accepted at {at:%Y-%m-%d %H:%M:%S} UTC by {who}\n"
    text = head + file.read_text("utf-8")
    parse_mapping(text, str(file))
    target = folder / f"{mapping.label}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{mapping.label}.{os.getpid()}.new"
    try:
        with fresh.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        # A link, not a rename: it does not replace what another person accepted meanwhile.
        os.link(fresh, target)
    except FileExistsError as exc:
        message = f"{target} exists already. Look at it, and base yours on it."
        raise ConfigError(message) from exc
    finally:
        fresh.unlink(missing_ok=True)
    return target


@contextmanager
def trial_catalog(text: str, folder: Path) -> Iterator[Catalog]:
    """The installation's mappings with one more version, which nothing else sees."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        for own in folder.glob("*@*.yaml"):
            copyfile(own, place / own.name)
        label = parse_mapping(text, "the proposed version").label
        (place / f"{label}.yaml").write_text(text, "utf-8")
        yield Catalog.load(place)


def try_out(
    before: Catalog,
    after: Catalog,
    entries: Iterable[Entry],
    samples: Samples,
    provider: str,
    settings: IngestSettings,
    at: datetime,
) -> Trial:
    """Map quarantined and earlier events with and without the new version; nothing is kept."""
    tried = fitting = compared = changed = 0
    for entry in entries:
        if tried == MOST_TRIED:
            break
        tried += 1
        found = _outcome(entry.provider, entry.payload, settings, after, at)
        fitting += not isinstance(found, Rejected)
    for payloads in samples.fitting.values():
        for payload in payloads:
            compared += 1
            outcomes = [
                _content(_outcome(provider, as_json(dict(payload)), settings, catalog, at))
                for catalog in (before, after)
            ]
            changed += outcomes[0] != outcomes[1]
    return Trial(tried=tried, fitting=fitting, compared=compared, changed=changed)


def _outcome(
    provider: str, payload: bytes, settings: IngestSettings, catalog: Catalog, at: datetime
) -> Event | Rejected | None:
    try:
        return parse_payload(provider, payload, settings, received_time=at, catalog=catalog)
    except ForesendError as exc:
        return Rejected(
            provider=provider,
            reason="unreadable_body",
            detail=str(exc),
            path="",
            index=0,
            provider_event=None,
            payload=payload,
            received_time=at,
            raw_ref=None,
            schema_fingerprint=None,
            mapping_version=None,
        )


def _content(outcome: Event | Rejected | None) -> Any:
    """What an event says; the same for all that are none."""
    if not isinstance(outcome, Event):
        return None
    return tuple(getattr(outcome, name) for name in CONTENT_FIELDS)
