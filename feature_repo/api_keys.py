"""API keys: who may ask, kept as hashes in one file that is re-read when it changes.

A key is 256 random bits, so its plain SHA-256 cannot be searched for: no salt and no slow hash are
needed, as they are for passwords, and a check costs microseconds on the request path.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from filelock import FileLock

from feature_repo.errors import ConfigError
from feature_repo.settings import Settings

PREFIX: Final = "fsk_"
"""Makes a key recognisable to people and to secret scanners."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FORMAT: Final = 1


class Scope(StrEnum):
    """What a key may be used for."""

    SCORE = "score"
    INGEST = "ingest"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is kept: its hash, never itself."""

    name: str
    #: SHA-256 of the key, in hex.
    sha256: str
    created_at: str
    scopes: tuple[Scope, ...]


def keys_path(settings: Settings) -> Path:
    """The key file of an installation."""
    return settings.state_path / "keys.json"


class KeyFile:
    """The keys of an installation. Reading never blocks on a writer: files are replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[ApiKey, ...] = ()

    def keys(self) -> tuple[ApiKey, ...]:
        """All keys, read again when the file was replaced or changed.

        Raises:
            ConfigError: the file is not one that `foresend keys add` wrote.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, ()
            return ()
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            self._keys = _parse(self._path)
            self._seen = seen
        return self._keys

    def holder(self, secret: str) -> ApiKey | None:
        """The key this secret belongs to. Takes the same time whichever key it is, or none."""
        presented = hashlib.sha256(secret.encode()).hexdigest()
        found: ApiKey | None = None
        for key in self.keys():
            if hmac.compare_digest(key.sha256, presented):
                found = key
        return found

    def add(
        self, name: str, scopes: Sequence[Scope], *, clock: Callable[[], datetime]
    ) -> tuple[ApiKey, str]:
        """Make a key; the second value is the key itself, which cannot be shown again.

        Raises:
            ConfigError: the name is taken or cannot be a name.
        """
        if _NAME.fullmatch(name) is None:
            message = (
                f"Key name {name!r} cannot be used: 1 to 64 letters, digits, '_', '.' or '-', "
                "starting with a letter or digit."
            )
            raise ConfigError(message)
        secret = PREFIX + secrets.token_urlsafe(32)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        created = clock().isoformat(timespec="seconds")
        key = ApiKey(name=name, sha256=digest, created_at=created, scopes=tuple(scopes))
        with self._lock():
            if any(known.name == name for known in self.keys()):
                message = f"A key named {name!r} exists. Revoke it first, or choose another name."
                raise ConfigError(message)
            self._write((*self.keys(), key))
        return key, secret

    def revoke(self, name: str) -> None:
        """Forget a key; servers refuse it from their next request on.

        Raises:
            ConfigError: there is no key of that name.
        """
        with self._lock():
            left = tuple(key for key in self.keys() if key.name != name)
            if len(left) == len(self.keys()):
                known = ", ".join(key.name for key in self.keys()) or "none"
                message = f"No key named {name!r}. Known keys: {known}."
                raise ConfigError(message)
            self._write(left)

    def _lock(self) -> FileLock:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._path.with_suffix(".lock"), timeout=10)

    def _write(self, keys: Sequence[ApiKey]) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        body = {"format": _FORMAT, "keys": [asdict(key) for key in keys]}
        fresh.write_text(json.dumps(body, indent=1))
        fresh.replace(self._path)


def _parse(path: Path) -> tuple[ApiKey, ...]:
    try:
        raw = json.loads(path.read_text())
        if raw["format"] != _FORMAT:
            message = f"format {raw['format']!r} is not {_FORMAT}"
            raise ValueError(message)
        return tuple(
            ApiKey(
                name=str(key["name"]),
                sha256=str(key["sha256"]),
                created_at=str(key["created_at"]),
                scopes=tuple(Scope(scope) for scope in key["scopes"]),
            )
            for key in raw["keys"]
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        message = (
            f"Key file {path} cannot be used: {exc}. Restore it, or delete it and make new keys "
            "with `foresend keys add`."
        )
        raise ConfigError(message) from exc
