"""The providers of an installation: their code, with its secrets, mappings and drift ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from feature_repo.event import Event
from feature_repo.ingest.drift.ledger import Ledger
from feature_repo.ingest.providers.registry import PROVIDERS, find_provider
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.ingest.webhook.certificates import fetch_url
from feature_repo.ingest.webhook.errors import UnknownProvider
from feature_repo.ingest.webhook.parsing import parse, verify


class Webhooks:
    """See `inbound.Inbound`."""

    def __init__(
        self,
        settings: IngestSettings,
        catalog: Catalog,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._ledger = ledger
        self._clock = clock
        self.providers = frozenset(PROVIDERS)

    def find(self, name: str) -> str | None:
        """The provider of a name."""
        try:
            return find_provider(name).name
        except UnknownProvider:
            return None

    def waits(self, provider: str) -> bool:
        """Whether its certificates come over the network."""
        return PROVIDERS[provider].waits

    def verify(self, provider: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Check signature or secret, and that the body can be read."""
        verify(provider, body, headers, self._settings, now=self._clock(), fetch=fetch_url)

    def parse(self, record: RawRecord) -> Sequence[Event | Rejected]:
        """Map by the newest version that fits."""
        at = record.received_time

        def observe(provider: str, word: str | None, payload: object, ok: bool) -> None:
            self._ledger.observe(provider, word, payload, ok, at)

        return parse(
            record.provider,
            record.body,
            dict(record.headers),
            self._settings,
            received_time=at,
            raw_ref=record.ref,
            verified=True,
            catalog=self._catalog,
            observe=observe,
        )
