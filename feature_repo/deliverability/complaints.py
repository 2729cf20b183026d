"""Complaint mails into readings, and into `complained` events where the customer is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import orjson

from feature_repo.config import load_config
from feature_repo.deliverability.arf import SOURCE, Complaint, parse, split_mails
from feature_repo.deliverability.declaration import declaration
from feature_repo.deliverability.reading import Taken, Unusable
from feature_repo.ingest.importer import import_files
from feature_repo.ingest.settings import load_ingest_settings
from feature_repo.ingest.webhook.customers import identities
from feature_repo.scratch import scratch_folder
from feature_repo.settings import Settings


class ComplaintFiles:
    """Collects the complaints of files; `write_events` brings those of customers to the log."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        """Read how customers are found.

        Raises:
            ConfigError: foresend.yaml cannot be used.
            StoreUnavailable: the table of identities cannot be read.
        """
        self._settings = settings
        self._now = now
        self._declared = declaration(load_config(settings)).complaints
        table = load_ingest_settings().identities
        self._identities: Mapping[str, str] = {} if table is None else identities(table)
        self.found: list[Complaint] = []

    def take(self, raw: bytes, where: str) -> Taken:
        """The readings of one file, a mail or an mbox of them."""
        taken = Taken()
        for number, mail in enumerate(split_mails(raw), start=1):
            try:
                complaint = parse(mail, self._declared, self._identities, self._now)
            except Unusable as exc:
                taken.rejects.append(exc.at(where or f"mail {number}"))
                continue
            self.found.append(complaint)
            taken.readings.append(complaint.reading)
        return taken

    @property
    def customers_known(self) -> int:
        """Complaints whose customer is known."""
        return sum(one.customer_id is not None for one in self.found)

    def write_events(self, known_at: Callable[[date], datetime]) -> int:
        """Append the events that the log does not hold; how many they were."""
        events = {one.event_id: one for one in reversed(self.found) if one.customer_id is not None}
        if not events:
            return 0
        with scratch_folder(self._settings, "complaints") as folder:
            path = folder / "complaints.jsonl"
            lines = (orjson.dumps(self._event(one, known_at)) for one in events.values())
            path.write_bytes(b"\n".join(lines) + b"\n")
            summary = import_files(self._settings, [path], clock=lambda: self._now)
        return summary.events

    def _event(self, one: Complaint, known_at: Callable[[date], datetime]) -> dict[str, Any]:
        received = max(one.reported_at, min(known_at(one.reported_at.date()), self._now))
        return {
            "event_id": one.event_id,
            "type": "complained",
            "provider": SOURCE,
            "provider_event": one.kind,
            "customer_id": one.customer_id,
            "event_time": one.reported_at.isoformat(),
            "received_time": received.isoformat(),
            "message_id": one.message_id,
            "sending_domain": one.reading.sending_domain,
            "mailbox_provider": one.reading.mailbox_provider,
            "raw_ref": f"arf:{one.reading.part}",
        }
