"""Moments that do not agree: sends in the past and to come, features that are ahead of the clock.

The server's own clock cannot be turned, so what is stored is put around it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.honest_load import body, causes_of, check_row, port_of, rows_of
from tests.integration.shelved_api import KNOWN, as_of, fill, serving
from tests.integration.test_serving_process import TARGET, Api
from tests.integration.wire import Crowd, Wire, request

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
SKEW = timedelta(seconds=5)
STALE = {"FORESEND_SERVING_STALE_AFTER_S": str(26 * 3600)}
LATE = "features_after_send_at"


@pytest.fixture
def api(redis_url: str, tmp_path: Path) -> Iterator[Api]:
    fill(redis_url, range(100))
    with serving(tmp_path / "home", redis_url, **STALE) as api:
        yield api


def asked_at(api: Api, number: int, send_at: datetime) -> tuple[str | None, dict[str, Any]]:
    (row,) = rows_of(api, [number], send_at=send_at.isoformat())
    return check_row(row, number), row


def test_features_known_after_the_send_are_declared_beyond_the_skew_of_clocks(api: Api) -> None:
    # Known at KNOWN, loaded through KNOWN: at such sends nothing is stale.
    for send_at, cause in [
        (KNOWN, None),
        (KNOWN - SKEW, None),
        (KNOWN - SKEW - MICROSECOND, LATE),
        (KNOWN - timedelta(days=90), LATE),
        (KNOWN + 25 * HOUR, None),
        (KNOWN + 27 * HOUR, "stale_features"),
    ]:
        told, row = asked_at(api, 7, send_at)
        newest = datetime.fromisoformat(as_of(7))
        assert told == cause, send_at
        # Negative before the newest event; never clipped.
        assert row["age_s"] == (send_at - newest).total_seconds()


def test_the_same_moment_in_any_offset_is_the_same_answer(api: Api) -> None:
    said = ["2026-05-01T06:00:00Z", "2026-05-01T09:30:00+03:30", "2026-04-30t23:00:00.000-0700"]

    told = [rows_of(api, [3], send_at=one) for one in said]

    assert told[0] == told[1] == told[2]


def test_features_ahead_of_this_machines_clock_are_declared_for_a_send_now(
    api: Api, redis_url: str
) -> None:
    ahead = datetime.now(UTC) + HOUR
    fill(redis_url, [1], known=ahead, through=ahead)
    fill(redis_url, [2], known=ahead - 2 * HOUR, through=ahead)

    assert causes_of(api, [1, 2]) == [LATE, None]
    # For the hour after next both are known in time.
    assert causes_of(api, [1, 2], send_at=(ahead + HOUR).isoformat()) == [None, None]


def test_a_send_to_come_is_judged_by_what_is_stored_now(api: Api, redis_url: str) -> None:
    now = datetime.now(UTC)
    in_a_month = now + timedelta(days=30)

    fill(redis_url, [1], through=now - 25 * HOUR)
    fresh = asked_at(api, 1, in_a_month)[0], causes_of(api, [1])
    fill(redis_url, [1], through=now - 27 * HOUR)
    stale = asked_at(api, 1, in_a_month)[0], causes_of(api, [1])
    # A send before the store's end was never stale, whenever it is asked about.
    of_then = asked_at(api, 1, now - 27 * HOUR)[0]

    assert fresh == (None, [None])
    assert stale == ("stale_features", ["stale_features"])
    assert of_then is None


def test_of_several_causes_the_first_one_is_told(api: Api, redis_url: str) -> None:
    ahead = datetime.now(UTC) + HOUR
    fill(redis_url, [1], known=ahead, through=KNOWN)

    # Both too new and, for all else that is stored, too old; and of 5000 nothing is known at all.
    assert causes_of(api, [1, 2, 5000]) == [LATE, "stale_features", "unknown_customer"]


def test_sends_at_the_ends_of_the_calendar_are_answered_and_beyond_it_refused(api: Api) -> None:
    with Wire(port_of(api)) as wire:
        statuses = {}
        for moment in (
            "2099-12-31T23:59:59.999999Z",
            "2100-01-01T00:00:00Z",
            "2100-01-01T00:30:00+01:00",
            "9999-12-31T23:59:59-18:00",
            "0001-01-01T00:00:00+18:00",
            "2026-02-30T00:00:00Z",
            "2026-05-01T24:00:00Z",
            "2026-05-01T06:00:60Z",
            "2026-05-01T06:00:00",
            "2026-05-01T06:00:00+99:99",
            "1777615200",
        ):
            statuses[moment] = wire.ask(body([1], send_at=moment)).status

    good = {moment for moment, status in statuses.items() if status == 200}
    assert good == {"2099-12-31T23:59:59.999999Z", "2100-01-01T00:30:00+01:00"}
    assert {status for status in statuses.values() if status != 200} == {422}


def test_requests_of_one_moment_do_not_lend_it_to_their_neighbours(api: Api) -> None:
    dice = random.Random(3)
    hours = [dice.randrange(-72, 24) for _ in range(1_200)]

    def one(wire: Wire, place: int) -> None:
        number, send_at = place % 100, KNOWN + hours[place] * HOUR
        customers = [{"customer_id": f"customer-{number}"}]
        asked = {"target": TARGET, "customers": customers, "send_at": send_at.isoformat()}
        answer = wire.ask(request(json.dumps(asked).encode())).json()
        (row,) = answer["scores"]
        assert check_row(row, number) == (LATE if hours[place] < 0 else None), row
        newest = datetime.fromisoformat(as_of(number))
        assert row["age_s"] == (send_at - newest).total_seconds(), row
        assert datetime.fromisoformat(answer["send_at"]) == send_at, answer

    Crowd(port_of(api), one).run(len(hours))
