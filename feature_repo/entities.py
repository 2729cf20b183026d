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


def sending_domain() -> Entity:
    """The domain that mail is sent from."""
    return _key("sending_domain", "A domain of ours that mail is sent from.")


def mailbox_provider() -> Entity:
    """The family that runs the mailbox."""
    return _key("mailbox_provider", "The family that runs a mailbox: google, microsoft, yahoo ...")


def _key(name: str, description: str) -> Entity:
    return Entity(name=name, join_keys=[name], value_type=ValueType.STRING, description=description)
