"""All versions of all mappings: the shipped ones, and an installation's own beside them."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Final, Self

import structlog

from feature_repo.errors import ConfigError
from feature_repo.ingest.webhook.mapping import load_mapping, parse_mapping
from feature_repo.ingest.webhook.version import Version

_NAME: Final = re.compile(r"([a-z][a-z0-9_]*)@(\d+)\.yaml")

Seen = tuple[tuple[str, int, int], ...]

log = structlog.get_logger()


class Catalog:
    """Mapping versions by provider, newest first. Safe to use from several threads."""

    def __init__(self, folder: Path | None, own: tuple[Version, ...], seen: Seen) -> None:
        self._folder = folder
        self._seen = seen
        self._lock = Lock()
        self._versions = _by_provider(own)
        #: Why the folder as it is now is not used; None when it is.
        self.problem: str | None = None

    @classmethod
    def load(cls, folder: Path | None = None) -> Self:
        """The shipped versions and those in the folder, if there is one.

        Raises:
            ConfigError: a file in the folder is no valid mapping.
        """
        seen = _look(folder)
        return cls(folder, _own(folder, seen), seen)

    def versions(self, provider: str) -> tuple[Version, ...]:
        """The versions of a provider, newest first; empty when there is none."""
        return self._versions.get(provider, ())

    def newest(self, provider: str) -> Version | None:
        """The newest version of a provider."""
        found = self.versions(provider)
        return found[0] if found else None

    def refresh(self) -> None:
        """Read the folder again if it changed. One that cannot be used is logged, not used."""
        seen = _look(self._folder)
        if seen == self._seen:
            return
        with self._lock:
            self._seen = seen
            try:
                self._versions = _by_provider(_own(self._folder, seen))
                self.problem = None
            except ConfigError as exc:
                self.problem = str(exc)
                log.error("mappings_not_usable", problem=self.problem)


@lru_cache(maxsize=1)
def shipped_catalog() -> Catalog:
    """The catalog of an installation without mappings of its own."""
    return Catalog.load()


@lru_cache(maxsize=1)
def _shipped() -> tuple[Version, ...]:
    folder = resources.files("feature_repo.ingest.webhook") / "mappings"
    return tuple(
        Version(parse_mapping(file.read_text("utf-8"), file.name))
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    )


def _look(folder: Path | None) -> Seen:
    """Name, time and size of each mapping in the folder; a folder that is not there is empty."""
    if folder is None or not folder.is_dir():
        return ()
    found = []
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            found.append((path.name, state.st_mtime_ns, state.st_size))
    return tuple(sorted(found))


def _own(folder: Path | None, seen: Seen) -> tuple[Version, ...]:
    if folder is None:
        return ()
    versions = []
    for name, _, _ in seen:
        mapping = load_mapping(folder / name)
        if name != f"{mapping.label}.yaml":
            message = f"Mapping {folder / name} says it is {mapping.label}. Rename the file."
            raise ConfigError(message)
        versions.append(Version(mapping))
    return tuple(versions)


def _by_provider(own: tuple[Version, ...]) -> dict[str, tuple[Version, ...]]:
    """Newest first; a version of the installation stands in for a shipped one of its number."""
    numbered: dict[str, dict[int, Version]] = {}
    for version in (*_shipped(), *own):
        mapping = version.mapping
        numbered.setdefault(mapping.provider, {})[mapping.version] = version
    return {
        provider: tuple(versions[n] for n in sorted(versions, reverse=True))
        for provider, versions in numbered.items()
    }
