"""Raw records mapped together: what is published, what is kept for people, and how far it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from feature_repo.event import Event
from feature_repo.ingest.inbound import MISTAKES, Inbound
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.webhook.errors import UnknownProvider, UnreadableBody

log = structlog.get_logger()


@dataclass(slots=True)
class Batch:
    """Records of one segment, mapped and not yet published."""

    #: Where the cursor goes when all of it is safe.
    offset: int
    records: int = 0
    events: list[Event] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    #: Events by provider of the record and type. An event may name any provider.
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, record: RawRecord, inbound: Inbound) -> None:
        """Map a record. Whatever is in it, it does not hold up the next one."""
        self.records += 1
        for found in _parsed(record, inbound):
            if isinstance(found, Event):
                self.events.append(found)
                self.counts[record.provider, found.type.value] += 1
            else:
                self.rejected.append(found)


def _parsed(record: RawRecord, inbound: Inbound) -> Iterator[Event | Rejected]:
    try:
        yield from inbound.parse(record)
    except UnreadableBody as exc:
        yield _whole(record, "unreadable_body", str(exc))
    except UnknownProvider:
        detail = f"Provider {record.provider!r} is not known to this version any more."
        yield _whole(record, "unknown_provider", detail)
    except MISTAKES as exc:
        # A mistake of ours; the bytes are kept.
        mistake = type(exc).__name__
        log.error("mapping_broke", provider=record.provider, ref=record.ref, mistake=mistake)
        detail = f"The mapping of this version broke with {mistake}; replay with a newer one."
        yield _whole(record, "mapping_broke", detail)


def _whole(record: RawRecord, reason: str, detail: str) -> Rejected:
    """A body none of whose events could be found."""
    return Rejected(
        provider=record.provider,
        reason=reason,
        detail=detail,
        path="",
        index=0,
        provider_event=None,
        payload=record.body,
        received_time=record.received_time,
        raw_ref=None if record.ref is None else f"{record.ref}#0",
        schema_fingerprint=None,
        mapping_version=None,
    )
