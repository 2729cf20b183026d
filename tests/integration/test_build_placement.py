"""Placement of customers: any history, in any batches, is what brute force says."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_repo import contract, naming
from feature_repo.deliverability.estimates import impaired, read_estimates
from feature_repo.deliverability.readings import READINGS, Readings
from tests.integration.history.building import Installation, digests
from tests.integration.history.histories import START, Row, row
from tests.integration.history.placement_reference import placement

pytestmark = [
    pytest.mark.integration,
    # Ibis 12 calls it on DuckDB 2.
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

DAY = timedelta(days=1)
DOMAIN = "news.example"
THROUGH = START + 60 * DAY
OPENED = START + 25 * DAY + timedelta(hours=8)
_EPOCH = date(1970, 1, 1)


def seeds(day: int, spam: int, known_after_h: float = 20.0) -> dict[str, Any]:
    """So many of 15 seeds of a day were in spam."""
    shared = {
        "source": "seed_list",
        "sending_domain": DOMAIN,
        "mailbox_provider": "google",
        "day": (START + day * DAY).date(),
        "n": 15.0,
        "received_time": START + day * DAY + timedelta(hours=known_after_h),
    }
    return shared | {"metric": "seed_spam", "value": float(spam)}


def read(installation: Installation, *readings: dict[str, Any]) -> None:
    inside = [r | {"metric": "seed_inbox", "value": 15.0 - r["value"]} for r in readings]
    table = pa.Table.from_pylist([*readings, *inside], schema=READINGS)
    Readings(installation.settings.deliverability_path / "readings").append(table)


@st.composite
def mails(draw: st.DrawFn) -> Row:
    """A row about one of few messages of one of three customers; ids are few, so much is mended."""
    customer = draw(st.integers(0, 2))
    number = draw(st.integers(0, 11))
    kind = draw(st.sampled_from(["sent"] * 5 + ["opened", "opened", "clicked", "complained"]))
    at = START + timedelta(days=draw(st.integers(0, 30)), hours=draw(st.integers(0, 23)))
    return row(
        f"{customer}-{kind}-{number}",
        f"c{customer}",
        type=kind,
        event_time=at,
        received_time=at + draw(st.sampled_from([0, 1, 30, 100, 800])) * timedelta(hours=1),
        op=draw(st.sampled_from(["upsert"] * 8 + ["retract"])),
        machine=draw(st.sampled_from(["none", "none", "gmail_proxy", "apple_mpp", "scanner"])),
        message_id=f"{customer}-{number}",
        sending_domain=draw(st.sampled_from([DOMAIN, DOMAIN, DOMAIN, None])),
        mailbox_provider=draw(st.sampled_from(["google" if customer else "yahoo"] * 3 + [None])),
    )


@st.composite
def seed_days(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        seeds(day, draw(st.sampled_from([0, 0, 14, 15])), draw(st.sampled_from([20.0, 70.0])))
        for day in draw(st.sets(st.integers(0, 30), max_size=20))
    ]


@settings(
    deadline=None,
    max_examples=2,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(
    batches=st.lists(st.lists(mails(), min_size=1, max_size=40), min_size=1, max_size=3),
    told=st.lists(seed_days(), min_size=3, max_size=3),
    days=st.lists(st.integers(0, 60), min_size=3, max_size=3).map(sorted),
)
def test_placement_is_what_brute_force_says_whatever_the_batches(
    batches: list[list[Row]], told: list[list[dict[str, Any]]], days: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        stepwise, at_once = (Installation(Path(folder) / name) for name in ("steps", "once"))
        for batch, readings, day in zip(batches, told, days, strict=False):
            for one in (stepwise, at_once):
                one.append(batch)
                read(one, *readings)
            stepwise.build(through=START + day * DAY)
        last = stepwise.build(through=THROUGH)

        assert digests(last) == digests(at_once.build(full=True, through=THROUGH))
        assert stepwise.rows(contract.CUSTOMER_PLACEMENT) == at_once.rows(
            contract.CUSTOMER_PLACEMENT
        )
        through_day = (THROUGH.date() - _EPOCH).days
        hits = impaired(read_estimates(at_once.settings), through_day).to_pylist()
        assert_same(
            at_once.changes(contract.CUSTOMER_PLACEMENT), placement(at_once.log(), hits, THROUGH)
        )


def assert_same(actual: list[Any], expected: list[Any]) -> None:
    """Equal but for the last digits of decayed sums, whose order of adding is the product's."""
    keys = [(customer, at) for customer, at, _ in expected]
    assert [(customer, at) for customer, at, _ in actual] == keys
    for (_, _, values), (_, _, wanted) in zip(actual, expected, strict=True):
        for name in naming.CUSTOMER_PLACEMENT:
            if name.startswith("unseen_sends") and wanted[name] is not None:
                assert values[name] == pytest.approx(wanted[name], rel=1e-9)
            else:
                assert values[name] == wanted[name], name


