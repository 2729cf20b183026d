"""Whom features describe."""

from __future__ import annotations

from feast import Entity, ValueType

from feature_repo import contract


def customer() -> Entity:
    """The person behind an address; the id is the sender's own."""
    return Entity(
        name="customer",
        join_keys=[contract.ENTITY],
        value_type=ValueType.STRING,
        description="A recipient, by the id the sending system knows.",
    )
