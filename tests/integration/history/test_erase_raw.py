"""Erasure in the raw store: the person's events go, everybody else's say what they said."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from feature_repo.event import Event
from feature_repo.history.backfill_sources import parse_record
from feature_repo.history.erase_person import Person
from feature_repo.history.erase_raw import RawEraser
from feature_repo.history.log_content import content_hash
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog

AT = datetime(2026, 11, 1, tzinfo=UTC)
ANN, BOB = "ann@mail.example", "bob@mail.example"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RawStore]:
    store = RawStore(tmp_path / "raw")
    yield store
    store.close()


def land(store: RawStore, provider: str, body: Any) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return store.append(RawRecord(provider=provider, received_time=AT, headers=(), body=raw))


def records(store: RawStore) -> list[RawRecord]:
    return [record for _, record in store.records()]


def events(store: RawStore, ingest: IngestSettings | None = None) -> list[Event]:
    catalog = Catalog.load()
    found = [parse_record(r, ingest or IngestSettings(), catalog) for r in records(store)]
    return [one for outcomes in found for one in outcomes if isinstance(one, Event)]


def erase(store: RawStore, customer: str, ingest: IngestSettings | None = None) -> Person:
    eraser = RawEraser(store, ingest or IngestSettings(), Catalog.load())
    person = eraser.discover(Person(customer), lambda address: False)
    # What the ingest service does when it has mapped a segment.
    store.close()
    store.abandon()
    eraser.erase(person, wait_s=0)
    assert not any(eraser.concerns(record, person) for record in records(store))
    return person


def stand_in(address: str) -> str:
    return "e:" + hashlib.sha256(address.encode()).hexdigest()[:32]


def sendgrid(address: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "event": "open",
        "email": address,
        "timestamp": int(AT.timestamp()) - number,
        "sg_event_id": f"id{number}",
        **more,
    }


def test_others_in_the_same_body_keep_their_events_and_places(store: RawStore) -> None:
    ref = land(
        store,
        "sendgrid",
        [
            sendgrid(ANN, 1, customer_id="c-17"),
            sendgrid(BOB, 2, customer_id="c-170"),
            sendgrid(ANN, 3, customer_id="c-17"),
            sendgrid(BOB, 4, customer_id="c-2"),
        ],
    )
    before = {content_hash(e) for e in events(store) if e.customer_id != "c-17"}

    person = erase(store, "c-17")

    assert person.addresses == {ANN}
    left = events(store)
    assert {content_hash(e) for e in left} == before
    assert [e.raw_ref for e in left] == [f"{ref}#1", f"{ref}#3"]
    assert ANN.encode() not in records(store)[0].body


def test_a_body_about_nobody_else_goes_and_others_stay_as_they_are(store: RawStore) -> None:
    land(store, "sendgrid", [sendgrid(ANN, 1, customer_id="c-17")])
    land(store, "sendgrid", [sendgrid(BOB, 2, customer_id="c-2")])
    kept = records(store)[1]

    erase(store, "c-17")

    assert records(store) == [kept]


def test_the_address_goes_where_it_stands_without_the_id(store: RawStore) -> None:
    land(store, "sendgrid", [sendgrid(ANN, 1), sendgrid(BOB, 2)])
    land(store, "sendgrid", [sendgrid(ANN, 3, customer_id="c-17")])

    erase(store, "c-17")

    assert [e.customer_id for e in events(store)] == [stand_in(BOB)]


def test_a_customer_without_an_id_is_found_by_the_hash_of_the_address(store: RawStore) -> None:
    land(store, "sendgrid", [sendgrid(ANN, 1), sendgrid(BOB, 2)])

    person = erase(store, stand_in(ANN))

    assert person.addresses == {ANN}
    assert [e.customer_id for e in events(store)] == [stand_in(BOB)]


def test_a_customer_of_the_table_of_identities_is_found(store: RawStore, tmp_path: Path) -> None:
    table = tmp_path / "identities.csv"
    digest = hashlib.sha256(ANN.encode()).hexdigest()
    table.write_text(f"email_sha256,customer_id\n{digest},c-17\n")
    ingest = IngestSettings(identities=table)
    land(store, "sendgrid", [sendgrid(ANN, 1), sendgrid(BOB, 2)])

    erase(store, "c-17", ingest)

    assert [e.customer_id for e in events(store, ingest)] == [stand_in(BOB)]


def test_a_short_number_as_id_takes_nothing_of_others_with_it(store: RawStore) -> None:
    land(store, "sendgrid", [sendgrid(ANN, 1, customer_id=7), sendgrid(BOB, 2, customer_id="9")])
    land(store, "sendgrid", [sendgrid(BOB, 7, customer_id="9", url="https://shop.example/7")])
    before = [content_hash(e) for e in events(store) if e.customer_id == "9"]

    erase(store, "7")

    assert [content_hash(e) for e in events(store)] == before


def test_an_event_of_somebody_else_that_names_the_person_stays_without_the_name(
    store: RawStore,
) -> None:
    land(store, "sendgrid", [sendgrid(ANN, 1, customer_id="c-17")])
    forwarded = sendgrid(BOB, 2, customer_id="c-2", forwarded_by=ANN)
    land(store, "sendgrid", [forwarded, sendgrid(BOB, 3, customer_id="c-2")])
    before = [content_hash(e) for e in events(store) if e.customer_id == "c-2"]

    erase(store, "c-17")

    assert [content_hash(e) for e in events(store)] == before
    assert ANN.encode() not in b"".join(r.body for r in records(store))


def test_of_several_recipients_of_one_message_one_is_taken_out(store: RawStore) -> None:
    message = {
        "eventType": "Bounce",
        "mail": {"timestamp": "2026-10-31T10:00:00Z", "messageId": "m1", "destination": [ANN, BOB]},
        "bounce": {
            "bounceType": "Permanent",
            "timestamp": "2026-10-31T10:00:01Z",
            "feedbackId": "f1",
            "bouncedRecipients": [{"emailAddress": ANN}, {"emailAddress": BOB}],
        },
    }
    land(store, "ses", {"Type": "Notification", "MessageId": "s", "Message": json.dumps(message)})
    before = [content_hash(e) for e in events(store) if e.customer_id == stand_in(BOB)]
    assert before

    erase(store, stand_in(ANN))

    assert [content_hash(e) for e in events(store)] == before


def test_a_form_with_json_in_it_is_written_as_a_form_again(store: RawStore) -> None:
    def item(address: str, number: int) -> dict[str, Any]:
        return {
            "event": "open",
            "_id": f"m{number}",
            "ts": int(AT.timestamp()) - number,
            "msg": {"email": address, "_id": f"m{number}", "metadata": {}},
        }

    body = urlencode({"mandrill_events": json.dumps([item(ANN, 1), item(BOB, 2)])}).encode()
    land(store, "mandrill", body)
    before = [content_hash(e) for e in events(store) if e.customer_id == stand_in(BOB)]
    assert before

    erase(store, stand_in(ANN))

    assert [content_hash(e) for e in events(store)] == before
    assert b"ann" not in records(store)[0].body


def test_a_body_that_cannot_be_read_and_names_the_person_goes(store: RawStore) -> None:
    land(store, "sendgrid", [sendgrid(ANN, 1, customer_id="c-17")])
    land(store, "sendgrid", f"not json, but {ANN}".encode())

    erase(store, "c-17")

    assert records(store) == []
