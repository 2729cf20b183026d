"""The doorbell: who knows the secret rings, all workers hear it, and nothing else is believed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from serving.doorbell import LARGEST_BODY, WINDOW_S, BadSignature, Bell, Doorbell, signature
from serving.errors import BodyTooLarge, OtherProblem, Problem
from serving.metrics import Metrics
from serving.promotion_metrics import PromotionMetrics
from serving.registry import MemoryRegistry
from serving.shelf import Shelf
from serving.watch import LISTEN_S, ModelWatch
from tests.unit.serving.conftest import NOW, TARGET, Clock, World, load_fixed

SECRET = "a secret of some length"
BODY = b'{"entity":"model_version_alias","action":"created","data":{"alias":"champion"}}'
AT = str(int(NOW.timestamp()))


def delivery(
    body: bytes = BODY, *, secret: str = SECRET, at: str = AT, id_: str = "d-1"
) -> dict[str, str]:
    """Headers as MLflow sends them."""
    return {
        "x-mlflow-delivery-id": id_,
        "x-mlflow-timestamp": at,
        "x-mlflow-signature": signature(secret, id_, at, body),
    }


class Door:
    """A doorbell and what became of its rings."""

    def __init__(self, folder: Path, secret: str | None = SECRET) -> None:
        self.clock = Clock()
        self.bell = Bell(folder / "state" / "doorbell")
        self.registry = CollectorRegistry()
        rings = PromotionMetrics(self.registry).rings
        hidden = None if secret is None else SecretStr(secret)
        self.doorbell = Doorbell(self.bell, hidden, self.clock, rings)

    def rings(self, outcome: str) -> float:
        return (
            self.registry.get_sample_value("foresend_doorbell_rings_total", {"outcome": outcome})
            or 0.0
        )


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_a_signed_delivery_rings(door: Door) -> None:
    door.doorbell.ring(delivery(), BODY)

    assert door.bell.rung()
    assert not door.bell.rung()
    assert door.rings("rung") == 1.0


def forged() -> list[tuple[str, dict[str, str], bytes]]:
    good = delivery()
    old = str(int(NOW.timestamp() - WINDOW_S) - 1)
    new = str(int(NOW.timestamp() + WINDOW_S) + 1)
    return [
        ("another secret", delivery(secret="a secret that was guessed"), BODY),
        ("another body", good, BODY.replace(b"champion", b"challenger")),
        ("another id", {**good, "x-mlflow-delivery-id": "d-2"}, BODY),
        # A captured delivery that is sent again with a fresh time is signed for the old one.
        ("another time", {**good, "x-mlflow-timestamp": str(int(AT) + 1)}, BODY),
        ("too old", delivery(at=old), BODY),
        ("too new", delivery(at=new), BODY),
        ("no time", delivery(at="soon"), BODY),
        # Python reads these as numbers, MLflow does not send them.
        ("digits of another script", delivery(at="\u0661\u0667\u0669\u0665"), BODY),
        ("a number without end", delivery(at="9" * 5000), BODY),
        ("no signature", {**good, "x-mlflow-signature": ""}, BODY),
        ("no version of it", {**good, "x-mlflow-signature": "v2," + "A" * 44}, BODY),
        ("not ASCII", {**good, "x-mlflow-signature": "v1,\u00e9\udc80"}, BODY),
        ("nothing at all", {}, BODY),
    ]


@pytest.mark.parametrize(("what", "headers", "body"), forged(), ids=[f[0] for f in forged()])
def test_what_is_not_signed_now_with_the_secret_does_not_ring(
    door: Door, what: str, headers: dict[str, str], body: bytes
) -> None:
    with pytest.raises(BadSignature) as caught:
        door.doorbell.ring(headers, body)

    assert caught.value.status == 401, what
    assert SECRET not in caught.value.detail
    assert not door.bell.rung()
    assert door.rings("refused") == 1.0


def test_a_repeated_delivery_is_taken_and_rings_no_second_time(door: Door) -> None:
    door.doorbell.ring(delivery(), BODY)
    assert door.bell.rung()

    door.doorbell.ring(delivery(), BODY)

    assert not door.bell.rung()
    assert (door.rings("rung"), door.rings("repeated")) == (1.0, 1.0)


def test_a_captured_delivery_is_worth_nothing_after_the_window(door: Door) -> None:
    door.clock.now += timedelta(seconds=WINDOW_S + 1)

    with pytest.raises(BadSignature, match="NTP"):
        door.doorbell.ring(delivery(), BODY)


def test_a_body_that_is_too_large_is_not_even_hashed(door: Door) -> None:
    large = b"x" * (LARGEST_BODY + 1)

    with pytest.raises(BodyTooLarge):
        door.doorbell.ring(delivery(large), large)


def test_without_a_secret_there_is_no_such_door(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        Door(tmp_path, None).doorbell.ring(delivery(), BODY)

    assert isinstance(caught.value, OtherProblem)
    assert caught.value.document("r")["status"] == 404


def test_every_worker_hears_a_ring_once(tmp_path: Path) -> None:
    workers = [Bell(tmp_path / "doorbell") for _ in range(3)]

    workers[0].ring()

    assert [bell.rung() for bell in workers] == [True, True, True]
    assert [bell.rung() for bell in workers] == [False, False, False]


def test_a_ring_of_before_the_start_is_not_heard(tmp_path: Path) -> None:
    Bell(tmp_path / "doorbell").ring()

    assert not Bell(tmp_path / "doorbell").rung()


def test_a_file_that_cannot_be_touched_still_lets_this_worker_hear(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    bell = Bell(tmp_path / "state" / "doorbell")

    bell.ring()

    assert bell.rung()
    assert not bell.rung()


def test_a_ring_ends_the_wait_for_the_next_poll(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.promote("1", score=0.25)
    bell = Bell(tmp_path / "doorbell")
    watch = ModelWatch(
        world.registry,
        Shelf(tmp_path / "models"),
        load_fixed,
        (TARGET,),
        Metrics(),
        world.clock,
        bell=bell,
    )

    async def follow() -> str:
        await watch.start()
        world.promote("2", score=0.75)
        # It would be a quarter of an hour until the next poll.
        running = asyncio.create_task(watch.run(900.0))
        bell.ring()
        async with asyncio.timeout(60 * LISTEN_S):
            while (route := watch.route(TARGET)) is None or route.champion.version.number == "1":
                await asyncio.sleep(0.01)
        running.cancel()
        return route.champion.version.number

    assert asyncio.run(follow()) == "2"


def test_deliveries_out_of_order_end_on_what_the_registry_says(tmp_path: Path) -> None:
    registry = MemoryRegistry()
    world = World(tmp_path, registry=registry)
    first, second = world.promote("1", score=0.25), world.promote("2", score=0.75)
    door = Door(tmp_path)
    watch = ModelWatch(
        registry,
        Shelf(tmp_path / "models"),
        load_fixed,
        (TARGET,),
        Metrics(),
        world.clock,
        bell=door.bell,
    )
    assert registry.champions[TARGET] == second

    async def late() -> str:
        for id_, number in (("d-2", second.number), ("d-1", first.number)):
            body = BODY + number.encode()
            door.doorbell.ring(delivery(body, id_=id_), body)
            await watch.poll()
        route = watch.route(TARGET)
        assert route is not None
        return route.champion.version.number

    assert asyncio.run(late()) == "2"
