"""What Mautic tells its webhooks after a connector wrote into it: no event, so there is no loop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.parsing import parse

CONTACT = {
    "id": 7,
    "email": "ann@example.org",
    "fields": {"core": {"foresend_score": {"alias": "foresend_score", "value": "0.25"}}},
}
OPENED = {
    "stat": {"id": 5, "lastOpened": "2026-03-01T11:59:00+00:00", "lead": CONTACT},
    "timestamp": "2026-03-01T12:00:01+00:00",
}


def events(body: dict[str, Any]) -> list[Any]:
    return parse("mautic", json.dumps(body).encode(), {}, IngestSettings(), verified=True)


@pytest.mark.parametrize("kind", ["lead_post_save_update", "lead_post_save_new"])
def test_a_contact_that_was_written_is_not_an_event(kind: str) -> None:
    entry = {"contact": CONTACT, "timestamp": "2026-03-01T12:00:00+00:00"}

    assert events({f"mautic.{kind}": [entry, entry]}) == []


def test_what_comes_with_the_echo_still_counts() -> None:
    echo = {"contact": CONTACT, "timestamp": "2026-03-01T12:00:00+00:00"}

    (found,) = events({"mautic.lead_post_save_update": [echo], "mautic.email_on_open": [OPENED]})

    assert found.type == "opened"
