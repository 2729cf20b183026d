"""Drift as it happens: a provider changes its payloads, a person agrees, nothing is lost.

Each case goes the whole way: raw store, mapping, quarantine, suggestion, acceptance, replay, queue.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_repo.errors import ConfigError, StoreUnavailable
from feature_repo.event import Event
from feature_repo.ingest import parse
from feature_repo.ingest.drift.acceptance import accept
from feature_repo.ingest.drift.desk import Desk, open_desk
from feature_repo.ingest.drift.quarantine import Status
from feature_repo.ingest.drift.replay import Replayed, ReplayPorts, replay
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.settings import Settings
from feature_repo.stream.envelope import unpack
from feature_repo.stream.memory import MemoryQueue
from feature_repo.stream.port import Publisher

START = datetime(2024, 6, 1, 12, tzinfo=UTC)
NOW = START + timedelta(days=2)

Payload = dict[str, Any]


@dataclass
class Programme:
    """An installation with one provider, without its HTTP edge."""

    desk: Desk
    queue: MemoryQueue = field(default_factory=MemoryQueue)
    #: What the mapper published.
    events: list[Event] = field(default_factory=list)

    def deliver(self, provider: str, payloads: Sequence[Payload], at: datetime) -> None:
        """Land one delivery and map it."""
        body = json.dumps(payloads if provider == "sendgrid" else payloads[0]).encode()
        record = RawRecord(provider=provider, received_time=at, headers=(), body=body)
        ref = self.desk.store.append(record)
        outcomes = parse(
            provider,
            body,
            {},
            self.desk.ingest,
            received_time=at,
            raw_ref=ref,
            verified=True,
            catalog=self.desk.catalog,
        )
        self.events += [one for one in outcomes if isinstance(one, Event)]
        self.desk.quarantine.add([one for one in outcomes if isinstance(one, Rejected)])

    def replay(self, publisher: Publisher | None = None, **wanted: Any) -> Replayed:
        """Replay what is in quarantine."""
        ports = ReplayPorts(
            quarantine=self.desk.quarantine,
            store=self.desk.store,
            publisher=publisher or self.queue.publisher("quarantine"),
            settings=self.desk.ingest,
            catalog=self.desk.catalog,
            clock=lambda: NOW,
        )
        return replay(self.desk.quarantine.entries(**wanted), ports)

    def published(self) -> list[Event]:
        """Events in the queue, in their order."""
        return [e for delivery, _ in self.queue.messages.values() for e in unpack(delivery.body)]

    def accept_suggestion(self, provider: str) -> Path:
        """Take what is proposed."""
        found, _ = self.desk.suggest(provider, NOW)
        path = self.desk.keep_suggestion(found)
        assert path is not None, found
        return accept(
            path, self.desk.catalog, self.desk.mappings, by="Ann", why="they renamed it", at=NOW
        )


@pytest.fixture
def programme(settings: Settings) -> Iterator[Programme]:
    settings.raw_path.mkdir(parents=True)
    with open_desk(settings, IngestSettings()) as desk:
        yield Programme(desk)
        desk.store.close()


def sendgrid(n: int) -> Payload:
    chance = random.Random(n)
    at = START + timedelta(seconds=n)
    return {
        "email": f"customer{chance.randrange(60)}@example.com",
        "timestamp": int(at.timestamp()),
        "ip": f"203.0.113.{chance.randrange(250)}",
        "sg_event_id": f"event-{n:06d}-{chance.randrange(10**9):09d}",
        "sg_message_id": f"message{chance.randrange(10**6):06d}.filter01.1.0",
        "useragent": chance.choice(["Mozilla/5.0 (X11)", "Mozilla/5.0 (Windows NT 10.0)"]),
        "event": "open",
        "category": [chance.choice(["promo", "news"])],
    }


def customerio(n: int) -> Payload:
    return {
        "event_id": f"01E4C8BES5XT87ZWRJFTB35Y{n:04d}",
        "object_type": "email",
        "metric": "opened",
        "timestamp": int((START + timedelta(seconds=n)).timestamp()),
        "data": {"customer_id": f"c{n % 50}", "delivery_id": f"RPILAgABcRhIBqSp{n:06d}"},
    }


def renamed(payload: Payload, old: str, new: str) -> Payload:
    return {new if key == old else key: value for key, value in payload.items()}


def test_a_renamed_required_field_comes_back_as_events_once(programme: Programme) -> None:
    programme.deliver("sendgrid", [sendgrid(n) for n in range(300)], START)
    drifted = [renamed(sendgrid(n), "timestamp", "event_timestamp") for n in range(300, 360)]
    programme.deliver("sendgrid", drifted, START + timedelta(days=1))
    (group,) = programme.desk.quarantine.groups()
    assert (group.reason, group.path, group.count) == ("missing_event_time", "timestamp", 60)

    programme.accept_suggestion("sendgrid")
    first = programme.replay()
    second = programme.replay()

    assert (first.tried, first.published, first.failed) == (60, 60, {})
    assert second.tried == 0
    events = programme.published()
    assert len(events) == len({event.event_id for event in events}) == 60
    expected = {f"sendgrid:{payload['sg_event_id']}" for payload in drifted}
    assert {event.event_id for event in events} == expected
    assert {event.received_time for event in events} == {NOW}
    assert {event.mapping_version for event in events} == {"sendgrid@2"}
    assert all(event.raw_ref is not None and "#" in event.raw_ref for event in events)
    assert events[7].event_time == START + timedelta(seconds=307)


def test_the_running_ingest_uses_an_accepted_version_for_both_shapes(programme: Programme) -> None:
    programme.deliver("sendgrid", [sendgrid(n) for n in range(200)], START)
    programme.deliver("sendgrid", [renamed(sendgrid(200), "timestamp", "event_timestamp")], START)
    target = programme.accept_suggestion("sendgrid")

    programme.deliver("sendgrid", [renamed(sendgrid(201), "timestamp", "event_timestamp")], NOW)
    programme.deliver("sendgrid", [sendgrid(202)], NOW)

    assert target.read_text().startswith("# Accepted at 2024-06-03 12:00:00 UTC by Ann: they ren")
    assert programme.desk.quarantine.count() == 1
    assert [event.mapping_version for event in programme.events[-2:]] == ["sendgrid@2"] * 2


def test_the_evidence_says_what_would_change(programme: Programme) -> None:
    programme.deliver("sendgrid", [sendgrid(n) for n in range(300)], START)
    drifted = [renamed(sendgrid(n), "timestamp", "event_timestamp") for n in range(300, 340)]
    programme.deliver("sendgrid", drifted, START + timedelta(days=1))

    found, trial = programme.desk.suggest("sendgrid", NOW)

    (rename,) = [one for one in found.renames if one.is_proposed]
    assert (rename.old, rename.new) == ("timestamp", "event_timestamp")
    assert trial is not None
    assert (trial.tried, trial.fitting) == (40, 40)
    assert (trial.compared, trial.changed) == (300, 0)
    assert found.yaml is not None
    assert "timestamp -> event_timestamp" in found.yaml
    assert "@example" not in found.yaml
    assert "+    epoch_s: [timestamp, event_timestamp]" in found.diff.splitlines()


def test_two_fields_renamed_at_once_are_not_mixed_up(programme: Programme) -> None:
    programme.deliver("sendgrid", [sendgrid(n) for n in range(300)], START)
    drifted = [
        renamed(renamed(sendgrid(n), "timestamp", "occurredAt"), "email", "emailAddress")
        for n in range(300, 340)
    ]
    programme.deliver("sendgrid", drifted, START + timedelta(days=1))

    programme.accept_suggestion("sendgrid")
    programme.replay()

    customers = {event.customer_id for event in programme.events}
    assert len(programme.published()) == 40
    assert {event.customer_id for event in programme.published()} <= customers


def test_a_look_alike_field_is_not_taken_for_the_lost_one(programme: Programme) -> None:
    programme.deliver("sendgrid", [sendgrid(n) for n in range(300)], START)
    drifted = []
    for n in range(300, 340):
        payload = sendgrid(n)
        at = payload.pop("timestamp")
        drifted.append({**payload, "send_time": at - 60, "open_time": at})
    programme.deliver("sendgrid", drifted, START + timedelta(days=1))

    found, trial = programme.desk.suggest("sendgrid", NOW)

    assert (found.yaml, trial) == (None, None)
    assert [one.is_proposed for one in found.renames] == [False]


def test_without_earlier_events_nothing_is_guessed(programme: Programme) -> None:
    programme.deliver("sendgrid", [renamed(sendgrid(1), "timestamp", "event_timestamp")], START)

    found, _ = programme.desk.suggest("sendgrid", NOW)

    assert found.yaml is None
    assert found.without_history == ("open",)


@pytest.mark.parametrize(
    ("write", "cast"),
    [
        # customer.io from seconds to milliseconds
        (lambda seconds: seconds * 1000, "epoch_ms"),
        # ... and to ISO 8601
        (lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat(), "iso"),
    ],
)
def test_a_time_in_another_form_needs_another_cast(
    programme: Programme, write: Callable[[int], Any], cast: str
) -> None:
    for n in range(60):
        programme.deliver("customerio", [customerio(n)], START)
    for n in range(60, 80):
        payload = customerio(n)
        programme.deliver(
            "customerio", [{**payload, "timestamp": write(payload["timestamp"])}], NOW
        )
    assert programme.desk.quarantine.count() == 20

    found, _ = programme.desk.suggest("customerio", NOW)
    programme.accept_suggestion("customerio")
    programme.replay()

    assert [(one.path, one.new_cast) for one in found.retypes] == [("timestamp", cast)]
    assert programme.desk.quarantine.count() == 0
    events = programme.published()
    assert events[0].event_time == START + timedelta(seconds=60)
    programme.deliver("customerio", [customerio(81)], NOW)
    assert programme.events[-1].mapping_version == "customerio@1"


def test_times_as_text_need_nothing_and_nonsense_stays(programme: Programme) -> None:
    payload = customerio(1)
    programme.deliver("customerio", [{**payload, "timestamp": str(payload["timestamp"])}], START)
    programme.deliver("customerio", [{**payload, "timestamp": "abc"}], START)

    assert len(programme.events) == 1
    done = programme.replay()
    assert done.failed == {"bad_time": 1}
    assert programme.published() == []


def test_a_category_may_be_a_text_or_a_list(programme: Programme) -> None:
    programme.deliver("sendgrid", [sendgrid(1), {**sendgrid(2), "category": "promo"}], START)

    assert programme.desk.quarantine.count() == 0
    assert programme.events[1].campaign_id == "promo"


def test_both_notifications_of_ses_are_read(programme: Programme) -> None:
    mail = {
        "timestamp": "2024-05-30T10:00:00Z",
        "messageId": "m1",
        "destination": ["jane@example.com"],
    }
    bounce = {
        "timestamp": "2024-05-30T10:00:05Z",
        "bounceType": "Permanent",
        "bouncedRecipients": [{"emailAddress": "jane@example.com"}],
    }
    for key in ("notificationType", "eventType"):
        message = json.dumps({key: "Bounce", "bounce": bounce, "mail": mail})
        outer = {"Type": "Notification", "MessageId": f"sns-{key}", "Message": message}
        outer |= {"Timestamp": "2024-05-30T10:00:06Z", "TopicArn": "arn:aws:sns:eu:1:t"}
        programme.deliver("ses", [outer], START)

    assert programme.desk.quarantine.count() == 0
    assert [event.type for event in programme.events] == ["bounced", "bounced"]


def test_added_fields_cost_nothing(programme: Programme) -> None:
    event = {
        "id": "CCXMjJ7nQi2N3BPigGOdgQ",
        "event": "opened",
        "timestamp": START.timestamp(),
        "recipient": "jane@example.com",
        "account": {"id": "acc"},
        "domain": {"name": "mg.example.com"},
        "client-info": {"bot": "", "device-model": "unheard of"},
    }
    signature = {"token": "t", "timestamp": "1", "signature": "s"}
    programme.deliver("mailgun", [{"signature": signature, "event-data": event}], START)

    assert programme.desk.quarantine.count() == 0
    assert [one.type for one in programme.events] == ["opened"]


class _Dying:
    """A publisher whose process dies right after the queue has the messages."""

    def __init__(self, real: Publisher) -> None:
        self._real = real

    def publish(
        self,
        bodies: Sequence[bytes],
        *,
        mark: str | None = None,
        after: str | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        self._real.publish(bodies, mark=mark, after=after)
        raise StoreUnavailable("killed")  # noqa: EM101

    def check(self, *, after: str | None) -> None: ...

    def remark(self, mark: str | None) -> None: ...

    def settled(self) -> str | None: ...

    def close(self) -> None: ...


def test_a_kill_between_publishing_and_marking_repeats_the_same_events(
    programme: Programme,
) -> None:
    programme.deliver("sendgrid", [sendgrid(n) for n in range(200)], START)
    drifted = [renamed(sendgrid(n), "timestamp", "event_timestamp") for n in range(200, 210)]
    programme.deliver("sendgrid", drifted, NOW)
    programme.accept_suggestion("sendgrid")

    with pytest.raises(StoreUnavailable):
        programme.replay(_Dying(programme.queue.publisher("quarantine")))
    assert programme.desk.quarantine.count() == 10
    programme.replay()

    events = programme.published()
    assert len(events) == 20
    assert len({event.event_id for event in events}) == 10
    assert events[:10] == events[10:]


def test_replaying_a_choice_leaves_the_rest(programme: Programme) -> None:
    programme.deliver("sendgrid", [sendgrid(n) for n in range(200)], START)
    programme.deliver("sendgrid", [renamed(sendgrid(200), "timestamp", "event_timestamp")], NOW)
    programme.deliver("customerio", [{**customerio(1), "timestamp": "abc"}], NOW)
    programme.accept_suggestion("sendgrid")

    done = programme.replay(provider="sendgrid")

    assert (done.tried, done.published) == (1, 1)
    assert [entry.provider for entry in programme.desk.quarantine.entries()] == ["customerio"]


def test_a_body_that_could_not_be_read_is_replayed_with_its_headers(programme: Programme) -> None:
    body = json.dumps([sendgrid(1), {**sendgrid(2), "timestamp": "abc"}]).encode()
    record = RawRecord(provider="sendgrid", received_time=START, headers=(), body=body)
    ref = programme.desk.store.append(record)
    whole = Rejected(
        provider="sendgrid",
        reason="mapping_broke",
        detail="The mapping of this version broke with KeyError; replay with a newer one.",
        path="",
        index=0,
        provider_event=None,
        payload=body,
        received_time=START,
        raw_ref=f"{ref}#0",
        schema_fingerprint=None,
        mapping_version=None,
    )
    programme.desk.quarantine.add([whole])

    done = programme.replay()

    assert done.published == 1
    assert [event.raw_ref for event in programme.published()] == [f"{ref}#0"]
    (left,) = programme.desk.quarantine.entries()
    assert (left.reason, left.index, left.raw_ref) == ("bad_time", 1, f"{ref}#1")
    assert len(list(programme.desk.quarantine.entries(status=Status.REPLAYED))) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 7}, "the next one is 2"),
        ({"provider": "sendgird"}, "provider 'sendgird'"),
        ({"fields": {"event_time": {"epoch_days": "timestamp"}}}, "needs a cast"),
    ],
)
def test_a_version_that_cannot_be_the_next_one_is_refused(
    programme: Programme, tmp_path: Path, change: Payload, complaint: str
) -> None:
    content = {
        "provider": "sendgrid",
        "version": 2,
        "since": "2024-06-01",
        "kinds": {"open": "opened"},
        "fields": {"event_time": {"epoch_s": "timestamp"}},
    }
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps({**content, **change}))

    with pytest.raises(ConfigError, match=complaint):
        accept(file, programme.desk.catalog, programme.desk.mappings, by="Ann", why="", at=NOW)
    assert not programme.desk.mappings.exists()


def test_two_people_cannot_accept_the_same_version(programme: Programme) -> None:
    programme.deliver("sendgrid", [sendgrid(n) for n in range(200)], START)
    programme.deliver("sendgrid", [renamed(sendgrid(200), "timestamp", "event_timestamp")], NOW)
    # The other one opened the mappings before.
    catalog = Catalog.load(programme.desk.mappings)
    target = programme.accept_suggestion("sendgrid")
    before = target.read_text()
    file = programme.desk.settings.state_path / "suggestions" / target.name

    with pytest.raises(ConfigError, match="exists already"):
        accept(file, catalog, programme.desk.mappings, by="Bob", why="", at=NOW)

    assert target.read_text() == before
    assert [path.name for path in programme.desk.mappings.iterdir()] == [target.name]
