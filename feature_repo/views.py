"""The stored feature views, one per feature table, generated from the grammar in naming.py."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from feast import Entity, FeatureView, Field
from feast.types import Float64, String

from feature_repo import contract, naming
from feature_repo.settings import Settings
from feature_repo.sources import feature_table

FOREVER: Final = timedelta(0)
"""Feast's way to say that a row is valid until the next one."""

_DESCRIPTIONS: Final[Mapping[str, str]] = {
    contract.ACTIVITY: "Decayed counters as logarithms, newest event times, lifetime totals.",
    contract.CUSTOMER_DAILY: "Counts, revenue and active days in windows of whole UTC days.",
    contract.CUSTOMER_PROFILE: "The newest known attributes of a customer.",
    contract.CUSTOMER_PLACEMENT: "How much of a customer's mail was seen, as of UTC midnights.",
}


def field(name: str) -> Field:
    """A feature by name: text for the few textual columns, else Float64."""
    return Field(name=name, dtype=String if name in contract.TEXT_FEATURES else Float64)


def feature_view(settings: Settings, customer: Entity, name: str) -> FeatureView:
    """The view over the feature table of the same name."""
    return FeatureView(
        name=name,
        entities=[customer],
        ttl=FOREVER,
        schema=[Field(name=contract.ENTITY, dtype=String), *map(field, contract.VIEWS[name])],
        source=feature_table(settings, name),
        online=True,
        description=_DESCRIPTIONS[name],
    )


def placement_view(settings: Settings, domain: Entity, provider: Entity) -> FeatureView:
    """Where the mail of a sending domain lands at a mailbox provider, by day.

    For people and for joins on history; nothing serves it, so it is not in the online store.
    """
    keys = [Field(name=key, dtype=String) for key in contract.PLACEMENT_KEYS]
    return FeatureView(
        name=contract.PLACEMENT,
        entities=[domain, provider],
        ttl=FOREVER,
        schema=[*keys, *(Field(name=name, dtype=Float64) for name in naming.PLACEMENT)],
        source=feature_table(settings, contract.PLACEMENT),
        online=False,
        description="Measured and estimated placement as of UTC midnights.",
    )
