"""API keys: who may ask, kept as hashes in one file that is re-read when it changes.

A key is 256 random bits, so its plain SHA-256 cannot be searched for: no salt and no slow hash are
needed, as they are for passwords, and a check costs microseconds on the request path.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from feature_repo.errors import ConfigError
from feature_repo.settings import Settings

PREFIX: Final = "fsk_"
"""Makes a key recognisable to people and to secret scanners."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FORMAT: Final = 2
_READ: Final = (1, 2)
"""Format 1 knew neither rotation, expiry nor rates."""


class Scope(StrEnum):
    """What a key may be used for."""

    SCORE = "score"
    INGEST = "ingest"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """The hash of a secret that was rotated out, and until when it is still let in."""

    sha256: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is kept: its hash, never itself."""

    name: str
    #: SHA-256 of the key, in hex.
    sha256: str
    created_at: str
    scopes: tuple[Scope, ...]
    #: From this moment on nobody is let in with it; None: it does not expire.
    expires_at: datetime | None = None
    #: Scoring requests a second over all workers; None: no limit.
    rate: float | None = None
    #: Requests that may come at once after a pause; only with a rate.
    burst: int | None = None
    former: tuple[Former, ...] = ()

    def hashes(self, now: datetime) -> tuple[str, ...]:
        """Hashes of the secrets that open this key now: none once it has expired."""
        if self.expires_at is not None and now >= self.expires_at:
            return ()
        return (self.sha256, *(old.sha256 for old in self.former if now < old.until))


def keys_path(settings: Settings) -> Path:
    """The key file of an installation."""
    return settings.state_path / "keys.json"


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> datetime:
    return datetime.now(UTC)


class KeyFile:
    """The keys of an installation. Reading never blocks on a writer: files are replaced whole."""

    def __init__(self, path: Path, *, clock: Callable[[], datetime] = _now) -> None:
        self._path = path
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[ApiKey, ...] = ()

    def keys(self) -> tuple[ApiKey, ...]:
        """All keys, expired ones too, read again when the file was replaced or changed.

        Raises:
            ConfigError: the file cannot be read, or is not one that `foresend keys add` wrote.
        """
        seen = self._stat()
        if seen != self._seen:
            self._keys = () if seen is None else _parse(self._path)
            self._seen = seen
        return self._keys

    def is_changed(self) -> bool:
        """Whether the file is another than the one that was read last, or cannot be looked at."""
        try:
            return self._stat() != self._seen
        except ConfigError:
            return True

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as exc:
            message = f"Key file {self._path} cannot be looked at: {exc}. Let this user read it."
            raise ConfigError(message) from exc
        return found.st_ino, found.st_mtime_ns, found.st_size

    def valid(self) -> dict[str, ApiKey]:
        """The key that each hash opens now.

        Raises:
            ConfigError: the file is not one that `foresend keys add` wrote.
        """
        now = self._clock()
        return {sha256: key for key in self.keys() for sha256 in key.hashes(now)}

    def holder(self, secret: str) -> ApiKey | None:
        """The key this secret opens. Takes the same time whichever key it is, or none."""
        presented = digest(secret)
        found: ApiKey | None = None
        for sha256, key in self.valid().items():
            if hmac.compare_digest(sha256, presented):
                found = key
        return found

    def add(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        clock: Callable[[], datetime],
        expires_at: datetime | None = None,
        rate: float | None = None,
        burst: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; the second value is the key itself, which cannot be shown again.

        Raises:
            ConfigError: the name is taken or cannot be a name, or the rate cannot be one.
        """
        if _NAME.fullmatch(name) is None:
            message = (
                f"Key name {name!r} cannot be used: 1 to 64 letters, digits, '_', '.' or '-', "
                "starting with a letter or digit."
            )
            raise ConfigError(message)
        try:
            _check_rate(rate, burst)
        except ValueError as exc:
            message = f"Key {name!r} cannot be made: {exc}."
            raise ConfigError(message) from exc
        secret = _new_secret()
        key = ApiKey(
            name=name,
            sha256=digest(secret),
            created_at=clock().isoformat(timespec="seconds"),
            scopes=tuple(scopes),
            expires_at=expires_at,
            rate=rate,
            burst=burst,
        )
        with self._lock():
            if any(known.name == name for known in self.keys()):
                message = f"A key named {name!r} exists. Revoke it first, or choose another name."
                raise ConfigError(message)
            self._write((*self.keys(), key))
        return key, secret

    def rotate(self, name: str, *, grace: timedelta, clock: Callable[[], datetime]) -> str:
        """Give a key a new secret, which is returned and valid from now on.

        The secrets before it are let in for `grace` from now, and never longer than an earlier
        rotation said: with a grace of zero only the new one is left.

        Raises:
            ConfigError: there is no key of that name.
        """
        secret, now = _new_secret(), clock()
        with self._lock():
            key = self._named(name)
            last = [Former(sha256=key.sha256, until=now + grace)]
            last += [replace(old, until=min(old.until, now + grace)) for old in key.former]
            former = tuple(old for old in last if now < old.until)
            fresh = replace(key, sha256=digest(secret), former=former)
            self._write([fresh if known is key else known for known in self.keys()])
        return secret

    def revoke(self, name: str) -> None:
        """Forget a key and every secret of it; servers refuse it within a second.

        Raises:
            ConfigError: there is no key of that name.
        """
        with self._lock():
            gone = self._named(name)
            self._write([key for key in self.keys() if key is not gone])

    def _named(self, name: str) -> ApiKey:
        for key in self.keys():
            if key.name == name:
                return key
        known = ", ".join(key.name for key in self.keys()) or "none"
        message = f"No key named {name!r}. Known keys: {known}."
        raise ConfigError(message)

    def _lock(self) -> FileLock:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._path.with_suffix(".lock"), timeout=10)

    def _write(self, keys: Sequence[ApiKey]) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        body = {"format": _FORMAT, "keys": [asdict(key) for key in keys]}
        fresh.write_text(json.dumps(body, indent=1, default=datetime.isoformat))
        fresh.replace(self._path)


