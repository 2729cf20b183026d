"""What events beside each other say about who opened or clicked, and the corrections it makes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.event import Event
from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.history.schema import EVENTS
from feature_repo.ingest.machines.sweep import Swept, sweep
from feature_repo.settings import Settings
from feature_repo.stream.envelope import unpack
from feature_repo.stream.memory import MemoryQueue

pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

AT = datetime(2026, 3, 4, 10, tzinfo=UTC)
NOW = AT + timedelta(days=3)
BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/141.0.0.0 Safari/537.36"
GMAIL = "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"

Row = dict[str, Any]


def act(event_id: str, kind: str, after_s: float, **changes: Any) -> Row:
    at = AT + timedelta(seconds=after_s)
    good = {
        "event_id": event_id,
        "type": kind,
        "customer_id": "c1",
        "message_id": "m1",
        "event_time": at,
        "received_time": at + timedelta(seconds=30),
        "op": "upsert",
        "provider": "test",
        "machine": "none",
        "user_agent": BROWSER if kind in {"opened", "clicked"} else None,
        "ip": "198.51.100.7" if kind in {"opened", "clicked"} else None,
        "backfilled": False,
    }
    return dict.fromkeys(EVENTS.names) | good | changes


def click(event_id: str, after_s: float, link: str, **changes: Any) -> Row:
    return act(event_id, "clicked", after_s, url=f"https://a.example/{link}", **changes)


DELIVERED = act("d", "delivered", 0)


class Home:
    """An installation whose corrections go into the log at once."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder, duckdb_threads=1)
        self.published: list[Event] = []

    def append(self, rows: Sequence[Row]) -> None:
        with duck.connect(self.settings) as con:
            events = con.from_arrow(pa.Table.from_pylist(list(rows), schema=EVENTS))
            EventLog(self.settings.log_path).append(con, events)

    def sweep(self, *, archive: bool = True, at: datetime = NOW) -> Swept:
        queue = MemoryQueue()
        swept = sweep(self.settings, queue.publisher("sweep"), lambda: at)
        events = [event for m, _ in queue.messages.values() for event in unpack(m.body)]
        self.published += events
        if archive and events:
            self.append([{n: getattr(e, n) for n in EVENTS.names} for e in events])
        return swept

    def labels(self) -> dict[str, tuple[str, str | None, float | None]]:
        """Label of every open and click as known last."""
        with duck.connect(self.settings) as con:
            names = ["event_id", "type", "machine", "machine_source", "machine_score"]
            known = EventLog(self.settings.log_path).snapshot().as_corrected(con, names)
            rows = [row for batch in duck.stream(con, known) for row in batch.to_pylist()]
        return {
            row["event_id"]: (row["machine"], row["machine_source"], row["machine_score"])
            for row in rows
            if row["type"] in {"opened", "clicked"}
        }

    def machines(self) -> dict[str, str]:
        return {event_id: found[0] for event_id, found in self.labels().items()}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


