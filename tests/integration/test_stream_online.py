"""The online store under the stream: each event once, corrected within a run, equal to the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import redis

from feature_repo import online
from feature_repo.errors import StoreUnavailable
from feature_repo.event import EventType, Machine, Op
from feature_repo.history.build import build
from feature_repo.load import load
from feature_repo.online_codec import feature_field
from feature_repo.stream import online_epoch
from feature_repo.stream.online_epoch import Mode, epoch_key
from feature_repo.stream.online_handler import OnlineHandler
from tests.integration.stream_world import HOUR, NOW, START, World, event

pytestmark = pytest.mark.integration


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with online.connect(redis_url) as client:
        yield client


@pytest.fixture
def world(tmp_path: Path, client: redis.Redis, redis_url: str) -> World:
    return World(tmp_path / "home", client, redis_url)


def mode(world: World) -> Mode:
    raw = world.client.get(epoch_key("shop"))
    assert isinstance(raw, bytes)
    return online_epoch.read(raw).mode


def test_a_batch_is_folded_once_however_often_it_comes(world: World) -> None:
    batch = [event("1"), event("2"), event("3", "bob", type=EventType.SENT)]
    for _ in range(3):
        world.handler.handle([*batch, *batch])

    assert world.value("clicks_total") == 2.0
    assert world.value("sends_total", "bob") == 1.0
    assert world.owed() == set()
    assert mode(world) is Mode.CLEAN


def test_machines_are_kept_out_of_engagement(world: World) -> None:
    world.handler.handle([event("1", machine=Machine.SCANNER)])
    rows = world.read(["ann"])
    assert rows.found.tolist() == [True]
    assert np.isnan(rows.columns["clicks_total"][0])


def test_a_click_48_hours_late_shows_at_once_and_no_table_knew_it_before(world: World) -> None:
    usual = [event(f"{n}", event_time=START + n * HOUR) for n in range(60)]
    world.handler.handle(usual)
    arrival = START + timedelta(hours=70)
    late = event("late", event_time=arrival - timedelta(hours=48), received_time=arrival)

    world.handler.handle([late])
    world.archive([*usual, late])

    assert world.value("clicks_total") == 61.0
    assert world.owed() == set()
    world.assert_equals_tables(["ann"])
    before = world.replica("before")
    load(before.settings, world.client, as_of=arrival - timedelta(microseconds=1), full=True)
    assert before.value("clicks_total") == 60.0


def test_a_correction_is_online_and_offline_after_one_run(world: World) -> None:
    bought = event("1", type=EventType.PURCHASED, amount=100.0, event_time=NOW - 30 * HOUR)
    world.handler.handle([bought])
    world.archive([bought])
    world.build_and_load()
    corrected = replace(bought, amount=80.0, received_time=NOW - HOUR)
    world.handler.handle([corrected])
    assert world.owed() == {"ann"}
    assert world.recompute().waiting == 1  # the log has not got it yet

    world.archive([corrected])
    done = world.recompute()

    assert (done.customers, done.waiting, done.daily) == (1, 0, 1)
    assert world.value("revenue_total") == 80.0
    assert world.value("revenue_7d") == 80.0
    assert world.owed() == set()
    world.assert_equals_tables(["ann"])


def test_who_has_nothing_left_looks_like_someone_with_nothing(world: World) -> None:
    seen = event("1", country="GB")
    gone = replace(seen, op=Op.RETRACT, received_time=START + HOUR)
    world.handler.handle([seen])
    world.archive([seen])
    world.handler.handle([gone])
    world.archive([gone])
    world.recompute()

    assert world.value("clicks_total") == 0.0
    assert np.isnan(world.value("last_click_at"))
    assert world.read(["ann"]).columns["country"][0] is None
    world.assert_equals_tables(["ann"])


def test_an_event_moved_to_someone_else_leaves_the_first(world: World) -> None:
    first = event("1")
    world.handler.handle([first])
    world.archive([first])
    moved = replace(first, customer_id="bob", received_time=START + HOUR)
    world.handler.handle([moved])
    world.archive([moved])

    world.recompute()

    assert world.value("clicks_total") == 0.0
    assert world.value("clicks_total", "bob") == 1.0
    world.assert_equals_tables(["ann", "bob"])


def test_what_others_write_to_the_log_reaches_those_the_stream_keeps(world: World) -> None:
    world.handler.handle([event("1")])
    world.archive([event("1")])
    world.archive([event("old", event_time=START - 500 * HOUR)], writer="import")

    assert world.recompute().customers == 1
    assert world.value("clicks_total") == 2.0
    assert mode(world) is Mode.LOADED
    # Whoever begins from now on may have been in the import.
    world.archive([event("old-2", "eve", event_time=START - 500 * HOUR)], writer="import")
    world.handler.handle([event("3", "eve")])
    world.archive([event("3", "eve")])
    world.recompute()
    assert world.value("clicks_total", "eve") == 2.0


def test_the_archives_own_rows_concern_nobody(world: World) -> None:
    for n in range(3):
        world.handler.handle([event(f"{n}")])
        world.archive([event(f"{n}")])
        assert world.recompute().customers == 0


def test_a_load_leaves_alone_whom_the_stream_keeps(world: World) -> None:
    world.archive([event("1"), event("1b", "bob")], writer="import")
    world.build_and_load()
    assert world.value("clicks_total") == 1.0
    later = event("2", event_time=START + HOUR)
    world.handler.handle([later])
    # Shown at once, from the loaded row, and checked as soon as the log has it.
    assert world.value("clicks_total") == 2.0
    assert world.owed() == {"ann"}

    world.build_and_load(full=True)
    assert (world.value("clicks_total"), world.value("clicks_total", "bob")) == (2.0, 1.0)

    world.archive([later])
    assert world.recompute().waiting == 0
    world.assert_equals_tables(["ann", "bob"])


def test_an_event_that_the_loaded_row_may_hold_is_not_counted_twice(world: World) -> None:
    known = [event("1"), event("2", event_time=START + HOUR)]
    world.archive(known, writer="import")
    world.build_and_load()

    world.handler.handle(known)
    assert world.value("clicks_total") == 2.0
    world.recompute()

    assert world.value("clicks_total") == 2.0
    assert world.owed() == set()


def test_whoever_begins_while_a_load_is_under_way_waits_for_the_log(world: World) -> None:
    world.archive([event("1")], writer="import")
    world.build_and_load()
    online_epoch.begin_loading(world.settings, world.client, NOW)

    new = event("2", event_time=START + HOUR)
    world.handler.handle([new])

    assert world.value("clicks_total") == 1.0
    world.archive([new])
    world.recompute()
    assert world.value("clicks_total") == 2.0


def test_an_emptied_redis_is_noticed_and_made_good_from_the_log(world: World) -> None:
    world.handler.handle([event("1")])
    world.archive([event("1")])
    world.client.flushall()

    world.handler.handle([event("2")])
    assert mode(world) is Mode.UNLOADED
    assert not world.read(["ann"]).found[0]
    world.archive([event("2")])
    world.recompute()

    assert world.value("clicks_total") == 2.0


def test_what_a_lost_redis_had_taken_in_is_made_good_when_the_archive_brings_it(
    world: World,
) -> None:
    world.archive([event("0")])
    world.handler.handle([event("1")])
    world.client.flushall()
    world.handler.handle([event("2")])
    world.archive([event("2")])
    world.recompute()
    assert world.value("clicks_total") == 2.0

    world.archive([event("1")])
    world.recompute()

    assert world.value("clicks_total") == 3.0


def test_an_archive_that_was_quicker_at_the_first_start_makes_nobody_wait(world: World) -> None:
    world.archive([event("1")])
    world.handler.handle([event("1")])
    assert mode(world) is Mode.CLEAN
    assert world.value("clicks_total") == 1.0


def test_two_workers_lose_nothing_to_each_other(world: World) -> None:
    other = OnlineHandler(world.settings, world.client, lambda: NOW)
    mine, theirs = [[event(f"{who}{n}") for n in range(20)] for who in "ab"]
    for one, two in zip(mine, theirs, strict=True):
        world.handler.handle([one])
        other.handle([two, one])
    assert world.value("clicks_total") == 40.0


def test_another_writers_rows_lose_the_race_not_the_event(world: World) -> None:
    world.handler.handle([event("1")])
    (key,) = world._layout.keys(["ann"])
    world.client.hset(key, "_ts:activity", b"\x08\x01")
    world.handler.handle([event("2")])
    assert world.value("clicks_total") == 2.0


def test_a_state_of_another_version_is_read_from_the_log_anew(world: World) -> None:
    world.handler.handle([event("1")])
    world.archive([event("1"), event("2")])
    (key,) = world._layout.keys(["ann"])
    world.client.hset(key, "_stream", b"12345678of another time")

    world.handler.handle([event("2")])
    assert world.owed() == {"ann"}
    world.recompute()

    assert world.value("clicks_total") == 2.0
    assert world.client.hget(key, feature_field("activity", "clicks_total")) is not None


def test_no_redis_is_told_with_the_cure(world: World) -> None:
    nobody = online.connect("redis://127.0.0.1:1/0")
    handler = OnlineHandler(world.settings, nobody, lambda: NOW)
    with pytest.raises(StoreUnavailable, match="FORESEND_REDIS_URL"):
        handler.handle([event("1")])


def test_whoever_began_while_a_load_did_not_ask_is_owed(world: World) -> None:
    world.archive([event("1"), event("1b", "bob")], writer="import")
    build(world.settings, through=NOW)
    began = False

    def begin_midway(view: str, rows: int) -> None:
        nonlocal began
        if not began:
            began = True
            world.handler.handle([event("2", event_time=START + HOUR)])

    load(world.settings, world.client, as_of=NOW, progress=begin_midway)
    assert world.owed() == {"ann"}

    world.archive([event("2", event_time=START + HOUR)])
    world.recompute()
    assert world.value("clicks_total") == 2.0
    world.assert_equals_tables(["ann", "bob"])
