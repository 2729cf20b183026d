"""The rules about machine events, as a YAML file declares them: dated, weighted, with sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from feature_repo.errors import ConfigError
from feature_repo.event import HUMAN_MACHINES, EventType, Machine
from feature_repo.ingest.machines.addresses import AddressList, read_addresses

SHIPPED: Final = Path(__file__).parent
"""Folder of the rules and lists that come with the package."""

PROVIDER: Final = "provider"
"""Word of `machine_source` for a verdict of the provider; no rule may have this name."""

Weight = Annotated[float, Field(gt=0.0, lt=1.0)]
Seconds = Annotated[int, Field(ge=0, le=86_400)]
Words = Annotated[tuple[str, ...], Field(min_length=1)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AfterDelivery(_Declared):
    """At most `seconds` after the message was delivered (or sent), or before."""

    seconds: Seconds


class LinkBurst(_Declared):
    """One of `links` different links of one message clicked within `seconds`."""

    links: Annotated[int, Field(ge=2)]
    seconds: Seconds


class BesideBurst(LinkBurst):
    """Same message and address, at most `within_seconds` from a click of a link burst."""

    within_seconds: Seconds


class BesideHoneypot(_Declared):
    """A click on a link no person sees, or same message and address close to one."""

    #: link_id equal to, or URL containing, one of these.
    links: Words
    within_seconds: Seconds


class Crowd(_Declared):
    """One address did this for `customers` different customers within `seconds` of it."""

    customers: Annotated[int, Field(ge=2)]
    seconds: Seconds


class When(_Declared):
    """What must hold; all that is written must. Texts are compared without regard to case."""

    agent_equals: Words | None = None
    agent_contains: Words | None = None
    agent_starts: Words | None = None
    #: Host of the link, or a parent domain of it.
    host_in: Words | None = None
    #: Name of a list of address ranges.
    address_in: str | None = None
    method: str | None = None
    after_delivery: AfterDelivery | None = None
    link_burst: LinkBurst | None = None
    beside_burst: BesideBurst | None = None
    beside_honeypot: BesideHoneypot | None = None
    crowd: Crowd | None = None

    @property
    def context(self) -> AfterDelivery | LinkBurst | BesideHoneypot | Crowd | None:
        """The condition on other events, if there is one."""
        return (
            self.after_delivery
            or self.beside_burst
            or self.link_burst
            or self.beside_honeypot
            or self.crowd
        )

    @model_validator(mode="after")
    def _checked(self) -> When:
        given = self.model_fields_set
        contexts = given & _CONTEXTS
        if not given:
            message = "needs at least one condition"
            raise ValueError(message)
        if len(contexts) > 1:
            message = f"has {len(contexts)} conditions on other events; write one rule for each"
            raise ValueError(message)
        if contexts and given - contexts - {"agent_contains"}:
            message = "beside a condition on other events only agent_contains is possible"
            raise ValueError(message)
        return self


_CONTEXTS: Final = {"after_delivery", "link_burst", "beside_burst", "beside_honeypot", "crowd"}


class Rule(_Declared):
    """One piece of evidence and what it weighs."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    #: Events that happened earlier are not judged by it.
    since: date
    events: Annotated[tuple[Literal["opened", "clicked"], ...], Field(min_length=1)]
    when: When
    machine: Machine
    weight: Weight
    #: Where the knowledge comes from.
    source: str

    @cached_property
    def kinds(self) -> frozenset[EventType]:
        """The kinds of events it judges."""
        return frozenset(EventType(word) for word in self.events)

    @cached_property
    def starts(self) -> datetime:
        """`since` as an instant."""
        return datetime.combine(self.since, time(), UTC)

    @property
    def is_contextual(self) -> bool:
        """Whether it needs other events; such rules are the sweep's."""
        return self.when.context is not None

    @property
    def is_proxy(self) -> bool:
        """Whether it names the proxy of a person rather than a machine of its own."""
        return self.machine in HUMAN_MACHINES


class Rules(_Declared):
    """All rules of an installation."""

    version: Annotated[int, Field(ge=1)]
    dated: date
    threshold: Weight
    #: A provider's "a person" multiplies the weights of rules for the kinds it judges by this.
    against_provider: Annotated[float, Field(ge=0.0, le=1.0)]
    provider_judges: tuple[Machine, ...] = ()
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    #: Address lists by name; read beside the rules.
    lists: Annotated[Mapping[str, Any], Field(exclude=True)] = Field(default_factory=dict)

    @cached_property
    def by_name(self) -> Mapping[str, Rule]:
        """Rules by their names."""
        return {rule.name: rule for rule in self.rules}

    @property
    def stateless(self) -> tuple[Rule, ...]:
        """Rules that need nothing but the event."""
        return tuple(rule for rule in self.rules if not rule.is_contextual)

    @property
    def contextual(self) -> tuple[Rule, ...]:
        """Rules that need other events."""
        return tuple(rule for rule in self.rules if rule.is_contextual)

    def addresses(self, name: str) -> AddressList:
        """The list of that name."""
        held = self.lists[name]
        assert isinstance(held, AddressList)
        return held

    @model_validator(mode="after")
    def _names_are_unique(self) -> Rules:
        names = [rule.name for rule in self.rules]
        for name in names:
            if name == PROVIDER or names.count(name) > 1:
                message = f"the name {name!r} is used twice or is reserved"
                raise ValueError(message)
        return self


@lru_cache(maxsize=8)
def load_rules(folder: Path | None = None) -> Rules:
    """The rules of an installation: `rules.yaml` and `<list>.csv` of `folder`, else the shipped.

    Read once per process.

    Raises:
        ConfigError: a file cannot be used; the message says which and why.
    """
    path = _place(folder, "rules.yaml", SHIPPED / "rules.yaml")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        rules = Rules.model_validate(document)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        message = f"{path} cannot be read: {exc}. Compare with {SHIPPED / 'rules.yaml'}."
        raise ConfigError(message) from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{path}: {where}: {first['msg']} (value {first.get('input')!r})."
        raise ConfigError(message) from exc
    lists = {name: _addresses(path, folder, name) for name in _lists_of(rules.rules)}
    return rules.model_copy(update={"lists": lists})


def _lists_of(rules: Iterable[Rule]) -> list[str]:
    named = (rule.when.address_in for rule in rules)
    return sorted({name for name in named if name is not None})


def _addresses(rules_path: Path, folder: Path | None, name: str) -> AddressList:
    place = _place(folder, f"{name}.csv", SHIPPED / "lists" / f"{name}.csv")
    if not place.exists():
        message = f"{rules_path}: there is no list {name!r}; write {place}, one CIDR per line."
        raise ConfigError(message)
    return read_addresses(place)


def _place(folder: Path | None, name: str, shipped: Path) -> Path:
    return folder / name if folder is not None and (folder / name).exists() else shipped
