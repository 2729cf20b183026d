"""Requests that are wrong in every way we could think of, and what each may be answered."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.integration.test_serving_process import TARGET
from tests.integration.wire import Reply, Wire, request

GOOD: Final = json.dumps({"target": TARGET, "customers": [{"customer_id": "customer-0"}]}).encode()
_ONE: Final = '{"target": "%s", "customers": [{"customer_id": %s}]%s}'


@dataclass(frozen=True)
class Wrong:
    """One way to be wrong."""

    name: str
    data: bytes
    statuses: frozenset[int]
    #: Whether the connection can be used again after the answer.
    is_kept: bool = False
    #: Whether the sender goes away without waiting.
    leaves: bool = False

    def send(self, wire: Wire) -> None:
        """Send it and read what comes; fails when that is not what it may be."""
        wire.send(self.data)
        if self.leaves:
            wire.close()
            return
        reply = wire.read()
        assert reply is not None, f"{self.name}: no answer"
        self.check(reply)
        if not self.is_kept:
            wire.close()

    def check(self, reply: Reply) -> None:
        """Fail unless the answer is a refusal of the right kind, as a problem document."""
        assert reply.status in self.statuses, f"{self.name}: {reply.status} {reply.body[:500]!r}"
        assert reply.headers["content-type"] == "application/problem+json", self.name
        assert reply.headers["x-content-type-options"] == "nosniff", self.name
        if reply.body:
            assert reply.json()["status"] == reply.status, self.name
        if self.is_kept:
            assert not reply.ends, f"{self.name}: the connection was ended"


def _body(name: str, body: bytes | str, *statuses: int) -> Wrong:
    """A whole and readable request whose body is wrong."""
    data = body if isinstance(body, bytes) else body.encode()
    return Wrong(name, request(data), frozenset(statuses or {400, 422}), is_kept=True)


def _bodies() -> Iterator[Wrong]:
    customer = '{"customer_id": "a"}'
    for name, body in {
        "empty": "",
        "space": " \n",
        "no JSON": "score me",
        "broken off": GOOD[:-3].decode(),
        "two documents": (GOOD + GOOD).decode(),
        "trailing comma": _ONE % (TARGET, '"a",', ""),
        "NaN": _ONE % (TARGET, '"a", "utc_offset_minutes": NaN', ""),
        "Infinity": _ONE % (TARGET, '"a", "utc_offset_minutes": -Infinity', ""),
        "number of 10,000 digits": _ONE % (TARGET, '"a"', ', "reasons": ' + "9" * 10_000),
        "exponent": _ONE % (TARGET, '"a"', ', "reasons": 1e99999'),
        "leading zero": _ONE % (TARGET, '"a"', ', "reasons": 01'),
        "number of 2**64": _ONE % (TARGET, '"a", "utc_offset_minutes": 18446744073709551616', ""),
        "fraction": _ONE % (TARGET, '"a"', ', "reasons": 1.5'),
        "reasons below": _ONE % (TARGET, '"a"', ', "reasons": -1'),
        "id a number": _ONE % (TARGET, "17", ""),
        "id null": _ONE % (TARGET, "null", ""),
        "id a list": _ONE % (TARGET, '["a"]', ""),
        "id empty": _ONE % (TARGET, '""', ""),
        "id too long": _ONE % (TARGET, '"' + "x" * 257 + '"', ""),
        "id half a surrogate": _ONE % (TARGET, r'"\ud800"', ""),
        "control character": _ONE % (TARGET, '"a\x01"', ""),
        "customers an object": '{"target": "%s", "customers": {}}' % TARGET,  # noqa: UP031
        "customers empty": '{"target": "%s", "customers": []}' % TARGET,  # noqa: UP031
        "no customers": '{"target": "%s"}' % TARGET,  # noqa: UP031
        "no target": '{"customers": [%s]}' % customer,  # noqa: UP031
        "target a number": '{"target": 1, "customers": [%s]}' % customer,  # noqa: UP031
        "unknown key": _ONE % (TARGET, '"a"', ', "sendat": null'),
        "send_at a number": _ONE % (TARGET, '"a"', ', "send_at": 1777615200'),
        "send_at a word": _ONE % (TARGET, '"a"', ', "send_at": "tomorrow"'),
        "too many customers": GOOD.decode()[:-2] + f", {customer}" * 1_000 + "]}",
        "a list": "[1, 2]",
        "null": "null",
        "a text": '"score"',
        "lists 100,000 deep": "[" * 100_000,
        "lists 20,000 deep, closed": "[" * 20_000 + "]" * 20_000,
        "objects 50,000 deep": '{"target":' * 50_000,
        "depth inside": _ONE % (TARGET, "[" * 30_000 + "]" * 30_000, ""),
        "depth in an unknown key": _ONE
        % (TARGET, '"a"', ', "x": ' + '{"a":' * 20_000 + "1" + "}" * 20_000),
    }.items():
        yield _body(name, body)
    yield _body("UTF-16", GOOD.decode().encode("utf-16"))
    yield _body("a byte order mark", b"\xef\xbb\xbf{}")
    yield _body("bytes that are no UTF-8", GOOD.replace(b"customer-0", b"\xff\xfe\x80"))
    yield _body("zeros", b"\x00" * 500)
    yield _body("gzip without a word", gzip.compress(GOOD))
    yield _body("another target", GOOD.replace(TARGET.encode(), b"nothing_7d"), 404)


def _wrong(name: str, *headers: str, statuses: set[int], **other: str) -> Wrong:
    """A good body with a head that is not."""
    data = request(GOOD, headers=headers, **other)
    return Wrong(name, data, frozenset(statuses), is_kept=True)


def _heads() -> Iterator[Wrong]:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        yield _wrong(f"method {method}", method=method, statuses={405})
    for value in ("0", "-1", "1.5", "", "60001", "9" * 5_000, "0x10", "\u00b2"):
        yield _wrong(f"deadline {value[:8]!r}", f"X-Deadline-Ms: {value}", statuses={400})
    yield _wrong("no such path", path="/v1/scores", statuses={404})
    yield _wrong("a path of bytes", path="/v1/%ff%00score", statuses={404})
    plain = request(GOOD).replace(b"application/json", b"text/plain")
    yield Wrong("text", plain, frozenset({415}), is_kept=True)
    untold = request(GOOD).replace(b"Content-Type: application/json\r\n", b"")
    yield Wrong("no content type", untold, frozenset({415}), is_kept=True)
    odd = request(GOOD).replace(b"application/json", b"application/json\xff\xfe")
    yield Wrong("content type of bytes", odd, frozenset({415}), is_kept=True)


def _keys() -> Iterator[Wrong]:
    """Refused by who asks; the good key is in `wire.request`'s callers only."""
    for said in ("Bearer", "Bearer fsk_no", "Basic YTpi", "Bearer \xff\xfe", "fsk_a", "Bearer  "):
        data = request(GOOD, headers=[f"Authorization: {said}"])
        yield Wrong(f"key {said!r}", data, frozenset({401}), is_kept=True)
    long = request(GOOD, headers=["X-API-Key: " + "k" * 20_000])
    yield Wrong("a key of 20,000 letters", long, frozenset({401, 431}))
    yield Wrong("no key", request(GOOD), frozenset({401}), is_kept=True)


