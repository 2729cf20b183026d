"""What a provider's module says about it: the part of a provider that YAML cannot say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feature_repo.ingest.machines.flags import NO_FLAGS, ProviderFlags
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import UnreadableBody
from feature_repo.ingest.webhook.json_body import read_json
from feature_repo.ingest.webhook.request import Fetch, Request

Item = Mapping[str, Any]
"""The payload of one event. Its values may be anything that JSON can say."""


def no_flags(_item: Item) -> ProviderFlags:
    """For a provider that says nothing about machines."""
    return NO_FLAGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider. None of its functions keeps state or does more than its line says."""

    #: As in `/ingest/{name}`.
    name: str
    #: Returns when the delivery is authentic; raises AuthenticationFailed, UnreadableBody.
    verify: Callable[[Request, IngestSettings, datetime, Fetch], None]
    #: The payloads of a delivery, none for a ping. One that is no object is rejected alone.
    #: Raises UnreadableBody.
    unpack: Callable[[Request], Sequence[Any]]
    #: The provider's own word for what happened; a detail follows after a slash.
    word: Callable[[Item], str | None]
    #: What the provider says about who did it. Null is not false.
    flags: Callable[[Item], ProviderFlags] = no_flags
    #: Whose mapping is used, where it is another provider's.
    mapping: str = ""
    #: Other names people write, without dots, dashes and underscores.
    aliases: tuple[str, ...] = ()
    #: Whether `verify` may wait for the network.
    waits: bool = False

    @property
    def mapped_as(self) -> str:
        """The name its mappings have."""
        return self.mapping or self.name


def objects(request: Request) -> list[Any]:
    """The elements of a JSON array, or the one JSON object.

    Raises:
        UnreadableBody: it is neither.
    """
    content = read_json(request.body)
    if isinstance(content, list):
        return content
    if isinstance(content, dict):
        return [content]
    message = "The body is JSON, but neither an object nor an array of objects."
    raise UnreadableBody(message)


def one_object(request: Request) -> dict[str, Any]:
    """The one JSON object a body is.

    Raises:
        UnreadableBody: it is none.
    """
    content = read_json(request.body)
    if isinstance(content, dict):
        return content
    message = "The body is JSON, but not an object."
    raise UnreadableBody(message)
