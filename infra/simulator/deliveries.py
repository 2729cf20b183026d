"""The programme as requests to the ingest service, in the order they arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.event import Event, EventType, Machine, Op
from infra.simulator.campaigns import PER_DAY
from infra.simulator.formats import changed
from infra.simulator.options import Options
from infra.simulator.payloads.encoder import Body, Payload, Report
from infra.simulator.payloads.registry import ENCODERS
from infra.simulator.population import Flags
from infra.simulator.rows import TRUTH
from infra.simulator.world import World

SHOP = "segment"
"""Service that reports what happens in the shop."""

_NAMES = tuple(f.name for f in fields(Event))
_HOSTS = {
    "google": "gmail.com",
    "microsoft": "outlook.com",
    "yahoo": "yahoo.com",
    "apple": "icloud.com",
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request, not signed yet."""

    service: str
    payloads: tuple[Payload, ...]
    #: What was meant, one event per payload, with the simulator's own ids.
    events: tuple[Event, ...]

    def body(self, secret: str | None, now: datetime) -> Body:
        """The request as it is sent now."""
        return ENCODERS[self.service].wrap(self.payloads, secret, now)


class Deliveries:
    """Iterates over the requests of a programme; counts what no service reports."""

    def __init__(self, options: Options, *, most: int | None = None) -> None:
        self._world = World(options)
        self._most = most
        #: Events by kind that their service does not report.
        self.unreported: dict[str, int] = {}
        self.truth: list[pa.Table] = []

    def __iter__(self) -> Iterator[Delivery]:
        waiting: dict[str, list[tuple[Payload, Event]]] = {}
        for event, repairs in self._events():
            sent = self._payload(event, repairs=repairs)
            if sent is None:
                kind = event.type.value
                self.unreported[kind] = self.unreported.get(kind, 0) + 1
                continue
            service, payload = sent
            batch = waiting.setdefault(service, [])
            batch.append((payload, event))
            limit = ENCODERS[service].most
            if len(batch) >= min(limit, self._most or limit):
                yield _delivery(service, waiting.pop(service))
        for service, batch in waiting.items():
            yield _delivery(service, batch)

    def truth_table(self) -> pa.Table:
        """The truth of the days gone through so far."""
        return pa.concat_tables([TRUTH.empty_table(), *self.truth])

    def _events(self) -> Iterator[tuple[Event, bool]]:
        """Events in the order they arrive. Nothing arrives before the day it belongs to."""
        held: pa.Table | None = None
        for number, day in enumerate(self._world.days()):
            if day is None:
                continue
            self.truth.append(day.truth)
            rows = day.events.append_column("repairs", pa.array(day.repairs))
            rows = rows if held is None else pa.concat_tables([held, rows])
            rows = rows.sort_by([("received_time", "ascending"), ("event_id", "ascending")])
            next_day = self._world.options.start + timedelta(days=number + 1)
            ready = pc.less(rows["received_time"], pa.scalar(next_day, rows["received_time"].type))
            yield from _as_events(rows.filter(ready))
            held = rows.filter(pc.invert(ready))
        if held is not None:
            yield from _as_events(held)

    def _payload(self, event: Event, *, repairs: bool) -> tuple[str, Payload] | None:
        """Service and payload; None when the service does not report such an event."""
        options = self._world.options
        service = self._service(event)
        encoder = ENCODERS[service]
        if event.type not in encoder.kinds:
            return None
        if repairs:
            known_as = encoder.event_id(event)
            if known_as is None:
                return None
            service, event = "canonical", replace(event, event_id=known_as)
        payload = ENCODERS[service].encode(Report(event, address(event)))
        day = (event.received_time - options.start) // timedelta(days=1)
        changes = [c for c in options.format_changes if c.service == service and day >= c.day]
        return service, changed(payload, changes) if changes else payload

    def _service(self, event: Event) -> str:
        if event.campaign_id is None:
            return SHOP
        services = self._world.options.services
        number = int(event.campaign_id[1:].partition("-")[0])
        assert number < self._world.options.days * PER_DAY
        return services[number % len(services)]


def address(event: Event) -> str:
    """The address of an event's customer; such as nobody has.

    The local part cannot be mistaken for a person's.
    """
    host = _HOSTS.get(event.mailbox_provider or "", "mail.example")
    return f"{event.customer_id}.foresend-simulator@{host}"


def _delivery(service: str, batch: list[tuple[Payload, Event]]) -> Delivery:
    return Delivery(
        service, tuple(payload for payload, _ in batch), tuple(event for _, event in batch)
    )


def as_events(rows: pa.Table, repairs: Flags) -> Iterator[tuple[Event, bool]]:
    """Rows of a day as events, each with whether it puts right what an earlier one said."""
    yield from _as_events(rows.append_column("repairs", pa.array(repairs)))


def _as_events(rows: pa.Table) -> Iterator[tuple[Event, bool]]:
    for batch in rows.to_batches(max_chunksize=5000):
        columns = {name: batch.column(name).to_pylist() for name in (*_NAMES, "repairs")}
        columns["type"] = [EventType(word) for word in columns["type"]]
        columns["op"] = [Op(word) for word in columns["op"]]
        columns["machine"] = [Machine(word) for word in columns["machine"]]
        for name in ("event_time", "received_time"):
            columns[name] = [at.replace(tzinfo=UTC) for at in columns[name]]
        repairs = columns.pop("repairs")
        for values, repair in zip(zip(*columns.values(), strict=True), repairs, strict=True):
            yield Event(**dict(zip(columns, values, strict=True))), repair


def body_text(delivery: Delivery, secrets: Mapping[str, str], now: datetime) -> dict[str, object]:
    """A request as one JSON object: provider, headers, body."""
    body = delivery.body(secrets.get(delivery.service), now)
    return {
        "provider": delivery.service,
        "headers": dict(body.headers),
        "body": body.content.decode(),
    }
