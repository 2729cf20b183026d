"""What a connector would do with the next messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime

import msgspec

from feature_repo.settings import Settings
from feature_repo.stream.consumer_name import process_name
from serving.routing import messages
from serving.routing.connectors.port import Connector
from serving.routing.connectors.process import queues_of
from serving.routing.connectors.settings import ConnectorSettings
from serving.routing.connectors.streams import StreamSource, group_of


def preview(
    settings: Settings,
    chosen: ConnectorSettings,
    connector: Connector,
    *,
    limit: int,
    wait_s: float,
    clock: Callable[[], datetime],
) -> list[Mapping[str, object]]:
    """For each of the next messages: customer, what would become of it, and what is written.

    They are taken as the connector would take them and handed back: a connector that runs gets
    them a moment later.

    Raises:
        StoreUnavailable: the queue does not answer.
    """
    with ExitStack() as closing:
        queues = queues_of(settings, chosen, closing)
        source = StreamSource(queues, chosen.name, process_name(f"{group_of(chosen.name)}-dry"))
        closing.callback(source.close)
        taken = source.take(limit, wait_s)
        return [_line(chosen, connector, one.body, clock()) for one in taken]


def _line(
    chosen: ConnectorSettings, connector: Connector, body: bytes, now: datetime
) -> Mapping[str, object]:
    try:
        message = messages.unpack(body)
        is_late = messages.epoch_of(message.expires_at) <= now.timestamp()
    except (msgspec.DecodeError, ValueError):
        return {"would": "bury", "because": "no message of ours"}
    told = {"customer_id": message.customer_id, "seq": message.seq}
    if message.target not in chosen.targets:
        return {**told, "would": "skip", "because": f"target {message.target}"}
    if is_late:
        return {**told, "would": "skip", "because": f"expired {message.expires_at}"}
    return {**told, "would": "write", "what": dict(connector.preview(message))}
