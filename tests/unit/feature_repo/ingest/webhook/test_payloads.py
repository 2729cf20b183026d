"""What each provider sends becomes the events that are written beside it."""

from __future__ import annotations

import pytest

from feature_repo.event import Event
from feature_repo.ingest import parse
from feature_repo.ingest.providers.registry import PROVIDERS
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.ingest.webhook.parsing import parse_payload
from tests.unit.feature_repo.ingest.webhook.payloads import Fixture, described, fixtures

SETTINGS = IngestSettings(insecure_local=True)

each = pytest.mark.parametrize("fixture", fixtures(), ids=lambda f: f"{f.provider}-{f.name}")


def outcomes(fixture: Fixture) -> list[Event | Rejected]:
    received = fixture.received_time
    return parse(
        fixture.provider, fixture.body, {}, SETTINGS, received_time=received, raw_ref="s:0"
    )


@each
def test_a_delivery_becomes_the_events_beside_it(fixture: Fixture) -> None:
    found = outcomes(fixture)

    assert len(found) == len(fixture.expected)
    assert [
        described(outcome, expected)
        for outcome, expected in zip(found, fixture.expected, strict=True)
    ] == fixture.expected


@each
def test_the_address_is_in_no_event_and_no_reason(fixture: Fixture) -> None:
    for outcome in outcomes(fixture):
        shown = str(outcome) if isinstance(outcome, Event) else outcome.detail
        assert "jane@" not in shown.lower()
        assert "jane%40" not in shown.lower()


@each
def test_what_was_rejected_is_kept_as_it_came_and_is_rejected_again(fixture: Fixture) -> None:
    for outcome in outcomes(fixture):
        if isinstance(outcome, Rejected):
            again = parse_payload(
                outcome.provider,
                outcome.payload,
                SETTINGS,
                received_time=outcome.received_time,
                raw_ref=outcome.raw_ref,
            )
            assert again == outcome


@each
def test_the_same_delivery_gives_the_same_events(fixture: Fixture) -> None:
    assert outcomes(fixture) == outcomes(fixture)


def test_events_of_a_delivery_have_ids_of_their_own() -> None:
    for fixture in fixtures():
        ids = [o.event_id for o in outcomes(fixture) if isinstance(o, Event)]
        assert len(ids) == len(set(ids)), fixture.name


def test_each_event_knows_its_place_and_mapping() -> None:
    (fixture,) = (f for f in fixtures() if (f.provider, f.name) == ("ses", "send_to_two"))

    first, second = outcomes(fixture)

    assert (first.raw_ref, second.raw_ref) == ("s:0#0", "s:0#1")
    assert first.mapping_version == "ses@1"
    assert first.schema_fingerprint == second.schema_fingerprint is not None
    assert first.received_time == fixture.received_time


def test_every_provider_has_fixtures_and_every_word_that_matters_has_one() -> None:
    seen: dict[str, set[str]] = {}
    for fixture in fixtures():
        seen.setdefault(fixture.provider, set()).update(
            str(event.get("type")) for event in fixture.expected
        )

    assert set(seen) == set(PROVIDERS)
    for provider in PROVIDERS.values():
        (version, *_) = Catalog.load().versions(provider.mapped_as)
        types = {kind.type.value for kind in version.mapping.kinds.values()}
        if provider.name not in {"canonical", "segment", "rudderstack"}:
            assert types - seen[provider.name] <= {"unknown", "subscribed"}, provider.name