def weekly(customer: str, days: range, provider: str = "google") -> list[Row]:
    return [
        row(
            f"{customer}{day}",
            customer,
            type="sent",
            event_time=START + day * DAY + timedelta(hours=9),
            message_id=f"{customer}{day}",
            sending_domain=DOMAIN,
            mailbox_provider=provider,
        )
        for day in days
    ]


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Seeds say that nothing arrives on days 10 to 19; Cid opens what came afterwards."""
    installation = Installation(tmp_path_factory.mktemp("placement") / "home")
    days = range(0, 40, 3)
    installation.append([*weekly("ann", days), *weekly("bob", days, "yahoo"), *weekly("cid", days)])
    installation.append([row("o", "cid", event_time=OPENED, message_id="cid24")])
    read(installation, *(seeds(day, 15 if 10 <= day < 20 else 0) for day in range(40)))
    installation.build(through=THROUGH)
    return installation


def placed(installation: Installation, customer: str) -> dict[datetime, dict[str, Any]]:
    rows = installation.changes(contract.CUSTOMER_PLACEMENT)
    return {at: values for who, at, values in rows if who == customer}


def test_who_is_at_another_mailbox_provider_has_no_row(collapsed: Installation) -> None:
    assert placed(collapsed, "bob") == {}
    assert placed(collapsed, "ann")


def test_the_clock_stands_from_the_first_unseen_mail_to_the_first_seen_one(
    collapsed: Installation,
) -> None:
    rows = placed(collapsed, "ann")

    # Mail of day 12 is the first that is not seen, that of day 21 the first that is.
    assert min(rows) == START + 13 * DAY
    assert rows[START + 21 * DAY]["unseen_days"] == pytest.approx(9.0, abs=0.9)
    assert rows[max(rows)]["unseen_days"] == rows[START + 21 * DAY]["unseen_days"]


def test_an_open_pays_the_debt(collapsed: Installation) -> None:
    rows = placed(collapsed, "cid")

    assert rows[START + 21 * DAY]["unseen_days"] > 8.0
    assert rows[START + 26 * DAY]["unseen_days"] == 0.0
    assert rows[START + 26 * DAY]["seen_through_at"] == OPENED.timestamp()
    # What was unseen stays so: only the clock runs again.
    assert rows[max(rows)]["unseen_sends_log2_d112"] is not None


def test_where_nothing_is_impaired_nobody_is_looked_at_and_nothing_written(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "home")
    installation.append(weekly("ann", range(0, 40, 3)))
    read(installation, *(seeds(day, 0) for day in range(40)))

    built = installation.build(through=THROUGH)

    assert built.tables[contract.CUSTOMER_PLACEMENT].rows == 0
    assert installation.table(contract.CUSTOMER_PLACEMENT).files() == []


def test_readings_that_were_known_before_rebuild_what_was(collapsed: Installation) -> None:
    before = collapsed.rows(contract.CUSTOMER_PLACEMENT)
    # Somebody finds that all seeds of the collapse were in the inbox, and says they knew at once.
    # The last test with this installation.
    read(collapsed, *(seeds(day, 0, 20.5) for day in range(10, 20)))

    collapsed.build(through=THROUGH)

    assert before
    assert collapsed.rows(contract.CUSTOMER_PLACEMENT) == []