BURST = [click("b1", 40, "1"), click("b2", 41, "2"), click("b3", 42, "3")]
CASES: list[tuple[list[Row], dict[str, str]]] = [
    # opens at, before and well after delivery
    ([DELIVERED, act("o", "opened", 2)], {"o": "scanner"}),
    ([DELIVERED, act("o", "opened", -3)], {"o": "scanner"}),
    ([DELIVERED, act("o", "opened", 3)], {"o": "none"}),
    # of another customer's copy of the message
    ([DELIVERED, act("o", "opened", 1, customer_id="c2")], {"o": "none"}),
    # providers that report the sending only
    ([act("s", "sent", 0), act("o", "opened", 1)], {"o": "scanner"}),
    # clicks: strong until 5 s, weak until 60 s
    ([DELIVERED, click("k", 5, "1")], {"k": "scanner"}),
    ([DELIVERED, click("k", 30, "1")], {"k": "none"}),
    # three different links within two seconds; the same link three times is no burst
    (BURST, {"b1": "scanner", "b2": "scanner", "b3": "scanner"}),
    (
        [click("b1", 40, "1"), click("b2", 41, "2"), click("b3", 42.5, "3")],
        {"b1": "none", "b2": "none", "b3": "none"},
    ),
    ([click(f"k{n}", 40 + n / 9, "1") for n in range(3)], {f"k{n}": "none" for n in range(3)}),
    # the visitor's open beside the burst, and a person's click from elsewhere
    (
        [*BURST, act("o", "opened", 50), click("p", 55, "1", ip="198.51.100.99")],
        {"b1": "scanner", "b2": "scanner", "b3": "scanner", "o": "scanner", "p": "none"},
    ),
    # a link no person can see
    (
        [
            click("h", 900, "foresend-honeypot"),
            click("k", 940, "1"),
            click("late", 1000, "1"),
            click("p", 901, "1", ip="198.51.100.99"),
        ],
        {"h": "scanner", "k": "scanner", "late": "none", "p": "none"},
    ),
    # a proxy fetch at delivery had no reader; later it had
    ([DELIVERED, act("o", "opened", 4, user_agent=GMAIL)], {"o": "scanner"}),
    (
        [
            DELIVERED,
            act(
                "o",
                "opened",
                40,
                user_agent=GMAIL,
                machine="gmail_proxy",
                machine_source="google_image_proxy",
                machine_score=0.05,
            ),
        ],
        {"o": "gmail_proxy"},
    ),
    # one address for many customers: not alone, but soon after delivery
    (
        [click(f"k{n}", 900 + n, "1", customer_id=f"c{n}", message_id=f"m{n}") for n in range(5)],
        {f"k{n}": "none" for n in range(5)},
    ),
    (
        [
            row
            for n in range(5)
            for row in (
                act(f"d{n}", "delivered", 0, customer_id=f"c{n}", message_id=f"m{n}"),
                click(f"k{n}", 30 + n, "1", customer_id=f"c{n}", message_id=f"m{n}"),
            )
        ],
        {f"k{n}": "scanner" for n in range(5)},
    ),
    # the provider's word on a machine is not touched
    (
        [
            DELIVERED,
            act("o", "opened", 1, machine="generic", machine_source="provider", machine_score=0.7),
        ],
        {"o": "generic"},
    ),
    # withdrawn events are no evidence and are not corrected
    (
        [*BURST, act("b3", "clicked", 42, op="retract", received_time=AT + timedelta(hours=1))],
        {"b1": "none", "b2": "none"},
    ),
    # without a message nothing is known of its delivery
    ([DELIVERED | {"message_id": None}, click("k", 1, "1", message_id=None)], {"k": "none"}),
]


