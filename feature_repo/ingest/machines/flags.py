"""What a provider says about who opened or clicked, in our words."""

from __future__ import annotations

from dataclasses import dataclass

from feature_repo.event import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFlags:
    """A provider's own verdict on one event. No verdict is not the verdict "a person"."""

    #: The provider's verdict; Machine.NONE when it says a person did it; None when it says nothing.
    machine: Machine | None = None
    #: The provider's confidence in its verdict, 0.0 to 1.0; None when it gives none.
    confidence: float | None = None
    #: The HTTP method of the open or click, where the provider reports it; scanners send HEAD.
    method: str | None = None


NO_FLAGS = ProviderFlags()
"""A provider that says nothing."""
