"""What a connector is, where its messages come from, and what may become of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from serving.routing.message import Routed


class Fate(StrEnum):
    """What became of a message in a call."""

    DELIVERED = "delivered"  #: the tool has it
    PENDING = "pending"  #: the tool took it and does not say yet whether it could use it
    UNKNOWN = "unknown"  #: the tool does not know the customer
    RETRY = "retry"  #: not now
    DEAD = "dead"  #: never, as it is


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message; a reason is for people and names no customer."""

    fate: Fate
    #: With PENDING: why the tool could not be asked; empty when it was.
    reason: str = ""
    #: Seconds after which to come back; None: as the caller's patience says.
    after_s: float | None = None
    #: The contact is gone, and the directory may know another one of the customer.
    is_gone: bool = field(default=False, compare=False)

    @property
    def got_through(self) -> bool:
        """Whether the tool itself said so just now; `unknown` may be known without a call."""
        if self.fate is Fate.PENDING:
            return not self.reason
        return self.fate in {Fate.DELIVERED, Fate.DEAD}


DELIVERED: Final = Outcome(Fate.DELIVERED)
UNKNOWN: Final = Outcome(Fate.UNKNOWN, "the tool has no such contact")


def retry(reason: str, after_s: float | None = None) -> Outcome:
    """To be sent again."""
    return Outcome(Fate.RETRY, reason, after_s)


def dead(reason: str) -> Outcome:
    """Not to be sent again without a person looking at it."""
    return Outcome(Fate.DEAD, reason)


class Connector(Protocol):
    """Carries messages into one tool. Used by one thread.

    Delivering a message twice does no harm: it sets the same fields to the same values, or says
    the same id again.
    """

    @property
    def most(self) -> int:
        """Most messages of one `deliver`."""

    def deliver(self, batch: Sequence[Routed]) -> Sequence[Outcome]:
        """What became of each message, in order. A tool that does not answer is an outcome."""

    def preview(self, message: Routed) -> Mapping[str, object]:
        """What would be written for a message; asks nobody."""

    def check(self) -> str:
        """Ask the tool whether it can be used, and change nothing; returns what was seen.

        Raises:
            ConfigError: it cannot be used as it is configured.
            StoreUnavailable: it does not answer.
        """

    def close(self) -> None:
        """Release connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A message in hand."""

    #: What `Source.ack` needs.
    id: str
    body: bytes
    #: How often it was handed out, this time included.
    deliveries: int
    published_at: datetime


class Source(Protocol):
    """Where a connector's messages come from, at least once each. Used by one thread.

    Every method raises StoreUnavailable when the queue does not answer.
    """

    def take(self, limit: int, wait_s: float) -> list[Taken]:
        """Up to `limit` messages, waiting up to `wait_s` for the first one."""

    def ack(self, ids: Sequence[str]) -> None:
        """These are finished and will not come again."""

    def keep(self, ids: Sequence[str]) -> None:
        """These are still being worked on."""

    def bury(self, taken: Taken, reason: str) -> None:
        """Keep a message for people to look at; it is to be acknowledged then."""

    def close(self) -> None:
        """Hand back what was not acknowledged."""


class Directory(Protocol):
    """Who a customer is in the tool."""

    def lookup(self, customer_ids: Sequence[str]) -> Mapping[str, str]:
        """The tool's id or address of those it knows.

        Raises:
            Later: it cannot be asked now.
        """

    def forget(self, customer_id: str) -> bool:
        """What was told about the customer turned out to be wrong; whether the next `lookup` may
        tell something else."""