def _apart(rows: Sequence[Row], case: int) -> list[Row]:
    """The rows as of a world of their own: other customers, messages, addresses."""
    named = ("event_id", "customer_id", "message_id")
    return [
        row
        | {name: f"{case}:{row[name]}" for name in named if row[name] is not None}
        | {"ip": row["ip"] and row["ip"].replace("198.51.100.", f"198.51.{case}.")}
        for row in rows
    ]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Machines of the events of all cases, after one sweep over them together."""
    home = Home(tmp_path_factory.mktemp("cases"))
    home.append([row for case, (rows, _) in enumerate(CASES) for row in _apart(rows, case)])
    home.sweep()
    return home.machines()


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_label_follows_what_surrounds_the_event(swept: dict[str, str], case: int) -> None:
    _, machines = CASES[case]

    found = {key: made for key, made in swept.items() if key.startswith(f"{case}:")}
    assert found == {f"{case}:{event_id}": made for event_id, made in machines.items()}


def test_a_correction_changes_the_label_alone_and_is_known_from_now_on(home: Home) -> None:
    home.append([DELIVERED, click("k", 3, "1", campaign_id="spring", raw_ref="a:1#0")])

    swept = home.sweep()

    (event,) = home.published
    assert event.event_id == "k"
    assert event.received_time == NOW
    assert (event.campaign_id, event.raw_ref, event.event_time) == (
        "spring",
        "a:1#0",
        AT + timedelta(seconds=3),
    )
    assert event.machine_source == "clicked_at_delivery+clicked_soon"
    assert event.machine_score == pytest.approx(1 - 0.2 * 0.75)
    assert (swept.rows, swept.corrected, swept.machines) == (2, 1, {"scanner": 1})


def test_weak_evidence_alone_corrects_nothing_and_counts_when_more_comes(home: Home) -> None:
    rows = [
        row
        for n in range(5)
        for row in (
            act(f"d{n}", "delivered", 0, customer_id=f"c{n}", message_id=f"m{n}"),
            click(f"k{n}", 30 + n, "1", customer_id=f"c{n}", message_id=f"m{n}"),
        )
    ]
    home.append(rows[:-2])
    assert home.sweep().corrected == 0

    home.append(rows[-2:])
    home.sweep()

    assert home.machines() == {f"k{n}": "scanner" for n in range(5)}
    assert {label[1] for label in home.labels().values()} == {"crowded_address+clicked_soon"}


def test_a_second_sweep_says_nothing_new(home: Home) -> None:
    home.append([DELIVERED, *BURST, act("o", "opened", 1)])
    home.sweep()
    said = len(home.published)

    again = [home.sweep(at=NOW + timedelta(minutes=n)) for n in range(3)]

    assert len(home.published) == said
    assert [swept.corrected for swept in again] == [0, 0, 0]


def test_a_sweep_before_the_archive_caught_up_says_the_same_again(home: Home) -> None:
    home.append([DELIVERED, click("k", 3, "1")])
    home.sweep(archive=False)
    home.append([click("late", 400, "2")])

    home.sweep(at=NOW + timedelta(minutes=1))
    home.sweep(at=NOW + timedelta(minutes=2))

    assert home.machines() == {"k": "scanner", "late": "none"}
    contents = {(e.event_id, e.machine, e.machine_source) for e in home.published}
    assert len(contents) == 1


def test_a_delivery_that_arrives_after_its_click_still_counts(home: Home) -> None:
    home.append([click("k", 3, "1")])
    home.sweep()
    assert home.machines() == {"k": "none"}

    home.append([DELIVERED | {"received_time": AT + timedelta(days=2)}])
    home.sweep()

    assert home.machines() == {"k": "scanner"}


def test_a_lost_note_of_the_place_costs_time_only(home: Home) -> None:
    home.append([DELIVERED, *BURST])
    home.sweep()
    before = home.labels()
    (home.settings.state_path / "machines_sweep.json").write_text("{")

    swept = home.sweep()

    assert swept.corrected == 0
    assert home.labels() == before


POOL = [
    DELIVERED,
    *BURST,
    act("o", "opened", 1),
    click("h", 43, "foresend-honeypot"),
    act("d9", "delivered", 86_400, message_id="m9"),
    click("k9", 86_400 + 20, "1", message_id="m9"),
    *(click(f"c{n}", 86_430 + n, "1", customer_id=f"x{n}", message_id=f"x{n}") for n in range(5)),
    click("k8", 86_425, "2", message_id="m9", ip="198.51.100.8"),
]


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(POOL), cuts=st.sets(st.integers(1, len(POOL) - 1), max_size=3))
def test_labels_do_not_depend_on_the_order_or_on_when_sweeps_run(
    tmp_path_factory: pytest.TempPathFactory, order: list[Row], cuts: set[int]
) -> None:
    whole = Home(tmp_path_factory.mktemp("whole"))
    whole.append(POOL)
    whole.sweep()

    piecewise = Home(tmp_path_factory.mktemp("pieces"))
    edges = [0, *sorted(cuts), len(order)]
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        piecewise.append(order[low:high])
        piecewise.sweep(at=NOW + timedelta(minutes=number))

    assert piecewise.labels() == whole.labels()
