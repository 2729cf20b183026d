"""A person is forgotten everywhere, with a real Redis: store by store, killed, and verified."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis

from feature_repo import online
from feature_repo.deliverability.reading import Reading, to_table
from feature_repo.deliverability.readings import Readings
from feature_repo.event import Event, EventType
from feature_repo.history.build import build
from feature_repo.history.erase import Online, Stores, erase
from feature_repo.history.erase_person import Person
from feature_repo.history.erasure_receipt import Receipt, read_receipt
from feature_repo.history.erasure_verify import search
from feature_repo.history.log_writer import LogWriter
from feature_repo.ingest import parse
from feature_repo.ingest.drift.quarantine import Quarantine
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.load import load
from feature_repo.settings import Settings
from feature_repo.stream.envelope import pack
from feature_repo.stream.online_epoch import corrected_key, owed_key
from feature_repo.stream.port import ARCHIVE, ONLINE
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import routed_key
from serving.asks import AskedCustomer
from serving.audience.jobs import JobStore
from serving.prediction_log import PredictionBatch, read_predictions, write_batches
from tests.integration.history.building import digests

pytestmark = [
    pytest.mark.integration,
    # Ibis 12 calls it on DuckDB 2.
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ANN, ADDRESS = "customer-ann", "ann.lee@mail.example"
BOB, OTHER = "customer-bob", "bob@mail.example"


def item(address: str, customer: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "event": "click",
        "email": address,
        "customer_id": customer,
        "timestamp": int((NOW - timedelta(days=3, minutes=number)).timestamp()),
        "sg_event_id": f"{customer}{number}",
        "url": "https://shop.example/",
        "useragent": "Mozilla/5.0",
        **more,
    }


BODY = [item(ADDRESS, ANN, 1), item(OTHER, BOB, 1), item(ADDRESS, ANN, 2), item(OTHER, BOB, 2)]


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return Settings(home=tmp_path / "home", redis_url=redis_url, duckdb_threads=1)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with online.connect(redis_url) as client:
        yield client


@pytest.fixture
def stores(settings: Settings, client: redis.Redis) -> Iterator[Stores]:
    queue = open_queue(settings)
    yield Stores(
        settings=settings,
        ingest=IngestSettings(),
        online=Online(client=client, queue=queue),
    )
    queue.close()


@pytest.fixture
def full(stores: Stores, settings: Settings, client: redis.Redis) -> Stores:
    """An installation in which every store knows both customers."""
    events = landed(settings)
    LogWriter(settings).append([*events, *unseen_sends()])
    collapsed(settings)
    build(settings, through=NOW)
    load(settings, client, as_of=NOW)
    client.zadd(owed_key(settings.project), {ANN: 1.0, BOB: 2.0})
    client.sadd(corrected_key(settings.project), f"sendgrid:{ANN}1", f"sendgrid:{BOB}1")
    assert stores.online is not None
    queue = stores.online.queue
    queue.publisher().publish(list(pack(events)))
    queue.bury(next(pack(events)), group=ARCHIVE, reason="test")
    for customer in (ANN, BOB):
        request = f'{{"id": "r-{customer}", "customer_id": "{customer}"}}'.encode()
        for link in stores.score_links():
            link.publish("", "0", "", "", "", request)
        client.set(routed_key(settings.project, customer), b"told")
    predict(settings)
    segment(settings)
    quarantine(settings)
    return stores


def unseen_sends() -> list[Event]:
    """A message each that went to spam: silence that `customer_placement` keeps."""
    at = NOW - timedelta(days=2)
    return [
        Event(
            event_id=f"sent-{customer}",
            type=EventType.SENT,
            customer_id=customer,
            event_time=at,
            received_time=at,
            message_id=f"unseen-{customer}",
            sending_domain="news.example",
            mailbox_provider="google",
        )
        for customer in (ANN, BOB)
    ]


def collapsed(settings: Settings) -> None:
    """Seed lists that found all of the messages' days in spam."""
    days = [(NOW - timedelta(days=back)).date() for back in range(4, 0, -1)]
    counts = {"inbox": 0.0, "tab": 0.0, "spam": 30.0, "missing": 0.0}
    readings = [
        Reading(
            sending_domain="news.example",
            mailbox_provider="google",
            day=day,
            metric=f"seed_{where}",
            value=count,
            n=30.0,
        )
        for day in days
        for where, count in counts.items()
    ]
    rows = to_table(readings, source="seed_list", known_at=lambda day: NOW - timedelta(days=1))
    Readings(settings.deliverability_path / "readings").append(rows)


def landed(settings: Settings) -> list[Event]:
    store = RawStore(settings.raw_path)
    at = NOW - timedelta(days=2)
    ref = store.append(
        RawRecord(provider="sendgrid", received_time=at, headers=(), body=json.dumps(BODY).encode())
    )
    record = store.read(ref)
    store.close()
    store.abandon()
    found = parse(
        "sendgrid", record.body, {}, IngestSettings(), received_time=at, raw_ref=ref, verified=True
    )
    return [one for one in found if isinstance(one, Event)]


