"""One request in a hundred is broken: the others do not notice, and the server never fails.

FORESEND_TEST_MALFORMED sets how many requests are sent; a million takes some minutes.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from feature_repo.api_keys import KeyFile, Scope, keys_path
from feature_repo.settings import Settings
from tests.integration.honest_load import check_row, port_of
from tests.integration.malformed import all_wrong
from tests.integration.shelved_api import CUSTOMERS, fill, name, serving
from tests.integration.test_serving_process import TARGET, Api
from tests.integration.wire import Crowd, Wire, request

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

# Read at import: the tests run without our variables.
REQUESTS = int(os.environ.get("FORESEND_TEST_MALFORMED", "20000"))
BROKEN_SHARE = 0.01
WIDE = {"FORESEND_SERVING_GATE_SINGLES": "512", "FORESEND_SERVING_GATE_BULK": "64"}


@dataclass(frozen=True)
class Guarded:
    """A server that wants a key, and the key."""

    api: Api
    key: str

    def good(self, number: int) -> bytes:
        body = json.dumps({"target": TARGET, "customers": [{"customer_id": name(number)}]})
        return request(body.encode(), headers=[f"Authorization: Bearer {self.key}"])

    def chunked(self, number: int) -> bytes:
        """The same, its body in pieces of seven bytes."""
        head, _, body = self.good(number).partition(b"\r\n\r\n")
        head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
        pieces = (body[i : i + 7] for i in range(0, len(body), 7))
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return head + b"\r\n\r\n" + chunks + b"0\r\n\r\n"

    def check_good(self, wire: Wire, *numbers: int) -> None:
        """The next answers on this connection are those, in this order, and full."""
        for number in numbers:
            reply = wire.read()
            assert reply is not None, "no answer to a good request"
            assert reply.status == 200, reply.body
            (row,) = reply.json()["scores"]
            assert check_row(row, number) is None, row


@contextmanager
def guarded(home: Path, redis_url: str) -> Iterator[Guarded]:
    fill(redis_url)
    keys = KeyFile(keys_path(Settings(home=home)))
    _, key = keys.add("mailer", [Scope.SCORE], clock=lambda: datetime.now(UTC))
    with serving(home, redis_url, insecure=False, **WIDE) as api:
        yield Guarded(api, key)


@pytest.fixture
def server(tmp_path: Path, redis_url: str) -> Iterator[Guarded]:
    with guarded(tmp_path / "home", redis_url) as server:
        yield server


def test_many_requests_of_which_some_are_broken(server: Guarded) -> None:
    wrong = all_wrong(server.key)
    kinds = Counter[str]()
    lock = threading.Lock()

    def one(wire: Wire, place: int) -> None:
        dice = random.Random(place)
        number = place % CUSTOMERS
        if dice.random() < BROKEN_SHARE:
            with lock:
                # Each way once, then by chance.
                sent = kinds.total()
                chosen = wrong[sent] if sent < len(wrong) else dice.choice(wrong)
                kinds[chosen.name] += 1
            chosen.send(wire)
        elif dice.random() < 0.05:
            others = [(number + i) % CUSTOMERS for i in range(1, 6)]
            wire.send(b"".join(map(server.good, others)))
            server.check_good(wire, *others)
        elif dice.random() < 0.05:
            wire.send(server.chunked(number))
            server.check_good(wire, number)
        else:
            wire.send(server.good(number))
            server.check_good(wire, number)

    Crowd(port_of(server.api), one).run(REQUESTS)

    text = httpx.get(f"{server.api.url}/metrics", timeout=30).text
    in_hand = [line for line in text.splitlines() if line.startswith("foresend_gate_in_flight{")]
    assert [float(line.rsplit(" ", 1)[1]) for line in in_hand] == [0.0, 0.0]
    assert server.api.stop() == 0
    log = (server.api.home / "api.log").read_text()
    assert "Traceback" not in log
    assert '"status": 500' not in log
    assert server.key not in log


def test_every_broken_request_is_refused_for_what_it_is(server: Guarded) -> None:
    failures = []
    for one in all_wrong(server.key):
        with Wire(port_of(server.api)) as wire:
            try:
                one.send(wire)
                # On the same connection where it is kept, else on a new one.
                wire.send(server.good(7))
                server.check_good(wire, 7)
            except AssertionError as exc:
                failures.append(f"{one.name}: {exc}")

    assert failures == [], failures


def test_a_broken_request_between_others_on_one_connection_is_answered_in_its_place(
    server: Guarded,
) -> None:
    kept = [one for one in all_wrong(server.key) if one.is_kept]
    with Wire(port_of(server.api)) as wire:
        for one in kept:
            wire.send(server.good(1) + one.data + server.chunked(2) + server.good(3))
            server.check_good(wire, 1)
            reply = wire.read()
            assert reply is not None, one.name
            one.check(reply)
            server.check_good(wire, 2, 3)


def test_unusual_but_valid_ways_to_ask_are_answered(server: Guarded) -> None:
    good = server.good(4)
    ways = {
        "byte by byte": good,
        "a query": good.replace(b"/v1/score ", b"/v1/score?from=crm "),
        "an absolute address": good.replace(b"/v1/score ", b"http://foresend/v1/score "),
        "an empty line before": b"\r\n" + good,
        "names in capitals": good.replace(b"Content-Length", b"CONTENT-LENGTH"),
        "a charset": good.replace(b"application/json", b"Application/JSON; charset=utf-8"),
        "last one wins": good.replace(b'{"target"', b'{"target": 1, "target"').replace(
            b"Content-Length: %d" % _length(good), b"Content-Length: %d" % (_length(good) + 13)
        ),
        "expects a word": good.replace(b"Host:", b"Expect: 100-continue\r\nHost:"),
    }
    for way, data in ways.items():
        with Wire(port_of(server.api)) as wire:
            pieces = (
                [data[i : i + 1] for i in range(len(data))] if way == "byte by byte" else [data]
            )
            for piece in pieces:
                wire.send(piece)
            reply = wire.read()
            assert reply is not None, way
            assert reply.status == 200, (way, reply.body)
            assert check_row(reply.json()["scores"][0], 4) is None, way


def _length(data: bytes) -> int:
    return len(data.partition(b"\r\n\r\n")[2])


def test_garbage_behind_good_requests_takes_none_of_their_answers(server: Guarded) -> None:
    for garbage in (b"\x16\x03\x01 what\r\n\r\n", server.chunked(3)[:-5] + b"zz\r\n"):
        with Wire(port_of(server.api)) as wire:
            wire.send(server.good(1) + server.good(2) + garbage)
            server.check_good(wire, 1, 2)
            assert wire.read() is None


def test_http_1_0_is_answered_and_closed(server: Guarded) -> None:
    with Wire(port_of(server.api)) as wire:
        wire.send(server.good(1).replace(b"HTTP/1.1", b"HTTP/1.0"))
        server.check_good(wire, 1)
        assert wire.read() is None
