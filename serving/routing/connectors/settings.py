"""The part `routing.connectors` of foresend.yaml, checked: what all kinds have in common."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from feature_repo.config import Config, keys_of
from feature_repo.errors import ConfigError
from feature_repo.targets import suggestion

STREAMS: Final = {"changed": "score.changed", "results": "score.results"}
"""Words of the file for streams."""

_COMMON: Final = (
    *("kind", "streams", "targets", "newest_only"),
    *("batch", "linger_s", "rate_per_s", "timeout_s"),
)
_TOOL: Final = ("url", "fields", "contact", "allow_http")
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "mautic": (*_TOOL, "user_env", "password_env", "client_id_env", "client_secret_env"),
    "sendgrid": (*_TOOL, "token_env"),
    "listmonk": (*_TOOL, "user_env", "token_env"),
    "webhook": ("url", "allow_http", "secret_env", "previous_secret_env"),
    "files": ("folder", "format"),
}
"""Keys of each kind beside the common ones."""

ALL: Final = "all"
"""Stands for every connector on the command line."""

_NEWEST_ONLY: Final = frozenset(("mautic", "sendgrid", "listmonk"))
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_VARIABLE: Final = re.compile(r"FORESEND_[A-Z0-9_]+")
_MOST_BATCH: Final = {"mautic": 200, "sendgrid": 30_000, "listmonk": 100, "webhook": 1_000}
_BATCH: Final = {"mautic": 100, "sendgrid": 1_000, "listmonk": 20, "webhook": 100, "files": 5_000}
_LINGER_S: Final = {"files": 60.0, "sendgrid": 5.0}


@dataclass(frozen=True, slots=True)
class Part:
    """A mapping of the file, read key by key; `where` names it in errors."""

    held: Mapping[str, Any]
    where: str
    environment: Mapping[str, str] = field(repr=False)

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty."""
        value = self.held.get(key, default)
        if not isinstance(value, str) or not value:
            message = f"{self.where}.{key} has value {value!r}; it must be a text."
            raise ConfigError(message)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.held.get(key, default)
        if not isinstance(value, bool):
            message = f"{self.where}.{key} has value {value!r}; it must be true or false."
            raise ConfigError(message)
        return value

    def number(self, key: str, default: float, *, most: float) -> float:
        """A number above 0."""
        value = self.held.get(key, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 < value <= most:
            message = f"{self.where}.{key} has value {value!r}; use a number up to {most:g}."
            raise ConfigError(message)
        return float(value)

    def whole(self, key: str, default: int, *, most: int) -> int:
        """A whole number from 1 on."""
        value = self.held.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            message = (
                f"{self.where}.{key} has value {value!r}; use a whole number from 1 to {most}."
            )
            raise ConfigError(message)
        return value

    def names(self, key: str, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
        """Some of the known names."""
        value = self.held.get(key, list(default))
        found = value if isinstance(value, list) else [value]
        for name in found:
            if name not in known:
                near = suggestion(str(name), known)
                message = f"{self.where}.{key}: {name!r} is none{near}; use {', '.join(known)}."
                raise ConfigError(message)
        if not found:
            message = f"{self.where}.{key} is empty; use {', '.join(known)}."
            raise ConfigError(message)
        return tuple(dict.fromkeys(found))

    def part(self, key: str, known: Sequence[str], default: Mapping[str, object]) -> Part:
        """A mapping inside, of known keys only."""
        where = f"{self.where}.{key}"
        return Part(keys_of(self.held.get(key, default), where, known), where, self.environment)

    def has(self, key: str) -> bool:
        """Whether the file says anything about it."""
        return key in self.held

    def secret(self, key: str) -> str:
        """The value of the variable that is named; the file holds no secrets itself."""
        name = self.held.get(key)
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            # What was written may be the secret itself, and is not shown.
            message = (
                f"{self.where}.{key} must be the name of an environment variable that begins with "
                "FORESEND_, such as FORESEND_TOOL_TOKEN; secrets do not belong into the file."
            )
            raise ConfigError(message)
        value = self.environment.get(name, "")
        if not value or not value.isascii() or not value.isprintable():
            problem = "not set" if not value else "not of printable ASCII characters"
            message = f"{name} is {problem}; {self.where}.{key} needs it."
            raise ConfigError(message)
        return value

    def url(self, key: str = "url", default: str | None = None) -> str:
        """An address over HTTPS, without a slash at its end."""
        value = self.text(key, default).rstrip("/")
        try:
            split = urlsplit(value)
            host = split.hostname
        except ValueError:
            host = None
        if not host or split.scheme not in {"https", "http"} or split.username is not None:
            message = (
                f"{self.where}.{key} is no address such as https://tool.example (no password)."
            )
            raise ConfigError(message)
        if split.scheme == "http" and not (_is_loopback(host) or self.flag("allow_http", False)):
            message = (
                f"{self.where}.{key} begins with http://, and scores and credentials would be "
                "readable on the way; use https://, or say allow_http: true."
            )
            raise ConfigError(message)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorSettings:
    """What is common to connectors of all kinds."""

    name: str
    kind: str
    #: Names of streams.
    streams: tuple[str, ...]
    #: Targets whose messages are delivered.
    targets: tuple[str, ...]
    #: Most messages of a call.
    batch: int
    #: Seconds that a batch is waited for to become larger.
    linger_s: float
    rate_per_s: float
    timeout_s: float
    #: Of each customer and target only the newest message matters.
    newest_only: bool
    #: The keys of the kind.
    part: Part


def connector_settings(
    config: Config, environment: Mapping[str, str]
) -> tuple[ConnectorSettings, ...]:
    """The connectors of the file, in their order. Secrets are not looked up yet.

    Raises:
        ConfigError: one says something that cannot be used.
    """
    where = f"{config.path}: routing"
    routing = config.sections.get("routing", {})
    declared = routing.get("connectors", {}) if isinstance(routing, Mapping) else {}
    if not isinstance(declared, Mapping):
        message = (
            f"{where}.connectors has value {declared!r}; it must be a mapping of names, "
            "such as {crm: {kind: webhook, url: ...}}."
        )
        raise ConfigError(message)
    return tuple(
        _connector(name, value, f"{where}.connectors.{name}", config, environment)
        for name, value in declared.items()
    )


def _connector(
    name: object, value: object, where: str, config: Config, environment: Mapping[str, str]
) -> ConnectorSettings:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == ALL:
        message = f"{where}: use up to 40 small letters, digits, - and _ for the name, not {ALL}."
        raise ConfigError(message)
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in KINDS:
        near = suggestion(str(kind), KINDS)
        message = f"{where}.kind has value {kind!r}{near}; use one of {', '.join(KINDS)}."
        raise ConfigError(message)
    part = Part(keys_of(value, where, (*_COMMON, *KINDS[kind])), where, environment)
    targets = part.names("targets", tuple(config.targets), tuple(config.targets))
    newest_only = part.flag("newest_only", kind in _NEWEST_ONLY)
    if kind in _NEWEST_ONLY and len(targets) > 1:
        message = (
            f"{where}.targets has {len(targets)} targets, and they would overwrite each other's "
            "fields; name one, and declare another connector for the next."
        )
        raise ConfigError(message)
    return ConnectorSettings(
        name=name,
        kind=kind,
        streams=tuple(STREAMS[word] for word in part.names("streams", (*STREAMS,), ("changed",))),
        targets=targets,
        batch=part.whole("batch", _BATCH[kind], most=_MOST_BATCH.get(kind, 100_000)),
        linger_s=part.number("linger_s", _LINGER_S.get(kind, 0.2), most=3_600.0),
        rate_per_s=part.number("rate_per_s", 5.0, most=1_000.0),
        timeout_s=part.number("timeout_s", 10.0, most=60.0),
        newest_only=newest_only,
        part=part,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
