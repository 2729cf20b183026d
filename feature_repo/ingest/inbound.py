"""What the edge and the mapper need of the providers, and what may go wrong in their code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from feature_repo.event import Event
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.rejected import Rejected

MISTAKES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What code over foreign bytes raises when its author did not foresee them."""


class Inbound(Protocol):
    """The providers of this installation, with their secrets and mappings."""

    @property
    def providers(self) -> frozenset[str]:
        """Their names, as in `/ingest/{provider}`."""

    def find(self, name: str) -> str | None:
        """The provider of a name, however it is written; None when there is none."""

    def verify(self, provider: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Return when the delivery is authentic and can be read.

        Raises:
            AuthenticationFailed: it is not authentic.
            UnreadableBody: nobody can ever read it.
            StoreUnavailable: what is needed to tell does not answer, e.g. a certificate's host.
        """

    def waits(self, provider: str) -> bool:
        """Whether `verify` may wait for the network."""

    def parse(self, record: RawRecord) -> Sequence[Event | Rejected]:
        """The events of a record that was verified when it came.

        Raises:
            UnreadableBody: it has none.
        """