def _framing() -> Iterator[Wrong]:
    """Where requests end is not clear: only a refusal, and an end of the connection, are safe."""
    bad, head = frozenset({400}), b"POST /v1/score HTTP/1.1\r\nHost: a\r\n"
    json_type = b"Content-Type: application/json\r\n"
    chunked = head + json_type + b"Transfer-Encoding: chunked\r\n"
    for name, data in {
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        "words": b"hello there\r\n\r\n",
        "HTTP/9": b"POST /v1/score HTTP/9.9\r\n\r\n",
        "method of bytes": b"\xff\xfe /v1/score HTTP/1.1\r\n\r\n",
        "length negative": head + b"Content-Length: -5\r\n\r\n",
        "length a word": head + b"Content-Length: five\r\n\r\n",
        "length too large for a number": head + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
        "two lengths": head + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "length and chunked": chunked + b"Content-Length: 2\r\n\r\n0\r\n\r\n",
        "chunk of no size": chunked + b"\r\nzz\r\n{}\r\n0\r\n\r\n",
        "chunk longer than said": chunked + b"\r\n2\r\n{}{}\r\n0\r\n\r\n",
        "chunk of 2**70": chunked + b"\r\n" + b"f" * 18 + b"\r\n{}",
        "header without colon": head + b"what is this\r\n\r\n",
        "header with a zero": head + b"X-A: \x00\r\n\r\n",
        "space before colon": head + b"Content-Length : 2\r\n\r\n{}",
    }.items():
        yield Wrong(name, data, bad)
    # Too short a length: what is left of the body is taken for another request, and refused.
    short = request(GOOD).replace(b"Content-Length: %d" % len(GOOD), b"Content-Length: 9")
    yield Wrong("length too short", short, frozenset({400, 401, 422}))
    yield Wrong("long path", request(GOOD, path="/v1/score?" + "a" * 20_000), frozenset({414}))
    many = [f"X-{n}: {n}" for n in range(500)]
    yield Wrong("500 headers", request(GOOD, headers=many), frozenset({431}))
    # More than a server reads in one piece: what comes in one may be longer than the bound.
    huge = request(GOOD, headers=["X-Big: " + "b" * 2_000_000])
    yield Wrong("a header of 2 MB", huge, frozenset({431}))
    large = head + json_type + b"Content-Length: 3000000\r\n"
    yield Wrong("body too large", large + b"\r\n" + b" " * 3_000_000, frozenset({413, 401}))
    asks = large.replace(b"3000000", b"99999999999") + b"Expect: 100-continue\r\n\r\n"
    yield Wrong("body of 100 GB announced", asks, frozenset({413, 401, 429}))


def _leavers() -> Iterator[Wrong]:
    """Whoever goes away in the middle of a request, or before its answer."""
    whole = request(GOOD)
    for place in (1, 20, 60, len(whole) - len(GOOD), len(whole) - 1, len(whole)):
        yield Wrong(f"gone after {place} bytes", whole[:place], frozenset(), leaves=True)
    chunked = b"POST /v1/score HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"
    yield Wrong("gone inside a chunk", chunked, frozenset(), leaves=True)
    yield Wrong("gone after ten requests", whole * 10, frozenset(), leaves=True)


def signed(one: Wrong, key: str) -> Wrong:
    """The same from somebody who may ask."""
    data = one.data.replace(b"Host: ", f"X-API-Key: {key}\r\nHost: ".encode(), 1)
    return Wrong(one.name, data, one.statuses, one.is_kept, one.leaves)


def all_wrong(key: str) -> list[Wrong]:
    """Every way, from a caller with a key where the way is not about keys."""
    named = [*_bodies(), *_heads(), *_framing(), *_leavers()]
    return [*(signed(one, key) for one in named), *_keys()]
