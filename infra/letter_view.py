"""What is shown of a dead letter: nothing of the person it is about."""

from __future__ import annotations

import hashlib
from typing import Any

from feature_repo.stream.envelope import BadEnvelope, unpack
from feature_repo.stream.port import DeadLetter


def letter_view(letter: DeadLetter) -> dict[str, Any]:
    """A letter as one row; `events` is None when its bytes are no list of events."""
    try:
        events = unpack(letter.body)
    except BadEnvelope:
        events = []
    digest = hashlib.sha256(events[0].event_id.encode()).hexdigest()[:12] if events else None
    return {
        "id": letter.id,
        "group": letter.group,
        "buried_at": letter.buried_at.isoformat(timespec="seconds"),
        "events": len(events) or None,
        "event": digest,
        "reason": letter.reason,
    }
