"""One version of a mapping, compiled: from an item of a delivery to an event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from feature_repo.event import (
    Event,
    EventType,
    Machine,
    Op,
    amount_micros,
    check_amount,
    check_times,
    deterministic_id,
)
from feature_repo.ingest.webhook.customers import LONGEST, Customers
from feature_repo.ingest.webhook.mailboxes import family_of_address, family_of_name
from feature_repo.ingest.webhook.mapping import Mapping
from feature_repo.ingest.webhook.misfit import Misfit, shown
from feature_repo.ingest.webhook.paths import Getter, getter
from feature_repo.ingest.webhook.readers import Item, Reader, reader
from feature_repo.ingest.webhook.redaction import without_addresses

_APART: Final = frozenset(
    ("event_id", "event_time", "customer_id", "fallback_customer_id", "address", "arguments")
)
"""Fields that are not copied into the event but used to make it."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_WIDEST_OFFSET: Final = 18 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What is known about an event besides its payload."""

    provider: str
    received_time: datetime
    customers: Customers
    raw_ref: str | None = None
    schema_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How one word is read."""

    type: EventType
    copied: tuple[tuple[str, Reader], ...]
    apart: dict[str, Reader]

    def read(self, name: str, item: Item) -> Any:
        """A field that is used to make the event; None when the mapping has none."""
        found = self.apart.get(name)
        return None if found is None else found(item)


class Version:
    """A compiled mapping. `meaning` says how a word is read, `event` makes the event."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.label = mapping.label
        self._base = {name: reader(name, spec) for name, spec in mapping.fields.items()}
        self._identity: tuple[Getter, ...] = tuple(getter(path) for path in mapping.identity)
        self._plans = {
            word: self._plan(
                kind.type, {name: reader(name, spec) for name, spec in kind.fields.items()}
            )
            for word, kind in mapping.kinds.items()
        }
        self.unknown = self._plan(EventType.UNKNOWN, {})
        self._ignored = frozenset(mapping.ignore)
        self._ignored_starts = tuple(w[:-1] for w in mapping.ignore if w.endswith("*"))

    def meaning(self, word: str) -> tuple[Plan | None, bool]:
        """How a word is read, and whether it is known. No plan: it is no event for us.

        `a/b` means what `a` means, if it is not listed itself.
        """
        for listed in (word, *_upwards(word)):
            plan = self._plans.get(listed)
            if plan is not None:
                return plan, True
            if listed in self._ignored or listed.startswith(self._ignored_starts):
                return None, True
        return self.unknown, False

    def event(self, plan: Plan, word: str, item: Item, arrival: Arrival) -> Event | None:
        """The event; None when it names no customer and the mapping ignores such events.

        Raises:
            Misfit: a field is missing or not what the mapping says.
        """
        event_time = self._event_time(plan, item, arrival)
        address = plan.read("address", item)
        customer_id = self._customer(plan, item, arrival, address)
        if customer_id is None:
            return None
        values: dict[str, Any] = {
            "provider": arrival.provider,
            "type": plan.type,
            "customer_id": customer_id,
            "event_time": event_time,
            "received_time": arrival.received_time,
            "raw_ref": arrival.raw_ref,
            "mapping_version": self.label,
            "schema_fingerprint": arrival.schema_fingerprint,
        }
        for name, read in plan.copied:
            value = read(item)
            if value is not None:
                values[name] = value
        if not self.mapping.is_canonical or plan is self.unknown:
            values["provider_event"] = word
        _mend(values, address)
        _check(values)
        who = customer_id if address is None else address
        values["event_id"] = self._event_id(plan, word, item, values, who)
        _check_lengths(values)
        return Event(**values)

    def _event_time(self, plan: Plan, item: Item, arrival: Arrival) -> datetime:
        found: datetime | None = plan.read("event_time", item)
        if found is None:
            message = "the time of the event is missing"
            raise Misfit(message, "missing_event_time", self._paths("event_time"))
        problem = check_times(found, arrival.received_time)
        if problem is not None:
            raise Misfit(problem, "impossible_time", self._paths("event_time"))
        return found

    def _customer(
        self, plan: Plan, item: Item, arrival: Arrival, address: str | None
    ) -> str | None:
        arguments, own = plan.read("arguments", item), plan.read("customer_id", item)
        found = arrival.customers.resolve(arguments, own, address)
        if found is None:
            found = plan.read("fallback_customer_id", item)
        if found is None and self.mapping.without_customer == "reject":
            message = "neither a customer id nor an address is there"
            raise Misfit(message, "missing_customer_id", self._paths("customer_id", "address"))
        return found

    def _event_id(self, plan: Plan, word: str, item: Item, values: dict[str, Any], who: str) -> str:
        own: str | None = plan.read("event_id", item)
        provider: str = values["provider"]
        if own is not None:
            if self.mapping.is_canonical:
                return own
            day = f"{values['event_time']:%Y-%m-%d}:" if self.mapping.event_id_per_day else ""
            return f"{provider}:{day}{own}"
        if values.get("op") == Op.RETRACT:
            message = "op 'retract' needs the event_id of what it withdraws"
            raise Misfit(message, "retract_without_id", self._paths("event_id"))
        if self.mapping.is_canonical:
            return canonical_id(values)
        extra = (shown(get(item)) for get in self._identity)
        at = values["event_time"].isoformat()
        message_id, url = values.get("message_id"), values.get("url")
        return deterministic_id(provider, word, message_id, who, at, url, *extra)

    def _plan(self, type_: EventType, overrides: dict[str, Reader]) -> Plan:
        readers = self._base | overrides
        return Plan(
            type=type_,
            copied=tuple((name, read) for name, read in readers.items() if name not in _APART),
            apart={name: read for name, read in readers.items() if name in _APART},
        )

    def _paths(self, *names: str) -> str:
        """The first paths of fields, for the place of what is missing."""
        return ", ".join(
            path for name in names if (path := _first_path(self.mapping.fields.get(name)))
        )