def _new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _parse(path: Path) -> tuple[ApiKey, ...]:
    try:
        raw = json.loads(path.read_text())
        if raw["format"] not in _READ:
            message = f"format {raw['format']!r} is none of {', '.join(map(str, _READ))}"
            raise ValueError(message)
        return tuple(_parse_key(key) for key in raw["keys"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as exc:
        message = (
            f"Key file {path} cannot be used: {exc}. Restore it, or delete it and make new keys "
            "with `foresend keys add`."
        )
        raise ConfigError(message) from exc


def _parse_key(raw: dict[str, Any]) -> ApiKey:
    expires_at, rate, burst = (raw.get(name) for name in ("expires_at", "rate", "burst"))
    rate, burst = None if rate is None else float(rate), None if burst is None else int(burst)
    _check_rate(rate, burst)
    return ApiKey(
        name=str(raw["name"]),
        sha256=str(raw["sha256"]),
        created_at=str(raw["created_at"]),
        scopes=tuple(Scope(scope) for scope in raw["scopes"]),
        expires_at=None if expires_at is None else _moment(expires_at),
        rate=rate,
        burst=burst,
        former=tuple(
            Former(sha256=str(old["sha256"]), until=_moment(old["until"]))
            for old in raw.get("former", ())
        ),
    )


def _check_rate(rate: float | None, burst: int | None) -> None:
    if rate is not None and not 0.0 < rate < math.inf:
        message = f"rate {rate} is no number of requests a second above 0"
        raise ValueError(message)
    if burst is not None and burst < 1:
        message = f"burst {burst} is below 1"
        raise ValueError(message)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        message = f"time {text!r} has no offset from UTC"
        raise ValueError(message)
    return moment
