"""The providers there are: every module of this package that declares `PROVIDERS`."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

from feature_repo.ingest import providers
from feature_repo.ingest.providers.provider import Provider
from feature_repo.ingest.webhook.errors import UnknownProvider

_OURS: Final = frozenset(("provider", "registry"))


def _declared() -> Iterator[Provider]:
    for module in pkgutil.iter_modules(providers.__path__):
        if module.name not in _OURS:
            yield from import_module(f"{providers.__name__}.{module.name}").PROVIDERS


PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {provider.name: provider for provider in sorted(_declared(), key=lambda p: p.name)}
)
"""By name."""

_ALIASES: Final = {alias: p.name for p in PROVIDERS.values() for alias in (p.name, *p.aliases)}


def find_provider(name: str) -> Provider:
    """The provider of that name, however it is written.

    >>> find_provider("Customer.io").name, find_provider("amazon-ses").name
    ('customerio', 'ses')

    Raises:
        UnknownProvider: there is none.
    """
    found = PROVIDERS.get(name)
    if found is not None:
        return found
    plain = name.strip().lower().translate({ord(c): None for c in ".-_ "})
    if plain in _ALIASES:
        return PROVIDERS[_ALIASES[plain]]
    message = f"Provider {name[:40]!r} is not known. Known are: {', '.join(PROVIDERS)}."
    raise UnknownProvider(message)