def canonical_id(values: dict[str, Any]) -> str:
    """The id that an import of files makes of the same fields."""
    return deterministic_id(
        values["provider"],
        values["type"],
        values["customer_id"],
        (values["event_time"] - _EPOCH) // _MICROSECOND,
        *(values.get(name) for name in ("provider_event", "campaign_id", "message_id")),
        *(values.get(name) for name in ("url", "link_id")),
        amount_micros(values.get("amount")),
        values.get("currency"),
    )


def _upwards(word: str) -> Iterator[str]:
    while "/" in word:
        word = word.rpartition("/")[0]
        yield word


def _first_path(spec: Any) -> str:
    while isinstance(spec, list | dict) and spec:
        spec = spec[0] if isinstance(spec, list) else next(iter(spec.values()))
    return spec if isinstance(spec, str) else ""


def _mend(values: dict[str, Any], address: str | None) -> None:
    """Keep addresses out of texts, and name the company that runs the mailbox."""
    for name in ("reason", "url"):
        text = values.get(name)
        if text is not None and ("@" in text or "%40" in text):
            values[name] = without_addresses(text)
    named = values.get("mailbox_provider")
    if named is not None:
        values["mailbox_provider"] = family_of_name(named)
    elif address is not None:
        values["mailbox_provider"] = family_of_address(address)


def _check(values: dict[str, Any]) -> None:
    """Refuse what no event may be.

    Raises:
        Misfit: a value breaks a rule.
    """
    problem = check_amount(values.get("amount"))
    if problem is not None:
        raise Misfit(problem, "bad_amount", "amount")
    if abs(values.get("utc_offset_minutes", 0)) > _WIDEST_OFFSET:
        message = "utc_offset_minutes is more than 18 hours"
        raise Misfit(message, "bad_utc_offset", "utc_offset_minutes")
    if not 0.0 <= values.get("machine_score", 0.0) <= 1.0:
        message = f"machine_score {values['machine_score']} is not between 0 and 1"
        raise Misfit(message, "bad_machine_score", "machine_score")
    for name, enum in _ENUMS:
        if name in values:
            values[name] = _one_of(name, values[name], enum)


def _check_lengths(values: dict[str, Any]) -> None:
    for name in ("event_id", "customer_id"):
        if len(values[name]) > LONGEST:
            message = f"{name} has more than {LONGEST} characters"
            raise Misfit(message, "too_long", name)


def _one_of(name: str, value: str, enum: Callable[[str], Op | Machine]) -> Op | Machine:
    try:
        return enum(value.lower())
    except ValueError as exc:
        message = f"{name} {shown(value)} is not one of the words of docs/events.md"
        raise Misfit(message, f"bad_{name}", name) from exc


_ENUMS: Final[tuple[tuple[str, Callable[[str], Op | Machine]], ...]] = (
    ("op", Op),
    ("machine", Machine),
)
