"""A mapping: how the payloads of one provider become events, declared in YAML.

docs/adding-a-provider.md explains the words. One file is one version; an installation adds its
own beside the shipped ones when a provider changes what it sends.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from feature_repo.errors import ConfigError
from feature_repo.event import EventType
from feature_repo.ingest.webhook.casts import CASTS, KINDS
from feature_repo.ingest.yaml_model import read_yaml

TEXTS: Final = (
    *("event_id", "campaign_id", "message_id", "link_id", "url"),
    *("sending_domain", "mailbox_provider", "country", "user_agent", "ip"),
    *("bounce_class", "smtp_code", "reason", "currency"),
    *("op", "provider", "provider_event", "machine", "machine_source"),
    *("customer_id", "fallback_customer_id", "address"),
)
"""Fields that are texts. The last two name the customer and do not become part of the event."""

FIELDS: Final[dict[str, str]] = {
    **dict.fromkeys(TEXTS, "text"),
    "event_time": "time",
    "provider_emitted_time": "time",
    "amount": "number",
    "machine_score": "number",
    "utc_offset_minutes": "whole",
    "arguments": "object",
}
"""What a mapping may fill, and what each of them is."""

_DEFAULT_CASTS: Final = {
    "address": "mailbox",
    "text": "text",
    "number": "number",
    "whole": "whole",
    "object": "pairs",
}

Spec = Any
"""A path, a list of alternatives, `{cast: path}`, `{const: value}`, `{local: path, zone: name}`."""


class Kind(BaseModel):
    """What a word of the provider means."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: EventType
    #: Fields that are read otherwise for this word than for the others.
    fields: dict[str, Spec] = Field({}, alias="with")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        """Let `bounced/hard` stand for type bounced with that bounce_class."""
        if not isinstance(value, str):
            return value
        type_, _, bounce_class = value.partition("/")
        extra = {"bounce_class": {"const": bounce_class}} if bounce_class else {}
        return {"type": type_, "with": extra}

    @field_validator("fields")
    @classmethod
    def _known(cls, value: dict[str, Spec]) -> dict[str, Spec]:
        return checked_fields(value)


class Mapping(BaseModel):
    """One version of a provider's mapping."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    provider: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    version: int = Field(ge=1)
    since: datetime.date
    description: str = ""
    #: Word of the provider to what it means. `a/b` falls back to `a`.
    kinds: dict[str, Kind] = Field(min_length=1)
    #: Words that are no events for us; `x*` for all that begin with x.
    ignore: tuple[str, ...] = ()
    fields: dict[str, Spec]
    #: Paths that tell events without an id apart, besides word, message, customer, time and URL.
    identity: tuple[str, ...] = ()
    #: The provider's ids repeat after a day, so the day is made part of them.
    event_id_per_day: bool = False
    #: The payloads are our own: ids hold for the whole installation, and words are types.
    is_canonical: bool = False
    #: What becomes of an event that names no customer.
    without_customer: Literal["reject", "ignore"] = "reject"

    @property
    def label(self) -> str:
        """What events carry as `mapping_version`, e.g. `sendgrid@1`."""
        return f"{self.provider}@{self.version}"

    @field_validator("fields")
    @classmethod
    def _known(cls, value: dict[str, Spec]) -> dict[str, Spec]:
        return checked_fields(value)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if "event_time" not in self.fields and not all(
            "event_time" in kind.fields for kind in self.kinds.values()
        ):
            message = "fields must say how to read event_time"
            raise ValueError(message)
        return self


def checked_fields(fields: dict[str, Spec]) -> dict[str, Spec]:
    """The fields, if each exists and its spec makes what it is.

    Raises:
        ValueError: one does not.
    """
    for name, spec in fields.items():
        if name not in FIELDS:
            message = f"field {name!r} is not one of {', '.join(sorted(FIELDS))}"
            raise ValueError(message)
        for path_or_const, cast, zone in alternatives(name, spec):
            _check(name, path_or_const, cast, zone)
    return fields


def alternatives(name: str, spec: Spec) -> list[tuple[Any, str, str]]:
    """A spec as (path, cast, zone) in the order they are tried; the cast of a constant is const."""
    if isinstance(spec, list):
        return [found for inner in spec for found in alternatives(name, inner)]
    if isinstance(spec, str):
        default = _DEFAULT_CASTS.get(name) or _DEFAULT_CASTS.get(FIELDS[name], "")
        return [(spec, default, "")]
    if isinstance(spec, dict) and "local" in spec and set(spec) <= {"local", "zone"}:
        return [(path, "local", str(spec.get("zone"))) for path in _as_list(spec["local"])]
    if isinstance(spec, dict) and len(spec) == 1:
        cast, inner = next(iter(spec.items()))
        return [(path, str(cast), "") for path in _as_list(inner)]
    message = f"field {name!r}: {spec!r} is no path, list of paths, or {{cast: path}}"
    raise ValueError(message)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check(name: str, path: object, cast: str, zone: str) -> None:
    if cast == "const":
        return
    if not isinstance(path, str) or not path:
        message = f"field {name!r}: {path!r} is no path"
        raise ValueError(message)
    if cast == "local":
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as exc:
            message = f"field {name!r}: zone {zone!r} is not known, e.g. Europe/Paris"
            raise ValueError(message) from exc
    elif cast not in CASTS:
        known = ", ".join((*CASTS, "local", "const"))
        message = f"field {name!r} needs a cast out of {known}, not {cast or 'none'!r}"
        raise ValueError(message)
    made = "time" if cast == "local" else _kind_of(cast)
    if made != FIELDS[name]:
        message = f"field {name!r} is a {FIELDS[name]}, but {cast} makes a {made}"
        raise ValueError(message)


def _kind_of(cast: str) -> str:
    return next((kind for kind, casts in KINDS.items() if CASTS[cast] in casts), "text")


def load_mapping(path: Path) -> Mapping:
    """The mapping in a file.

    Raises:
        ConfigError: it cannot be read, or is no valid mapping.
    """
    try:
        return parse_mapping(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as exc:
        message = f"Mapping {path} cannot be read: {exc}. Mend or remove the file."
        raise ConfigError(message) from exc


def parse_mapping(source: str, origin: str) -> Mapping:
    """Read a mapping's YAML; `origin` names it in errors.

    Raises:
        ConfigError: it is not YAML, or no valid mapping.
    """
    return read_yaml(Mapping, source, origin)