def predict(settings: Settings) -> None:
    write_batches(
        settings.predictions_path,
        [
            PredictionBatch(
                scored_at=NOW,
                target="click_7d",
                model_version="1",
                feature_service="send",
                feature_names=("opens_d14",),
                text_names=(),
                customers=[AskedCustomer(customer) for customer in [ANN, BOB]],
                request_ids=["r"] * 2,
                send_at=np.full(2, NOW.timestamp()),
                scores=np.array([0.1, 0.2]),
                as_of=np.array([np.nan, np.nan]),
                degraded=[None, None],
                features=np.array([[1.0], [2.0]]),
                texts=(),
                modelled=np.array([True, True]),
            )
        ],
    )


def segment(settings: Settings) -> None:
    jobs = JobStore(settings.audience_path, lambda: NOW)
    ids = pa.table({"customer_id": [ANN, BOB]})
    jobs.submit("click_7d", ids, send_at=None, by="crm")


def quarantine(settings: Settings) -> None:
    kept = Quarantine(settings)
    kept.add(
        [
            Rejected(
                provider="sendgrid",
                reason="bad_time",
                detail="",
                path="timestamp",
                index=number,
                provider_event="click",
                payload=json.dumps(item(address, customer, 9, timestamp="x")).encode(),
                received_time=NOW,
                raw_ref=None,
                schema_fingerprint=None,
                mapping_version=None,
            )
            for number, (address, customer) in enumerate([(ADDRESS, ANN), (OTHER, BOB)])
        ]
    )
    kept.close()
    settings.quarantine_path.mkdir(parents=True)
    lines = [
        {"file": "f.csv", "row": n, "reason": "bad_time", "detail": "", "raw": {"customer_id": one}}
        for n, one in enumerate((ANN, BOB))
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (settings.quarantine_path / "f-1.jsonl").write_text(text)


def forget(stores: Stores, customer: str = ANN, **options: Any) -> tuple[Receipt, Path]:
    # The messages in the queue are nobody's to finish here.
    return erase(stores, customer, clock=lambda: NOW, wait_s=0.3, **options)


def traces(stores: Stores, customer: str, address: str) -> set[str]:
    person = Person(customer).known_by([address])
    return {trace.store for trace in search(stores, person)}


def test_a_person_is_in_no_store_afterwards_and_others_are_in_all(full: Stores) -> None:
    everywhere = {
        "raw records",
        "log rows",
        "activity rows",
        "customer_daily rows",
        "customer_placement rows",
        "customer_profile rows",
        "rows of a Parquet file",
        "quarantined events",
        "quarantined rows",
        "online entries",
        "queued messages",
        "queued scores",
        "dead letters",
        "bytes of a file",
    }
    assert traces(full, ANN, ADDRESS) == everywhere

    receipt, path = forget(full)

    assert traces(full, ANN, ADDRESS) == set()
    assert traces(full, BOB, OTHER) == everywhere
    assert read_receipt(path) == receipt
    assert {store for store, count in receipt.stores.items() if not count} == set()


def test_what_others_have_is_what_they_had(full: Stores, client: redis.Redis) -> None:
    settings = full.settings
    assert full.online is not None

    forget(full)

    predictions = read_predictions(settings, "click_7d", NOW, NOW + timedelta(days=1))
    assert predictions.select(["customer_id", "opens_d14"]).to_pylist() == [
        {"customer_id": BOB, "opens_d14": 2.0}
    ]
    assert client.zrange(owed_key(settings.project), 0, -1) == [BOB.encode()]
    assert client.smembers(corrected_key(settings.project)) == {f"sendgrid:{BOB}1".encode()}
    (letter,) = full.online.queue.dead()
    assert (letter.group, letter.reason) == (ARCHIVE, "test")
    consumer = full.online.queue.consumer(ONLINE, "c")
    bodies = [delivery.body for delivery in consumer.take(10, 0.1)]
    assert bodies == [letter.body]
    assert digests(build(settings, through=NOW)) == digests(build(settings, through=NOW, full=True))


def test_the_receipt_and_the_folder_say_nothing_of_the_person(full: Stores) -> None:
    receipt, path = forget(full)

    said = path.read_text()
    assert ANN not in said
    assert ADDRESS not in said
    assert receipt.is_about(ANN)
    assert not receipt.is_about(BOB)
    assert receipt.addresses == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_second_erasure_finds_nothing(full: Stores) -> None:
    forget(full)

    again, _ = forget(full, emails=[ADDRESS])

    assert not any(again.stores.values())


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from feature_repo import online
from feature_repo.history.erase import Online, Stores, erase
from feature_repo.ingest.settings import IngestSettings
from feature_repo.settings import Settings
from feature_repo.stream.queue import open_queue

settings = Settings(home=Path(sys.argv[1]), redis_url=sys.argv[2], duckdb_threads=1)
left = int(sys.argv[4])

def kill(step):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

stores = Stores(settings=settings, ingest=IngestSettings(),
                online=Online(client=online.connect(sys.argv[2]), queue=open_queue(settings)))
erase(stores, sys.argv[3], clock=lambda: datetime.now(UTC), wait_s=0.3, progress=kill)
"""


@pytest.mark.parametrize("step", [2, 7, 9, 12])
def test_killed_at_a_step_it_is_finished_by_the_next_run(
    full: Stores, redis_url: str, step: int
) -> None:
    arguments = [str(full.settings.home), redis_url, ANN, str(step)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert done.returncode == -9

    receipt, path = forget(full)

    assert traces(full, ANN, ADDRESS) == set()
    assert all(receipt.stores.values()), "what the killed run removed is in the receipt too"
    assert list(path.parent.iterdir()) == [path]
