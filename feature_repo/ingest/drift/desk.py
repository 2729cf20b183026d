"""Where a person works on the quarantine: its parts, opened for one installation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from feature_repo.deliverability.mailbox_cache import use_known_mailboxes
from feature_repo.errors import ConfigError
from feature_repo.ingest.drift.acceptance import Trial, trial_catalog, try_out
from feature_repo.ingest.drift.quarantine import Quarantine
from feature_repo.ingest.drift.samples import Samples, take_samples
from feature_repo.ingest.drift.suggestion import Suggestion, suggest
from feature_repo.ingest.providers.registry import find_provider
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.settings import Settings


@dataclass(frozen=True, slots=True)
class Desk:
    """Quarantine, raw store and mappings of an installation."""

    settings: Settings
    ingest: IngestSettings
    quarantine: Quarantine
    store: RawStore
    catalog: Catalog

    @property
    def mappings(self) -> Path:
        """Folder of the installation's own mapping versions."""
        return self.settings.mappings_path

    def samples(self, provider: str) -> Samples:
        """Payloads of the provider, quarantined ones and earlier ones."""
        return take_samples(provider, self.quarantine, self.store, self.ingest, self.catalog)

    def suggest(self, provider: str, now: datetime) -> tuple[Suggestion, Trial | None]:
        """A proposal for the provider, and what it would do if there is one.

        Raises:
            ConfigError: the provider has no mapping.
        """
        found = find_provider(provider)
        newest = self.catalog.newest(found.mapped_as)
        if newest is None:
            message = f"Provider {provider!r} has no mapping in this version."
            raise ConfigError(message)
        samples = self.samples(found.name)
        suggestion = suggest(newest.mapping, samples, self.mappings, now)
        if suggestion.yaml is None:
            return suggestion, None
        return suggestion, self.trial(suggestion.yaml, found.name, samples, now)

    def trial(self, text: str, provider: str, samples: Samples, now: datetime) -> Trial:
        """What a version would do to the provider's events."""
        entries = self.quarantine.entries(provider=provider)
        with trial_catalog(text, self.mappings) as after:
            return try_out(self.catalog, after, entries, samples, provider, self.ingest, now)

    def keep_suggestion(self, suggestion: Suggestion) -> Path | None:
        """Write the proposed version to a file that nothing reads by itself; its path."""
        if suggestion.yaml is None:
            return None
        folder = self.settings.state_path / "suggestions"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{suggestion.label}.yaml"
        path.write_text(suggestion.yaml, "utf-8")
        return path


@contextmanager
def open_desk(settings: Settings, ingest: IngestSettings) -> Iterator[Desk]:
    """The desk of an installation, for as long as the block lasts.

    Raises:
        ConfigError: one of the installation's mappings cannot be used.
    """
    use_known_mailboxes(settings)
    quarantine = Quarantine(settings)
    catalog = Catalog.load(settings.mappings_path)
    try:
        yield Desk(settings, ingest, quarantine, RawStore(settings.raw_path), catalog)
    finally:
        quarantine.close()
